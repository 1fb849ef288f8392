"""The part of a window that InterFormer's refining blocks look at.

As in the released demo: from the third click on they see a box around the last answer
and the disks of the clicks, which saves time where an object is small. What the model
knows of the rest stays as the other blocks have it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.prediction.views import mask_box, project

if TYPE_CHECKING:
    from napari_clickseg.prediction.passes import Region
    from napari_clickseg.prediction.request import Request
    from napari_clickseg.prediction.views import Size

#: So many first clicks let the blocks see everything.
SKIP_CLICKS = 2
#: Size of the region over that of what it must hold, and its smallest side.
EXPANSION, SMALLEST = 1.4, 32
#: Regions are multiples of this, the stride of the coarsest map.
MULTIPLE = 32


def region_of(request: Request, model: Any, box: Box, size: Size) -> Region | None:
    """Return the region to refine in a window, None for all of it.

    Parameters
    ----------
    request : Request
        The clicks, and the answer before.
    model : object
        Only one whose ``refines_region`` is true is told of a region.
    box : Box
        The window.
    size : (int, int)
        Its height and width for the network.

    Returns
    -------
    (left, top, right, bottom) or None
        In pixels of the window as the network sees it, multiples of 32; it may reach
        into the padding.
    """
    settings, before = request.settings, request.before
    zooms = settings.zoom_in and settings.first_look != "published"
    if not (zooms and getattr(model, "refines_region", False)):
        return None
    if len(request.clicks) <= SKIP_CLICKS or before.probability is None:
        return None
    radius = float(getattr(model, "click_radius", 0.0))
    wanted = _clicked(request, box, size, radius)
    found = mask_box(before.window(box) > 0.5)
    if found is not None:
        rows, cols = (seen / own for seen, own in zip(size, box.shape, strict=True))
        answer = Box(
            math.floor(found.top * rows),
            math.floor(found.left * cols),
            math.ceil(found.bottom * rows),
            math.ceil(found.right * cols),
        )
        wanted = answer if wanted is None else wanted.union(answer)
    wanted = None if wanted is None else wanted.clip(size)
    return None if wanted is None or wanted.empty else expanded(wanted, size)


def expanded(box: Box, size: Size) -> Region:
    """Enlarge a box about its centre, to whole multiples of 32.

    Parameters
    ----------
    box : Box
        In a window.
    size : (int, int)
        Height and width of the window.
    """

    def stretch(first: int, end: int, length: int) -> tuple[int, int]:
        centre = (first + end) / 2
        half = max(EXPANSION * (end - first), SMALLEST) / 2
        low, high = max(0, round(centre - half)), min(length, round(centre + half))
        return low // MULTIPLE * MULTIPLE, -(-high // MULTIPLE) * MULTIPLE

    top, bottom = stretch(box.top, box.bottom, size[0])
    left, right = stretch(box.left, box.right, size[1])
    return left, top, right, bottom


def _clicked(request: Request, box: Box, size: Size, radius: float) -> Box | None:
    """Return the box around the disks of all clicks in a window."""
    positions = np.array([click.position for click in request.clicks], dtype=float)
    at = project(positions, box, size)
    inside = ((at >= -radius) & (at <= np.array(size) - 1 + radius)).all(axis=1)
    if not inside.any():
        return None
    low = np.ceil(at[inside].min(axis=0) - radius).astype(int)
    high = np.floor(at[inside].max(axis=0) + radius).astype(int) + 1
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).clip(size)
