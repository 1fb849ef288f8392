"""How large the objects of an image are, found out by a network that looks at it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.tasks.proposals import find_objects

if TYPE_CHECKING:
    from napari_clickseg.image import ImageSource
    from napari_clickseg.prediction.proposing import Asker

#: Steps done and in total; (0, 0): nobody knows.
Progress = tuple[int, int]
#: Diameter at which the network sees objects best, in its own pixels. On held-out
#: images twice as large costs little, half as large much.
BEST = 28.0
#: The network sees no image smaller or larger than this.
SCALES = (1 / 16, 6.0)
#: To find the diameter out the network is asked so often at most, ...
TRIES = 4
#: ... until it would change by no more than this factor.
SAME_SIZE = 1.15
#: Objects may be seen in pieces: where half of what is found lies in objects that are
#: so much wider than the median, those count that are not narrower than a part of it.
PIECES, WHOLE = 4.0, 0.4
#: It is asked about so many windows then, with sides of so many of its pixels, but of
#: no more of the image's.
WINDOWS, WINDOW, LARGEST_WINDOW = 3, 512, 2048
#: Windows are chosen from a grid of so many along each side, by a look at so many
#: pixels.
GRID, LOOK = 5, 64


def estimating(
    asker: Asker, box: Box
) -> Generator[Progress, None, tuple[float, NDArray[np.uint8] | None]]:
    """Find out the usual diameter of objects, in pixels of the image.

    What the network finds at one size tells at which it would see it better; that is
    tried in turn, on a few windows, until nothing changes.

    Returns
    -------
    float, ndarray or None
        The diameter; and what the network said of the whole box, if it was asked about
        all of it at that size.
    """
    diameter, seen = BEST, False
    for _ in range(TRIES):
        scale, found = scale_for(diameter), []
        chosen = windows(asker.image, box, scale)
        for window in chosen:
            planes = yield from unmeasured(asker.asking(window, scale))
            labels = find_objects(*planes, least_seed=1, least_area=4)
            found.append(np.bincount(labels.ravel())[1:])
            yield 0, 0
        areas = np.concatenate(found)
        if areas.size:
            new, seen = usual_diameter(areas), True
        else:
            new = diameter / 2  # what is too small is not seen
        if 1 / SAME_SIZE <= new / diameter <= SAME_SIZE or scale_for(new) == scale:
            return new, planes if chosen == [box] else None
        diameter = new
    return (diameter if seen else BEST), None


def usual_diameter(areas: NDArray[Any]) -> float:
    """Return the median diameter of objects, pieces of larger ones left out.

    Parameters
    ----------
    areas : ndarray, shape (n,)
        In pixels, n above 0.
    """
    diameters = np.sort(np.sqrt(4 / np.pi * areas))
    median = np.median(diameters)
    share = np.cumsum(diameters**2)
    half = diameters[np.searchsorted(share, share[-1] / 2)]
    if half > PIECES * median:
        median = np.median(diameters[diameters > WHOLE * half])
    return float(median)


def scale_for(diameter: float) -> float:
    """Return how many pixels the network sees for one of the image."""
    return float(np.clip(BEST / diameter, *SCALES))


def windows(image: ImageSource, box: Box, scale: float) -> list[Box]:
    """Return a few parts of an image in which there is most to see."""
    side = min(LARGEST_WINDOW, max(1, round(WINDOW / scale)))
    sides = [min(side, length) for length in box.shape]
    if sides[0] * sides[1] * 2 > box.area:
        return [box]
    tops, lefts = (
        np.unique(np.linspace(first, last - length, GRID).astype(int))
        for first, last, length in (
            (box.top, box.bottom, sides[0]),
            (box.left, box.right, sides[1]),
        )
    )
    rated = []
    for top in map(int, tops):
        for left in map(int, lefts):
            window = Box(top, left, top + sides[0], left + sides[1])
            middle = Box(
                top + max(0, sides[0] - LOOK) // 2,
                left + max(0, sides[1] - LOOK) // 2,
                top + (sides[0] + LOOK + 1) // 2,
                left + (sides[1] + LOOK + 1) // 2,
            ).intersect(window)
            rated.append((float(image.window(middle).std()), window))
    rated.sort(key=lambda each: -each[0])
    chosen: list[Box] = []
    for _, window in rated:
        if all(window.intersect(each).empty for each in chosen):
            chosen.append(window)
    return chosen[:WINDOWS]


def unmeasured(search: Generator[Any, None, Any]) -> Generator[Progress, None, Any]:
    """Go through steps whose number nobody knows."""
    while True:
        try:
            next(search)
        except StopIteration as end:
            return end.value
        yield 0, 0
