"""How a task is measured: its annotator, its scores, and one image clicked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.errors import Cancelled, SettingsError
from napari_clickseg.evaluation.annotators import SemanticAnnotator, ValueAnnotator
from napari_clickseg.evaluation.depth_metrics import depth_scores, scored
from napari_clickseg.evaluation.matting_metrics import matting_scores
from napari_clickseg.evaluation.metrics import MAX_CLICKS
from napari_clickseg.evaluation.semantic_metrics import confusion, semantic_scores
from napari_clickseg.evaluation.task_curves import TaskResult
from napari_clickseg.tasks.depth import Depth
from napari_clickseg.tasks.trimap import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_clickseg.clicks import Click
    from napari_clickseg.evaluation.annotators import Annotator
    from napari_clickseg.evaluation.task_curves import Counts
    from napari_clickseg.tasks.task import Task


@dataclass(frozen=True)
class Reference:
    """What an image is held against.

    Parameters
    ----------
    truth : ndarray, shape (H, W)
        Labels of classes from 1 (others do not count), alpha in [0, 1], or depths
        (NaN: unknown).
    trimap : ndarray, shape (H, W), uint8, optional
        Matting: 128 where alpha is asked for.
    depths : (float, float), optional
        Depth: only those between these count.
    eigen_crop : bool
        Depth: only the middle of the picture counts.
    """

    truth: NDArray[Any]
    trimap: NDArray[np.uint8] | None = None
    depths: tuple[float, float] | None = None
    eigen_crop: bool = False

    def annotator(self, task: Task) -> Annotator:
        """Return the simulated annotator of a task.

        Raises
        ------
        SettingsError
            If the task is another one; segmentation has its own.
        """
        if task.name == "semantic":
            truth = np.asarray(self.truth)
            # Numbers beyond the classes of the network cannot be wished for.
            return SemanticAnnotator(np.where(truth <= task.channels, truth, 0))
        signs = task.mode == "push"
        if task.name == "matting":
            unknown = None if self.trimap is None else self.trimap == UNKNOWN
            return ValueAnnotator(self.truth, unknown, signs=signs)
        if isinstance(task, Depth):
            valid = scored(self.truth, depths=self.depths, eigen_crop=self.eigen_crop)
            if task.largest is not None:  # nobody can wish for more
                with np.errstate(invalid="ignore"):
                    valid &= np.asarray(self.truth) <= task.largest
            return ValueAnnotator(self.truth, valid, signs=signs)
        raise SettingsError(
            f"There is no annotator for {task.name} here: see evaluation.simulate."
        )

    def scores(self, task: Task, result: NDArray[Any]) -> dict[str, float]:
        """Return the scores of an answer, by name.

        Parameters
        ----------
        task : Task
        result : ndarray, shape (H, W)
            Labels, alpha or depths.

        Raises
        ------
        SettingsError
            If the task is another one.
        """
        if task.name == "semantic":
            return semantic_scores(self.truth, result, task.channels)
        if task.name == "matting":
            return matting_scores(self.truth, result, self.trimap)
        if task.name == "depth":
            return depth_scores(
                self.truth, result, depths=self.depths, eigen_crop=self.eigen_crop
            )
        raise SettingsError(
            f"There are no scores for {task.name} here: see evaluation.metrics."
        )

    def counts(self, task: Task, result: NDArray[Any]) -> Counts | None:
        """Return pixels by true and by given class; None where there are none."""
        if task.name != "semantic":
            return None
        table = confusion(self.truth, result, task.channels)
        return tuple(tuple(int(count) for count in row) for row in table)


def run_clicks(
    answer: Callable[[Sequence[Click]], NDArray[Any]],
    task: Task,
    reference: Reference,
    *,
    name: str = "",
    method: str = "",
    max_clicks: int = MAX_CLICKS,
    failed: Callable[[], int] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> TaskResult:
    """Click on one image as often as all others are clicked on.

    Parameters
    ----------
    answer : callable
        Returns labels, alpha or depths (H, W) for all clicks so far; asked with none
        first. In push mode the newest click is the one that is new.
    task : Task
    reference : Reference
    name, method : str
        For the result.
    max_clicks : int
        Clicks; fewer where nothing is left to click.
    failed : callable, optional
        Returns how many clicks the last answer does not obey.
    cancelled : callable, optional
        Asked before each click; True stops.

    Raises
    ------
    Cancelled
        If ``cancelled`` said so.
    """
    annotator = reference.annotator(task)
    result = answer(())
    scores = [reference.scores(task, result)]
    counts = [reference.counts(task, result)]
    seconds: list[float] = []
    disobeyed: list[int] = []
    for _ in range(max_clicks):
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped.")
        if annotator.next_click(result) is None:
            break
        began = time.perf_counter()
        result = answer(tuple(annotator.clicks))
        seconds.append(time.perf_counter() - began)
        scores.append(reference.scores(task, result))
        counts.append(reference.counts(task, result))
        if failed is not None:
            disobeyed.append(failed())
    height, width = result.shape
    return TaskResult(
        name,
        method,
        tuple(scores),
        tuple(annotator.clicks),
        tuple(seconds),
        (height, width),
        tuple(disobeyed),
        tuple(table for table in counts if table is not None),
    )
