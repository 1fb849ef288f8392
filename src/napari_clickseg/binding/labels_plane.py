"""One plane of labels that is too large to be one array, read part by part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.lazy_labels import LazyLabels
from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError
from napari_clickseg.memory import check_room
from napari_clickseg.plane_view import only_all

__all__ = ["LabelsPlane"]

#: Side of the boxes in which labels are looked for.
PART = 2048


class LabelsPlane:
    """A plane ``(H, W)`` of any array of labels, read by slicing.

    Parameters
    ----------
    labels : array-like
        Of all axes.
    index : tuple of int or slice
        What cuts the plane out: two slices, and numbers.
    """

    ndim = 2

    def __init__(self, labels: Any, index: tuple[Any, ...]) -> None:
        self._labels, self._index = labels, index
        self._axes = [i for i, at in enumerate(index) if isinstance(at, slice)]
        self.shape = tuple(int(labels.shape[axis]) for axis in self._axes)
        self.dtype = np.dtype(labels.dtype)

    def __getitem__(self, index: Any) -> Any:
        key = index if isinstance(index, tuple) else (index, slice(None))
        whole = list(self._index)
        for axis, at in zip(self._axes, key, strict=True):
            whole[axis] = at
        return np.asarray(self._labels[tuple(whole)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        del copy
        check_room(
            "An array of this plane",
            math.prod(self.shape),
            self.dtype.itemsize,
            MaskError,
            "Export the objects to a file: that is done part by part.",
        )
        whole: NDArray[Any] = np.array(self[:, :])
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def any(self, axis: None = None, out: None = None) -> bool:
        """Whether there is a label that is not 0."""
        only_all(axis, out)
        return any(bool(self[box.slices].any()) for box in self.parts())

    def max(self, axis: None = None, out: None = None, *, initial: int = 0) -> int:
        """Return the largest label, at least ``initial``."""
        only_all(axis, out)
        return max([initial, *(int(self[box.slices].max()) for box in self.parts())])

    def parts(self, side: int = PART) -> Iterator[Box]:
        """Yield boxes of a grid in which there may be something, row by row."""
        height, width = self.shape
        for top, left in self._corners(side):
            yield Box(top, left, min(top + side, height), min(left + side, width))

    def _corners(self, side: int) -> list[tuple[int, int]]:
        labels = self._labels
        if not isinstance(labels, LazyLabels):
            rows, cols = (range(0, n, side) for n in self.shape)
            return [(row, col) for row in rows for col in cols]
        found: set[tuple[int, int]] = set()
        for key in labels.written():
            start = [n * c for n, c in zip(key, labels.chunks, strict=True)]
            stop = [n + c for n, c in zip(start, labels.chunks, strict=True)]
            here = all(
                isinstance(at, slice) or low <= at < high
                for at, low, high in zip(self._index, start, stop, strict=True)
            )
            if here:
                spans = [
                    range(start[a] // side * side, min(stop[a], labels.shape[a]), side)
                    for a in self._axes
                ]
                found.update((row, col) for row in spans[0] for col in spans[1])
        return sorted(found)
