"""Which step size suits a refinement of a model, by trying.

As in G-BRS (Lin et al., 2022, section 3.1): ten step sizes from 0.1 down to
0.1 * 0.5 ** 9, of which the one with the largest area under the curve of mean IoU on
a small set of objects is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_clickseg.evaluation.benchmark import evaluate
from napari_clickseg.evaluation.curves import curve_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_clickseg.evaluation.datasets import Sample
    from napari_clickseg.evaluation.metrics import SampleResult
    from napari_clickseg.evaluation.options import MethodOptions
    from napari_clickseg.evaluation.runlog import ResultLog
    from napari_clickseg.refinement.settings import RefinementSettings

#: Step sizes that are tried, the largest first.
RATES = tuple(0.1 * 0.5**k for k in range(10))
#: Where the search begins: in the middle, rounded to the larger side.
MIDDLE = 4
#: So many step sizes in a row that are worse than the best end the search there.
PATIENCE = 2


@dataclass(frozen=True)
class Trial:
    """One step size of one refinement.

    Attributes
    ----------
    refinement : RefinementSettings
        With the step size.
    rate : float
        The step size.
    auc, best, seconds : float
        Area under the curve of mean IoU, highest mean IoU, seconds per click.
    """

    refinement: RefinementSettings
    rate: float
    auc: float
    best: float
    seconds: float


def search(
    score: Callable[[int], float], count: int = len(RATES), *, full: bool = False
) -> int:
    """Return the index of the best score, asking for few where that will do.

    From the middle outwards, first to larger step sizes, then to smaller ones; a side
    ends where :data:`PATIENCE` scores in a row stay below the best.

    Parameters
    ----------
    score : callable
        Score of an index; larger is better.
    count : int
        Indices are 0 to ``count - 1``.
    full : bool
        Ask for every index.
    """
    best, reached = -1, float("-inf")

    def ask(index: int) -> bool:
        nonlocal best, reached
        found = score(index)
        better = found > reached
        if better:
            best, reached = index, found
        return better

    if full:
        for index in range(count):
            ask(index)
        return best
    middle = min(MIDDLE, count - 1)
    ask(middle)
    for side in (range(middle - 1, -1, -1), range(middle + 1, count)):
        worse = 0
        for index in side:
            worse = 0 if ask(index) else worse + 1
            if worse == PATIENCE:
                break
    return best


def tune(
    samples: Sequence[Sample],
    options: MethodOptions,
    log: ResultLog,
    *,
    full: bool = False,
    jobs: int = 1,
    progress: Callable[[SampleResult], None] | None = None,
    tried: Callable[[Trial], None] | None = None,
) -> Iterator[Trial]:
    """Yield the best step size of each refinement, as soon as it is found.

    Parameters
    ----------
    samples : sequence of Sample
        The objects to try on; a dozen will do.
    options : MethodOptions
        With the refinements to tune, which run with Adam; protocol ``curve``.
    log : ResultLog
        Finished samples, read and written: a stopped search goes on.
    full : bool
        Try all ten step sizes; else see :func:`search`.
    jobs : int
        Processes.
    progress : callable, optional
        Called with each sample's result.
    tried : callable, optional
        Called with each step size that was tried.
    """
    for refinement in options.refinements:
        trials: dict[int, Trial] = {}

        def score(
            index: int,
            refinement: RefinementSettings = refinement,
            trials: dict[int, Trial] = trials,
        ) -> float:
            given = replace(refinement, learning_rate=RATES[index])
            one = replace(options, refinements=(given,), baselines=())
            results = evaluate(samples, one, log, jobs=jobs, progress=progress)
            (figures,) = curve_figures(results, options.max_clicks).values()
            (rows,) = results.values()
            clicks = max(1, sum(len(row.clicks) for row in rows))
            trials[index] = Trial(
                given,
                RATES[index],
                figures["auc"],
                figures["best"],
                sum(row.answer_seconds for row in rows) / clicks,
            )
            if tried is not None:
                tried(trials[index])
            return trials[index].auc

        yield trials[search(score, full=full)]


def tuning_table(trials: Sequence[Trial]) -> str:
    """Return step sizes and what they brought, as a Markdown table.

    Parameters
    ----------
    trials : sequence of Trial
        In any order; the best of each refinement is printed bold.
    """
    best: dict[str, Trial] = {}
    for trial in trials:
        name = _name(trial)
        if name not in best or trial.auc > best[name].auc:
            best[name] = trial
    lines = [
        "| refinement | step size | AUC | best mIoU | s/click |",
        "| --- | --: | --: | --: | --: |",
    ]
    for trial in sorted(trials, key=lambda t: (list(best).index(_name(t)), -t.rate)):
        rate = f"{trial.rate:.4g}"
        rate = f"**{rate}**" if trial is best[_name(trial)] else rate
        lines.append(
            f"| {_name(trial)} | {rate} | {trial.auc:.4f} | {trial.best:.4f} "
            f"| {trial.seconds:.3f} |"
        )
    return "\n".join(lines)


def registry_snippet(trials: Sequence[Trial]) -> str:
    """Return the best step sizes as lines for ``registry.toml``.

    Parameters
    ----------
    trials : sequence of Trial
        The best of each refinement.
    """
    lines = []
    places = {trial.refinement.at for trial in trials} - {None}
    if len(places) == 1:
        (at,) = places
        names = ", ".join(f'"{name}"' for name in at or ())
        lines += ["[model.refinement]", f"at = [{names}]", ""]
    lines.append("[model.refinement.learning_rates]")
    lines += [f'"{trial.refinement.method}" = {trial.rate:.6g}' for trial in trials]
    return "\n".join(lines) + "\n"


def spread(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """Return at most ``limit`` samples, evenly spread over the data set."""
    if limit is None or limit >= len(samples):
        return list(samples)
    return [samples[index * len(samples) // limit] for index in range(limit)]


def tuning_signature(signature: Mapping[str, Any]) -> dict[str, Any]:
    """Return what results of tuning depend on: all but the step sizes."""
    return {key: value for key, value in signature.items() if key != "refinements"}


def _name(trial: Trial) -> str:
    from napari_clickseg.evaluation.options import refinement_name

    return refinement_name(replace(trial.refinement, learning_rate=None))
