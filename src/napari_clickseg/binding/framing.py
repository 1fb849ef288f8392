"""Frames around the objects that are chosen in the list."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_clickseg.binding.hooks import camera_of
from napari_clickseg.binding.own_layers import MARK, grid_of
from napari_clickseg.binding.planes import Plane
from napari_clickseg.boxes import Box

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Points

__all__ = ["FRAME", "Frames"]

FRAME = "Chosen objects"
COLOR = "#ffd400"
#: No more frames than this; image pixels from the object to its frame; pixels on screen
#: that the frame is wide.
MOST, MARGIN, WIDTH = 200, 3, 2.0


class Frames:
    """A Points layer of hollow squares; made when something is chosen first.

    Squares, as napari draws points faster than shapes.
    """

    def __init__(self) -> None:
        self._layer: weakref.ref[Points] | None = None

    @property
    def layer(self) -> Points | None:
        """The layer, if there is one."""
        return None if self._layer is None else self._layer()

    def fit_zoom(self, zoom: float) -> None:
        """Keep frames as wide on screen as they are."""
        layer = self.layer
        if layer is not None and len(layer.data):
            layer.border_width = WIDTH / (zoom * abs(float(layer.scale[-1])))

    def show(
        self, viewer: ViewerModel, image: Image, plane: Plane, boxes: Sequence[Box]
    ) -> None:
        """Put frames around boxes of a plane, and take all others away."""
        layer = self.layer
        if layer is not None and (
            layer not in viewer.layers or layer.ndim != image.ndim
        ):
            layer = None
        if layer is None:
            if not boxes:
                return
            layer = self._added(viewer, image)
        places, sizes = [], []
        for box in boxes[:MOST]:
            middle = (box.top + box.bottom - 1) / 2, (box.left + box.right - 1) / 2
            places.append(plane.to_data(middle))
            sizes.append(max(box.shape) + 2 * MARGIN)
        grid = grid_of(image)
        for name in ("scale", "translate", "rotate", "shear", "affine"):
            setattr(layer, name, grid[name])
        layer.data = np.array(places).reshape(len(places), layer.ndim)
        if sizes:
            layer.size = np.array(sizes, float)
        layer.selected_data = set()
        self.fit_zoom(float(camera_of(viewer).zoom))

    def _added(self, viewer: ViewerModel, image: Image) -> Points:
        active = viewer.layers.selection.active
        layer = viewer.add_points(
            np.empty((0, image.ndim)),
            ndim=image.ndim,
            name=FRAME,
            metadata={MARK: FRAME},
            symbol="square",
            face_color="transparent",
            border_color=COLOR,
            border_width=WIDTH,
            border_width_is_relative=False,
            **grid_of(image),
        )
        layer.editable = False
        # Clicks stay on top, and at hand.
        viewer.layers.move(viewer.layers.index(layer), max(0, len(viewer.layers) - 2))
        viewer.layers.selection.active = active
        self._layer = weakref.ref(layer)
        return layer
