"""The layers that the plugin adds beside an image, on the image's own grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.binding.lazy_labels import LazyLabels, label_levels, plane_axes
from napari_clickseg.binding.planes import data_shape
from napari_clickseg.binding.points import new_points_keywords
from napari_clickseg.errors import MaskError
from napari_clickseg.memory import DENSE_PIXELS, check_room, fits

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer, Points

    from napari_clickseg.binding.click_styles import ClickStyle

__all__ = [
    "add_mask",
    "add_objects",
    "add_points",
    "check_objects",
    "empty_labels",
    "follow_grid",
    "grid_of",
    "image_layers",
    "is_ours",
    "takes_objects",
    "zeros_like_image",
]

CLICKS, MASK, OBJECTS = "Clicks", "Mask", "Objects"
#: In ``layer.metadata``: which of our layers this is.
MARK = "napari-clickseg"
MASK_COLOR = "#1e90ff"
#: Attributes that place a layer in the world, and tell when they change.
PLACING = ("scale", "translate", "rotate", "shear", "affine")
_ALSO_PLACING = ("units", "axis_labels")


def is_ours(layer: Layer, kind: str | None = None) -> bool:
    """Whether the plugin made this layer (of this kind)."""
    made = layer.metadata.get(MARK)
    return made is not None and kind in (None, made)


def takes_objects(layer: Layer) -> bool:
    """Whether a Labels layer can take committed objects: none of another part."""
    return layer.metadata.get(MARK) in (None, OBJECTS)


def image_layers(viewer: ViewerModel) -> list[Image]:
    """Return the images of a viewer that can be clicked on, top first."""
    from napari.layers import Image, Labels

    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image)
        and not isinstance(layer, Labels)
        and not is_ours(layer)
        and layer.ndim >= 2
    ]


def add_points(
    viewer: ViewerModel,
    image: Image,
    name: str = CLICKS,
    style: ClickStyle | None = None,
) -> Points:
    """Add the empty layer for clicks on top."""
    keywords = new_points_keywords(image.ndim, style) | grid_of(image)
    return viewer.add_points(name=name, metadata={MARK: CLICKS}, **keywords)


def add_mask(viewer: ViewerModel, image: Image) -> Labels:
    """Add the empty layer for the live mask."""
    from napari.utils.colormaps import CyclicLabelColormap

    # One color for whatever label is painted with. (A direct colormap says the
    # same, but napari compiles code for it, which takes a second.)
    one_color = CyclicLabelColormap(colors=["transparent", MASK_COLOR])
    layer = viewer.add_labels(
        name=MASK,
        metadata={MARK: MASK},
        opacity=0.5,
        colormap=one_color,
        **empty_labels(image, np.uint8),
        **grid_of(image),
    )
    layer.selected_label = 1
    layer.brush_size = 10
    return layer


def add_objects(viewer: ViewerModel, image: Image) -> Labels:
    """Add the empty layer for committed objects."""
    return viewer.add_labels(
        name=f"{OBJECTS} of {image.name}",
        metadata={MARK: OBJECTS},
        opacity=0.45,
        **empty_labels(image, np.int32),
        **grid_of(image),
    )


def check_objects(layer: Labels, image: Image) -> None:
    """Refuse a Labels layer that cannot take the objects of an image.

    Raises
    ------
    MaskError
        With what to do.
    """
    shape, theirs = data_shape(image), data_shape(layer)
    if len(theirs) > len(shape) and set(theirs[: -len(shape)]) == {1}:
        theirs = theirs[-len(shape) :]
    if theirs != shape and not (
        2 <= len(theirs) < len(shape) and shape[-len(theirs) :] == theirs
    ):
        raise MaskError(
            f"'{layer.name}' has shape {data_shape(layer)}, but '{image.name}' "
            f"has {shape}: choose a Labels layer of that shape, or a new one."
        )


def follow_grid(image: Image, layer: Layer) -> Callable[[], None]:
    """Keep a layer where its image is; returns how to stop."""
    stops: list[Callable[[], None]] = []
    for name in PLACING:
        emitter = getattr(image.events, name)

        def moved(_event: Any = None, name: str = name) -> None:
            setattr(layer, name, getattr(image, name))

        emitter.connect(moved)
        stops.append(partial(emitter.disconnect, moved))

    def stop() -> None:
        for each in stops:
            each()

    return stop


def grid_of(image: Image) -> dict[str, Any]:
    """Return what places a layer where its image is."""
    names = [name for name in (*PLACING, *_ALSO_PLACING) if hasattr(image, name)]
    return {name: getattr(image, name) for name in names}


def empty_labels(image: Image, dtype: Any) -> dict[str, Any]:
    """Return labels of the image's shape, as keywords of ``viewer.add_labels``.

    Planes of more than 2**27 pixels, which napari draws from levels of detail only, and
    stacks that would not fit, take memory only where something is written.
    """
    shape = data_shape(image)
    dtype = np.dtype(dtype)
    axes = plane_axes(shape)
    if shape[axes[0]] * shape[axes[1]] > DENSE_PIXELS:
        return {"data": label_levels(shape, dtype), "multiscale": True}
    if not fits(math.prod(shape), dtype.itemsize):
        return {"data": LazyLabels(shape, dtype)}
    return {"data": zeros_like_image(image, dtype)}


def zeros_like_image(image: Image, dtype: Any) -> Any:
    """Return zeros of the image's shape; pages nobody writes to cost no memory.

    Raises
    ------
    MaskError
        If they would not fit, with the number of pixels that would.
    """
    shape, dtype = data_shape(image), np.dtype(dtype)
    instead = "Crop the image, or work on a smaller version of it."
    what = "A map of the whole image"
    check_room(what, math.prod(shape), dtype.itemsize, MaskError, instead, share=1.0)
    try:
        return np.zeros(shape, dtype)
    except MemoryError:
        raise MaskError(
            f"There is not enough memory for labels of shape {shape}: choose a Labels "
            "layer on disk (for example from zarr) for the objects, or crop the image."
        ) from None
