"""Annotated layers of a viewer, as finetuning takes them: planes with their labels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding import own_layers
from napari_clickseg.binding.dense_layers import ALPHA, CLASSES, DEPTH
from napari_clickseg.binding.planes import (
    Plane,
    data_shape,
    displayed_plane,
    plane_image,
)
from napari_clickseg.errors import Cancelled, ClickSegError, ImageError, TrainingError

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

__all__ = ["Planes", "Source", "labels_for", "likely_pairs", "sources_of"]

#: Which of our layers hold labels of a task.
KINDS = {
    "segmentation": {None, own_layers.OBJECTS},
    "semantic": {None, CLASSES},
    "matting": {None, ALPHA},
    "depth": {None, DEPTH},
}
#: Tasks whose labels are values, in Image layers.
VALUES = frozenset({"matting", "depth"})


@dataclass
class Planes:
    """Images and labels in memory, as lists for ``plan_finetune``."""

    images: list[Any] = field(default_factory=list)
    labels: list[NDArray[Any]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    contrast: list[Any] = field(default_factory=list)


class Source(NamedTuple):
    """One pair of layers, as it was when it was chosen; read in the worker.

    Attributes
    ----------
    planes : list
        Name, image, contrast and cut of the labels of each plane.
    shift : int
        What is added to labels: the classes of our layers begin at 1, 0 is nothing.
    """

    labels: Any
    planes: list[tuple[str, Any, Any, Plane]]
    shift: int
    several: bool
    name: str

    def read(self, into: Planes, cancelled: Callable[[], bool]) -> None:
        """Copy the labels of all planes that have some; what follows changes nothing.

        Raises
        ------
        TrainingError
            If there are none.
        """
        found = False
        for name, image, contrast, plane in self.planes:
            if cancelled():
                raise Cancelled("Stopped while the layers were being read.")
            cut = np.array(self.labels[plane.indexer()])
            labelled = np.nan_to_num(cut) != 0 if cut.dtype.kind == "f" else cut != 0
            if self.several and not labelled.any():
                continue  # nobody has looked at this plane yet
            found = True
            into.images.append(image)
            into.labels.append(cut.astype(np.int32) + self.shift if self.shift else cut)
            into.names.append(name)
            into.contrast.append(contrast)
        if not found:
            raise TrainingError(
                f"No plane of '{self.name}' has labels yet. Annotate some objects "
                "(click them and press N, or paint), then check again."
            )


def labels_for(viewer: ViewerModel, task: str) -> list[Layer]:
    """Return the layers that may hold labels for a task, top first."""
    from napari.layers import Image, Labels

    wanted = Image if task in VALUES else Labels
    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image | Labels)
        and isinstance(layer, wanted)
        and (task not in VALUES or not isinstance(layer, Labels))
        and layer.metadata.get(own_layers.MARK) in KINDS[task]
        and not getattr(layer, "rgb", False)
    ]


def likely_pairs(viewer: ViewerModel, task: str) -> list[tuple[Image, Layer]]:
    """Return which images and labels belong together: shape, then name, tell."""
    images = own_layers.image_layers(viewer)
    marks = [
        layer
        for layer in labels_for(viewer, task)
        if task not in VALUES or own_layers.is_ours(layer)  # else any could be meant
    ]
    found: list[tuple[Image, Layer]] = []
    for by_name in (True, False):
        for labels in marks:
            free = [
                image
                for image in images
                if image is not labels
                and data_shape(image) == data_shape(labels)
                and not any(image is i or labels is m for i, m in found)
                and (not by_name or image.name.lower() in labels.name.lower())
            ]
            if free:
                found.append((free[0], labels))
    return found


def sources_of(
    viewer: ViewerModel, pairs: list[tuple[Image | None, Layer | None]], task: str
) -> list[Source]:
    """Return what is to be read of pairs of layers.

    Raises
    ------
    TrainingError
        If a pair does not fit together, or there is none.
    """
    if not pairs:
        raise TrainingError(
            "No image is chosen yet. Open an image, annotate a few objects in a Labels "
            "layer (for example by clicks), and choose both; or choose a folder."
        )
    return [_source_of(viewer, image, labels, task) for image, labels in pairs]


def _source_of(
    viewer: ViewerModel, image: Image | None, labels: Layer | None, task: str
) -> Source:
    if image is None or image not in viewer.layers:
        raise TrainingError("A row has no image yet: choose one, or remove the row.")
    if labels is None or labels not in viewer.layers:
        what = "layer of values" if task in VALUES else "Labels layer"
        raise TrainingError(
            f"'{image.name}' has no labels yet: choose its {what}, or remove the row."
        )
    if image is labels:
        raise TrainingError(f"'{image.name}' cannot be its own labels: choose others.")
    shape = data_shape(image)
    if data_shape(labels) != shape:
        raise TrainingError(
            f"'{image.name}' has shape {shape} and '{labels.name}' "
            f"{data_shape(labels)}. Choose labels that were made for this image; they "
            "must be the same size."
        )
    axes = _axes(viewer, image)
    ranges = [[-1] if n in axes else range(length) for n, length in enumerate(shape)]
    planes = []
    for fixed in itertools.product(*ranges):
        plane = Plane(axes, tuple(fixed))
        try:
            shown = plane_image([image], plane)
        except ImageError as error:
            raise TrainingError(str(error)) from error
        place = plane.describe()
        name = f"{image.name} [{place}]" if place else image.name
        planes.append((name, shown.array, shown.contrast, plane))
    data = labels.data[0] if getattr(labels, "multiscale", False) else labels.data
    ours = labels.metadata.get(own_layers.MARK) == CLASSES
    return Source(data, planes, -1 if ours else 0, len(planes) > 1, labels.name)


def _axes(viewer: ViewerModel, image: Image) -> tuple[int, int]:
    """Return the axes of the planes: those on screen, else the last two."""
    try:
        return displayed_plane(viewer, image).axes
    except ClickSegError:  # in 3-D, or of another image's axes
        return image.ndim - 2, image.ndim - 1
