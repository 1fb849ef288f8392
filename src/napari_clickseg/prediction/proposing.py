"""Objects without a click, of an image of any size.

A network for background, interior and border is asked at the size at which it knows
objects best; that size is found out where nobody says it. Everything happens in steps,
so that whoever has something more urgent can do it in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.device import is_out_of_memory, release_memory
from napari_clickseg.errors import Cancelled, DeviceError, ModelError, SettingsError
from napari_clickseg.prediction.class_tiles import TILE, asking
from napari_clickseg.tasks.proposals import find_objects, finding_objects

if TYPE_CHECKING:
    from napari_clickseg.image import ImageSource

#: What :func:`proposing` yields: what is done and in total; (0, 0): nobody knows.
Progress = tuple[int, int]
#: Tiles are not made smaller than this where memory is short.
LEAST_TILE = 192
#: Objects are looked for as far around a part of an image, in their diameters.
AROUND = 2.0
#: Diameter at which the network sees objects best, in its own pixels. On held-out
#: images twice as large costs little, half as large much.
BEST = 28.0
#: The network sees no image smaller or larger than this.
SCALES = (1 / 16, 8.0)
#: Part of the area of a usual object; what has less is none.
LEAST_AREA = 0.1
#: To find the diameter out the network is asked so often at most, ...
TRIES = 4
#: ... until it would change by no more than this factor.
SAME_SIZE = 1.15
#: It is asked about so many windows then, with sides of so many of its pixels, but of
#: no more of the image's.
WINDOWS, WINDOW, LARGEST_WINDOW = 3, 512, 2048
#: Windows are chosen from a grid of so many along each side, by a look at so many
#: pixels.
GRID, LOOK = 5, 64


@dataclass(frozen=True, eq=False)
class Proposals:
    """Objects that were found.

    Parameters
    ----------
    box : Box
        Part of the image.
    labels : ndarray of int32, shape of ``box``
        0 background, 1 and up.
    background : ndarray of uint8, shape of ``box``
        Probability of background, 0 to 255.
    diameter : float
        In pixels: what was given, or found out.
    model : str
        Which one found them.
    seconds : float
    notices : tuple of str
        What the user should know.
    """

    box: Box
    labels: NDArray[np.int32]
    background: NDArray[np.uint8]
    diameter: float
    model: str
    seconds: float = 0.0
    notices: tuple[str, ...] = ()


def propose(
    model: Any,
    image: ImageSource,
    *,
    progress: Callable[[int, int], object] | None = None,
    cancelled: Callable[[], bool] | None = None,
    **options: Any,
) -> Proposals:
    """Find objects, all at once.

    Parameters
    ----------
    model, image, **options
        As for :func:`proposing`.
    progress : callable, optional
        Called with the tiles done and in total.
    cancelled : callable, optional
        Asked between two steps; True stops.

    Raises
    ------
    Cancelled
        If ``cancelled`` said so.
    """
    search = proposing(model, image, **options)
    while True:
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped looking for objects.")
        try:
            done, total = next(search)
        except StopIteration as end:
            found: Proposals = end.value
            return found
        if progress is not None and total:
            progress(done, total)


def proposing(
    model: Any,
    image: ImageSource,
    *,
    diameter: float | None = None,
    within: Box | None = None,
    seed: float = 0.5,
    least_area: int | None = None,
    tile: int = TILE,
) -> Generator[Progress, None, Proposals]:
    """Find objects, step by step.

    Parameters
    ----------
    model : DenseModel
        Of three classes: background, interior and border.
    image : ImageSource
        Of any size; it is read by tiles.
    diameter : float, optional
        Usual diameter of the objects, in pixels of the image; by default it is found
        out.
    within : Box, optional
        Only objects that lie in there for the most part.
    seed : float
        Interior at least this probable becomes an object: less finds more.
    least_area : int, optional
        Objects of fewer pixels are left out; default: a tenth of a usual one.
    tile : int
        Side of what the network sees at once, in its own pixels.

    Yields
    ------
    (int, int)
        Steps done and in total; (0, 0) as long as nobody knows.

    Returns
    -------
    Proposals

    Raises
    ------
    ModelError
        If the model knows other classes.
    SettingsError
        If an option makes no sense.
    DeviceError
        If memory is short even for small tiles.
    """
    begin = time.perf_counter()
    channels = channels_of(model)
    _check(diameter, seed, least_area)
    whole = Box.of_shape(image.shape)
    inner = whole if within is None else within.clip(image.shape)
    if inner.empty:
        raise SettingsError(f"The box {within} holds no pixel of the image.")
    asker = Asker(model, image, channels, tile)
    planes: Any = None
    if diameter is None:
        diameter, planes = yield from estimating(asker, inner)
    box = inner
    if inner != whole:
        box = grown(inner, round(AROUND * diameter)).clip(image.shape)
    if planes is None or box != inner:
        planes = yield from asker.asking(box, scale_for(diameter))
    usual = np.pi / 4 * diameter**2
    labels = yield from _unmeasured(
        finding_objects(
            *planes,
            diameter=diameter,
            seed=seed,
            least_area=round(LEAST_AREA * usual) if least_area is None else least_area,
        )
    )
    if box != inner:
        labels = mostly_inside(labels, inner.relative_to(box))
    return Proposals(
        box,
        labels,
        planes[0],
        diameter,
        model.name,
        time.perf_counter() - begin,
        tuple(asker.notices),
    )


class Asker:
    """Asks a model about parts of an image; in smaller tiles where memory is short.

    Parameters
    ----------
    model, image, tile
        As for :func:`proposing`.
    channels : (int, int)
        Those of background and interior.
    """

    def __init__(
        self, model: Any, image: ImageSource, channels: tuple[int, int], tile: int
    ) -> None:
        self.model, self.image, self.channels, self.tile = model, image, channels, tile
        self.notices: list[str] = []

    def asking(
        self, box: Box, scale: float
    ) -> Generator[Progress, None, NDArray[np.uint8]]:
        """Return background and interior, (2, *box.shape), step by step."""
        while True:
            try:
                planes = yield from asking(
                    self.model,
                    self.image,
                    box,
                    scale,
                    self.channels,
                    tile=self.tile,
                )
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            else:
                return planes
            release_memory(self.model.device)
            if self.tile // 2 < LEAST_TILE:
                raise DeviceError(
                    f"There is not enough memory on {self.model.device} to look for "
                    "objects even in small tiles. Close other programs, or choose the "
                    "CPU."
                )
            self.tile //= 2
            self.notices.append(
                f"Memory was short: tiles had {self.tile} pixels along a side."
            )


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
            planes = yield from _unmeasured(asker.asking(window, scale))
            labels = find_objects(*planes, least_seed=1, least_area=4)
            found.append(np.bincount(labels.ravel())[1:])
            yield 0, 0
        areas = np.concatenate(found)
        if areas.size:
            new, seen = float(np.sqrt(4 / np.pi * np.median(areas))), True
        else:
            new = diameter / 2  # what is too small is not seen
        if 1 / SAME_SIZE <= new / diameter <= SAME_SIZE or scale_for(new) == scale:
            return new, planes if chosen == [box] else None
        diameter = new
    return (diameter if seen else BEST), None


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


def _unmeasured(search: Generator[Any, None, Any]) -> Generator[Progress, None, Any]:
    """Go through steps whose number nobody knows."""
    while True:
        try:
            next(search)
        except StopIteration as end:
            return end.value
        yield 0, 0


def channels_of(model: Any) -> tuple[int, int]:
    """Return which channels of a model are background and interior.

    Raises
    ------
    ModelError
        If it knows other classes.
    """
    names = (
        () if (classes := getattr(model, "classes", None)) is None else classes.names
    )
    if getattr(model, "task", "") == "semantic" and len(names) == 3:
        found = [
            [i for i, name in enumerate(names) if word in name.lower()]
            for word in ("background", "interior", "border")
        ]
        if all(len(each) == 1 for each in found) and len({i for (i,) in found}) == 3:
            return found[0][0], found[1][0]
    known = f"the classes {', '.join(names)}" if names else "no classes"
    raise ModelError(
        f"{getattr(model, 'name', model)} knows {known}. Objects are proposed by a "
        "model for background, interior and border, such as semantic-cells-starter."
    )


def _check(diameter: float | None, seed: float, least_area: int | None) -> None:
    if diameter is not None and not (np.isfinite(diameter) and diameter >= 1):
        raise SettingsError(
            f"The diameter is {diameter!r}: give that of a usual object in pixels, or "
            "leave it out."
        )
    if not 0 < seed < 1:
        raise SettingsError(f"seed is {seed!r}: give a probability between 0 and 1.")
    if least_area is not None and least_area < 1:
        raise SettingsError(f"least_area is {least_area!r}: give a number of pixels.")


def grown(box: Box, reach: int) -> Box:
    """Return a box that is larger on every side."""
    return Box(box.top - reach, box.left - reach, box.bottom + reach, box.right + reach)


def mostly_inside(labels: NDArray[np.int32], inner: Box) -> NDArray[np.int32]:
    """Return the labels of which half or more lies in a box, numbered anew."""
    count = int(labels.max(initial=0))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    inside = np.bincount(labels[inner.slices].ravel(), minlength=count + 1)
    kept = inside * 2 >= sizes
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]
