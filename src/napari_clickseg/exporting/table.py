"""A table of measures, one row for each object."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_clickseg.exporting.coco import as_plane
from napari_clickseg.exporting.tiff import Spacing
from napari_clickseg.exporting.writing import check_suffix, replacing

__all__ = ["save_table"]


def save_table(
    path: str | os.PathLike[str],
    labels: Any,
    spacing: Any = None,
    *,
    classes: Mapping[int, str] | None = None,
) -> list[Path]:
    """Write where objects are and how large, as comma-separated values.

    Columns: ``label``, ``class``, ``area`` in pixels, ``row`` and ``col`` of the
    centroid, ``top``, ``left``, ``bottom``, ``right`` (half-open); with a spacing also
    ``area_um2`` (or another unit).

    Parameters
    ----------
    path : path
        Ending ``.csv``.
    labels : array-like of int, shape (H, W)
        0 is background.
    spacing : float or (float, float), optional
        How far pixels lie apart.
    classes : mapping of int to str, optional
        Class of each label.

    Returns
    -------
    list of Path
        The file.

    Raises
    ------
    ExportError
        If it is no plane of labels, or cannot be written.
    """
    target, plane = check_suffix(path, (".csv",), "A table"), as_plane(labels)
    known = Spacing.of(spacing)
    from scipy import ndimage

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["label", "class", "area", "row", "col", "top", "left", "bottom", "right"]
    if known is not None:
        head.append(f"area_{known.unit}2")
    writer.writerow(head)
    ids, numbers = np.unique(plane, return_inverse=True)
    first = int(bool(ids.size) and ids[0] == 0)
    places = ndimage.find_objects(numbers.reshape(plane.shape) + 1 - first)
    for label, where in zip(ids[first:].tolist(), places, strict=True):
        rows, cols = np.nonzero(plane[where] == label)
        top, left = where[0].start, where[1].start
        row: list[Any] = [label, (classes or {}).get(label, ""), rows.size]
        row += [f"{rows.mean() + top:.3f}", f"{cols.mean() + left:.3f}"]
        row += [top, left, where[0].stop, where[1].stop]
        if known is not None:
            row.append(f"{rows.size * known.row * known.col:.6g}")
        writer.writerow(row)
    with replacing(target) as (file,):
        file.write(text.getvalue().encode())
    return [target]
