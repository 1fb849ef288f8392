"""How good an alpha matte is, as alphamatting.com measures it.

Rhemann et al., "A perceptually motivated online benchmark for image matting", CVPR
2009. SAD, gradient and connectivity errors are sums in thousands, the squared error is
a mean; all count the unknown pixels of the trimap alone.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_clickseg.errors import MaskError
from napari_clickseg.tasks.trimap import UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Standard deviation of the filters of the gradient error, and where they end: at this
#: value of the Gaussian.
SIGMA, TAIL = 1.4, 1e-2
#: Steps of alpha, and the smallest difference that counts, of the connectivity error.
STEP, TAU = 0.1, 0.15
#: Sums are told in this unit.
THOUSAND = 1000.0


def matting_scores(
    truth: ArrayLike, prediction: ArrayLike, trimap: ArrayLike | None = None
) -> dict[str, float]:
    """Return the four errors of an alpha matte; smaller is better.

    Parameters
    ----------
    truth, prediction : array (H, W) of float, in [0, 1]
    trimap : array (H, W), optional
        128 where alpha was asked for; every pixel counts without one.

    Returns
    -------
    dict
        ``sad`` (thousands), ``mse``, ``grad`` (thousands), ``conn`` (thousands). The
        squared error is often told in thousandths, without its mean over pixels being
        another: multiply by 1000.

    Raises
    ------
    MaskError
        If the shapes differ.
    """
    wanted, found = (np.asarray(each, np.float64) for each in (truth, prediction))
    shapes = {wanted.shape, found.shape}
    unknown = np.ones(wanted.shape, bool)
    if trimap is not None:
        unknown = np.asarray(trimap) == UNKNOWN
        shapes.add(unknown.shape)
    if len(shapes) > 1 or wanted.ndim != 2:
        raise MaskError(
            f"Alpha has shape {found.shape}, the reference {wanted.shape}, the trimap "
            f"{unknown.shape}: all must be planes (H, W) of the same image."
        )
    return {
        "sad": sum_of_differences(wanted, found, unknown),
        "mse": mean_squared_error(wanted, found, unknown),
        "grad": gradient_error(wanted, found, unknown),
        "conn": connectivity_error(wanted, found, unknown),
    }


def sum_of_differences(
    truth: NDArray[Any], prediction: NDArray[Any], unknown: NDArray[np.bool_]
) -> float:
    """Return the sum of absolute differences, in thousands."""
    return float(np.abs(truth - prediction)[unknown].sum()) / THOUSAND


def mean_squared_error(
    truth: NDArray[Any], prediction: NDArray[Any], unknown: NDArray[np.bool_]
) -> float:
    """Return the mean squared difference; NaN where no pixel is unknown."""
    if not unknown.any():
        return float("nan")
    return float(np.square(truth - prediction)[unknown].mean())


def gradient_error(
    truth: NDArray[Any], prediction: NDArray[Any], unknown: NDArray[np.bool_]
) -> float:
    """Return the sum of squared differences of gradient lengths, in thousands.

    Gradients are those of a Gaussian with a standard deviation of 1.4 pixels.
    """
    lengths = _gradient_length(truth), _gradient_length(prediction)
    return float(np.square(lengths[0] - lengths[1])[unknown].sum()) / THOUSAND


def connectivity_error(
    truth: NDArray[Any], prediction: NDArray[Any], unknown: NDArray[np.bool_]
) -> float:
    """Return the sum of differences of connectedness, in thousands.

    For every alpha in steps of a tenth, the largest connected region in which both
    mattes reach it is the source; a pixel is connected up to the last step at which it
    lay within all sources. What its alpha exceeds that by, from 0.15 on, it is
    disconnected. Regions connect along sides.
    """
    steps = STEP * np.arange(round(1 / STEP) + 1)
    reach = np.full(truth.shape, -1.0)
    for before, step in pairwise(steps):
        source = _largest((truth >= step) & (prediction >= step))
        reach[(reach == -1) & ~source] = before
    reach[reach == -1] = 1
    connected = [1 - (d := alpha - reach) * (d >= TAU) for alpha in (truth, prediction)]
    return float(np.abs(connected[0] - connected[1])[unknown].sum()) / THOUSAND


def _gradient_length(alpha: NDArray[Any]) -> NDArray[np.float64]:
    """Return the length of the gradient, (H, W)."""
    half = math.ceil(
        SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * SIGMA * TAIL))
    )
    place = np.arange(-half, half + 1, dtype=np.float64)
    bell = np.exp(-(place**2) / (2 * SIGMA**2)) / (SIGMA * math.sqrt(2 * math.pi))
    slope = -place * bell / SIGMA**2
    # The two-dimensional filter has a Frobenius norm of one.
    norm = math.sqrt((bell**2).sum() * (slope**2).sum())
    along = [
        ndimage.convolve1d(
            ndimage.convolve1d(alpha, bell, axis=1 - axis, mode="nearest"),
            slope,
            axis=axis,
            mode="nearest",
        )
        for axis in (0, 1)
    ]
    length: NDArray[np.float64] = np.hypot(*along) / norm
    return length


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest region of a mask; of several the first."""
    regions, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(regions.ravel())[1:]
    found: NDArray[np.bool_] = regions == int(sizes.argmax()) + 1
    return found
