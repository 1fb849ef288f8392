"""Small pictures of objects, made when they are looked at and not before."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_clickseg.boxes import Box

if TYPE_CHECKING:
    from napari_clickseg.image import ImageSource
    from napari_clickseg.session import SegmentedObject

__all__ = ["Thumbnail", "draw", "thumbnails"]

#: Seconds that one job takes at most, so that a click does not wait for pictures.
LONGEST = 0.03
#: Objects with a longer side (pixels) are drawn from a part in their middle.
LARGEST = 1024
#: So much of the object's size is shown around it.
AROUND = 0.15
OUTLINE = (30, 144, 255)


class Thumbnail(NamedTuple):
    """A picture, and the object that it shows.

    Attributes
    ----------
    each : SegmentedObject
    pixels : ndarray of uint8, shape (side, side, 3)
    """

    each: SegmentedObject
    pixels: NDArray[np.uint8]


def thumbnails(
    image: ImageSource, wanted: Iterable[SegmentedObject], side: int
) -> list[Thumbnail]:
    """Draw objects one after the other, until it takes too long; one at least."""
    began, made = time.perf_counter(), []
    for each in wanted:
        made.append(Thumbnail(each, draw(image, each, side)))
        if time.perf_counter() - began > LONGEST:
            break
    return made


def draw(image: ImageSource, each: SegmentedObject, side: int) -> NDArray[np.uint8]:
    """Return a picture ``(side, side, 3)`` of an object with its outline."""
    box = each.pixels.box
    longest = min(LARGEST, max(box.shape) * (1 + 2 * AROUND) + 4)
    reach = int(np.ceil(longest))
    top = (box.top + box.bottom - reach) // 2
    left = (box.left + box.right - reach) // 2
    square = Box(top, left, top + reach, left + reach)
    window = square.clip(image.shape)
    seen = np.zeros((reach, reach, 3), np.uint8)
    if not window.empty:
        part = np.clip(image.window(window) * 255, 0, 255).astype(np.uint8)
        seen[window.relative_to(square).slices] = part
    small = Image.fromarray(seen).resize((side, side), Image.Resampling.BILINEAR)
    inside = Image.fromarray((each.pixels.within(square) > 0).astype(np.uint8) * 255)
    mask = np.asarray(inside.resize((side, side), Image.Resampling.BILINEAR)) > 127
    picture = np.array(small)
    picture[mask & ~ndimage.binary_erosion(mask)] = OUTLINE
    return picture
