"""Alpha and colours as callers have them, checked, as files hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import ExportError

#: Alpha and colours this far beyond 0 to 1 are rounding, more is a mistake.
SLACK = 1e-3
#: What stands for 1, by type of integers.
_ONE = {"uint8": 255.0, "uint16": 65535.0}


def as_alpha(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return alpha, float32 in [0, 1].

    Parameters
    ----------
    values : ndarray
        Floats from 0 to 1, bool, or integers: of 0 and 1 only, of 8 bits (255 is 1) or
        of 16 bits (65535 is 1).

    Raises
    ------
    ExportError
        If there are NaN, values out of range or other integers.
    """
    if values.dtype.kind == "b":
        return values.astype(np.float32)
    if values.dtype.kind == "f":
        return _within(values, "Alpha", "0 (background) to 1 (object)")
    if values.min() >= 0 and values.max() <= 1:
        return values.astype(np.float32)
    one = _ONE.get(values.dtype.newbyteorder("=").name)
    if one is None:
        raise ExportError(
            f"Alpha holds {values.dtype} from {values.min()} to {values.max()}. Pass "
            "floats from 0 to 1, uint8 (255 is 1) or uint16 (65535 is 1)."
        )
    return values.astype(np.float32) / np.float32(one)


def as_colours(values: NDArray[Any]) -> NDArray[Any]:
    """Return colours (H, W, 3) of uint8 or uint16, in the machine's byte order.

    Parameters
    ----------
    values : ndarray, shape (H, W), (H, W, 1) or (H, W, 3)
        uint8 and uint16 are kept as they are; floats from 0 to 1 get 16 bits; bool is
        black and white.

    Raises
    ------
    ExportError
        If these are no such colours.
    """
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 3):
        raise ExportError(
            f"A cut-out is made of an image (H, W) or (H, W, 3), not of shape "
            f"{values.shape}. Choose up to three channels first."
        )
    if values.dtype.kind == "b":
        values = values.astype(np.uint8) * np.uint8(255)
    elif values.dtype.kind == "f":
        values = in_bits(_within(values, "The image", "0 to 1"), 16)
    elif values.dtype.newbyteorder("=").name not in _ONE:
        raise ExportError(
            f"The image holds {values.dtype}. Pass uint8, uint16, or floats from 0 to "
            "1 (rescaled to the contrast that you want to see)."
        )
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return np.broadcast_to(values, (*values.shape[:2], 3))


def in_bits(values: NDArray[np.floating[Any]], bits: int) -> NDArray[Any]:
    """Return values in [0, 1] as integers of 8 or 16 bits, rounded."""
    dtype = np.uint8 if bits == 8 else np.uint16
    found: NDArray[Any] = np.rint(values * np.float32(2**bits - 1)).astype(dtype)
    return found


def with_bits(colours: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return colours of uint8 or uint16 in 8 or 16 bits; black and white stay so."""
    if colours.dtype.itemsize * 8 == bits:
        return colours
    if bits == 16:
        return colours.astype(np.uint16) * np.uint16(257)
    wide = colours.astype(np.uint32)
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _within(values: NDArray[Any], what: str, wanted: str) -> NDArray[np.float32]:
    wrong = int(np.count_nonzero(~np.isfinite(values)))
    if wrong:
        raise ExportError(
            f"{what} has {wrong} pixels that are NaN or infinite. Give them a value, "
            "for example with np.nan_to_num, first."
        )
    low, high = float(values.min()), float(values.max())
    if low < -SLACK or high > 1 + SLACK:
        raise ExportError(
            f"{what} goes from {low:g} to {high:g}: it has to go from {wanted}."
        )
    return np.clip(values, 0, 1).astype(np.float32)
