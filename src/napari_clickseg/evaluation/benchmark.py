"""Run the simulated annotator against a model, in parallel."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.errors import Cancelled, ClickSegError, DatasetError
from napari_clickseg.evaluation.methods import ModelMethod, field_around
from napari_clickseg.evaluation.metrics import MAX_CLICKS, SampleResult
from napari_clickseg.evaluation.simulate import OBJECT, SimulatedAnnotator, iou
from napari_clickseg.prediction.settings import PredictionSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from multiprocessing.synchronize import Event

    from numpy.typing import NDArray

    from napari_clickseg.evaluation.datasets import Sample
    from napari_clickseg.evaluation.methods import Method
    from napari_clickseg.evaluation.runlog import ResultLog

PROTOCOL = 1  # raised whenever the same settings would give other numbers
GOAL = 0.90


@dataclass(frozen=True)
class MethodOptions:
    """What is to be evaluated, and how; plain values that travel to processes.

    Parameters
    ----------
    model : str or None
        Name or path of the model; None for baselines only.
    baselines : tuple of str
        Names of baselines that run beside it.
    refinement : str
        Name of the refinement, ``"none"`` for the network alone.
    settings : PredictionSettings
        Views, flip and thresholds; the defaults are the published protocol.
    device, precision : str
        As for ``load_model``.
    exact : bool
        float32 without folded normalisation or channels-last, as published.
    goal : float
        IoU at which a sample stops.
    max_clicks : int
        Clicks after which it stops anyway.
    """

    model: str | None
    baselines: tuple[str, ...] = ()
    refinement: str = "none"
    settings: PredictionSettings = field(default_factory=PredictionSettings)
    device: str = "auto"
    precision: str = "auto"
    exact: bool = False
    goal: float = GOAL
    max_clicks: int = MAX_CLICKS

    def __post_init__(self) -> None:
        if self.model is None and not self.baselines:
            raise ClickSegError("There is nothing to evaluate: give a model.")
        if not 0 < self.goal <= 1:
            raise ClickSegError(f"The IoU to reach lies in (0, 1], not {self.goal}.")
        if self.max_clicks < 1:
            raise ClickSegError("At least one click is needed.")

    @property
    def signature(self) -> dict[str, Any]:
        """What numbers depend on, without the baselines and the device."""
        values = asdict(self)
        del values["baselines"], values["device"]
        values["model"] = None if self.model is None else display_name(self)
        # JSON knows no tuples: compare what comes back from the file.
        return dict(json.loads(json.dumps({**values, "protocol": PROTOCOL})))


def run_sample(
    method: Method,
    truth: NDArray[np.int8],
    *,
    goal: float = GOAL,
    max_clicks: int = MAX_CLICKS,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[list[float], list[tuple[int, int, bool]], float, int]:
    """Click until the goal is reached; the method holds the image already.

    Parameters
    ----------
    method : Method
        Answers the clicks.
    truth : array (H, W) of int8
        1 object, 0 background, -1 not scored.
    goal : float
        IoU at which to stop.
    max_clicks : int
        Clicks after which to stop anyway.
    cancelled : callable, optional
        Asked before each click; True stops.

    Returns
    -------
    ious : list of float
        After each click.
    clicks : list of (row, col, positive)
    seconds : float
        Spent in the method.
    pixels : int
        Worked on by the method, summed over the clicks.

    Raises
    ------
    Cancelled
        If ``cancelled`` said so.
    """
    annotator = SimulatedAnnotator(truth)
    method.start_object(field_around(truth))
    mask: NDArray[np.bool_] | None = None
    ious: list[float] = []
    seconds, pixels = 0.0, 0
    for _ in range(max_clicks):
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped.")
        annotator.next_click(mask)
        start = time.perf_counter()
        mask = method.answer(tuple(annotator.clicks))
        seconds += time.perf_counter() - start
        pixels += method.pixels
        ious.append(iou(truth, mask))
        if ious[-1] >= goal:
            break
    clicks = [(int(c.row), int(c.col), c.positive) for c in annotator.clicks]
    return ious, clicks, seconds, pixels


class Evaluator:
    """Methods that are loaded once and answer for many samples.

    Parameters
    ----------
    options : MethodOptions
        Which methods, and how.
    cancelled : callable, optional
        Asked before each click; True stops.
    """

    def __init__(
        self, options: MethodOptions, cancelled: Callable[[], bool] | None = None
    ) -> None:
        self.options = options
        self.cancelled = cancelled
        self.methods = make_methods(options)

    def run(
        self, samples: Sequence[Sample], wanted: Iterable[tuple[str, str]]
    ) -> Iterator[SampleResult]:
        """Yield the results of samples that share one image.

        Parameters
        ----------
        samples : sequence of Sample
            All of the same image file.
        wanted : iterable of (method, sample name)
            Pairs to evaluate.
        """
        wanted = set(wanted)
        start = time.perf_counter()
        image = samples[0].read_image()
        height, width = image.shape[:2]
        reading = (time.perf_counter() - start) / len(samples)
        opened: set[str] = set()
        for sample in samples:
            start = time.perf_counter()
            truth = sample.read_truth()
            shared = reading + time.perf_counter() - start
            _check(sample, truth, (height, width))
            for method in self.methods:
                if (method.name, sample.name) not in wanted:
                    continue
                start = time.perf_counter()
                if method.name not in opened:
                    method.open_image(image)
                    opened.add(method.name)
                ious, clicks, seconds, pixels = run_sample(
                    method,
                    truth,
                    goal=self.options.goal,
                    max_clicks=self.options.max_clicks,
                    cancelled=self.cancelled,
                )
                yield SampleResult(
                    name=sample.name,
                    method=method.name,
                    ious=tuple(ious),
                    clicks=tuple(clicks),
                    seconds=shared + time.perf_counter() - start,
                    answer_seconds=seconds,
                    pixels=pixels,
                    shape=(height, width),
                    area=int(np.count_nonzero(truth == OBJECT)),
                    where=method.where,
                    notices=tuple(method.notices),
                )


def method_names(options: MethodOptions) -> list[str]:
    """Return the methods' names in tables, the model first."""
    model = [] if options.model is None else [display_name(options)]
    return [*model, *options.baselines]


def display_name(options: MethodOptions) -> str:
    """Return the model's name in tables: a file gives its stem."""
    name = str(options.model)
    if os.sep in name or name.endswith((".pth", ".pt", ".safetensors")):
        name = os.path.splitext(os.path.basename(name))[0]  # noqa: PTH119, PTH122
    return name if options.refinement == "none" else f"{name}+{options.refinement}"


def make_methods(options: MethodOptions) -> list[Method]:
    """Load the model and the baselines."""
    methods: list[Method] = []
    if options.model is not None:
        from napari_clickseg.models.model import load_model

        if options.refinement != "none":
            raise ClickSegError(
                f"The refinement {options.refinement!r} is not available: use 'none'."
            )
        if options.exact:
            model = load_model(options.model, options.device, "float32", optimise=False)
        else:
            model = load_model(options.model, options.device, options.precision)
        methods.append(ModelMethod(model, options.settings, display_name(options)))
    if options.baselines:
        from napari_clickseg.evaluation.baselines import make_baseline

        methods.extend(make_baseline(name) for name in options.baselines)
    return methods


def evaluate(
    samples: Sequence[Sample],
    options: MethodOptions,
    log: ResultLog,
    *,
    jobs: int = 1,
    progress: Callable[[SampleResult], None] | None = None,
) -> dict[str, list[SampleResult]]:
    """Evaluate every sample that the log does not hold yet.

    Parameters
    ----------
    samples : sequence of Sample
        In data set order.
    options : MethodOptions
        What is evaluated.
    log : ResultLog
        Finished samples, read and written.
    jobs : int
        Processes; each loads the model.
    progress : callable, optional
        Called with each result as it comes.

    Returns
    -------
    dict
        Method name to its results, in data set order.
    """
    names = method_names(options)
    todo: list[tuple[list[Sample], list[tuple[str, str]]]] = []
    for _, group in groupby(samples, key=lambda sample: sample.image):
        same_image = list(group)
        wanted = [
            (method, sample.name)
            for sample in same_image
            for method in names
            if (method, sample.name) not in log.results
        ]
        open_names = {name for _, name in wanted}
        if wanted:
            todo.append(([s for s in same_image if s.name in open_names], wanted))
    if todo:
        with closing(_results(todo, options, min(jobs, len(todo)))) as results:
            for result in results:
                log.add(result)
                if progress is not None:
                    progress(result)
    return {
        method: [log.results[method, sample.name] for sample in samples]
        for method in names
    }


Todo = list[tuple[list["Sample"], list[tuple[str, str]]]]


def _results(todo: Todo, options: MethodOptions, jobs: int) -> Generator[SampleResult]:
    if jobs <= 1:
        evaluator = Evaluator(options)
        for samples, wanted in todo:
            yield from evaluator.run(samples, wanted)
        return
    from multiprocessing import get_context

    context = get_context("spawn")  # CUDA and Qt do not survive a fork
    stop = context.Event()
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=context,
        initializer=_start_worker,
        initargs=(options, jobs, stop),
    )
    try:
        with _ctrl_c_ignored():  # processes start here, and inherit it
            futures = [pool.submit(_run_in_worker, *item) for item in todo]
        for future in as_completed(futures):
            yield from future.result()
    except BrokenProcessPool as error:
        raise ClickSegError(
            "A process of the evaluation ended by itself, most likely because memory "
            "ran out. Run the same command again with fewer --jobs: it goes on."
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Ignore Ctrl+C for a moment; processes started meanwhile ignore it for good.

    It reaches all processes at once, also one that is still importing: only the
    first process should hear it, and tells the others by the event.
    """
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, which is the one that hears it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_evaluator: Evaluator | None = None
_worker_options: MethodOptions | None = None
_stop: Event | None = None


def _start_worker(options: MethodOptions, jobs: int, stop: Event) -> None:
    import torch

    global _worker_options, _stop
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    _worker_options, _stop = options, stop


def _run_in_worker(
    samples: list[Sample], wanted: list[tuple[str, str]]
) -> list[SampleResult]:
    # Loaded here and not at the start: an error then reaches the caller as itself,
    # and not as a broken pool.
    global _evaluator
    assert _worker_options is not None
    assert _stop is not None
    if _evaluator is None:
        _evaluator = Evaluator(_worker_options, _stop.is_set)
    return list(_evaluator.run(samples, wanted))


def default_jobs(device: str, count: int) -> int:
    """Return how many processes suit this machine.

    One for every two processor cores: answers gain little from more than two
    threads, and one process per core would slow each click down. One on a GPU,
    which is shared.
    """
    if device not in ("auto", "cpu"):
        return 1
    if device == "auto":
        import torch

        if torch.cuda.is_available() or torch.backends.mps.is_available():
            return 1
    return max(1, min((os.cpu_count() or 1) // 2, count))


def _check(sample: Sample, truth: NDArray[np.int8], shape: tuple[int, int]) -> None:
    if truth.shape != shape:
        raise DatasetError(
            f"{sample.mask.name} has {truth.shape[0]} x {truth.shape[1]} pixels, its "
            f"image {shape[0]} x {shape[1]}: they must be the same size."
        )
    if not (truth == OBJECT).any():
        raise DatasetError(
            f"The mask of {sample.name} ({sample.mask.name}) holds no object pixel."
        )
