"""A fixed pyramid of windows, for models that encode an image once.

Where the next click will fall is not known, so features can be computed ahead of
time only of windows that do not depend on it: the whole image, then tiles that
overlap by half, each level with about half the extent of the one before, until a
pixel of the image is a pixel for the network. Models that encode quickly may look
closer still, at small objects; those levels follow. All tiles of an image have the
same longest side for the network, so one costs as much as another.

The pyramid follows from the image's shape and that side alone. Hence what one
program encodes, another one finds again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from napari_clickseg.boxes import Box

Size = tuple[int, int]

#: A window of more pixels of the image is not read to show the network a reduced
#: copy of it.
WHOLE_PIXELS = 2**24
#: The step from one level to the next is a factor of at most 2 to the power of 1 plus
#: this, before another level is put in between.
_SLACK = 0.25


@dataclass(frozen=True, slots=True)
class Tile:
    """A window of the pyramid.

    Parameters
    ----------
    box : Box
        Pixels of the image.
    size : (int, int)
        Height and width at which the network sees them.
    level : int
        0 for the whole image; larger numbers for finer levels.
    """

    box: Box
    size: Size
    level: int


def levels(shape: Size, side: int, magnify: float = 1.0) -> int:
    """Return the number of levels, the whole image included.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    side : int
        Longest side of what the network sees.
    magnify : float
        Pixels of the network for a pixel of the image on the finest level, at most.
    """
    return len(_scales(shape, side, magnify))


def tiles(
    shape: Size,
    side: int,
    within: Box | None = None,
    whole_pixels: int = WHOLE_PIXELS,
    magnify: float = 1.0,
) -> Iterator[Tile]:
    """Yield the tiles of an image, coarse to fine.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    side : int
        Longest side of what the network sees.
    within : Box, optional
        Only tiles that share a pixel with it.
    whole_pixels : int
        Levels whose tiles cover more pixels of the image are left out.
    magnify : float
        As for :func:`levels`.
    """
    field = Box.of_shape(shape) if within is None else within.clip(shape)
    if field.empty:
        return
    for level in _readable(shape, side, whole_pixels, magnify):
        extent, _ = _grid(shape, side, level, magnify)
        rows = _meeting(shape[0], extent[0], field.top, field.bottom)
        cols = _meeting(shape[1], extent[1], field.left, field.right)
        for top in rows:
            for left in cols:
                yield _tile(shape, side, level, top, left, magnify)


def snap(
    box: Box,
    shape: Size,
    side: int,
    whole_pixels: int = WHOLE_PIXELS,
    magnify: float = 1.0,
) -> Tile:
    """Return the finest tile that contains a box.

    Of several on one level it is the one about whose centre the box lies. The whole
    image contains every box; where that is too large to be read, it is the coarsest
    tile about the centre of the box.

    Parameters
    ----------
    box : Box
        What is to be seen; only its part in the image counts.
    shape, side, whole_pixels, magnify
        As for :func:`tiles`.
    """
    inside = box.clip(shape)
    if inside.empty:
        inside = Box.of_shape(shape)
    row = (inside.top + inside.bottom - 1) / 2
    col = (inside.left + inside.right - 1) / 2
    readable = _readable(shape, side, whole_pixels, magnify)
    for level in reversed(readable):
        extent, _ = _grid(shape, side, level, magnify)
        top = _containing(shape[0], extent[0], inside.top, inside.bottom, row)
        left = _containing(shape[1], extent[1], inside.left, inside.right, col)
        if top is not None and left is not None:
            return _tile(shape, side, level, top, left, magnify)
    return _tile_about(shape, side, readable[0], row, col, magnify)


def around(
    row: float,
    col: float,
    shape: Size,
    side: int,
    whole_pixels: int = WHOLE_PIXELS,
    magnify: float = 1.0,
) -> list[Tile]:
    """Return of each level the tile in whose middle a place lies best.

    Parameters
    ----------
    row, col : float
        The place, in pixels of the image; outside of it the nearest tile is taken.
    shape, side, whole_pixels, magnify
        As for :func:`tiles`.

    Returns
    -------
    list of Tile
        Coarse to fine, at least one.
    """
    return [
        _tile_about(shape, side, level, row, col, magnify)
        for level in _readable(shape, side, whole_pixels, magnify)
    ]


def _scales(shape: Size, side: int, magnify: float) -> list[float]:
    """Return pixels of the network per pixel of the image, for each level."""
    whole = min(1.0, side / max(shape))
    count = max(0, math.ceil(-math.log2(whole) - _SLACK))
    scales = [whole ** (1 - k / max(1, count)) for k in range(count + 1)]
    finer = 2.0
    while finer <= magnify:
        scales.append(finer)
        finer *= 2
    return scales


def _readable(shape: Size, side: int, whole_pixels: int, magnify: float) -> list[int]:
    """Return the levels whose tiles are small enough; the finest one always."""
    count = levels(shape, side, magnify)
    return [
        level
        for level in range(count)
        if level == count - 1
        or math.prod(_grid(shape, side, level, magnify)[0]) <= whole_pixels
    ]


def _grid(shape: Size, side: int, level: int, magnify: float) -> tuple[Size, Size]:
    """Return the extent of a level's tiles in the image, and for the network."""
    scale = _scales(shape, side, magnify)[level]
    extent = max(shape) if level == 0 else max(1, round(side / scale))
    height, width = (min(extent, length) for length in shape)
    return (height, width), (_scaled(height, scale, side), _scaled(width, scale, side))


def _scaled(length: int, scale: float, side: int) -> int:
    return min(side, max(1, round(length * scale)))


def _tile(
    shape: Size, side: int, level: int, top: int, left: int, magnify: float
) -> Tile:
    (height, width), size = _grid(shape, side, level, magnify)
    return Tile(Box(top, left, top + height, left + width), size, level)


def _tile_about(
    shape: Size, side: int, level: int, row: float, col: float, magnify: float
) -> Tile:
    extent, _ = _grid(shape, side, level, magnify)
    top, left = (
        _nearest(length, part, place)
        for length, part, place in zip(shape, extent, (row, col), strict=True)
    )
    return _tile(shape, side, level, top, left, magnify)


# -- along one axis: starts are multiples of half a tile, the last one flush --------


def _count(length: int, part: int) -> int:
    if length <= part:
        return 1
    return 1 + math.ceil((length - part) / _step(part))


def _step(part: int) -> int:
    return max(1, part // 2)


def _start(length: int, part: int, number: int) -> int:
    return max(0, min(number * _step(part), length - part))


def _meeting(length: int, part: int, first: int, end: int) -> list[int]:
    """Return the starts of the tiles that share a pixel with ``first:end``."""
    count = _count(length, part)
    lowest = max(0, (first - part) // _step(part))
    highest = min(count - 1, end // _step(part) + 1)
    # The last one may start earlier than its number says.
    numbers = {*range(min(lowest, count - 1), highest + 1), count - 1}
    starts = (_start(length, part, number) for number in sorted(numbers))
    return [start for start in starts if start < end and start + part > first]


def _containing(
    length: int, part: int, first: int, end: int, centre: float
) -> int | None:
    """Return the start of the tile that contains ``first:end`` most centrally."""
    if end - first > part:
        return None
    fits = [
        start
        for start in _meeting(length, part, first, end)
        if start <= first and end <= start + part
    ]
    return min(fits, key=lambda n: abs(n + (part - 1) / 2 - centre), default=None)


def _nearest(length: int, part: int, place: float) -> int:
    """Return the start of the tile whose middle is nearest to a place."""
    at = min(max(place, 0.0), length - 1.0)
    number = round((at - (part - 1) / 2) / _step(part))
    last = _count(length, part) - 1
    near = {min(max(number + n, 0), last) for n in (-1, 0, 1)} | {last}
    starts = (_start(length, part, number) for number in sorted(near))
    return min(starts, key=lambda n: abs(n + (part - 1) / 2 - at))
