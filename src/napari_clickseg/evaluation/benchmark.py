"""Run the simulated annotator against a model, in parallel."""

from __future__ import annotations

import time
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from napari_clickseg.device import release_memory
from napari_clickseg.errors import DatasetError
from napari_clickseg.evaluation.methods import ModelMethod
from napari_clickseg.evaluation.metrics import SampleResult
from napari_clickseg.evaluation.options import (
    MethodOptions,
    display_name,
    method_names,
)
from napari_clickseg.evaluation.processes import in_processes
from napari_clickseg.evaluation.protocol import run_sample
from napari_clickseg.evaluation.simulate import OBJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_clickseg.evaluation.datasets import Sample
    from napari_clickseg.evaluation.methods import Method
    from napari_clickseg.evaluation.runlog import ResultLog


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
                curve = self.options.protocol == "curve"
                found = run_sample(
                    method,
                    truth,
                    goal=None if curve else self.options.goal,
                    max_clicks=self.options.max_clicks,
                    radii=method.wants_radii,
                    cancelled=self.cancelled,
                )
                yield SampleResult(
                    name=sample.name,
                    method=method.name,
                    ious=found.ious,
                    clicks=tuple(
                        (int(c.row), int(c.col), c.positive) for c in found.clicks
                    ),
                    seconds=shared + time.perf_counter() - start,
                    answer_seconds=found.seconds,
                    pixels=found.pixels,
                    shape=(height, width),
                    area=int(np.count_nonzero(truth == OBJECT)),
                    where=method.where,
                    notices=tuple(method.notices),
                    start=found.start,
                )
        release_memory()  # or a run over many sizes takes gigabytes


def make_methods(options: MethodOptions) -> list[Method]:
    """Load the model and the baselines."""
    methods: list[Method] = []
    if options.model is not None:
        from napari_clickseg.models.model import load_model

        if options.exact:
            model = load_model(options.model, options.device, "float32", optimise=False)
        else:
            model = load_model(options.model, options.device, options.precision)
        methods.extend(
            ModelMethod(
                model,
                options.settings,
                display_name(options.model, refinement),
                refinement,
                own=options.own,
            )
            for refinement in options.refinements
        )
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
    yield from in_processes(todo, options, jobs)


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
