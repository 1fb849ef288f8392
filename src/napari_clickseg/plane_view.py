"""A large plane that is put together where it is looked at, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import SessionError
from napari_clickseg.memory import check_room

__all__ = ["Piece", "PlaneView", "only_all", "tiles_of"]

#: Side of the tiles by which pieces are found.
TILE = 1024


class Piece(NamedTuple):
    """Values at their place in a plane.

    Attributes
    ----------
    box : Box
        Where they lie.
    values : ndarray, shape of ``box``
        0 is nothing.
    number : int or None
        What stands for all of them that are not 0; None: they stand for themselves.
    """

    box: Box
    values: NDArray[Any]
    number: int | None = None


class PlaneView:
    """Pieces in a plane ``(H, W)`` that is zero elsewhere; read by slicing.

    What a session holds of a very large image is small: this looks like an array of
    the image's shape without being one. ``view[1000:1200, 50:90]`` is an array.

    Parameters
    ----------
    box : Box
        The part of the plane that is shown; its corner is ``view[0, 0]``.
    pieces : iterable of Piece
        Where two of them overlap, the later one counts.
    dtype : dtype

    Notes
    -----
    Immutable. ``numpy.asarray(view)`` makes a whole array where that fits into memory,
    and says how much would where it does not.
    """

    ndim = 2

    def __init__(self, box: Box, pieces: Iterable[Piece], dtype: Any) -> None:
        self._box = box
        self._pieces = tuple(piece for piece in pieces if not piece.box.empty)
        self.dtype = np.dtype(dtype)
        self.shape: tuple[int, int] = box.shape

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self._box.area

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array, which is not there."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return (
            f"<PlaneView of shape {self.shape}, {self.dtype}, {len(self._pieces)} "
            "pieces: read it by slicing>"
        )

    def __getitem__(self, index: Any) -> Any:
        rows, cols = _two(index)
        first, second = _span(rows, self.shape[0]), _span(cols, self.shape[1])
        box = Box(first.start, second.start, first.stop, second.stop)
        _check(box.area, self.dtype)
        found = self.read(box)[:: first.step, :: second.step]
        if first.turned:
            found = found[::-1]
        if second.turned:
            found = found[:, ::-1]
        return found[
            0 if first.single else slice(None), 0 if second.single else slice(None)
        ]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("A view of a large plane is no array: it has to be made.")
        _check(self.size, self.dtype)
        whole = self.read(Box.of_shape(self.shape))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def read(self, box: Box) -> NDArray[Any]:
        """Return the values inside a box of the view, a new array of its shape."""
        out = np.zeros(box.shape, self.dtype)
        there = box.clip(self.shape)
        if there.empty:
            return out
        wanted = Box(
            there.top + self._box.top,
            there.left + self._box.left,
            there.bottom + self._box.top,
            there.right + self._box.left,
        )
        place = there.relative_to(box)
        for number in self._found(wanted):
            piece = self._pieces[number]
            common = piece.box.intersect(wanted)
            if common.empty:
                continue
            rows, cols = common.relative_to(wanted).slices
            target = out[place.slices][rows, cols]
            values = piece.values[common.relative_to(piece.box).slices]
            if piece.number is None:
                np.copyto(target, values, where=values != 0, casting="unsafe")
            else:
                target[values != 0] = piece.number
        return out

    def any(self, axis: None = None, out: None = None) -> bool:
        """Whether there is a value that is not 0."""
        only_all(axis, out)
        return any(bool(piece.values.any()) for piece in self._pieces)

    def max(self, axis: None = None, out: None = None, *, initial: Any = 0) -> Any:
        """Return the largest value, at least ``initial``."""
        only_all(axis, out)
        found = [initial]
        for piece in self._pieces:
            if piece.number is None:
                found.append(piece.values.max(initial=0))
            elif piece.values.any():
                found.append(piece.number)
        return max(found)

    def parts(self, side: int = 2 * TILE) -> Iterator[Box]:
        """Yield boxes of a grid in which there may be something, row by row."""
        for tile in tiles_of(Box.of_shape(self.shape), side):
            there = Box(
                tile.top + self._box.top,
                tile.left + self._box.left,
                tile.bottom + self._box.top,
                tile.right + self._box.left,
            )
            if any(
                not self._pieces[n].box.intersect(there).empty
                for n in self._found(there)
            ):
                yield tile

    @cached_property
    def _grid(self) -> dict[tuple[int, int], list[int]]:
        grid: dict[tuple[int, int], list[int]] = {}
        for number, piece in enumerate(self._pieces):
            for key in _keys(piece.box):
                grid.setdefault(key, []).append(number)
        return grid

    def _found(self, box: Box) -> Sequence[int]:
        """Return which pieces may lie in a box, in their order."""
        if len(self._pieces) < 16:
            return range(len(self._pieces))
        grid = self._grid
        return sorted({n for key in _keys(box) for n in grid.get(key, ())})


def tiles_of(box: Box, side: int) -> Iterator[Box]:
    """Yield the tiles of a box, row by row; those at its end may be smaller."""
    for top in range(box.top, box.bottom, side):
        for left in range(box.left, box.right, side):
            yield Box(
                top, left, min(top + side, box.bottom), min(left + side, box.right)
            )


def only_all(axis: Any, out: Any) -> None:
    """Refuse what ``numpy.max`` and the like ask for besides the whole.

    Raises
    ------
    TypeError
        If an axis or an array for the result is given.
    """
    if axis is not None or out is not None:
        raise TypeError("A large plane knows this of the whole only: leave axis out.")


class _Span(NamedTuple):
    start: int
    stop: int
    step: int
    turned: bool
    single: bool


def _two(index: Any) -> tuple[Any, Any]:
    """Return what is asked of rows and of columns."""
    key = index if isinstance(index, tuple) else (index,)
    if any(each is Ellipsis for each in key):
        at = next(i for i, each in enumerate(key) if each is Ellipsis)
        missing = 2 - (len(key) - 1)
        key = (*key[:at], *[slice(None)] * missing, *key[at + 1 :])
    rows, cols, *more = [*key, slice(None), slice(None)]
    if len(key) > 2 or not all(
        isinstance(each, slice | int | np.integer) for each in (rows, cols, *more)
    ):
        raise IndexError(
            "A large plane is read by slices and numbers, (rows, columns)."
        )
    return rows, cols


def _span(index: Any, length: int) -> _Span:
    if not isinstance(index, slice):
        at = int(index)
        if not -length <= at < length:
            raise IndexError(f"{at} is outside of an axis of {length} pixels.")
        return _Span(at % length, at % length + 1, 1, turned=False, single=True)
    chosen = range(length)[index]
    if not chosen:
        return _Span(0, 0, 1, turned=False, single=False)
    first, last = chosen[0], chosen[-1]
    low, high = min(first, last), max(first, last)
    step = abs(chosen.step)
    return _Span(low, high + 1, step, turned=chosen.step < 0, single=False)


def _keys(box: Box) -> Iterator[tuple[int, int]]:
    for row in range(box.top // TILE, -(-box.bottom // TILE)):
        for col in range(box.left // TILE, -(-box.right // TILE)):
            yield row, col


def _check(pixels: int, dtype: np.dtype[Any]) -> None:
    check_room(
        "An array of this plane",
        pixels,
        dtype.itemsize,
        SessionError,
        "Read it by parts, such as labels[1000:2000, 1000:2000], or write it to a "
        "file: what is large is written part by part.",
    )
