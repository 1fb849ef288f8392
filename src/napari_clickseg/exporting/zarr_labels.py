"""Objects as the labels of an OME-Zarr image (NGFF 0.5)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import ExportError, MissingPackageError
from napari_clickseg.exporting.coco import as_plane
from napari_clickseg.exporting.large import check_large, write_zarr_levels
from napari_clickseg.exporting.tiff import Spacing
from napari_clickseg.label_blocks import is_large
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
    zarr, target, large = _zarr(), Path(path).expanduser(), is_large(labels)
    plane: Any = check_large(labels) if large else as_plane(labels)
    if target.suffix.lower() != ".zarr":
        raise ExportError(f"OME-Zarr cannot be written as {target.name}: use .zarr.")
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise ExportError(f"{name!r} is no name for labels: use letters and digits.")
    scale = [1.0, 1.0] if spacing is None else [spacing.row, spacing.col]
    unit = {} if spacing is None else {"unit": _UNITS.get(spacing.unit, spacing.unit)}
    axes = [{"name": axis, "type": "space", **unit} for axis in "yx"]
    try:
        root = zarr.open_group(target, mode="a")
        group = root.require_group("labels")
        listed = dict(group.attrs.get("ome", {})).get("labels", [])
        mine = group.create_group(name, overwrite=True)
        names_of_axes = ["y", "x"] if root.metadata.zarr_format == 3 else None

        def create(level: str, shape: tuple[int, int]) -> Any:
            return mine.create_array(
                level,
                shape=shape,
                dtype=np.int32,
                chunks=tuple(max(1, min(CHUNK, n)) for n in shape),
                dimension_names=names_of_axes,
            )

        if large:
            shapes = write_zarr_levels(create, plane, np.int32)
        else:
            shapes = [plane.shape]
            create("0", plane.shape)[...] = plane
        scales = {"name": name, "axes": axes, "datasets": _datasets(shapes, scale)}
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

    Those of more than 2**27 pixels come as the Zarr array, which is not read yet.

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
        found: Any = mine[level]
        check_bytes(found.chunks, found.dtype.itemsize)
        if not is_large(found):
            check_bytes(found.shape, found.dtype.itemsize)
            found = np.asarray(found[...])
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


def _datasets(
    shapes: Sequence[tuple[int, ...]], scale: Sequence[float]
) -> list[dict[str, Any]]:
    """Return where the levels lie: a pixel of each is twice as large as before."""
    return [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [2**level * each for each in scale]},
                *(
                    [
                        {
                            "type": "translation",
                            "translation": [(2**level - 1) / 2 * s for s in scale],
                        }
                    ]
                    if level
                    else []
                ),
            ],
        }
        for level in range(len(shapes))
    ]


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingPackageError(
            "OME-Zarr needs zarr: pip install 'napari-clickseg[encode]'."
        ) from error
    return zarr
