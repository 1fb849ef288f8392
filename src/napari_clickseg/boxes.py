"""Axis-aligned boxes of whole pixels, half-open like Python slices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """A rectangle of pixels: rows ``top`` to ``bottom - 1``, columns likewise.

    Parameters
    ----------
    top, left : int
        First row and first column inside the box.
    bottom, right : int
        First row and first column after the box.
    """

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def of_shape(cls, shape: tuple[int, ...]) -> Box:
        """Return the box that covers an array of shape ``(H, W, ...)``."""
        return cls(0, 0, int(shape[0]), int(shape[1]))

    @classmethod
    def around(cls, mask: NDArray[np.bool_]) -> Box:
        """Return the smallest box around the pixels that are set; empty for none."""
        rows = np.flatnonzero(mask.any(axis=1))
        if rows.size == 0:
            return cls(0, 0, 0, 0)
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        cols = np.flatnonzero(mask[top:bottom].any(axis=0))
        return cls(top, int(cols[0]), bottom, int(cols[-1]) + 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels; zero where the box is empty."""
        return max(0, self.bottom - self.top), max(0, self.right - self.left)

    @property
    def area(self) -> int:
        """Number of pixels inside."""
        height, width = self.shape
        return height * width

    @property
    def empty(self) -> bool:
        """Whether there is no pixel inside."""
        return self.area == 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index that cuts the box out of an array ``(H, W, ...)``."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def intersect(self, other: Box) -> Box:
        """Return the pixels in both boxes (possibly an empty box)."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Box(
            top,
            left,
            max(top, min(self.bottom, other.bottom)),
            max(left, min(self.right, other.right)),
        )

    def union(self, other: Box) -> Box:
        """Return the smallest box around both; an empty box adds nothing."""
        if self.empty:
            return other
        if other.empty:
            return self
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def clip(self, shape: tuple[int, ...]) -> Box:
        """Return the part that lies inside an array of shape ``(H, W, ...)``."""
        return self.intersect(Box.of_shape(shape))

    def contains(self, row: float, col: float) -> bool:
        """Whether a position lies on one of the box's pixels.

        Pixel ``i`` spans ``[i - 0.5, i + 0.5)``, as in napari.
        """
        return (
            self.top - 0.5 <= row < self.bottom - 0.5
            and self.left - 0.5 <= col < self.right - 0.5
        )

    def relative_to(self, origin: Box) -> Box:
        """Return this box in the coordinates of an array cut out at ``origin``."""
        return Box(
            self.top - origin.top,
            self.left - origin.left,
            self.bottom - origin.top,
            self.right - origin.left,
        )
