"""Objects as the labels of an OME-Zarr image (NGFF 0.5)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import ExportError, MissingPackageError
from napari_clickseg.exporting.coco import as_plane
from napari_clickseg.exporting.tiff import Spacing
from napari_clickseg.limits import DAMAGE, check_bytes, inside

__all__ = ["load_zarr_labels", "save_zarr_labels"]

_UNITS = {"um": "micrometer", "nm": "nanometer", "mm": "millimeter", "m": "meter"}
#: Side of a chunk, in pixels.
CHUNK = 512


def save_zarr_labels(
    path: str | os.PathLike[str],
    labels: Any,
    spacing: Spacing | None = None,
    *,
    name: str = "objects",
) -> list[Path]:
    """Put labels into an OME-Zarr group: a new one, or that of an image.

    Parameters
    ----------
    path : path
        Ending ``.zarr``.
    labels : array-like of int, shape (H, W)
    spacing : Spacing, optional
    name : str
        Of these labels; others in the group stay, of this name are replaced.

    Returns
    -------
    list of Path
        The group.

    Raises
    ------
    ExportError
        If it cannot be written, or the name is no plain one.
    MissingPackageError
        If zarr is not installed.
    """
    zarr, target, plane = _zarr(), Path(path).expanduser(), as_plane(labels)
    if target.suffix.lower() != ".zarr":
        raise ExportError(f"OME-Zarr cannot be written as {target.name}: use .zarr.")
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise ExportError(f"{name!r} is no name for labels: use letters and digits.")
    scale = [1.0, 1.0] if spacing is None else [spacing.row, spacing.col]
    unit = {} if spacing is None else {"unit": _UNITS.get(spacing.unit, spacing.unit)}
    axes = [{"name": axis, "type": "space", **unit} for axis in "yx"]
    place = [{"type": "scale", "scale": scale}]
    scales = {
        "name": name,
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": place}],
    }
    try:
        root = zarr.open_group(target, mode="a")
        group = root.require_group("labels")
        listed = dict(group.attrs.get("ome", {})).get("labels", [])
        mine = group.create_group(name, overwrite=True)
        array = mine.create_array(
            "0",
            shape=plane.shape,
            dtype=plane.dtype,
            chunks=tuple(max(1, min(CHUNK, n)) for n in plane.shape),
            dimension_names=["y", "x"] if root.metadata.zarr_format == 3 else None,
        )
        array[...] = plane
        image_label = {"source": {"image": "../../"}}
        mine.attrs["ome"] = {
            "version": "0.5",
            "multiscales": [scales],
            "image-label": image_label,
        }
        names = [*(each for each in listed if each != name), name]
        group.attrs["ome"] = {"version": "0.5", "labels": names}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ExportError(
            f"{target} cannot be written as OME-Zarr ({error}). Choose another folder, "
            "or make room."
        ) from error
    return [target]


def load_zarr_labels(
    path: str | os.PathLike[str], name: str | None = None
) -> NDArray[Any]:
    """Read labels (H, W) of an OME-Zarr group, in full size.

    Raises
    ------
    ExportError
        If there are none, or they are no single plane.
    """
    zarr = _zarr()
    try:
        group = zarr.open_group(Path(path).expanduser(), mode="r")["labels"]
        attributes = dict(group.attrs)
        names = attributes.get("ome", attributes)["labels"]
        chosen = names[0] if name is None else name
        inside(Path("labels"), chosen)
        mine = group[chosen]
        facts = dict(mine.attrs)
        level = facts.get("ome", facts)["multiscales"][0]["datasets"][0]["path"]
        inside(Path("labels"), level)
        array = mine[level]
        for claimed in (array.shape, array.chunks):
            check_bytes(claimed, array.dtype.itemsize)
        found = np.asarray(array[...])
    except DAMAGE as error:
        raise ExportError(
            f"{path} is no OME-Zarr group with labels "
            f"({type(error).__name__}: {error})."
        ) from error
    while found.ndim > 2 and found.shape[0] == 1:
        found = found[0]
    if found.ndim != 2:
        raise ExportError(
            f"The labels in {path} have shape {found.shape}; choose one plane of them."
        )
    return found


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingPackageError(
            "OME-Zarr needs zarr: pip install 'napari-clickseg[encode]'."
        ) from error
    return zarr
