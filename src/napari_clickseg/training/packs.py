"""Packs: folders of images and label images that training draws from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from napari_clickseg.errors import TrainingError
from napari_clickseg.training.readers.opening import Layout

Kind = Literal["photo", "microscopy", "cutout"]
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True)
class PackSpec:
    """What a recipe says about one pack.

    Parameters
    ----------
    name : str
        Folder below the data root, with ``images/`` and ``masks/``.
    kind : {"photo", "microscopy", "cutout"}
        Cut-outs carry alpha in the image and are pasted onto photos.
    weight : float
        Share of the samples that come from here (of the sum of weights).
    only_object : bool
        Objects other than the labelled one are not labelled; never use the
        rest as background of merged objects or as distractors.
    holdout : tuple of str
        Stems kept out of training, for tuning.
    layout : str
        Published protocols: how the data is laid out, see
        :data:`~napari_clickseg.training.readers.opening.LAYOUTS`.
    ignore : int or None
        Published protocols: label of pixels that do not count.
    """

    name: str
    kind: Kind
    weight: float
    only_object: bool = False
    holdout: tuple[str, ...] = ()
    layout: Layout = "auto"
    ignore: int | None = None


@dataclass(frozen=True)
class Item:
    """One image of a pack with the ids and boxes of its objects."""

    image: Path
    mask: Path
    objects: tuple[tuple[int, int, int, int, int, int], ...] = field(repr=False)
    """``(id, area, top, left, bottom, right)``, half-open boxes."""


@dataclass(frozen=True)
class Pack:
    """A pack read from disk."""

    spec: PackSpec
    items: tuple[Item, ...]


def data_root(data: str | Path | None) -> Path:
    """Return the folder that holds packs: as given, of the environment, or usual."""
    root = Path(data or os.environ.get("CLICKSEG_DATA", "../shared/data"))
    if not root.is_dir():
        raise TrainingError(
            f"no folder {root} with training packs; give it with --data or "
            "CLICKSEG_DATA"
        )
    return root


@lru_cache(maxsize=4096)
def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image as uint8 ``(H, W, 3)``, or ``(H, W, 4)`` where it has alpha."""
    with Image.open(path) as image:
        mode = "RGBA" if image.mode in ("RGBA", "LA", "PA") else "RGB"
        return np.asarray(image.convert(mode))


@lru_cache(maxsize=4096)
def read_labels(path: Path) -> NDArray[np.uint16]:
    """Read a label image as uint16 ``(H, W)``."""
    with Image.open(path) as image:
        labels = np.asarray(image)
    if labels.ndim != 2:
        raise TrainingError(
            f"{path} has shape {labels.shape}; a mask is one channel of labels"
        )
    return labels.astype(np.uint16)


def find_objects(
    labels: NDArray[np.uint16], min_area: int
) -> tuple[tuple[int, int, int, int, int, int], ...]:
    """List ``(id, area, top, left, bottom, right)`` of objects large enough."""
    from scipy import ndimage

    areas = np.bincount(labels.ravel())
    found = []
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or areas[index] < min_area:
            continue
        rows, cols = box
        found.append(
            (index, int(areas[index]), rows.start, cols.start, rows.stop, cols.stop)
        )
    return tuple(found)


def read_pack(root: Path, spec: PackSpec, min_area: int = 30) -> Pack:
    """Read a pack's list of images and objects.

    Parameters
    ----------
    root : Path
        Folder that holds the packs.
    spec : PackSpec
        Which pack, and what to keep out.
    min_area : int
        Objects below this many pixels are left out.

    Raises
    ------
    TrainingError
        If the folder is missing or has no usable pair.
    """
    folder = root / spec.name
    images = {
        path.stem: path
        for path in sorted((folder / "images").glob("*"))
        if path.suffix.lower() in SUFFIXES
    }
    if not images:
        raise TrainingError(
            f"no images in {folder / 'images'}; check the data root of the recipe "
            "(option --data)"
        )
    unknown = set(spec.holdout) - set(images)
    if unknown:
        raise TrainingError(
            f"pack {spec.name}: the recipe holds out unknown images {sorted(unknown)}"
        )
    items = []
    for stem, path in images.items():
        mask = folder / "masks" / f"{stem}.png"
        if stem in spec.holdout or (spec.kind != "cutout" and not mask.exists()):
            continue
        if spec.kind == "cutout":
            items.append(Item(path, path, ()))
            continue
        try:
            objects = find_objects(read_labels(mask), min_area)
        except (UnidentifiedImageError, OSError) as error:
            raise TrainingError(f"{mask} cannot be read: {error}") from error
        if objects:
            items.append(Item(path, mask, objects))
    if not items:
        raise TrainingError(f"pack {spec.name} has no object of {min_area} pixels")
    return Pack(spec, tuple(items))
