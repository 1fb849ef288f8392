"""The layers that show classes, alpha and depth, on the grid of their image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.own_layers import MARK, grid_of, zeros_like_image
from napari_clickseg.tasks.trimap import BACKGROUND, OBJECT, UNKNOWN

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer
    from napari.utils import Colormap

    from napari_clickseg.binding.planes import Plane
    from napari_clickseg.boxes import Box
    from napari_clickseg.tasks.class_lists import Classes

__all__ = [
    "ALPHA",
    "CLASSES",
    "CUTOUT",
    "DEPTH",
    "TRIMAP",
    "add_classes",
    "add_cutout",
    "add_trimap",
    "add_values",
    "alpha_colormap",
    "show_classes",
    "trimap_of",
    "trimap_strokes",
    "write_values",
]

#: In ``layer.metadata["napari-clickseg"]``: which of our layers this is.
CLASSES, ALPHA, DEPTH = "Classes", "Alpha", "Depth"
TRIMAP, CUTOUT = "Trimap", "Cut-out"
#: Labels of the trimap layer, as they are painted.
TRIMAP_LABELS = {1: "background", 2: "unknown", 3: "object"}
_VALUES = {1: BACKGROUND, 2: UNKNOWN, 3: OBJECT}


def add_classes(viewer: ViewerModel, image: Image, name: str) -> Labels:
    """Add the empty map of classes."""
    layer = viewer.add_labels(
        zeros_like_image(image, np.uint8),
        name=name,
        metadata={MARK: CLASSES},
        opacity=0.55,
        **grid_of(image),
    )
    layer.brush_size = 10
    return layer


def show_classes(layer: Labels, classes: Classes) -> None:
    """Give a map the colours and the names of its classes."""
    from napari.utils.colormaps import CyclicLabelColormap

    known = classes.to_dict()
    if layer.metadata.get("classes") == known:
        return
    shades = classes.colours()
    order = [shades[label] for label in range(len(classes) + 1)]
    layer.colormap = CyclicLabelColormap(colors=np.array(order, np.float32))
    names = ["", *classes.names]
    layer.features = {"index": np.arange(len(names)), "class": np.array(names, object)}
    layer.metadata = {**layer.metadata, "classes": known}


def add_values(
    viewer: ViewerModel,
    image: Image,
    name: str,
    kind: str,
    *,
    colormap: Any,
    limits: tuple[float, float],
    unit: str = "",
) -> Image:
    """Add the empty map of alpha or depth, float32.

    Parameters
    ----------
    viewer, image, name
    kind : str
        :data:`ALPHA` or :data:`DEPTH`.
    colormap
        As napari takes it.
    limits : (float, float)
        First contrast limits.
    unit : str
        Of the values.
    """
    layer = viewer.add_image(
        zeros_like_image(image, np.float32),
        name=name,
        metadata={MARK: kind, **({"unit": unit} if unit else {})},
        colormap=colormap,
        contrast_limits=limits,
        blending="translucent",
        rgb=False,
        **grid_of(image),
    )
    assert not isinstance(layer, list)
    return layer


def add_trimap(viewer: ViewerModel, image: Image, name: str) -> Labels:
    """Add the empty trimap: painted with 1 background, 2 unknown, 3 object."""
    from napari.utils.colormaps import CyclicLabelColormap

    colours = np.array(
        [(0, 0, 0, 0), (0.9, 0.2, 0.2, 0.25), (0.6, 0.6, 0.6, 1), (0.12, 0.56, 1, 1)],
        np.float32,
    )
    layer = viewer.add_labels(
        zeros_like_image(image, np.uint8),
        name=name,
        metadata={MARK: TRIMAP},
        opacity=0.5,
        colormap=CyclicLabelColormap(colors=colours),
        features={
            "index": np.arange(4),
            "trimap": np.array(["", *TRIMAP_LABELS.values()], object),
        },
        **grid_of(image),
    )
    layer.selected_label = 2
    layer.brush_size = 20
    return layer


def add_cutout(
    viewer: ViewerModel, image: Image, name: str, shape: tuple[int, ...]
) -> Image:
    """Add an empty RGBA image of the plane's shape in data of ``shape``."""
    layer = viewer.add_image(
        np.zeros((*shape, 4), np.uint8),
        name=name,
        metadata={MARK: CUTOUT, "foreground": "estimated"},
        rgb=True,
        blending="translucent",
        **grid_of(image),
    )
    assert not isinstance(layer, list)
    return layer


def alpha_colormap(view: str) -> Colormap:
    """Return how alpha is drawn.

    Parameters
    ----------
    view : str
        ``"dim"``: what is not the object is dark blue over the image; ``"alpha"``:
        black to white.
    """
    from napari.utils import Colormap

    if view == "dim":
        shades = np.array([(0.02, 0.03, 0.2, 0.85), (0.02, 0.03, 0.2, 0.0)])
        return Colormap(shades, name="clickseg dim")
    return Colormap(np.array([(0, 0, 0, 1.0), (1, 1, 1, 1.0)]), name="clickseg alpha")


def trimap_strokes(trimap: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a trimap as it is painted: 1 background, 2 unknown, 3 object."""
    drawn = np.full(trimap.shape, 2, np.uint8)
    drawn[trimap == BACKGROUND] = 1
    drawn[trimap == OBJECT] = 3
    return drawn


def trimap_of(drawn: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the trimap that was painted; what nobody painted is background."""
    trimap = np.zeros(drawn.shape, np.uint8)
    for label, value in _VALUES.items():
        trimap[drawn == label] = value
    return trimap


def write_values(layer: Layer, plane: Plane, box: Box, values: NDArray[Any]) -> None:
    """Put values into a box of a plane of an Image layer, and draw it anew."""
    if box.empty:
        return
    data = layer.data
    data[plane.indexer(box)] = values
    layer.refresh(thumbnail=True, highlight=False, extent=False)
