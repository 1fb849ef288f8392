"""Find out how labelled images are laid out, and open them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from napari_clickseg.errors import TrainingError
from napari_clickseg.training.readers.base import Reader

Layout = Literal["auto", "folder", "coco", "coco_lvis", "sbd", "ome_zarr", "arrays"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def open_reader(
    images: Any,
    labels: Any = None,
    layout: Layout = "auto",
    names: Sequence[str] | None = None,
    contrast: Sequence[Any] | None = None,
) -> Reader:
    """Open labelled images.

    Parameters
    ----------
    images : path, array, or sequence of arrays
        A folder with ``images/`` and ``masks/``; a folder of images; a COCO JSON
        file; RITM's COCO+LVIS; SBD; an OME-Zarr image with labels, or a folder of
        these; arrays.
    labels : path, array, or sequence of arrays, optional
        Where the labels are, if not with the images. For COCO: the folder of images.
        For OME-Zarr: the labels' name.
    layout : str
        One of :data:`LAYOUTS`; ``auto`` looks at what is there.
    names : sequence of str, optional
        Names of arrays.
    contrast : sequence, optional
        Of arrays: which values each is shown with, see :class:`.arrays.Arrays`.

    Raises
    ------
    TrainingError
        If nothing of that layout is there; the text says what is missing.
    """
    if layout not in LAYOUTS:
        raise TrainingError(
            f"There is no layout {layout!r}. Choose one of {', '.join(LAYOUTS)}."
        )
    if not isinstance(images, str | os.PathLike):
        from napari_clickseg.training.readers.arrays import Arrays

        if labels is None:
            raise TrainingError("Arrays of images need arrays of labels beside them.")
        return Arrays(images, labels, names, contrast)
    path = Path(images).expanduser()
    if not path.exists():
        raise TrainingError(f"There is no folder or file {path}. Check the path.")
    return _open_path(path, labels, _recognise(path) if layout == "auto" else layout)


def _recognise(path: Path) -> Layout:
    from napari_clickseg.training.readers.ome_zarr import is_zarr

    if path.is_file():
        return "coco"
    if is_zarr(path):
        return "ome_zarr"
    if any(
        (place / "hannotation.pickle").is_file() for place in (path, path / "train")
    ):
        return "coco_lvis"
    if any((place / "inst").is_dir() for place in (path, path / "dataset")):
        return "sbd"
    if not (path / "images").is_dir() and any(is_zarr(p) for p in path.iterdir()):
        return "ome_zarr"
    return "folder"


def _open_path(path: Path, labels: Any, layout: Layout) -> Reader:
    where = None if labels is None else Path(labels).expanduser()
    if layout == "coco":
        from napari_clickseg.training.readers.coco import Coco

        return Coco(path, where)
    if layout == "coco_lvis":
        from napari_clickseg.training.readers.coco_lvis import CocoLvis

        return CocoLvis(path)
    if layout == "sbd":
        from napari_clickseg.training.readers.sbd import Sbd

        return Sbd(path)
    if layout == "ome_zarr":
        from napari_clickseg.training.readers.ome_zarr import OmeZarr

        return OmeZarr(path, None if labels is None else str(labels))
    if layout == "arrays":
        raise TrainingError(f"{path} is a path, no array. Leave the layout out.")
    from napari_clickseg.training.readers.folder import Folder

    return Folder(path, where)
