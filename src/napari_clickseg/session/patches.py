"""Small arrays at their place in a large plane that is empty elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box

NOWHERE = Box(0, 0, 0, 0)


@dataclass(frozen=True, eq=False, slots=True)
class Patch:
    """Values inside a box; zero everywhere else.

    Parameters
    ----------
    box : Box
        Where the values lie in the plane.
    values : ndarray, shape of ``box``
        Shared between the moments of a history, hence never written to.
    """

    box: Box
    values: NDArray[Any]

    @classmethod
    def empty(cls, dtype: Any) -> Patch:
        """Return a plane of zeros."""
        return cls(NOWHERE, np.zeros((0, 0), dtype))

    def within(self, box: Box) -> NDArray[Any]:
        """Return the values inside a box, a new array of its shape."""
        out = np.zeros(box.shape, self.values.dtype)
        common = self.box.intersect(box)
        if not common.empty:
            part = self.values[common.relative_to(self.box).slices]
            out[common.relative_to(box).slices] = part
        return out

    def tight(self) -> Patch:
        """Return the same plane with the smallest box around its values."""
        rows, cols = (np.flatnonzero(self.values.any(axis=axis)) for axis in (1, 0))
        if rows.size == 0:
            return Patch.empty(self.values.dtype)
        part = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
        top, left = self.box.top + int(rows[0]), self.box.left + int(cols[0])
        values = self.values[part]
        box = Box(top, left, top + values.shape[0], left + values.shape[1])
        if box == self.box:
            return self
        # A copy, so that the large array around it can be freed.
        return Patch(box, values.copy())

    def plane(self, shape: tuple[int, int]) -> NDArray[Any]:
        """Return the whole plane ``(H, W)``, read-only."""
        whole = self.within(Box.of_shape(shape))
        whole.flags.writeable = False
        return whole


def difference(old: Patch, new: Patch) -> Box:
    """Return the smallest box around the pixels where two planes differ."""
    if old is new:
        return NOWHERE
    box = old.box.union(new.box)
    return Patch(box, old.within(box) != new.within(box)).tight().box
