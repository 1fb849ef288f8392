"""Which pixels are read for a window that is far larger than a network looks at.

An image may come with coarser levels of itself (a pyramid, as of OME-Zarr). A window
that a network sees at a small part of its size is then read from one of them. Without
levels only every so manieth pixel is converted, so that memory stays bounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_clickseg.boxes import Box

__all__ = ["STRIDE_ABOVE", "best_level", "box_in_level", "stride_for"]

#: A window is never read with fewer pixels than so many for one of the network's.
LEAST = 2.0
#: A coarser level is read where it has at most one pixel for so many.
FROM_FACTOR = 4.0
#: Windows of at most so many pixels are read in full where there are no levels: as
#: published.
STRIDE_ABOVE = 2**24


def best_level(
    window: tuple[int, int],
    size: tuple[int, int],
    factors: Sequence[tuple[float, float]],
) -> int | None:
    """Return the coarsest level that is fine enough, or None for full resolution.

    Parameters
    ----------
    window : (int, int)
        Height and width in pixels of the image.
    size : (int, int)
        Height and width that the network sees.
    factors : sequence of (float, float)
        Pixels of the image for one of each level, along rows and columns.
    """
    most = _most(window, size)
    found = None
    for number, factor in enumerate(factors):
        if max(factor) <= most and max(factor) >= FROM_FACTOR:
            found = number
    return found


def stride_for(window: tuple[int, int], size: tuple[int, int]) -> int:
    """Return that every so manieth pixel is enough; 1: all of them are wanted."""
    if window[0] * window[1] <= STRIDE_ABOVE:
        return 1
    return max(1, math.floor(_most(window, size)))


def box_in_level(box: Box, factor: tuple[float, float], shape: tuple[int, int]) -> Box:
    """Return the pixels of a level that a box of the image covers, at least one.

    Parameters
    ----------
    box : Box
        In pixels of the image.
    factor : (float, float)
        Pixels of the image for one of the level.
    shape : (int, int)
        Of the level.
    """
    top, left = math.floor(box.top / factor[0]), math.floor(box.left / factor[1])
    bottom, right = math.ceil(box.bottom / factor[0]), math.ceil(box.right / factor[1])
    found = Box(top, left, max(bottom, top + 1), max(right, left + 1))
    return found.clip(shape)


def _most(window: tuple[int, int], size: tuple[int, int]) -> float:
    return min(n / (LEAST * m) for n, m in zip(window, size, strict=True))
