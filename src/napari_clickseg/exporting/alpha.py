"""Alpha as an image of its own: 65535 is 1."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_clickseg.errors import ExportError
from napari_clickseg.exporting.planes import Planes, check_single
from napari_clickseg.exporting.png import encode
from napari_clickseg.exporting.tiff import Spacing, write_tiff
from napari_clickseg.exporting.values import as_alpha, in_bits
from napari_clickseg.exporting.writing import PNG, TIFF, check_suffix, replacing

ALPHA_SUFFIXES = PNG + TIFF
_BITS = {"uint8": 8, "uint16": 16, "float32": 32}


def save_alpha(
    path: str | os.PathLike[str],
    alpha: Any,
    *,
    dtype: str = "uint16",
    spacing: float | Sequence[float] | Spacing | None = None,
    spacing_unit: str = "um",
) -> list[Path]:
    """Write alpha: how much of each pixel is the object.

    Parameters
    ----------
    path : path
        ``.png``, or ``.tif``, ``.tiff``; stacks only the latter.
    alpha : array-like, shape (H, W) or (..., H, W)
        Floats from 0 to 1, bool, uint8 (255 is 1) or uint16 (65535 is 1).
    dtype : {"uint16", "uint8", "float32"}
        What the file holds; floats from 0 to 1 only in TIFF.
    spacing, spacing_unit
        As for :func:`save_class_map`.

    Returns
    -------
    list of Path
        The one file.

    Raises
    ------
    ExportError
        If there are NaN or values out of range, or the file cannot be written; a file
        that was there is unchanged then.
    """
    path = check_suffix(path, ALPHA_SUFFIXES, "Alpha")
    if dtype not in _BITS:
        raise ExportError(
            f"Alpha cannot be written as {dtype!r}. Choose 'uint16', 'uint8' or "
            "'float32'."
        )
    planes = Planes(alpha, "Alpha")
    spaced = Spacing.of(spacing, spacing_unit)
    in_png = path.suffix.lower() in PNG
    if in_png:
        check_single(planes, path.name)
        if dtype == "float32":
            raise ExportError(f"PNG holds no floats: end {path.name} in .tif.")
    found = (as_alpha(plane) for plane in planes)
    if dtype == "float32":
        pages: Any = found
    else:
        pages = (in_bits(plane, _BITS[dtype]) for plane in found)
    with replacing(path) as [file]:
        if in_png:
            file.write(encode(next(pages)))
        else:
            write_tiff(
                file,
                pages,
                planes.shape,
                np.dtype(dtype),
                spacing=spaced,
                shown=(0, 1 if dtype == "float32" else 2 ** _BITS[dtype] - 1),
            )
    return [path]
