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
from napari_clickseg.errors import (
    Cancelled,
    DeviceError,
    ImageError,
    ModelError,
    SettingsError,
)
from napari_clickseg.memory import check_room
from napari_clickseg.prediction.class_tiles import TILE, asking
from napari_clickseg.prediction.object_size import (
    Progress,
    estimating,
    scale_for,
    unmeasured,
)
from napari_clickseg.tasks.proposals import finding_objects

if TYPE_CHECKING:
    from napari_clickseg.image import ImageSource

#: Bytes for each pixel at the peak: chances, distances, and labels twice.
PER_PIXEL = 32
#: Tiles are not made smaller than this where memory is short.
LEAST_TILE = 192
#: Objects are looked for as far around a part of an image, in their diameters.
AROUND = 2.0
#: Part of the area of a usual object; what has less is none.
LEAST_AREA = 0.1


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
    ImageError
        If the maps of so many pixels would not fit, with the number that would.
    """
    begin = time.perf_counter()
    channels = channels_of(model)
    _check(diameter, seed, least_area)
    whole = Box.of_shape(image.shape)
    inner = whole if within is None else within.clip(image.shape)
    if inner.empty:
        raise SettingsError(f"The box {within} holds no pixel of the image.")
    check_room(
        "Looking for objects",
        inner.area,
        PER_PIXEL,
        ImageError,
        "Look in a part of the image: zoom in, or pass within=Box(...).",
    )
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
    labels = yield from unmeasured(
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
