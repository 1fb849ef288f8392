"""Figures of runs in which every object gets the same number of clicks.

As G-BRS is evaluated (Lin et al., 2022, section 3.1): the mean IoU over all objects
after each click, the area under that curve (AUC: its mean over the clicks), the best
value, and the same on the tenth of the objects that began worst.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.evaluation.metrics import MAX_CLICKS, iou_curve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_clickseg.evaluation.metrics import SampleResult

#: Part of the objects that counts as the bottom.
BOTTOM = 0.1


def area_under(curve: Sequence[float] | NDArray[np.floating]) -> float:
    """Return the area under a curve of scores after click 1, 2, ...: their mean."""
    return float(np.mean(np.asarray(curve, np.float64)))


def worst_started(results: Sequence[SampleResult], part: float = BOTTOM) -> set[str]:
    """Return the names of the samples with the lowest initial scores.

    The initial score is that before the first click where the model answers
    without one, else that after the first click.

    Parameters
    ----------
    results : sequence of SampleResult
        Of one method.
    part : float
        Of all samples, in (0, 1]; rounded up to whole samples.
    """
    count = max(1, math.ceil(part * len(results) - 1e-9))
    initial = [row.ious[0] if row.start is None else row.start for row in results]
    order = np.argsort(np.asarray(initial), kind="stable")
    return {results[index].name for index in order[:count]}


def curve_figures(
    results: Mapping[str, Sequence[SampleResult]],
    max_clicks: int = MAX_CLICKS,
    part: float = BOTTOM,
) -> dict[str, dict[str, Any]]:
    """Return the figures of each method.

    Parameters
    ----------
    results : mapping of method name to results
        All methods on the same samples. The first one's initial scores say which
        samples are the bottom, for all of them.
    max_clicks : int
        Clicks per sample; a run that ended earlier, because nothing was left to
        click, keeps its last value.
    part : float
        See :func:`worst_started`.

    Returns
    -------
    dict
        For each method ``auc``; ``best`` and ``best_click`` (highest mean IoU, and
        after which click, from 1); ``iou@10``; ``iou@0`` where a model answers
        without clicks; and ``bottom`` with ``n``, ``auc``, ``best``,
        ``best_click``, ``iou@1`` and ``iou_curve``.
    """
    filled = {name: rows for name, rows in results.items() if rows}
    if not filled:
        return {}
    bottom = worst_started(next(iter(filled.values())), part)
    figures: dict[str, dict[str, Any]] = {}
    for name, rows in filled.items():
        curve = iou_curve((row.ious for row in rows), max_clicks)
        few = [row for row in rows if row.name in bottom]
        figures[name] = {
            **_of_curve(curve),
            "iou@10": float(curve[min(10, max_clicks) - 1]),
        }
        starts = [row.start for row in rows if row.start is not None]
        if len(starts) == len(rows):
            figures[name]["iou@0"] = float(np.mean(starts))
        low = iou_curve((row.ious for row in few), max_clicks)
        figures[name]["bottom"] = {
            "n": len(few),
            **_of_curve(low),
            "iou@1": float(low[0]),
            "iou@max": float(low[-1]),
            "iou_curve": [float(value) for value in low],
        }
    return figures


def _of_curve(curve: NDArray[np.float64]) -> dict[str, Any]:
    best = int(curve.argmax())
    return {
        "auc": area_under(curve),
        "best": float(curve[best]),
        "best_click": best + 1,
    }
