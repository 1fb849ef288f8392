"""Where a click lets an answer change: a circle, or a soft spot (G-BRS, 2.3 and 2.4).

Masks are 0 where the answer is free and 1 where the consistency loss holds it.
"""

from __future__ import annotations

import numpy as np

Pair = tuple[float, float]


def outside_of(centre: Pair, radii: Pair, size: tuple[int, int]) -> np.ndarray:
    """Return what lies outside an attention radius, (h, w), bool.

    Parameters
    ----------
    centre : (float, float)
        Row and column of the click.
    radii : (float, float)
        The radius along rows and along columns: the same, unless a window was
        resized to another form.
    size : (int, int)
        Height and width.
    """
    outside: np.ndarray = _squares(centre, radii, size) > 1
    return outside


def beyond(centre: Pair, radii: Pair, size: tuple[int, int]) -> np.ndarray:
    """Return the inverse Gaussian around a click, (h, w), float32, in [0, 1).

    0 at the click, 0.39 at the radius, 0.86 at twice the radius: the standard
    deviation is the radius (equation 11).

    Parameters
    ----------
    centre, radii, size
        As for :func:`outside_of`.
    """
    return -np.expm1(-0.5 * _squares(centre, radii, size)).astype(np.float32)


def _squares(centre: Pair, radii: Pair, size: tuple[int, int]) -> np.ndarray:
    """Return squared distances in radii, (h, w), float64."""
    rows = (np.arange(size[0])[:, None] - centre[0]) / radii[0]
    cols = (np.arange(size[1])[None, :] - centre[1]) / radii[1]
    squares: np.ndarray = rows**2 + cols**2
    return squares
