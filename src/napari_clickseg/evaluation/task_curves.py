"""Figures of runs of the tasks with classes or values, as G-BRS reports them.

Every image gets the same number of clicks (Lin et al., CVPR 2022, section 3.1): the
mean score after each click, the area under that curve (its mean over the clicks), the
best value, the same on the tenth of the images that began worst, seconds per click.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.clicks import Click
from napari_clickseg.errors import DatasetError
from napari_clickseg.evaluation.curves import BOTTOM
from napari_clickseg.evaluation.metrics import MAX_CLICKS
from napari_clickseg.evaluation.semantic_metrics import mean_iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: What each task is compared by.
HEADLINE = {"segmentation": "iou", "semantic": "miou", "matting": "mse"}
HEADLINE["depth"] = "delta1"
#: Scores that are better when they are larger; the others are errors.
LARGER = frozenset({"iou", "miou", "accuracy", "delta1", "delta2", "delta3"})
#: After how many clicks tables tell a score.
TOLD = (0, 1, 5, 10, 20)
#: Pixels by true class and by the class they were given.
Counts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What happened on one image.

    Parameters
    ----------
    name : str
        Name of the sample within its data set.
    method : str
        Model and refinement that answered.
    scores : tuple of dict
        Scores by name before the first click, after click 1, 2, ...
    clicks : tuple of Click
        The simulated clicks, in order: one less than scores.
    seconds : tuple of float
        That each click's answer took.
    shape : (int, int)
        Height and width of the image.
    disobeyed : tuple of int
        How many clicks were not obeyed after click 1, 2, ...; empty: not known.
    counts : tuple of tuple of tuple of int
        Classes: what :func:`~napari_clickseg.evaluation.semantic_metrics.confusion`
        counts, as often as there are scores; otherwise empty.
    """

    name: str
    method: str
    scores: tuple[dict[str, float], ...]
    clicks: tuple[Click, ...]
    seconds: tuple[float, ...]
    shape: tuple[int, int]
    disobeyed: tuple[int, ...] = ()
    counts: tuple[Counts, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "name": self.name,
            "method": self.method,
            "scores": [dict(scores) for scores in self.scores],
            "clicks": [click.to_dict() for click in self.clicks],
            "seconds": list(self.seconds),
            "shape": list(self.shape),
            "disobeyed": list(self.disobeyed),
            "counts": [[list(row) for row in table] for table in self.counts],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TaskResult:
        """Return the result that :meth:`to_json` wrote."""
        height, width = values["shape"]
        return cls(
            name=str(values["name"]),
            method=str(values["method"]),
            scores=tuple(
                {str(name): float(value) for name, value in scores.items()}
                for scores in values["scores"]
            ),
            clicks=tuple(Click.from_dict(click) for click in values["clicks"]),
            seconds=tuple(float(value) for value in values["seconds"]),
            shape=(int(height), int(width)),
            disobeyed=tuple(int(count) for count in values["disobeyed"]),
            counts=tuple(
                tuple(tuple(int(count) for count in row) for row in table)
                for table in values.get("counts", ())
            ),
        )


def score_curves(
    results: Sequence[TaskResult], metric: str, max_clicks: int = MAX_CLICKS
) -> NDArray[np.float64]:
    """Return the scores of each image before any click and after 1, 2, ...

    Parameters
    ----------
    results : sequence of TaskResult
        Of one method. A run that ended earlier, because nothing was left to click,
        keeps its last score.
    metric : str
        Name of a score.
    max_clicks : int

    Returns
    -------
    array (images, max_clicks + 1)

    Raises
    ------
    DatasetError
        If there is no result, or no such score.
    """
    try:
        rows = [[scores[metric] for scores in result.scores] for result in results]
    except KeyError as error:
        raise DatasetError(
            f"There is no score {metric!r}: there are "
            f"{', '.join(sorted(results[0].scores[0]))}."
        ) from error
    if not rows or any(not row for row in rows):
        raise DatasetError("There is no score per click: no sample was evaluated.")
    cut = [np.asarray(row[: max_clicks + 1], np.float64) for row in rows]
    return np.stack(
        [np.pad(row, (0, max_clicks + 1 - row.size), mode="edge") for row in cut]
    )


def pooled_curve(
    results: Sequence[TaskResult], max_clicks: int = MAX_CLICKS
) -> NDArray[np.float64]:
    """Return mean IoU of all images' pixels taken together, before and after clicks.

    This is how Cityscapes counts: a class is judged once, by the pixels of all images,
    and a few wrong pixels of a class that an image has not do not make its IoU zero.

    Parameters
    ----------
    results : sequence of TaskResult
        With counts; a run that ended earlier keeps its last ones.
    max_clicks : int

    Returns
    -------
    array (max_clicks + 1,)

    Raises
    ------
    DatasetError
        If there is no result, or one without counts.
    """
    if not results or not all(result.counts for result in results):
        raise DatasetError("These results have no counts of classes to add up.")
    return np.array(
        [
            mean_iou(
                np.sum(
                    [r.counts[min(click, len(r.counts) - 1)] for r in results], axis=0
                )
            )
            for click in range(max_clicks + 1)
        ]
    )


def worst_begun(curves: NDArray[np.float64], metric: str) -> NDArray[np.bool_]:
    """Return which images are the tenth with the worst scores before any click.

    Rounded up to whole images; scores that are no number are never among them.
    """
    start = curves[:, 0] if metric in LARGER else -curves[:, 0]
    known = np.isfinite(start)
    count = max(1, math.ceil(BOTTOM * int(known.sum()) - 1e-9))
    order = np.argsort(np.where(known, start, np.inf), kind="stable")
    chosen = np.zeros(len(start), bool)
    chosen[order[:count]] = True
    return chosen & known


def task_figures(
    results: Sequence[TaskResult],
    metric: str,
    max_clicks: int = MAX_CLICKS,
    bottom: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Return the figures of one method.

    Parameters
    ----------
    results : sequence of TaskResult
    metric : str
        The score to tell, such as those of :data:`HEADLINE`.
    max_clicks : int
    bottom : array (images,) of bool, optional
        Which images are the bottom, so that several methods share them; by default
        those of :func:`worst_begun`.

    Returns
    -------
    dict
        ``n``, ``curve`` (means before any click and after each), ``auc`` (mean of the
        curve over clicks 1, 2, ...), ``best`` and ``best_click``, ``at`` (score by
        number of clicks, as far as :data:`TOLD` goes), ``bottom`` with the same,
        ``clicks``, ``spc`` (mean seconds per click) and ``first_click`` (mean seconds
        of the first), ``disobeyed`` (share of the clicks that are not obeyed in the
        end). Of mean IoU, ``pooled`` holds the same as above for
        :func:`pooled_curve`, with its own ``bottom``.
    """
    curves = score_curves(results, metric, max_clicks)
    chosen = worst_begun(curves, metric) if bottom is None else bottom
    seconds = [value for result in results for value in result.seconds]
    firsts = [result.seconds[0] for result in results if result.seconds]
    ends = [result for result in results if result.disobeyed]
    made = sum(len(result.disobeyed) for result in ends)
    pooled = {}
    if metric == "miou" and all(result.counts for result in results):
        worst = [r for r, few in zip(results, chosen, strict=True) if few]
        pooled = {
            "pooled": {
                **_told(pooled_curve(results, max_clicks), metric, len(results)),
                "bottom": _told(pooled_curve(worst, max_clicks), metric, len(worst))
                if worst
                else {"n": 0},
            }
        }
    return {
        "metric": metric,
        **_of(curves, metric),
        "bottom": _of(curves[chosen], metric),
        "clicks": len(seconds),
        "spc": float(np.mean(seconds)) if seconds else float("nan"),
        "first_click": float(np.mean(firsts)) if firsts else float("nan"),
        "disobeyed": sum(result.disobeyed[-1] for result in ends) / made
        if made
        else float("nan"),
        **pooled,
    }


def _of(curves: NDArray[np.float64], metric: str) -> dict[str, Any]:
    """Return the figures of some images; those without a number are left out."""
    known = curves[np.isfinite(curves).all(axis=1)]
    if not len(known):
        return {"n": 0}
    return _told(known.mean(axis=0), metric, len(known))


def _told(mean: NDArray[np.float64], metric: str, count: int) -> dict[str, Any]:
    """Return the figures of a curve."""
    best = int(mean.argmax() if metric in LARGER else mean.argmin())
    told = [count for count in TOLD if count < mean.size]
    return {
        "n": count,
        "curve": [float(value) for value in mean],
        "auc": float(mean[1:].mean()) if mean.size > 1 else float("nan"),
        "best": float(mean[best]),
        "best_click": best,
        "at": {count: float(mean[count]) for count in told},
    }
