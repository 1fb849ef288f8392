"""Colors of channels: each is looked up in its color map, and they are added."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Table", "add_colors", "compact_table"]

#: Red, green and blue (0 to 1) at evenly spaced values from 0 to 1.
Table = tuple[tuple[float, ...], ...]

#: A color map is known by this many values; a power of two and one.
SAMPLES = 257
#: Colors that differ by less look the same on a screen of 8 bits.
ALIKE = 0.5 / 255
#: Longer tables are looked up in so many steps.
STEPS = 1024


def compact_table(
    look_up: Callable[[NDArray[np.float64]], NDArray[np.floating]],
) -> Table:
    """Return the shortest table that gives the colors of a map.

    Parameters
    ----------
    look_up : callable
        Returns ``(n, 4)`` RGBA for values from 0 to 1; what is transparent is dark.
    """
    at = np.linspace(0, 1, SAMPLES)
    rgba = np.asarray(look_up(at), dtype=np.float64)
    exact = rgba[:, :3] * rgba[:, 3:4]
    count = 2
    while count < SAMPLES:
        knots = exact[:: (SAMPLES - 1) // (count - 1)]
        if np.abs(_interpolated(knots, at) - exact).max() <= ALIKE:
            break
        count = 2 * count - 1
    chosen = exact[:: (SAMPLES - 1) // (count - 1)].round(4)
    return tuple(tuple(float(v) for v in row) for row in chosen)


def add_colors(
    planes: Sequence[NDArray[np.float32]], tables: Sequence[Table]
) -> NDArray[np.float32]:
    """Return channels in their colors, added as light is and no brighter than 1.

    Parameters
    ----------
    planes : sequence of ndarray
        ``(h, w)`` float32 in [0, 1].
    tables : sequence of Table
        One for each of them.

    Returns
    -------
    ndarray
        ``(h, w, 3)`` float32 in [0, 1].
    """
    total = np.zeros((*planes[0].shape, 3), np.float32)
    for plane, table in zip(planes, tables, strict=True):
        colors = np.asarray(table, np.float32)
        if len(colors) == 2:
            dark, bright = colors
            total += plane[..., np.newaxis] * (bright - dark) + dark
        else:
            steps = _interpolated(colors, np.linspace(0, 1, STEPS))
            index = (plane * (STEPS - 1) + 0.5).astype(np.intp)
            total += steps.astype(np.float32)[index]
    return np.minimum(total, 1.0, out=total)


def _interpolated(
    colors: NDArray[np.floating], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    knots = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(at, knots, each) for each in colors.T], axis=-1)
