"""Objects of a label image in files of other programs, by the ending of the name."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import ClickSegError, ExportError
from napari_clickseg.exporting import png
from napari_clickseg.exporting.coco import as_plane, load_coco, save_coco
from napari_clickseg.exporting.geojson import load_geojson, save_geojson
from napari_clickseg.exporting.large import check_large, smallest_type, write_tiled
from napari_clickseg.exporting.table import save_table
from napari_clickseg.exporting.tiff import Spacing, resolution_tags, write_tiff
from napari_clickseg.exporting.writing import PNG, TIFF, replacing
from napari_clickseg.exporting.zarr_labels import load_zarr_labels, save_zarr_labels
from napari_clickseg.imagefiles import read_labels
from napari_clickseg.label_blocks import is_large
from napari_clickseg.memory import DENSE_PIXELS

__all__ = ["OBJECT_SUFFIXES", "load_objects", "save_objects"]

#: Endings: label TIFF, picture, COCO's JSON, GeoJSON of QuPath, OME-Zarr; a table of
#: measures, which is not read back.
OBJECT_SUFFIXES = (*TIFF, *PNG, ".json", ".geojson", ".zarr", ".csv")


def save_objects(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    spacing: Any = None,
    spacing_unit: str = "um",
    classes: Mapping[int, str] | None = None,
    **options: Any,
) -> list[Path]:
    """Write objects as the ending of the name says.

    Parameters
    ----------
    path : path
        ``.tif``: labels as numbers; ``.png``: a picture to look at, in colours;
        ``.json``: COCO (see :func:`save_coco`); ``.geojson``: QuPath (see
        :func:`save_geojson`); ``.zarr``: labels of an OME-Zarr image, which may be
        there already; ``.csv``: a table of measures (see :func:`save_table`).
    labels : array-like of int, shape (H, W)
        0 is background. More than 2**27 pixels that are no array in memory (a
        session's :class:`~napari_clickseg.plane_view.PlaneView`, Zarr, dask) are read
        and written part by part; OME-Zarr then gets levels of detail.
    spacing, spacing_unit
        How far pixels lie apart: one number, or (row, col); for TIFF, OME-Zarr and
        tables.
    classes : mapping of int to str, optional
        Class of each label; for COCO, GeoJSON and tables.
    **options
        For :func:`save_coco`, :func:`save_geojson` or :func:`save_zarr_labels`.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ExportError
        If there is no such kind of file, or it cannot be written.
    """
    target, large = Path(path).expanduser(), is_large(labels)
    plane: Any = check_large(labels) if large else as_plane(labels)
    suffix = target.suffix.lower()
    if suffix == ".json":
        return save_coco(target, plane, classes=classes, **options)
    if suffix == ".geojson":
        return save_geojson(target, plane, classes=classes, **options)
    known = Spacing.of(spacing, spacing_unit)
    if suffix == ".csv":
        return save_table(target, plane, known, classes=classes, **options)
    if suffix == ".zarr":
        return save_zarr_labels(target, plane, known, **options)
    if large and suffix in PNG:
        raise ExportError(
            f"A picture holds at most {DENSE_PIXELS:,} pixels, this image has "
            f"{plane.shape[0]:,} x {plane.shape[1]:,}. Write .zarr, .tif or .geojson, "
            "or a part of it, such as labels[:8000, :8000]."
        )
    if options:
        raise ExportError(
            f"{target.name} takes no {', '.join(options)}. Leave that out, or choose "
            "another kind of file."
        )
    if suffix in TIFF:
        kind = smallest_type(plane)
        if large:
            with replacing(target) as (file,):
                write_tiled(file, plane, kind, resolution_tags(known))
            return [target]
        with replacing(target) as (file,):
            write_tiff(file, [plane.astype(kind)], plane.shape, kind, spacing=known)
        return [target]
    if suffix in PNG:
        with replacing(target) as (file,):
            file.write(png.encode(picture(plane)))
        return [target]
    raise ExportError(
        f"Objects cannot be written as {target.name}: end the name in "
        f"{', '.join(OBJECT_SUFFIXES)}."
    )


def load_objects(
    path: str | os.PathLike[str], shape: tuple[int, int] | None = None
) -> NDArray[Any]:
    """Read objects from a file that :func:`save_objects` or another program wrote.

    Parameters
    ----------
    path : path
        ``.json``, ``.geojson``, ``.zarr``; or a label image: TIFF, PNG, ``.npy``.
    shape : (int, int), optional
        Of the image; needed for GeoJSON.

    Returns
    -------
    ndarray of int, shape (H, W)
        More than 2**27 pixels of OME-Zarr or TIFF come as an array that is not read
        yet.

    Raises
    ------
    ExportError
        If it cannot be read so.
    """
    source = Path(path).expanduser()
    suffix = source.suffix.lower()
    if suffix == ".json":
        return load_coco(source)
    if suffix == ".geojson":
        if shape is None:
            raise ExportError(
                "GeoJSON does not say how large the image is. Give its shape."
            )
        return load_geojson(source, shape)
    if suffix == ".zarr":
        return load_zarr_labels(source)
    try:
        return read_labels(source)
    except ClickSegError as error:
        raise ExportError(str(error)) from error


def picture(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return colours (H, W, 3) in which neighbouring numbers look different."""
    ids, flat = np.unique(labels, return_inverse=True)
    colours = np.array(
        [
            colorsys.hsv_to_rgb(n * 0.618 % 1, 0.65, 0.95) if n else (0, 0, 0)
            for n in ids.tolist()
        ]
    )
    found = np.round(colours * 255).astype(np.uint8)[flat.reshape(labels.shape)]
    return np.ascontiguousarray(found.reshape(*labels.shape, 3))
