"""Arrays of any number of axes as planes, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import ExportError


class Planes:
    """A stack, read plane by plane: only one lies in memory.

    Parameters
    ----------
    array : array-like, shape (..., H, W) or (..., H, W, C)
        NumPy, dask, zarr or anything else with ``shape`` and slicing.
    what : str
        What it is, for messages, as the beginning of a sentence.
    channels : bool
        Whether the last axis holds channels.

    Raises
    ------
    ExportError
        If it is no such array, holds no numbers, or no pixel.
    """

    def __init__(self, array: Any, what: str, *, channels: bool = False) -> None:
        if not (hasattr(array, "shape") and hasattr(array, "dtype")):
            array = _as_array(array, what)
        least = 3 if channels else 2
        self.array, self.what, self._channels = array, what, channels
        self.shape = tuple(int(size) for size in array.shape)
        if len(self.shape) < least:
            axes = "(H, W, C)" if channels else "(H, W)"
            raise ExportError(
                f"{what} of shape {self.shape} has too few axes to be written as an "
                f"image: pass {axes}, or a stack of such planes."
            )
        if 0 in self.shape:
            raise ExportError(
                f"{what} is empty (shape {self.shape}): there is nothing to write."
            )
        self.dtype = np.dtype(array.dtype)
        if self.dtype.kind not in "buif":
            raise ExportError(
                f"{what} holds {self.dtype} values. Convert it to real numbers first."
            )

    @property
    def leading(self) -> tuple[int, ...]:
        """Sizes of the axes before rows and columns."""
        return self.shape[: len(self.shape) - (3 if self._channels else 2)]

    @property
    def single(self) -> bool:
        """Whether there is one plane, and no axis to count it along."""
        return not self.leading

    def __len__(self) -> int:
        return int(np.prod(self.leading, dtype=np.int64))

    def __getitem__(self, number: int) -> NDArray[Any]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        index = tuple(int(at) for at in np.unravel_index(number, self.leading or (1,)))
        return np.asarray(self.array[index] if self.leading else self.array)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[number] for number in range(len(self)))


def check_single(planes: Planes, name: str) -> None:
    """Refuse a stack where a file holds one plane.

    Raises
    ------
    ExportError
        If there is more than one.
    """
    if not planes.single:
        raise ExportError(
            f"{planes.what} is a stack of shape {planes.shape}, and a PNG holds one "
            f"plane: end {name} in .tif, or choose a plane."
        )


def _as_array(array: Any, what: str) -> NDArray[Any]:
    try:
        return np.asarray(array)
    except ValueError as error:
        raise ExportError(f"{what} is no array ({error}).") from error
