"""The layers of classes, alpha and depth: clicks, the map, maps that were kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_clickseg.binding import own_layers
from napari_clickseg.binding.click_styles import ClickStyle
from napari_clickseg.binding.dense_engine import DenseEngine
from napari_clickseg.binding.hooks import connected
from napari_clickseg.binding.keys import MAP_KEYS
from napari_clickseg.binding.planes import data_shape
from napari_clickseg.binding.reach import Reach
from napari_clickseg.binding.saving import Saving

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer, Points

    from napari_clickseg.binding.shelf import ModelShelf
    from napari_clickseg.worker import Channel

__all__ = ["DenseStage"]

#: The parts that layers play.
RESULT, KEPT = "result", "kept "


class DenseStage(Saving[DenseEngine]):
    """The layers of one task in one viewer; parameters as of ``ImageJobs``."""

    keys = MAP_KEYS
    #: ``"semantic"``, ``"matting"`` or ``"depth"``, and what its map is called.
    task: ClassVar[str]
    noun: ClassVar[str]
    singular: ClassVar[str] = "map"

    def __init__(
        self, viewer: ViewerModel, channel: Channel, shelf: ModelShelf
    ) -> None:
        #: The map in work.
        self.result_layer: Any = None
        self._result_stops: list[Callable[[], None]] = []
        super().__init__(viewer, channel, shelf)
        this = weakref.ref(self)

        def moved(_viewer: Any, _event: Any) -> None:
            stage = this()
            if stage is not None and stage.image_layer is not None:
                stage.changed_under_cursor.emit()

        self._mouse_moved = moved
        viewer.mouse_move_callbacks.append(moved)

    # --------------------------------------------------------------------- layers

    def make_ready(self) -> None:
        """Add those of our layers that are missing, ready for the first click."""
        image, viewer = self.image_layer, self.viewer
        if image is None or not self.in_view:
            return
        new = self.result_layer is None
        with self._quietly():
            if new:
                self._take_result(self._found(RESULT) or self.add_result())
            if self.points is None:
                name = f"Clicks for {self.noun}"
                style = self.click_style()
                points = own_layers.add_points(viewer, image, name, style)
                self._take_points(points, style)
        self._show_marks()
        if new and self.plane is not None:
            self._show_all()
        self._zoomed()
        self.activate()
        self.look_for_saved()

    def new_name(self, noun: str) -> str:
        """Return what a layer of ours beside the image is called."""
        assert self.image_layer is not None
        return f"{noun[0].upper()}{noun[1:]} of {self.image_layer.name}"

    def _found(self, role: str) -> Any:
        """Return the layer that played a part when the image was last clicked on."""
        context = self.context
        layer = None if context is None else context.layer(role)
        return layer if layer is not None and layer in self.viewer.layers else None

    def _take_result(self, layer: Any) -> None:
        assert self.context is not None
        self.result_layer = layer
        self.context.keep(RESULT, layer)
        self._result_stops += [
            *self._tie(layer),
            connected(layer.events.name, self._tell_changed),
        ]

    def _take_points(self, layer: Points, style: ClickStyle | None = None) -> None:
        super()._take_points(layer, style)
        points, this = self.points, weakref.ref(self)
        assert points is not None

        def wanted() -> bool:
            stage = this()
            return stage is not None and stage.uses_radius

        held = weakref.ref(points)

        def colour(mark: Any) -> str:
            shown = held()
            return "" if shown is None else shown.style.colour(mark)

        points.reach = Reach(self.viewer, layer, wanted, colour)

    def _forget_layers(self) -> None:
        self._stop(self._result_stops)
        self.result_layer = None
        super()._forget_layers()

    def _answer_layer_gone(self, layer: Layer) -> None:
        if layer is self.result_layer:
            self._stop(self._result_stops)
            self.result_layer = None
            self._while_image_stays(self._result_gone)

    def close(self) -> None:
        """Let go of all layers and of the viewer; they stay as they are."""
        viewer = self._viewer()
        if viewer is not None and self._mouse_moved in viewer.mouse_move_callbacks:
            viewer.mouse_move_callbacks.remove(self._mouse_moved)
        super().close()

    # -------------------------------------------------------------- under the mouse

    def value_under_cursor(self) -> Any:
        """Return what the map holds under the mouse; None: it is elsewhere."""
        plane, image, layer = self.plane, self.image_layer, self.result_layer
        report = self.report
        if plane is None or image is None or layer is None or report is None:
            return None
        place = image.world_to_data(self.viewer.cursor.position)
        row, col = (int(np.round(value)) for value in plane.to_plane(place))
        height, width = plane.shape_in(data_shape(image))
        if not (0 <= row < height and 0 <= col < width):
            return None
        whole = tuple(int(v) for v in plane.to_data((row, col)))
        return np.asarray(layer.data[whole])[()]

    # ------------------------------------------------- what the subclass makes of it

    @property
    def uses_radius(self) -> bool:
        """Whether attention radii have a meaning now."""
        raise NotImplementedError

    def add_result(self) -> Any:
        """Add the empty map."""
        raise NotImplementedError

    def click_style(self) -> ClickStyle:
        """Return how clicks look now."""
        raise NotImplementedError

    def _result_gone(self) -> None:
        """React to the map being deleted."""

    def _show_all(self) -> None:
        """Fill a map that was made anew."""
