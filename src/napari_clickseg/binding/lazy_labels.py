"""Label arrays that take memory only where something was written.

napari draws a plane of very many pixels only from several levels of detail, and keeps
what it draws in memory. So labels of large images are a pyramid of such arrays; each
level shows the largest label of four pixels of the one below, so that small objects
stay visible from afar.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import MaskError
from napari_clickseg.memory import check_room
from napari_clickseg.plane_view import only_all

__all__ = ["LazyLabels", "label_levels", "plane_axes"]

#: Side of a chunk along the two axes of a plane; other axes have one plane each.
CHUNK = 256
#: Chunks of more bytes together are packed, those first that were made first.
HOT = 2**28
#: The coarsest level has at most so many pixels a side.
COARSEST = 512

Key = tuple[int, ...]


class LazyLabels:
    """Labels of any number of axes; 0 where nothing was written.

    Read and written like a NumPy array, by numbers and slices, or by one array of
    whole numbers for each axis.

    Parameters
    ----------
    shape : sequence of int
    dtype : dtype
    coarser : LazyLabels or ndarray, optional
        Half as many pixels along the axes of the plane: what is written here is written
        there, too.

    Notes
    -----
    One thread writes; others may read meanwhile.
    """

    def __init__(self, shape: Sequence[int], dtype: Any, coarser: Any = None) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.ndim = len(self.shape)
        self.dtype = np.dtype(dtype)
        self.coarser = coarser
        self._axes = plane_axes(self.shape)
        self.chunks = tuple(
            min(CHUNK, n) if axis in self._axes else 1
            for axis, n in enumerate(self.shape)
        )
        self._held: dict[Key, NDArray[Any] | bytes] = {}
        self._hot = 0

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array, which is not there."""
        return self.size * self.dtype.itemsize

    @property
    def held_bytes(self) -> int:
        """Bytes of what was written, packed or not."""
        return sum(
            len(chunk) if isinstance(chunk, bytes) else chunk.nbytes
            for chunk in list(self._held.values())
        )

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return (
            f"<LazyLabels of shape {self.shape}, {self.dtype}, "
            f"{self.held_bytes / 1e6:.1f} MB held>"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("Labels that are held in parts are no array as they are.")
        whole: NDArray[Any] = self[(slice(None),) * self.ndim]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __getitem__(self, index: Any) -> Any:
        arrays = _arrays_of(index, self.ndim)
        if arrays is not None:
            return self._points(arrays)
        spans, squeezed, steps = _spans(index, self.shape)
        shape = tuple(stop - start for start, stop in spans)
        pixels = math.prod(shape)
        check_room(
            "An array of these labels",
            pixels,
            self.dtype.itemsize,
            MaskError,
            "Read them by parts, by slicing, or export the objects to a file.",
        )
        out = np.zeros(shape, self.dtype)
        for key, inside, outside in self._chunks_in(spans):
            chunk = self._chunk(key)
            if chunk is not None:
                out[outside] = chunk[inside]
        found = out[steps]
        return found[tuple(0 if one else slice(None) for one in squeezed)]

    def __setitem__(self, index: Any, values: Any) -> None:
        arrays = _arrays_of(index, self.ndim)
        if arrays is not None:
            self._set_points(arrays, values)
            return
        spans, squeezed, steps = _spans(index, self.shape)
        if any(step.step not in (None, 1) for step in steps):
            raise IndexError("Labels are written in whole parts, without a step.")
        shape = tuple(stop - start for start, stop in spans)
        shown = tuple(n for n, one in zip(shape, squeezed, strict=True) if not one)
        block = np.broadcast_to(np.asarray(values, self.dtype), shown).reshape(shape)
        self._write(spans, block)
        self._tell_coarser(spans)

    def any(self, axis: None = None, out: None = None) -> bool:
        """Whether there is a label that is not 0."""
        only_all(axis, out)
        return any(self._chunk(key) is not None for key in list(self._held))

    def max(self, axis: None = None, out: None = None, *, initial: int = 0) -> int:
        """Return the largest label, at least ``initial``."""
        only_all(axis, out)
        chunks = (self._chunk(key) for key in list(self._held))
        return max([initial, *(int(c.max()) for c in chunks if c is not None)])

    def written(self) -> list[Key]:
        """Return which chunks hold something, by their number along each axis."""
        return sorted(self._held)

    # ---------------------------------------------------------------------- parts

    def _chunk(self, key: Key) -> NDArray[Any] | None:
        held = self._held.get(key)
        if isinstance(held, bytes):
            flat = np.frombuffer(zlib.decompress(held), self.dtype)
            return flat.reshape(self._chunk_shape(key))
        return held

    def _chunk_shape(self, key: Key) -> tuple[int, ...]:
        return tuple(
            min(side, n - at * side)
            for at, side, n in zip(key, self.chunks, self.shape, strict=True)
        )

    def _chunks_in(
        self, spans: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[Key, tuple[slice, ...], tuple[slice, ...]]]:
        """Yield the chunks that meet a part: which, where in it, where in the part."""
        numbers = [
            range(start // side, -(-stop // side)) if stop > start else range(0)
            for (start, stop), side in zip(spans, self.chunks, strict=True)
        ]
        for key in itertools.product(*numbers):
            inside, outside = [], []
            for at, side, (start, stop) in zip(key, self.chunks, spans, strict=True):
                low, high = max(start, at * side), min(stop, (at + 1) * side)
                inside.append(slice(low - at * side, high - at * side))
                outside.append(slice(low - start, high - start))
            yield key, tuple(inside), tuple(outside)

    def _write(self, spans: Sequence[tuple[int, int]], block: NDArray[Any]) -> None:
        for key, inside, outside in self._chunks_in(spans):
            old, part = self._chunk(key), block[outside]
            if old is None:
                if not part.any():
                    continue
                new = np.zeros(self._chunk_shape(key), self.dtype)
            else:
                new = old.copy()  # who reads meanwhile sees the old or the new one
            new[inside] = part
            self._put(key, new)
        if self._hot > HOT:
            self._pack()

    def _put(self, key: Key, chunk: NDArray[Any]) -> None:
        old = self._held.get(key)
        if isinstance(old, np.ndarray):
            self._hot -= old.nbytes
        if chunk.any():
            self._held[key] = chunk
            self._hot += chunk.nbytes
        else:
            self._held.pop(key, None)

    def _pack(self) -> None:
        for key, chunk in list(self._held.items()):
            if isinstance(chunk, np.ndarray):
                self._held[key] = zlib.compress(chunk.tobytes(), 1)
                self._hot -= chunk.nbytes
            if self._hot <= HOT // 2:
                return

    def _points(self, arrays: tuple[NDArray[Any], ...]) -> NDArray[Any]:
        out = np.zeros(arrays[0].shape, self.dtype)
        for key, where, inside in self._by_chunk(arrays):
            chunk = self._chunk(key)
            if chunk is not None:
                out.flat[where] = chunk[inside]
        return out

    def _set_points(self, arrays: tuple[NDArray[Any], ...], values: Any) -> None:
        flat = np.broadcast_to(np.asarray(values, self.dtype), arrays[0].shape).ravel()
        if flat.size == 0:
            return
        for key, where, inside in self._by_chunk(arrays):
            old = self._chunk(key)
            new = (
                np.zeros(self._chunk_shape(key), self.dtype)
                if old is None
                else old.copy()
            )
            new[inside] = flat[where]
            self._put(key, new)
        if self._hot > HOT:
            self._pack()
        self._tell_coarser([(int(a.min()), int(a.max()) + 1) for a in arrays])

    def _by_chunk(
        self, arrays: tuple[NDArray[Any], ...]
    ) -> Iterator[tuple[Key, NDArray[Any], tuple[NDArray[Any], ...]]]:
        places = np.stack([np.asarray(a).ravel() for a in arrays])
        for axis, n in enumerate(self.shape):
            outside = (places[axis] < -n) | (places[axis] >= n)
            if outside.any():
                raise IndexError(f"A position lies outside of axis {axis} of {n}.")
        places = places % np.array(self.shape)[:, None]
        sides = np.array(self.chunks)[:, None]
        numbers, insides = places // sides, places % sides
        counts = [int(n.max(initial=0)) + 1 for n in numbers]
        which = np.ravel_multi_index(tuple(numbers), counts)
        order = np.argsort(which, kind="stable")
        begins = np.flatnonzero(np.diff(which[order], prepend=-1))
        for where in np.split(order, begins[1:]):
            if where.size:
                key = tuple(int(n) for n in numbers[:, where[0]])
                yield key, where, tuple(insides[:, where])

    def _tell_coarser(self, spans: Sequence[tuple[int, int]]) -> None:
        """Show in the coarser level what was written into a part."""
        if self.coarser is None or any(stop <= start for start, stop in spans):
            return
        fine, coarse = [], []
        for axis, (start, stop) in enumerate(spans):
            if axis in self._axes:
                low, high = start // 2, -(-stop // 2)
                coarse.append(slice(low, high))
                fine.append(slice(2 * low, min(2 * high, self.shape[axis])))
            else:
                coarse.append(slice(start, stop))
                fine.append(slice(start, stop))
        block = self[tuple(fine)]
        for axis in self._axes:
            odd = block.shape[axis] % 2
            if odd:
                more = [(0, odd if a == axis else 0) for a in range(self.ndim)]
                block = np.pad(block, more)
            pairs = [slice(None)] * self.ndim
            pairs[axis] = slice(0, None, 2)
            first = block[tuple(pairs)]
            pairs[axis] = slice(1, None, 2)
            block = np.maximum(first, block[tuple(pairs)])
        self.coarser[tuple(coarse)] = block


def plane_axes(shape: Sequence[int]) -> tuple[int, int]:
    """Return the two longest axes, of equal ones the last."""
    order = sorted(range(len(shape)), key=lambda axis: (shape[axis], axis))
    first, second = sorted(order[-2:])
    return first, second


def label_levels(shape: Sequence[int], dtype: Any) -> list[Any]:
    """Return empty labels in levels of detail, the finest first.

    The coarsest level of a plane is an array in memory, as napari keeps a copy of any
    other and would not see what changes there.
    """
    axes = plane_axes(shape)
    shapes = [tuple(int(n) for n in shape)]
    while max(shapes[-1][axis] for axis in axes) > COARSEST:
        shapes.append(
            tuple(-(-n // 2) if a in axes else n for a, n in enumerate(shapes[-1]))
        )
    levels: list[Any] = []
    for each in reversed(shapes):
        if not levels and len(each) == 2:
            levels.append(np.zeros(each, dtype))
        else:
            levels.append(LazyLabels(each, dtype, levels[-1] if levels else None))
    return levels[::-1]


def _arrays_of(index: Any, ndim: int) -> tuple[NDArray[Any], ...] | None:
    """Return positions along each axis, where they are given so; else None."""
    if not isinstance(index, tuple) or len(index) != ndim:
        return None
    if not any(isinstance(at, np.ndarray | list) for at in index):
        return None
    if any(isinstance(at, slice) for at in index):
        raise IndexError("Give slices and numbers, or one array for each axis.")
    arrays = np.broadcast_arrays(*index)
    return tuple(np.asarray(array) for array in arrays)


def _spans(
    index: Any, shape: tuple[int, ...]
) -> tuple[list[tuple[int, int]], list[bool], tuple[slice, ...]]:
    """Return for each axis from where to where, if it is a number, and the step."""
    key = list(index) if isinstance(index, tuple) else [index]
    if any(at is Ellipsis for at in key):
        place = next(i for i, at in enumerate(key) if at is Ellipsis)
        key[place : place + 1] = [slice(None)] * (len(shape) - len(key) + 1)
    key += [slice(None)] * (len(shape) - len(key))
    if len(key) != len(shape):
        raise IndexError(f"{len(key)} indices for {len(shape)} axes.")
    spans, single, steps = [], [], []
    for at, n in zip(key, shape, strict=True):
        if isinstance(at, slice):
            chosen = range(n)[at]
            low, high = (min(chosen), max(chosen) + 1) if chosen else (0, 0)
            spans.append((low, high))
            single.append(False)
            # From the end, where it goes backwards.
            steps.append(slice(None, None, chosen.step))
        else:
            number = int(at)
            if not -n <= number < n:
                raise IndexError(f"{number} is outside of an axis of {n}.")
            spans.append((number % n, number % n + 1))
            single.append(True)
            steps.append(slice(None))
    return spans, single, tuple(steps)
