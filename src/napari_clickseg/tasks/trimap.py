"""Trimaps: what is surely background, surely object, and where alpha is asked for.

As everywhere in matting: uint8, 0 background, 255 object, 128 unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_clickseg.clicks import Click
from napari_clickseg.errors import MaskError

Trimap = NDArray[np.uint8]

BACKGROUND, UNKNOWN, OBJECT = 0, 128, 255
#: Half the width of the unknown band around a mask, in pixels, where none is given:
#: this part of the longer side of the object, but so many pixels at least.
BAND_PART, BAND_LEAST = 0.04, 5.0
#: How far around a click on a known pixel the trimap becomes unknown, where the click
#: has no radius.
OPENED = 15.0


def as_trimap(values: ArrayLike) -> Trimap:
    """Return a trimap from what files and layers hold.

    Parameters
    ----------
    values : array, shape (H, W)
        Bool or integers: 0 is background, the largest number that such a map may hold
        (1 of bool, 2 where nothing is above it, else 255) is object, everything
        between is unknown. Floats from 0 to 1 likewise.

    Raises
    ------
    MaskError
        If it is no single plane, or its numbers mean nothing.
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise MaskError(
            f"A trimap is one plane (H, W) of numbers, not {array.dtype} of shape "
            f"{array.shape}. Save it as a grey image of 0, 128 and 255."
        )
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    top: Any = 255
    if array.dtype.kind in "bf":
        top = 1
    elif high <= 2:
        top = 2
    if not (low >= 0 and high <= top):
        raise MaskError(
            f"A trimap holds 0 (background), 128 (unknown) and 255 (object), but here "
            f"are numbers from {low} to {high}."
        )
    trimap = np.full(array.shape, UNKNOWN, np.uint8)
    trimap[array == 0] = BACKGROUND
    trimap[array == top] = OBJECT
    return trimap


def from_mask(
    mask: ArrayLike, inside: float | None = None, outside: float | None = None
) -> Trimap:
    """Make a trimap of a mask: a band along its edge is unknown.

    Parameters
    ----------
    mask : array of bool, shape (H, W)
        For example what click segmentation answered.
    inside, outside : float, optional
        How far the band reaches into the mask and out of it, in pixels, 0 or more. By
        default 4 % of the longer side of the object, 5 pixels at least. A band of 0 on
        either side leaves that side known.

    Raises
    ------
    MaskError
        If the mask is no plane, is empty, or a width is negative.

    Notes
    -----
    The border of the image is no edge: the object may go on there.
    """
    wanted = np.asarray(mask)
    if wanted.ndim != 2:
        raise MaskError(f"A mask is one plane (H, W), not of shape {wanted.shape}.")
    wanted = wanted.astype(bool)
    if not wanted.any():
        raise MaskError("The mask is empty. Click on the object first.")
    rows = np.flatnonzero(wanted.any(1))
    cols = np.flatnonzero(wanted.any(0))
    side = max(np.ptp(rows), np.ptp(cols)) + 1
    usual = max(BAND_LEAST, BAND_PART * float(side))
    inside = usual if inside is None else inside
    outside = usual if outside is None else outside
    if not (inside >= 0 and outside >= 0):
        raise MaskError("The widths of a band are 0 or more pixels.")
    trimap = np.where(wanted, OBJECT, BACKGROUND).astype(np.uint8)
    if wanted.all():
        return trimap
    # From the centre of a pixel to the nearest centre beyond the edge.
    depth = ndimage.distance_transform_edt(wanted)
    height = ndimage.distance_transform_edt(~wanted)
    trimap[wanted & (depth <= inside)] = UNKNOWN
    trimap[~wanted & (height <= outside)] = UNKNOWN
    return trimap


def painted_over(trimap: ArrayLike, strokes: ArrayLike) -> Trimap:
    """Return a trimap after strokes in a Labels layer.

    Parameters
    ----------
    trimap : array, shape (H, W)
        See :func:`as_trimap`.
    strokes : array of integers, shape (H, W)
        0 nothing, 1 background, 2 unknown, 3 object.

    Raises
    ------
    MaskError
        If the shapes differ or a stroke has another number.
    """
    found = as_trimap(trimap).copy()
    painted = np.asarray(strokes)
    if painted.shape != found.shape:
        raise MaskError(
            f"The strokes have shape {painted.shape}, the trimap {found.shape}: both "
            "must cover the same image."
        )
    if painted.size and not (painted.min() >= 0 and painted.max() <= 3):
        raise MaskError(
            "Strokes on a trimap have label 1 (background), 2 (unknown) or 3 (object), "
            f"not {painted.max()}."
        )
    for label, value in ((1, BACKGROUND), (2, UNKNOWN), (3, OBJECT)):
        found[painted == label] = value
    return found


def opened(trimap: Trimap, clicks: Sequence[Click], values: Sequence[float]) -> Trimap:
    """Make the surroundings of clicks unknown that the trimap contradicts.

    Known pixels of a trimap are answered as they are, so a click there asks for
    another trimap first.

    Parameters
    ----------
    trimap : ndarray, shape (H, W)
    clicks : sequence of Click
        On pixels of the image; a radius says how far the surroundings reach.
    values : sequence of float
        Alpha that each click asks for.

    Returns
    -------
    ndarray
        The same array where no click contradicts.
    """
    result = trimap
    for click, value in zip(clicks, values, strict=True):
        row = min(max(round(click.row), 0), trimap.shape[0] - 1)
        col = min(max(round(click.col), 0), trimap.shape[1] - 1)
        known = {BACKGROUND: 0.0, OBJECT: 1.0}.get(int(trimap[row, col]))
        if known is None or known == value:
            continue
        if result is trimap:
            result = trimap.copy()
        rows = np.arange(trimap.shape[0])[:, None] - row
        cols = np.arange(trimap.shape[1])[None, :] - col
        result[rows**2 + cols**2 <= (click.radius or OPENED) ** 2] = UNKNOWN
    return result


def overwritten(alpha: NDArray[Any], trimap: Trimap) -> NDArray[np.float32]:
    """Return alpha with 0 and 1 where the trimap knows it.

    Parameters
    ----------
    alpha : ndarray, shape (H, W)
    trimap : ndarray, shape (H, W)
    """
    known: NDArray[np.float32] = np.array(alpha, np.float32)
    known[trimap == BACKGROUND] = 0
    known[trimap == OBJECT] = 1
    return known
