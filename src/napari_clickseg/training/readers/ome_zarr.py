"""OME-Zarr images with labels (NGFF 0.4 and 0.5), read plane by plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.encoding.sources import Plane, largest_level, open_zarr
from napari_clickseg.errors import ImageError, TrainingError
from napari_clickseg.limits import DAMAGE, check_bytes, damage, inside
from napari_clickseg.training.readers.base import Reader


class OmeZarr(Reader):
    """The planes of an OME-Zarr image for which there are labels.

    Parameters
    ----------
    path : Path
        The image's group, which has a group ``labels``; or a folder of such images.
    label : str, optional
        Name of the labels; by default the first that the image lists.

    Raises
    ------
    TrainingError
        If there is no image with labels, or they are of different shape.
    """

    layout: ClassVar[str] = "ome_zarr"

    def __init__(self, path: Path, label: str | None = None) -> None:
        roots = [path] if is_zarr(path) else sorted(p for p in path.iterdir())
        self._planes: list[tuple[Plane, Plane, int | None]] = []
        self._groups: list[str] = []
        names: list[str] = []
        for root in roots:
            if not is_zarr(root):
                continue
            try:
                planes = _planes_of(root, label)
            except damage(ImageError) as error:
                raise TrainingError(
                    f"{root} is no OME-Zarr image with labels: {error}"
                ) from error
            for index, image, labels, axis in planes:
                at = ", ".join(map(str, index))
                names.append(f"{root.name}[{at}]" if index else root.name)
                self._planes.append((image, labels, axis))
                # neighbouring planes look alike: they stay together
                self._groups.append(root.name if len(roots) > 1 else names[-1])
        if not names:
            raise TrainingError(f"There is no OME-Zarr image in {path}.")
        self.names = tuple(names)

    def image(self, index: int) -> Any:
        """Return a plane that is read by window."""
        return self._planes[index][0]

    def labels(self, index: int) -> NDArray[Any]:
        """Read a plane of labels."""
        plane = self._planes[index][1]
        try:
            check_bytes(plane.shape, plane.dtype.itemsize)
            return np.asarray(plane[:])
        except DAMAGE as error:
            raise TrainingError(
                f"The labels of {self.names[index]} cannot be read: {error}"
            ) from error

    def channel_axis(self, index: int) -> int | None:
        """Return 0 where the image has channels."""
        return self._planes[index][2]

    def group(self, index: int) -> str:
        """Return the image's name, or the plane's where there is one image."""
        return self._groups[index]


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr group or array."""
    marks = ("zarr.json", ".zgroup", ".zarray")
    return path.is_dir() and any((path / mark).is_file() for mark in marks)


def _planes_of(
    root: Path, label: str | None
) -> list[tuple[tuple[int, ...], Plane, Plane, int | None]]:
    level, axes = largest_level(root, open_zarr(root))
    image = open_zarr(root / level)
    names = _label_names(root)
    chosen = names[0] if label is None else label
    if chosen not in names:
        raise TrainingError(
            f"{root} has no labels {chosen!r}; it has {', '.join(names)}."
        )
    folder = root / "labels" / chosen
    label_level, label_axes = largest_level(folder, open_zarr(folder))
    labels = open_zarr(folder / label_level)
    if not axes.endswith("yx") or not label_axes.endswith("yx"):
        raise TrainingError(f"the last axes are not y and x (axes {axes!r})")
    has_channels = "c" in axes and image.shape[axes.index("c")] > 1
    kept: tuple[int, ...] = (image.ndim - 2, image.ndim - 1)
    if has_channels:
        kept = (axes.index("c"), *kept)
    found = []
    free = [a for a in range(image.ndim) if a not in kept]
    for index in np.ndindex(*(image.shape[a] for a in free)):
        at = {axes[a]: n for a, n in zip(free, index, strict=True)}
        place = _same_place(at, label_axes, labels.shape)
        if place is None:
            continue
        plane = Plane(image, kept, index)
        marks = Plane(labels, (labels.ndim - 2, labels.ndim - 1), place)
        found.append((tuple(index), plane, marks, 0 if has_channels else None))
    return found


def _same_place(
    at: dict[str, int], axes: str, shape: Sequence[int]
) -> tuple[int, ...] | None:
    """Return where the labels of a plane lie; None where they have none."""
    place = []
    for axis, size in zip(axes[:-2], shape[:-2], strict=True):
        number = at.get(axis, 0) if size > 1 else 0
        if number >= size:
            return None
        place.append(number)
    return tuple(place)


def _label_names(root: Path) -> list[str]:
    group = root / "labels"
    if not is_zarr(group):
        raise TrainingError("it has no group 'labels'")
    attributes = dict(open_zarr(group).attrs)
    names = attributes.get("ome", attributes).get("labels", [])
    if not isinstance(names, list) or not names:
        raise TrainingError("its group 'labels' lists none")
    for name in names:
        inside(group, name)
    return [str(name) for name in names]
