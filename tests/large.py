"""Images of 100,000 x 100,000 pixels, of which little is on disk."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 100_000
#: Rows and columns of the middles of discs, far apart.
DISCS = ((50_100.0, 70_300.0), (50_160.0, 70_390.0), (1_000.0, 99_000.0))
RADIUS = 25.0
DARK, BRIGHT = 20, 220


class Counting:
    """An array that writes down what is read of it."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.chunks, self.size = array.chunks, math.prod(array.shape)
        self.reads: list[tuple[int, ...]] = []

    def __getitem__(self, index: Any) -> NDArray[Any]:
        found = np.asarray(self.array[index])
        self.reads.append(found.shape)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[...], dtype)

    @property
    def pixels(self) -> int:
        """Pixels that were read so far."""
        return sum(math.prod(shape) for shape in self.reads)

    @property
    def largest(self) -> int:
        """Pixels of the largest part that was read at once."""
        return max((math.prod(shape) for shape in self.reads), default=0)

    def forget(self) -> None:
        """Count from nothing again."""
        self.reads.clear()


def pyramid(folder: Path, side: int = SIDE, levels: int = 8) -> list[Any]:
    """Write discs on a dark field into a Zarr pyramid, and open it.

    Only chunks with a disc are on disk: the rest is the fill value.
    """
    import zarr

    root = zarr.open_group(folder, mode="w")
    arrays = []
    for level in range(levels):
        factor = 2**level
        n = -(-side // factor)
        array = root.create_array(
            str(level),
            shape=(n, n),
            chunks=(512, 512),
            dtype="uint8",
            fill_value=DARK,
        )
        for row, col in places(side):
            # Averaged over a pixel of the level, roughly: discs fade from afar.
            reach = RADIUS / factor + 2
            top, left = int(row / factor - reach), int(col / factor - reach)
            bottom, right = int(row / factor + reach), int(col / factor + reach)
            rows = (np.arange(top, bottom)[:, None] + 0.5) * factor - 0.5
            cols = (np.arange(left, right)[None, :] + 0.5) * factor - 0.5
            inside = np.hypot(rows - row, cols - col) < RADIUS
            part = array[top:bottom, left:right]
            array[top:bottom, left:right] = np.where(inside, BRIGHT, part)
        arrays.append(array)
    return arrays


def places(side: int = SIDE) -> list[tuple[float, float]]:
    """Return the middles of the discs."""
    return [(row % side, col % side) for row, col in DISCS]
