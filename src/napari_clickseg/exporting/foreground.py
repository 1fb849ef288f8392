"""Which colours an object has by itself, where the background shines through.

A pixel of a soft edge is a mixture, ``I = alpha F + (1 - alpha) B``. An image cut out
with its own colours takes the background along, as a fringe. Here F is estimated by
blurring, which spreads what is known of F and B to where they mix: M. Forte,
"Approximate fast foreground colour estimation", ICIP 2021. That is done twice, wide and
narrow; the wide blur at a quarter of the size, where it differs by nothing visible.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Half the sides of the two blurs, in pixels, as published.
WIDE, NARROW = 90, 6
#: The wide blur sees means of squares of so many pixels.
_SHRINK = 4
#: Weights below this are nothing.
_LEAST = np.float32(1e-5)

Plane = NDArray[np.float32]


def estimate_foreground(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Return the object's own colours.

    Parameters
    ----------
    colours : ndarray of uint8 or uint16, shape (H, W, C)
    alpha : ndarray of float, shape (H, W)
        From 0 to 1.

    Returns
    -------
    ndarray
        Of the shape and type of ``colours``: as they are where alpha is 1; estimated
        where it is less; around the object as the object beside, so that no
        background comes in when the cut-out is resized; black beyond.
    """
    found = np.zeros_like(colours)
    weights = np.asarray(alpha, np.float32)
    rows, cols = np.flatnonzero(weights.any(1)), np.flatnonzero(weights.any(0))
    if not rows.size:
        return found
    # Beyond the wide blur nothing matters.
    height, width = weights.shape
    part = (
        slice(max(0, int(rows[0]) - WIDE), min(height, int(rows[-1]) + WIDE + 1)),
        slice(max(0, int(cols[0]) - WIDE), min(width, int(cols[-1]) + WIDE + 1)),
    )
    one = np.float32(np.iinfo(colours.dtype).max)
    object_part = np.ascontiguousarray(weights[part])
    blurs = _Blurs(object_part)
    solid, near = object_part == 1, blurs.near
    for channel in range(colours.shape[2]):
        given = colours[part][..., channel]
        estimate = blurs.foreground(given.astype(np.float32) / one)
        values = np.rint(estimate * one).astype(colours.dtype)
        values[~near] = 0
        values[solid] = given[solid]
        found[part][..., channel] = values
    return found


class _Blurs:
    """The weights of both blurs, which all channels share.

    Parameters
    ----------
    alpha : ndarray of float32, shape (h, w)
    """

    def __init__(self, alpha: Plane) -> None:
        self.alpha, self.rest = alpha, 1 - alpha
        self.wide = tuple(_wide(weights) for weights in (self.alpha, self.rest))
        self.narrow = tuple(_box(w, NARROW) for w in (self.alpha, self.rest))
        #: Where the object, or something of it, is near.
        self.near = self.narrow[0] > _LEAST

    def foreground(self, image: Plane) -> Plane:
        """Return F of one channel, from 0 to 1."""
        # Wide: what is known far away, for both.
        front, back = (
            _mean(_wide(image * each), weights, image)
            for each, weights in zip((self.alpha, self.rest), self.wide, strict=True)
        )
        front = self._corrected(image, front, back)
        # Narrow: what it is here.
        front, back = (
            _mean(_box(plane * each, NARROW), weights, image)
            for plane, each, weights in zip(
                (front, back), (self.alpha, self.rest), self.narrow, strict=True
            )
        )
        return self._corrected(image, front, back)

    def _corrected(self, image: Plane, front: Plane, back: Plane) -> Plane:
        """Return F that mixes to the image: a step towards it, by alpha."""
        mixed = self.alpha * front + self.rest * back
        corrected: Plane = np.clip(front + self.alpha * (image - mixed), 0, 1)
        return corrected


def _mean(sums: Plane, weights: Plane, image: Plane) -> Plane:
    """Return weighted means; the image itself where nothing has any weight."""
    if sums.shape != image.shape:
        sums, weights = (_grown(each, image.shape) for each in (sums, weights))
    return (sums + _LEAST * image) / (weights + _LEAST)


def _wide(plane: Plane) -> Plane:
    """Return the wide blur of means of squares."""
    height, width = plane.shape
    pad = [(0, -size % _SHRINK) for size in (height, width)]
    padded = np.pad(plane, pad)
    rows, cols = (size // _SHRINK for size in padded.shape)
    small = padded.reshape(rows, _SHRINK, cols, _SHRINK).mean((1, 3))
    return _box(small, round(WIDE / _SHRINK))


def _grown(small: Plane, shape: tuple[int, ...]) -> Plane:
    """Return the plane at full size again."""
    rows = np.repeat(small, _SHRINK, axis=0)[: shape[0]]
    return np.repeat(rows, _SHRINK, axis=1)[:, : shape[1]]


def _box(plane: Plane, radius: int) -> Plane:
    """Return means over squares; outside the plane there is nothing."""
    from scipy.ndimage import uniform_filter

    blurred: Plane = uniform_filter(plane, 2 * radius + 1, mode="constant")
    return blurred
