"""Find what looks like something and has no object yet, without a model.

The image is read window by window, and never as a whole: first what is on screen, then
the windows around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_clickseg.boxes import Box
from napari_clickseg.errors import Cancelled
from napari_clickseg.image import ImageSource
from napari_clickseg.session.objects import Objects

__all__ = ["Region", "find_unlabelled"]

#: Longest side of a window that is read; what is on screen may be larger.
SIDE = 1024
#: So many windows are looked at before it is said that nothing was found.
MOST_WINDOWS = 25
#: Pixels next to an object still belong to it, and smaller regions are specks.
MARGIN, SMALLEST = 2, 16
#: The darker and the brighter pixels must differ so much to be two kinds of thing: part
#: of the spread of all that is explained by them (1 is all of it).
CONTRAST = 0.5


class Region(NamedTuple):
    """A connected region that looks like something.

    Attributes
    ----------
    box : Box
        Around it.
    area : int
        Pixels.
    place : (float, float)
        A pixel well inside (row, col): a click there means the region.
    """

    box: Box
    area: int
    place: tuple[float, float]


def find_unlabelled(
    image: ImageSource,
    objects: Objects,
    within: Box | None = None,
    near: tuple[float, float] | None = None,
    cancelled: Callable[[], bool] | None = None,
    skip: Collection[Box] = (),
) -> Region | None:
    """Return a region without objects that stands out from the background.

    In each window the threshold of Otsu (1979) parts grey values into two kinds; that
    which has less of the window's edge is taken for foreground.

    Parameters
    ----------
    image : ImageSource
    objects : Objects
        What is labelled already.
    within : Box, optional
        Where to look first; of a larger one its middle. Default: the image's middle.
    near : (row, col), optional
        In each window the nearest region is chosen; without it, the largest.
    cancelled : callable, optional
        Asked between two windows; True stops.
    skip : collection of Box
        Regions with these boxes were looked at, and are no objects.

    Returns
    -------
    Region or None
        None: nothing was found there, nor in the windows around.

    Raises
    ------
    Cancelled
        If ``cancelled`` said so.
    """
    for window in itertools.islice(_windows(image.shape, within), MOST_WINDOWS):
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped looking for what is not labelled.")
        found = _best(image, objects, window, near, skip)
        if found is not None:
            return found
    return None


def _windows(shape: tuple[int, int], within: Box | None) -> Iterator[Box]:
    """Yield a window, and then those around it in rings, the nearest first."""
    whole = Box.of_shape(shape)
    field = whole if within is None else within.clip(shape)
    if field.empty:
        field = whole
    height, width = min(SIDE, field.shape[0]), min(SIDE, field.shape[1])
    top = (field.top + field.bottom - height) // 2
    left = (field.left + field.right - width) // 2
    # Small windows around a small field would each see less than an object.
    high, wide = (
        max(height, min(SIDE // 2, shape[0])),
        max(width, min(SIDE // 2, shape[1])),
    )
    for ring in itertools.count():
        around = range(-ring, ring + 1)
        inside = False
        for i, j in itertools.product(around, around):
            if max(abs(i), abs(j)) != ring:
                continue
            box = Box(top, left, top + height, left + width)
            if ring:
                middle = top + height // 2 + i * high, left + width // 2 + j * wide
                start = middle[0] - high // 2, middle[1] - wide // 2
                box = Box(*start, start[0] + high, start[1] + wide)
            box = box.clip(shape)
            if not box.empty:
                inside = True
                yield box
        if not inside:
            return


def _best(
    image: ImageSource,
    objects: Objects,
    window: Box,
    near: tuple[float, float] | None,
    skip: Collection[Box],
) -> Region | None:
    foreground = _foreground(image.window(window).mean(axis=2))
    if foreground is None:
        return None
    taken = objects.labels(window).values > 0
    if taken.any():
        taken = ndimage.binary_dilation(taken, iterations=MARGIN)
    regions, count = ndimage.label(foreground & ~taken)
    if not count:
        return None
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    # What is left around objects that were drawn a little too small is no object.
    usual = np.median(sizes[sizes >= SMALLEST]) if (sizes >= SMALLEST).any() else 0
    numbers = np.flatnonzero(sizes >= max(SMALLEST, usual / 4))
    places = ndimage.find_objects(regions)
    if skip:
        left = [n for n in numbers if _box_of(places[n - 1], window) not in skip]
        numbers = np.array(left, np.intp)
    if not numbers.size:
        return None
    if near is None:
        number = int(numbers[np.argmax(sizes[numbers])])
    else:
        row, col = near[0] - window.top, near[1] - window.left
        away = [
            _distance(row, places[n - 1][0]) ** 2
            + _distance(col, places[n - 1][1]) ** 2
            for n in numbers
        ]
        number = int(numbers[int(np.argmin(away))])
    box = _box_of(places[number - 1], window)
    mask = regions[places[number - 1]] == number
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    deep = np.unravel_index(int(depth.argmax()), mask.shape)
    return Region(
        box,
        int(sizes[number]),
        (float(box.top + deep[0]), float(box.left + deep[1])),
    )


def _box_of(place: tuple[slice, slice], window: Box) -> Box:
    rows, cols = place
    top, left = window.top, window.left
    return Box(top + rows.start, left + cols.start, top + rows.stop, left + cols.stop)


def _foreground(grey: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Return what stands out; None: nothing does."""
    from skimage.filters import threshold_otsu

    grey = ndimage.gaussian_filter(grey, 1.0)
    spread = float(grey.var())
    if spread < 1e-6:
        return None
    bright = grey > threshold_otsu(grey)
    part = float(bright.mean())
    if not 0 < part < 1:
        return None
    between = part * (1 - part) * (grey[bright].mean() - grey[~bright].mean()) ** 2
    if between / spread < CONTRAST:
        return None
    edge = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    return bright if edge.mean() <= 0.5 else ~bright


def _distance(at: float, span: slice) -> float:
    return max(span.start - at, 0.0, at - span.stop + 1)
