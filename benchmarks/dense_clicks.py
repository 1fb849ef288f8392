"""Classes, alpha and depth, corrected by clicks: score against number of clicks.

    python benchmarks/dense_clicks.py streets --data DATA --out results/streets
    python benchmarks/dense_clicks.py cells|matting|depth [--weights FILE] ...

As G-BRS is evaluated (Lin et al., CVPR 2022, section 3): a simulated annotator clicks
20 times on every image, into the middle of the widest error. Compared are no
refinement and its four kinds of layers, each with the consistency loss and without it
("free"). Nothing is corrected afterwards: all that is measured is what the network
answers. Step sizes are found first, on images that are not reported (``--tune-only``
ends there), and kept in ``rates.json``.

It may be stopped at any time; the same command goes on. ``--images N`` takes the first
N of an order that is spread over the data set, so that more may follow. Logs
(``samples.jsonl``) of several runs, as those of ``--skip`` on other machines, may be
put together by appending one to another.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dense_clicks_subjects import SUBJECTS, Subject
from napari_clickseg.evaluation.runlog import write_text
from napari_clickseg.evaluation.task_benchmark import TaskLog, run_sample, tune_rate
from napari_clickseg.evaluation.task_curves import TaskResult
from napari_clickseg.prediction.dense_settings import DenseSettings

if TYPE_CHECKING:
    from napari_clickseg.refinement.settings import Method

LAYERS: tuple[Method, ...] = ("g-brs-sb", "g-brs-bmsb", "g-brs-bmsb-m", "g-brs-bmconv")
FREE = ", free"
#: Methods by name; those without the consistency loss end in ", free".
METHODS = ("none", *(layer + end for end in ("", FREE) for layer in LAYERS))
CLICKS, TUNING_CLICKS = 20, 5


def settings_of(method: str, subject: Subject, rate: float | None) -> DenseSettings:
    """Return how a method refines."""
    return DenseSettings(
        method=method.removesuffix(FREE),  # type: ignore[arg-type]
        learning_rate=rate,
        consistency=0.0 if method.endswith(FREE) else None,
        max_side=subject.max_side,
        at=subject.at,
        correct=False,
    )


def tuned(
    subject: Subject, methods: Sequence[str], out: Path, shared: bool
) -> dict[str, float]:
    """Return the step size of each method, found on images that are not reported.

    Parameters
    ----------
    subject : Subject
    methods : sequence of str
    out : Path
        Folder of ``rates.json``, where what was found is kept.
    shared : bool
        Do not look for those without the consistency loss: they take the other's.
    """
    path = out / "rates.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for method in methods:
        if method == "none" or method in known:
            continue
        other = method.removesuffix(FREE)
        if shared and other != method and other in known:
            known[method] = known[other]
        else:
            predictor = subject.make(settings_of(method, subject, None))
            rate, trials = tune_rate(
                predictor,
                subject.tuning,
                max_clicks=TUNING_CLICKS,
                done=lambda t, m=method: print(
                    f"{m}: {t.rate:.3g}, AUC {t.auc:.5g}", flush=True
                ),
            )
            known[method] = {
                "rate": rate,
                "trials": [(trial.rate, trial.auc) for trial in trials],
            }
        out.mkdir(parents=True, exist_ok=True)
        if path.is_file():  # another process may look for other methods
            known = {**json.loads(path.read_text()), method: known[method]}
        write_text(path, json.dumps(known, indent=1) + "\n")
    return {method: entry["rate"] for method, entry in known.items()}


_KEPT: dict[tuple[str, str, str], Subject] = {}


def one(
    name: str, data: str, weights: str, method: str, number: int, rate: float | None
) -> TaskResult:
    """Click on one image, in this process."""
    torch.set_num_threads(1)
    key = name, data, weights
    if key not in _KEPT:
        _KEPT[key] = SUBJECTS[name](Path(data), weights)
    subject = _KEPT[key]
    settings = settings_of(method, subject, rate)
    # Without refinement nobody hears the clicks.
    clicks = 0 if method == "none" else CLICKS
    return run_sample(
        subject.make(settings),
        subject.reported[number],
        method=method,
        max_clicks=clicks,
    )


def run(
    subject: Subject,
    given: tuple[str, str, str],
    methods: Sequence[str],
    rates: dict[str, float],
    log: TaskLog,
    *,
    images: int | None = None,
    skip: int = 0,
    jobs: int = 1,
    done: Callable[[TaskResult], None] = lambda _: None,
) -> None:
    """Click on all images that the log does not have yet, image by image.

    Parameters
    ----------
    subject : Subject
    given : (str, str, str)
        Name, folder of the data and weights, for other processes to make it again.
    methods : sequence of str
    rates : dict
        Step size by method.
    log : TaskLog
    images : int, optional
        The first so many.
    skip : int
        Not the very first ones.
    jobs : int
        Processes.
    done : callable
        Called after each image.
    """
    todo = [
        (*given, method, number, rates.get(method))
        for number, sample in enumerate(subject.reported[:images])
        if number >= skip
        for method in methods
        if (method, sample.name) not in log.results
    ]

    def keep(result: TaskResult) -> None:
        log.add(result)
        done(result)

    if jobs <= 1:
        _KEPT[given] = subject
        for each in todo:
            keep(one(*each))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for future in as_completed([pool.submit(one, *each) for each in todo]):
            keep(future.result())


def signature(
    subject: Subject, methods: Sequence[str], rates: dict[str, float]
) -> dict[str, Any]:
    """Return everything that the numbers depend on."""
    refinements = {
        method: {
            "learning_rate": rates.get(method),
            "consistency": settings_of(method, subject, None).consistency,
        }
        for method in methods
    }
    return {
        "subject": subject.name,
        "weights": subject.weights,
        "clicks": CLICKS,
        "max_side": subject.max_side,
        "at": None if subject.at is None else list(subject.at),
        "tuning": [sample.name for sample in subject.tuning],
        "torch": torch.__version__,
        "refinements": refinements,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Tune, click, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subject", choices=SUBJECTS)
    default = os.environ.get("CLICKSEG_DATA", "../shared/data")
    parser.add_argument("--data", default=default)
    parser.add_argument("--weights", default="", help="a name or a file; else ours")
    parser.add_argument("--out", type=Path, help="folder; else results/SUBJECT")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--images", type=int, help="only so many")
    parser.add_argument("--skip", type=int, default=0, help="not the first so many")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--tune-only", action="store_true")
    parser.add_argument(
        "--share-rates",
        action="store_true",
        help="without the consistency loss: the step size found with it",
    )
    parser.add_argument("--restart", action="store_true", help="forget what is there")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    out = options.out or Path("results") / options.subject
    given = options.subject, str(options.data), options.weights
    subject = SUBJECTS[options.subject](Path(options.data), options.weights)
    if options.restart:
        (out / "rates.json").unlink(missing_ok=True)
    rates = tuned(subject, options.methods, out, options.share_rates)
    if options.tune_only:
        return
    log = TaskLog(
        out, signature(subject, options.methods, rates), restart=options.restart
    )

    def tell(result: TaskResult) -> None:
        metric = subject.metrics[0]
        scores = [scores[metric] for scores in result.scores]
        shown = [f"{scores[min(n, len(scores) - 1)]:.4f}" for n in (0, 5, 10, 20)]
        print(f"{result.name}, {result.method}: {' '.join(shown)}", flush=True)

    run(
        subject,
        given,
        options.methods,
        rates,
        log,
        images=options.images,
        skip=options.skip,
        jobs=options.jobs,
        done=tell,
    )
    from dense_clicks_figures import write

    # A method that was only begun would leave few images that all have.
    told = [each for each in log.results.values() if each.method in options.methods]
    write(subject, told, rates, out)


if __name__ == "__main__":
    main()
