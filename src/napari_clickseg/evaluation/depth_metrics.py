"""How good a depth map is: the measures of Eigen et al. (NeurIPS 2014)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Depths of NYU-Depth-V2 that count, in metres: above the first, below the second.
NYU_RANGE = (1e-3, 10.0)
#: What Eigen et al. score of its 480 by 640 pixels.
EIGEN_CROP, EIGEN_SHAPE = Box(45, 41, 471, 601), (480, 640)
#: A ratio to the truth below 1.25, 1.25^2 and 1.25^3 is right.
RATIO = 1.25


def scored(
    truth: ArrayLike,
    *,
    depths: tuple[float, float] | None = None,
    eigen_crop: bool = False,
) -> NDArray[np.bool_]:
    """Return which pixels of a reference count.

    Parameters
    ----------
    truth : array (H, W) of float
        Depths; not finite, or 0 and below: unknown.
    depths : (float, float), optional
        Only depths between these count.
    eigen_crop : bool
        Only the middle of NYU's pictures counts; in pictures of another size the same
        part of them.
    """
    wanted = np.asarray(truth, np.float64)
    valid = np.isfinite(wanted) & (wanted > 0)
    if depths is not None:
        valid &= (wanted > depths[0]) & (wanted < depths[1])
    if eigen_crop:
        scale = wanted.shape[0] / EIGEN_SHAPE[0], wanted.shape[1] / EIGEN_SHAPE[1]
        inside = np.zeros(wanted.shape, bool)
        inside[
            round(EIGEN_CROP.top * scale[0]) : round(EIGEN_CROP.bottom * scale[0]),
            round(EIGEN_CROP.left * scale[1]) : round(EIGEN_CROP.right * scale[1]),
        ] = True
        valid &= inside
    return valid


def depth_scores(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    depths: tuple[float, float] | None = None,
    eigen_crop: bool = False,
) -> dict[str, float]:
    """Return the usual measures of a depth map.

    Parameters
    ----------
    truth : array (H, W) of float
        See :func:`scored`.
    prediction : array (H, W) of float
        In the same unit. Limited to ``depths``, or else to what is above a
        thousandth of the smallest depth that counts, as logarithms ask for.
    depths, eigen_crop
        See :func:`scored`; for NYU :data:`NYU_RANGE` and True.

    Returns
    -------
    dict
        ``delta1``, ``delta2``, ``delta3`` (parts of the pixels, larger is better),
        ``abs_rel``, ``sq_rel`` (unit of depth), ``rmse`` (unit of depth), ``rmse_log``
        (of natural logarithms). NaN where no pixel counts.

    Raises
    ------
    MaskError
        If the two have not the same shape.
    """
    wanted, found = (np.asarray(each, np.float64) for each in (truth, prediction))
    if wanted.shape != found.shape or wanted.ndim != 2:
        raise MaskError(
            f"The answer has shape {found.shape}, the reference {wanted.shape}: both "
            "must be planes (H, W) of the same image."
        )
    valid = scored(wanted, depths=depths, eigen_crop=eigen_crop)
    names = ("delta1", "delta2", "delta3", "abs_rel", "sq_rel", "rmse", "rmse_log")
    if not valid.any():
        return dict.fromkeys(names, float("nan"))
    wanted, found = wanted[valid], found[valid]
    low, high = depths or (wanted.min() / 1000, np.inf)
    # What is no number is as wrong as it can be: as near as can be.
    found = np.clip(np.nan_to_num(found, nan=low, posinf=np.inf), low, high)
    ratio = np.maximum(wanted / found, found / wanted)
    difference = found - wanted
    logs = np.log(found) - np.log(wanted)
    values = (
        *((ratio < RATIO**power).mean() for power in (1, 2, 3)),
        (np.abs(difference) / wanted).mean(),
        (difference**2 / wanted).mean(),
        np.sqrt((difference**2).mean()),
        np.sqrt((logs**2).mean()),
    )
    return {name: float(value) for name, value in zip(names, values, strict=True)}
