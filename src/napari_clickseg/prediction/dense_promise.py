"""A click always wins: where a refinement failed it, its surroundings are changed.

The last resort, as for masks (see :mod:`napari_clickseg.refinement.correction`): a few
pixels around the click, none that another click lies on, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.prediction.dense_view import pixel
from napari_clickseg.refinement.correction import CORE, REACH
from napari_clickseg.tasks.regression import ValueTask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_clickseg.clicks import Click
    from napari_clickseg.tasks.task import Task


def corrected(
    task: Task,
    result: NDArray[Any],
    box: Box,
    heard: Sequence[Click],
    failed: Sequence[Click],
) -> NDArray[Any]:
    """Return a result in which the pixels of all failed clicks have what they ask for.

    Parameters
    ----------
    task : Task
        In click mode.
    result : ndarray, shape of ``box``
        Labels, alpha or depths; left as it is.
    box : Box
        Where it lies.
    heard : sequence of Click
        All that count, no two on one pixel, all inside the box.
    failed : sequence of Click
        Those that do not have what they ask for.
    """
    if not failed:
        return result
    changed = result.copy()
    wanted = _wanted(task, heard)
    for click in failed:
        row, col = pixel(click)
        # Where another click wants the same class, it may have it, too.
        others = [
            pixel(other)
            for other in heard
            if pixel(other) != (row, col)
            and (isinstance(task, ValueTask) or wanted[other] != wanted[click])
        ]
        reach = min([REACH, *(float(np.hypot(r - row, c - col)) for r, c in others)])
        around = Box(row - 4, col - 4, row + 5, col + 5).intersect(box)
        part = changed[around.relative_to(box).slices]
        rows = np.arange(around.top, around.bottom)[:, None] - row
        cols = np.arange(around.left, around.right)[None, :] - col
        away = np.hypot(rows, cols)
        if isinstance(task, ValueTask):
            core = min(CORE, reach / 2)
            fall = np.clip((reach - away) / (reach - core), 0, 1)
            weight = fall * fall * (3 - 2 * fall)
            here = part[row - around.top, col - around.left]
            part += (weight * (wanted[click] - here)).astype(part.dtype)
        else:
            part[away < reach] = wanted[click]
        part[row - around.top, col - around.left] = wanted[click]
    if isinstance(task, ValueTask):
        # Values that there cannot be are none.
        changed = np.clip(changed, 0, 1) if task.name == "matting" else changed
        changed = np.maximum(changed, 0)
    return changed


def _wanted(task: Task, clicks: Sequence[Click]) -> dict[Click, float]:
    if isinstance(task, ValueTask):
        return dict(zip(clicks, task.click_values(clicks), strict=True))
    return {click: float(click.label or 0) for click in clicks}
