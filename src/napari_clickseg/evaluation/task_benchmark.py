"""A network of classes, alpha or depth, clicked over a data set; which step size suits.

As G-BRS is evaluated (Lin et al., CVPR 2022, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from napari_clickseg.errors import Cancelled, DatasetError
from napari_clickseg.evaluation.methods import as_source
from napari_clickseg.evaluation.metrics import MAX_CLICKS
from napari_clickseg.evaluation.runlog import ResultLog
from napari_clickseg.evaluation.task_curves import (
    HEADLINE,
    LARGER,
    TaskResult,
    task_figures,
)
from napari_clickseg.evaluation.task_protocol import run_clicks
from napari_clickseg.evaluation.tuning import RATES, search

if TYPE_CHECKING:
    from napari_clickseg.clicks import Click
    from napari_clickseg.evaluation.task_datasets import TaskSample
    from napari_clickseg.prediction.dense import DensePredictor
    from napari_clickseg.prediction.dense_settings import DensePrediction, DenseState


@dataclass(frozen=True)
class RateTrial:
    """One step size.

    Attributes
    ----------
    rate : float
    auc, best : float
        Area under the curve, and best value of its mean, of the task's headline score;
        of mean IoU that of all pixels together.
    seconds : float
        Per click.
    """

    rate: float
    auc: float
    best: float
    seconds: float


class TaskLog(ResultLog):
    """Finished images of a run, on disk, so that a stopped run goes on."""

    kind: ClassVar[Any] = TaskResult


def run_sample(
    predictor: DensePredictor,
    sample: TaskSample,
    *,
    method: str = "",
    max_clicks: int = MAX_CLICKS,
    cancelled: Callable[[], bool] | None = None,
) -> TaskResult:
    """Click on one image of a data set.

    Parameters
    ----------
    predictor : DensePredictor
    sample : TaskSample
    method : str
        Name for tables; that of the refinement by default.
    max_clicks : int
    cancelled : callable, optional
        Asked before each click, and within; True stops.

    Raises
    ------
    DatasetError
        If image and reference have not the same size.
    Cancelled
        If ``cancelled`` said so.
    """
    source, reference = as_source(sample.read_image()), sample.read_reference()
    if source.shape != reference.truth.shape:
        raise DatasetError(
            f"The image of {sample.name} has shape {source.shape}, its reference "
            f"{reference.truth.shape}: both must be the same picture."
        )
    last: DensePrediction | None = None

    def answer(clicks: Sequence[Click]) -> Any:
        nonlocal last
        state: DenseState | None = None if last is None else last.state
        while True:
            last = predictor.predict(
                source, clicks, state, trimap=reference.trimap, cancelled=cancelled
            )
            if last.settled:
                return last.result

    try:
        return run_clicks(
            answer,
            predictor.task,
            reference,
            name=sample.name,
            method=method or predictor.settings.method,
            max_clicks=max_clicks,
            failed=lambda: 0 if last is None else len(last.disobeyed),
            cancelled=cancelled,
        )
    finally:
        predictor.forget()


def run_samples(
    predictor: DensePredictor,
    samples: Iterable[TaskSample],
    *,
    method: str = "",
    max_clicks: int = MAX_CLICKS,
    done: Callable[[TaskResult], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[TaskResult]:
    """Click on many images, one after another.

    Parameters are those of :func:`run_sample`; ``done`` is called after each image.
    """
    results = []
    for sample in samples:
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped.")
        result = run_sample(
            predictor,
            sample,
            method=method,
            max_clicks=max_clicks,
            cancelled=cancelled,
        )
        results.append(result)
        if done is not None:
            done(result)
    return results


def tune_rate(
    predictor: DensePredictor,
    samples: Sequence[TaskSample],
    *,
    max_clicks: int = 5,
    full: bool = False,
    done: Callable[[RateTrial], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[float, list[RateTrial]]:
    """Find the step size with the best area under the curve.

    Parameters
    ----------
    predictor : DensePredictor
        Its settings are the same afterwards.
    samples : sequence of TaskSample
        Few will do; other ones than those that are reported.
    max_clicks : int
    full : bool
        Try all ten step sizes, not only those around the best.
    done : callable, optional
        Called after each.
    cancelled : callable, optional

    Returns
    -------
    rate : float
    trials : list of RateTrial
        In the order in which they were tried.
    """
    metric = HEADLINE[predictor.task.name]
    sign = 1.0 if metric in LARGER else -1.0
    settings, trials = predictor.settings, []

    def score(index: int) -> float:
        predictor.settings = replace(settings, learning_rate=RATES[index])
        results = run_samples(
            predictor, samples, max_clicks=max_clicks, cancelled=cancelled
        )
        figures = task_figures(results, metric, max_clicks)
        if not figures["n"]:
            raise DatasetError(f"No image has a {metric}: nothing can be compared.")
        # Of classes the pixels of all images count together: the mean over images
        # asks more for rare classes that an image has not than for those it has.
        seen = figures.get("pooled", figures)
        trial = RateTrial(RATES[index], seen["auc"], seen["best"], figures["spc"])
        trials.append(trial)
        if done is not None:
            done(trial)
        return sign * trial.auc

    try:
        return RATES[search(score, full=full)], trials
    finally:
        predictor.settings = settings
