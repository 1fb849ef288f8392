"""What an object looks like on one plane, so that it is found again on the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import fftconvolve

from napari_clickseg.boxes import Box
from napari_clickseg.image import ImageSource
from napari_clickseg.session.patches import Patch

__all__ = ["Appearance", "core_of", "innermost", "moved", "shift_to"]

#: The core of a mask is what is deeper inside than this part of the deepest point.
CORE = 0.3
#: Pixels around an object that are its surroundings; those next to its edge are not.
NEAR, EDGE = 6, 1
#: Widest template, in pixels: larger objects are looked at from farther away.
TEMPLATE = 96
#: What a shift by the whole reach costs in correlation, and what it must win.
FAR, WORTH = 0.1, 0.03


@dataclass(frozen=True, eq=False)
class Appearance:
    """The grey values of an object and around it.

    Parameters
    ----------
    box : Box
        What was read of the plane.
    values : ndarray of float32, shape of ``box``
        Grey, as it is shown to the model.
    mask : Patch of bool
        The object.
    """

    box: Box
    values: NDArray[np.float32]
    mask: Patch

    @classmethod
    def of(cls, image: ImageSource, mask: Patch) -> Appearance:
        """Look at an object of a plane."""
        margin = NEAR + max(mask.box.shape, default=0) // 4
        box = _widened(mask.box, margin).clip(image.shape)
        return cls(box, grey(image, box), mask)

    @property
    def contrast(self) -> tuple[float, float]:
        """Mean inside minus mean around, and the deviation around; 0 where unknown."""
        inside = self.mask.within(self.box)
        wide = ndimage.binary_dilation(inside, iterations=NEAR)
        around = wide & ~ndimage.binary_dilation(inside, iterations=EDGE)
        if not inside.any() or not around.any():
            return 0.0, 0.0
        near = self.values[around]
        return float(self.values[inside].mean() - near.mean()), float(near.std())

    def moved(self, by: tuple[int, int], mask: Patch) -> Appearance:
        """Return the same place elsewhere, with another mask."""
        return Appearance(_shifted(self.box, by), self.values, mask)


def grey(image: ImageSource, box: Box) -> NDArray[np.float32]:
    """Return the mean of the channels of a window, as it is shown."""
    window = np.asarray(image.window(box), np.float32)
    return window.mean(axis=-1) if window.ndim == 3 else window


def innermost(
    mask: Patch, taken: NDArray[np.bool_] | None = None
) -> tuple[tuple[int, int], float]:
    """Return the point of a mask that is farthest from its edge, and how far.

    Parameters
    ----------
    mask : Patch of bool
    taken : ndarray of bool, shape of ``mask.box``, optional
        Pixels that do not count.

    Returns
    -------
    (row, col), float
        In pixels; the first in row order of several. 0.0: there is no pixel left.
    """
    inside = mask.values if taken is None else mask.values & ~taken
    if not inside.any():
        return (mask.box.top, mask.box.left), 0.0
    depth = _depth(inside)
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return (mask.box.top + int(row), mask.box.left + int(col)), float(depth[row, col])


def core_of(mask: Patch) -> Patch:
    """Return the inner part of a mask: what is farther inside than ``CORE``.

    A network that is given a whole mask repeats it, where the plane says little else;
    of its core it has to find the edge itself.
    """
    depth = _depth(mask.values)
    return Patch(mask.box, depth > CORE * depth.max()).tight()


def moved(mask: Patch, by: tuple[int, int], shape: tuple[int, int]) -> Patch:
    """Return a mask elsewhere, without what lies outside of the image."""
    there = Patch(_shifted(mask.box, by), mask.values)
    inside = there.box.clip(shape)
    return Patch(inside, there.within(inside)).tight()


def shift_to(
    before: Appearance, image: ImageSource, reach: int
) -> tuple[tuple[int, int], float]:
    """Return by how many pixels an object has moved, and how alike it is there.

    Parameters
    ----------
    before : Appearance
        The object on the plane before.
    image : ImageSource
        The next plane.
    reach : int
        How far is looked, in pixels.

    Returns
    -------
    (rows, columns), float
        Zeros where no place is clearly more alike; the normalised cross-correlation
        (Lewis, 1995) within the object and a margin, -1 to 1.
    """
    if reach < 1:
        return (0, 0), 0.0
    step = max(1, int(np.ceil(max(before.box.shape) / TEMPLATE)))
    reach = -(-reach // step)
    window = _widened(before.box, reach * step)
    seen = window.clip(image.shape)
    edges = tuple(
        (low, high)
        for low, high in (
            (seen.top - window.top, window.bottom - seen.bottom),
            (seen.left - window.left, window.right - seen.right),
        )
    )
    there = np.pad(grey(image, seen), edges, mode="edge")[::step, ::step]
    template = before.values[::step, ::step].astype(np.float64)
    weight = ndimage.binary_dilation(
        before.mask.within(before.box),
        iterations=max(2, max(before.mask.box.shape) // 4),
    )[::step, ::step].astype(np.float64)
    there = there[: template.shape[0] + 2 * reach, : template.shape[1] + 2 * reach]
    scores = _correlation(there.astype(np.float64), template, weight)
    middle = scores.shape[0] // 2, scores.shape[1] // 2
    rows, cols = (np.arange(n) - n // 2 for n in scores.shape)
    away = np.hypot(rows[:, None], cols[None, :])
    best = np.unravel_index(int((scores - FAR * away / reach).argmax()), scores.shape)
    still = float(scores[middle])
    if scores[best] < still + WORTH:
        return (0, 0), still
    by = (int(best[0]) - middle[0]) * step, (int(best[1]) - middle[1]) * step
    return by, float(scores[best])


def _correlation(
    there: NDArray[np.float64],
    template: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return how alike a template is to each place of a larger array."""
    count = weight.sum()
    template = (template - (template * weight).sum() / count) * weight
    turned, around = template[::-1, ::-1], weight[::-1, ::-1]
    there = there - there.mean()
    alike = fftconvolve(there, turned, mode="valid")
    total = fftconvolve(there, around, mode="valid")
    squares = fftconvolve(there**2, around, mode="valid")
    spread = np.maximum(squares - total**2 / count, 1e-9)
    found: NDArray[np.float64] = alike / np.sqrt(spread * (template**2).sum() + 1e-9)
    return found


def _depth(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    return np.asarray(depth, np.float64)


def _widened(box: Box, by: int) -> Box:
    return Box(box.top - by, box.left - by, box.bottom + by, box.right + by)


def _shifted(box: Box, by: tuple[int, int]) -> Box:
    rows, cols = by
    return Box(box.top + rows, box.left + cols, box.bottom + rows, box.right + cols)
