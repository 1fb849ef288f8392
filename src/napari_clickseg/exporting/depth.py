"""Depth maps: numbers with a unit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.exporting.planes import Planes
from napari_clickseg.exporting.tiff import Spacing, plain_unit, write_tiff
from napari_clickseg.exporting.writing import TIFF, check_suffix, replacing

DEPTH_SUFFIXES = TIFF
_WHAT = "Depth in its unit"


def save_depth(
    path: str | os.PathLike[str],
    depth: Any,
    unit: str = "m",
    spacing: float | Sequence[float] | Spacing | None = None,
    *,
    spacing_unit: str = "um",
) -> list[Path]:
    """Write depths, or heights, as float32 TIFF that knows their unit.

    Parameters
    ----------
    path : path
        ``.tif`` or ``.tiff``.
    depth : array-like of numbers, shape (H, W) or (..., H, W)
        NaN where it is not known.
    unit : str
        Of the depths. ImageJ and QGIS show it.
    spacing, spacing_unit
        Distance of pixels in the plane, as for :func:`save_class_map`; its unit may be
        another one than that of the depths.

    Returns
    -------
    list of Path
        The one file.

    Raises
    ------
    ExportError
        If the array is no depth map, or the file cannot be written; a file that was
        there is unchanged then.
    """
    path = check_suffix(path, DEPTH_SUFFIXES, _WHAT)
    planes = Planes(depth, "Depth")
    spaced, unit = Spacing.of(spacing, spacing_unit), plain_unit(unit)
    with replacing(path) as [file]:
        write_tiff(
            file,
            (_float32(plane) for plane in planes),
            planes.shape,
            np.dtype("float32"),
            spacing=spaced,
            unit=unit,
            shown=_range(planes),
        )
    return [path]


def _float32(plane: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # becomes infinite, as it nearly is
        return plane.astype(np.float32)


def _range(planes: Planes) -> tuple[float, float] | None:
    """Return the range of the middle plane, without what is not known."""
    values = _float32(planes[len(planes) // 2])
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else None
