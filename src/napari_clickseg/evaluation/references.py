"""References as files hold them: numbers of classes, alpha, depths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.errors import ClickSegError, DatasetError
from napari_clickseg.imagefiles import read_image, read_labels

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Whole numbers of depth files are millimetres, as those of NYU-Depth-V2 exports are.
MILLIMETRES = 1000.0


@dataclass(frozen=True)
class Listed:
    """Reads labels whose numbers stand in a list; others do not count."""

    labels: dict[int, int]

    def __call__(self, path: Path) -> NDArray[Any]:
        """Return labels (H, W), int32; 0 does not count."""
        values = label_plane(path)
        truth = np.zeros(values.shape, np.int32)
        for number, label in self.labels.items():
            truth[values == number] = label
        return truth


@dataclass(frozen=True)
class Numbered:
    """Reads labels that count from a number on; one of them does not count."""

    first: int = 0
    ignore: int | None = None

    def __call__(self, path: Path) -> NDArray[Any]:
        """Return labels (H, W), int32; 0 and below do not count."""
        values = label_plane(path).astype(np.int32)
        truth = values - self.first + 1
        if self.ignore is not None:
            truth[values == self.ignore] = 0
        return truth


@dataclass(frozen=True)
class Depths:
    """Reads depths; 0 and below, and what is no number, is unknown."""

    scale: float | None = None

    def __call__(self, path: Path) -> NDArray[Any]:
        """Return depths (H, W), float32; NaN is unknown."""
        values = one_plane(_readable(path), path)
        scale = self.scale
        if scale is None:
            scale = MILLIMETRES if values.dtype.kind in "iu" else 1.0
        depth = values.astype(np.float32) / np.float32(scale)
        depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
        return depth


def read_alpha(path: Path) -> NDArray[Any]:
    """Read alpha: whole numbers up to their type's largest, or floats up to 1."""
    values = one_plane(_readable(path), path)
    if values.dtype == bool:
        return values.astype(np.float32)
    if values.dtype.kind in "iu":
        return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise DatasetError(
            f"{path.name} holds alpha from {values.min()} to {values.max()}: it lies "
            "between 0 and 1."
        )
    return values.astype(np.float32)


def label_plane(path: Path) -> NDArray[Any]:
    """Return the whole numbers of a file, (H, W)."""
    return one_plane(read_labels(path), path)


def _readable(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(read_image(path))
    except ClickSegError as error:
        raise DatasetError(str(error)) from error


def one_plane(values: Any, path: Path) -> NDArray[Any]:
    """Return the one plane of a reference; colours that are grey are one."""
    array = np.asarray(values)
    if array.ndim == 3 and array.shape[2] == 1:
        return array[..., 0]
    if array.ndim == 3 and array.shape[2] in (2, 3, 4):
        grey = array[..., : 1 if array.shape[2] == 2 else 3]
        if (grey == grey[..., :1]).all():
            return array[..., 0]
    if array.ndim != 2:
        raise DatasetError(
            f"{path.name} has shape {array.shape}; a reference needs one plane (H, W). "
            "Colours are not read as classes: save their numbers."
        )
    return array
