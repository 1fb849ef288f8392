"""Objects without a click: from classes background, interior and border.

Interiors that border keeps apart are seeds; each grows over the border around it
(watershed), so that objects touch where their cells do.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError

#: Channels of the probabilities.
BACKGROUND, INTERIOR, BORDER = range(3)
#: Planes are gone through in parts with sides of so many pixels, ...
PART = 1024
#: ... each with so many pixels around it, or so many diameters: border is a few
#: pixels wide, and objects seldom are much larger than usual.
AROUND, AROUND_DIAMETERS = 64, 3.0
#: Interior that is waisted by more than this part of a diameter is two seeds. Found
#: on a few held-out images: 0.03 to 0.06 do about as well.
WAIST = 0.05
#: Depths are smoothed over this part of a diameter before waists are looked for.
SMOOTH = 0.05
#: Even odds, as a byte.
HALF = 128


def propose_objects(
    probabilities: ArrayLike,
    *,
    diameter: float | None = None,
    seed: float = 0.5,
    least_seed: int = 6,
    least_area: int = 20,
) -> NDArray[np.int32]:
    """Return the objects that class probabilities speak of.

    Parameters
    ----------
    probabilities : array, shape (3, H, W)
        Of background, interior and border.
    diameter : float, optional
        Usual diameter of the objects, in pixels: then interior with a waist is parted
        there, as two objects whose border was not seen.
    seed : float
        Interior at least this probable is a seed.
    least_seed, least_area : int
        Seeds and objects of fewer pixels are left out.

    Returns
    -------
    ndarray of int32, shape (H, W)
        0 background, 1 and up the objects, by rows of their seeds' first pixels.

    Raises
    ------
    MaskError
        If there are not three planes.
    """
    values: NDArray[Any] = np.asarray(probabilities, np.float32)
    if values.ndim != 3 or len(values) != 3:
        raise MaskError(
            f"Proposals are made of three planes (background, interior, border), not "
            f"of an array of shape {values.shape}."
        )
    return find_objects(
        as_bytes(values[BACKGROUND]),
        as_bytes(values[INTERIOR]),
        diameter=diameter,
        seed=seed,
        least_seed=least_seed,
        least_area=least_area,
    )


def as_bytes(probability: NDArray[Any]) -> NDArray[np.uint8]:
    """Return probabilities as whole numbers from 0 to 255."""
    scaled: NDArray[np.uint8] = np.round(np.clip(probability, 0, 1) * 255).astype(
        np.uint8
    )
    return scaled


def find_objects(
    background: NDArray[np.uint8], interior: NDArray[np.uint8], **options: Any
) -> NDArray[np.int32]:
    """Return the objects of a plane, as :func:`finding_objects` finds them."""
    search = finding_objects(background, interior, **options)
    while True:
        try:
            next(search)
        except StopIteration as end:
            found: NDArray[np.int32] = end.value
            return found


def finding_objects(
    background: NDArray[np.uint8],
    interior: NDArray[np.uint8],
    *,
    diameter: float | None = None,
    seed: float = 0.5,
    least_seed: int = 6,
    least_area: int = 20,
) -> Generator[None, None, NDArray[np.int32]]:
    """Find the objects of a plane of any size, part by part.

    Seeds are numbered in all of it at once, so that an object is one wherever parts
    meet; they are found and grow part by part, in little memory.

    Parameters
    ----------
    background, interior : ndarray of uint8, shape (H, W)
        Probabilities, 0 to 255.
    diameter, seed, least_seed, least_area
        As for :func:`propose_objects`.

    Yields
    ------
    None
        After each part.

    Returns
    -------
    ndarray of int32, shape (H, W)
        As :func:`propose_objects` returns them.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    least = as_bytes(np.asarray(seed))
    reach = max(AROUND, round(AROUND_DIAMETERS * (diameter or 0)))
    parts = list(_parts(interior.shape, reach))
    sure = np.zeros(interior.shape, np.bool_)
    for part, around in parts:
        where = around.slices
        # more likely an object, its border included, than background
        inside = (interior[where] >= least) & (background[where] < HALF)
        if diameter is not None and inside.any():
            inside = _domes(inside, diameter)
        sure[part.slices] = inside[part.relative_to(around).slices]
        yield
    found: NDArray[np.int32] = np.empty(interior.shape, np.int32)
    count = int(ndimage.label(sure, output=found))
    del sure
    _drop_small(found, count, 1 if diameter else least_seed)
    for part, around in parts:
        object_ = background[around.slices] < HALF
        seeds = found[around.slices]
        if not (object_.any() and seeds.any()):
            continue
        # border between two objects belongs to the nearer; background in it to none
        height = np.uint8(255) - interior[around.slices]
        grown = watershed(height, seeds, mask=object_)
        found[part.slices] = grown[part.relative_to(around).slices]
        yield
    _drop_small(found, count, least_area)
    return found


def _domes(inside: NDArray[np.bool_], diameter: float) -> NDArray[np.bool_]:
    """Return the tops of interiors: one for each that has no waist.

    Depths below the rim are looked at as a landscape; a top counts that stands out by
    more than the least waist (h-maxima).
    """
    from scipy import ndimage
    from skimage.morphology import reconstruction

    depth = ndimage.distance_transform_edt(inside) / diameter
    depth = ndimage.gaussian_filter(depth.astype(np.float32), SMOOTH * diameter)
    depth[~inside] = 0
    above = depth - reconstruction(depth - WAIST, depth, method="dilation")
    domes, count = ndimage.label((above > WAIST / 500) & inside)
    kept = np.zeros(count + 1, np.bool_)
    if count:
        tops = ndimage.maximum(above, domes, np.arange(1, count + 1))
        kept[1:] = np.asarray(tops) >= WAIST * 0.98
    result: NDArray[np.bool_] = kept[domes]
    return result


def _parts(shape: tuple[int, ...], reach: int) -> Iterator[tuple[Box, Box]]:
    """Yield the parts of a plane, and each with what lies around it."""
    for top in range(0, shape[0], PART):
        for left in range(0, shape[1], PART):
            part = Box(top, left, top + PART, left + PART).clip(shape)
            grown = Box(
                part.top - reach,
                part.left - reach,
                part.bottom + reach,
                part.right + reach,
            )
            yield part, grown.clip(shape)


def _drop_small(labels: NDArray[np.int32], count: int, least: int) -> None:
    """Take labels of fewer pixels out, and number the others anew, in place."""
    sizes = np.zeros(count + 1, np.int64)
    for row in range(0, len(labels), PART):
        sizes += np.bincount(labels[row : row + PART].ravel(), minlength=count + 1)
    kept = sizes >= max(1, least)
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    for row in range(0, len(labels), PART):
        rows = labels[row : row + PART]
        rows[...] = numbers[rows]
