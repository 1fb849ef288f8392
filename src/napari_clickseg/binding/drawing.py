"""Scribbles, boxes and polygons drawn in a Shapes layer, and lines that cut.

What is drawn is done and disappears: its clicks and its mask say what it meant, and one
undo takes it back.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.hooks import camera_of, connected
from napari_clickseg.binding.object_actions import ObjectActions
from napari_clickseg.binding.own_layers import MARK, grid_of
from napari_clickseg.errors import ClickSegError, SessionError
from napari_clickseg.session.cutting import box_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer, Shapes

    from napari_clickseg.worker import Channel

__all__ = ["DRAWINGS", "TOOLS", "Drawing"]

DRAWINGS = "Drawings"
#: Tools, and the modes of napari's Shapes layer in which they are drawn.
TOOLS = {
    "click": "",
    "scribble": "add_path",
    "box": "add_rectangle",
    "polygon": "add_polygon_lasso",
    "cut": "add_path",
}
HINTS = {
    "scribble": "Draw over the object with the mouse held down.",
    "box": "Drag a box around the object.",
    "polygon": "Draw around the object with the mouse held down.",
}
#: Width of lines on screen, in pixels; their colours: what adds, takes away, cuts.
WIDTH = 4.0
ADDS, TAKES, CUTS = "#1baf5c", "#f0442e", "#ff8c00"
#: Corners of an ellipse that is drawn.
CORNERS = 64


class Drawing(ObjectActions):
    """What is drawn beside clicks."""

    def __init__(self, viewer: Any, channel: Channel, shelf: Any) -> None:
        #: Where shapes are drawn; made when a tool is chosen first.
        self.drawings: Shapes | None = None
        self.tool: str = "click"
        self._cuts: int | None = None
        self._drawing_stops: list[Callable[[], None]] = []
        super().__init__(viewer, channel, shelf)

    # -------------------------------------------------------------------- choosing

    def choose_tool(self, tool: str) -> None:
        """Click from now on, or draw.

        Parameters
        ----------
        tool : {"click", "scribble", "box", "polygon"}
        """
        self._cuts = None
        self._guarded(lambda: self._take_tool(tool))

    def draw_split(self, label: int) -> None:
        """Let a line be drawn along which an object is cut."""

        def begin() -> None:
            self.show_object(label)
            self._cuts = label
            self._take_tool("cut")
            self.say(
                f"Draw a line across object {label}, from outside to outside, with the "
                "mouse held down. Or choose another tool."
            )

        self._guarded(begin)

    def activate(self) -> None:
        """Select the layer in which the chosen tool works."""
        layer = self.drawings
        if layer is None or self.tool == "click":
            super().activate()
            return
        self.viewer.layers.selection.active = layer
        layer.mode = TOOLS[self.tool]
        self._colour()

    def set_sign(self, positive: bool) -> None:
        """Let what is drawn add (True) or take away (False), as clicks do."""
        super().set_sign(positive)
        self._colour()

    def _colour(self) -> None:
        if self.drawings is not None:
            sign = ADDS if self.positive else TAKES
            self.drawings.current_edge_color = CUTS if self.tool == "cut" else sign

    def _take_tool(self, tool: str) -> None:
        if tool not in TOOLS:
            raise SessionError(
                f"There is no tool {tool!r}. Choose one of {', '.join(TOOLS)}."
            )
        self.make_ready()
        self.tool = tool
        if tool != "click" and self.drawings is None and self.image_layer is not None:
            self._add_drawings()
        self.activate()
        if tool in HINTS:
            self.say(HINTS[tool])
        self.changed.emit()

    def _add_drawings(self) -> None:
        image = self.image_layer
        assert image is not None
        with self._quietly():
            layer = self.viewer.add_shapes(
                None,
                ndim=image.ndim,
                name=DRAWINGS,
                metadata={MARK: DRAWINGS},
                edge_color=ADDS,
                face_color="transparent",
                edge_width=WIDTH,
                opacity=1.0,
                **grid_of(image),
            )
        self.drawings = layer
        self._zoomed()
        self._drawing_stops += [
            connected(layer.events.data, self._something_drawn),
            *self._tie(layer),
        ]

    def _zoomed(self, event: Any = None) -> None:
        super()._zoomed(event)
        if self.drawings is not None:
            zoom = float(camera_of(self.viewer).zoom)
            scale = abs(float(self.drawings.scale[-1]))
            self.drawings.current_edge_width = WIDTH / (zoom * scale)

    # --------------------------------------------------------------------- drawing

    def _something_drawn(self, event: Any) -> None:
        if not self._quiet and str(getattr(event, "action", "")) in ADDED:
            self._later(self._read_drawings)

    def _read_drawings(self) -> None:
        """Do what was drawn, and take it away."""
        layer, plane = self.drawings, self.plane
        if layer is None or plane is None or getattr(layer, "_is_creating", False):
            return  # told again when it is finished
        shapes = list(zip(layer.shape_type, layer.data, strict=True))
        if not shapes:
            return
        with self._quietly():
            layer.selected_data = set()
            layer.data = []
        for kind, data in shapes:
            vertices = np.asarray(data, float)[:, list(plane.axes)]
            self._guarded(partial(self._do_drawn, str(kind), vertices))

    def _do_drawn(self, kind: str, vertices: NDArray[np.float64]) -> None:
        positive = self.positive
        if self._cuts is not None:
            label, self._cuts = self._cuts, None
            self._take_tool("click")
            if kind not in ("path", "line"):
                raise ClickSegError("An object is cut along a line: draw a line.")
            self.split_object(label, vertices)
        elif kind == "rectangle" and positive:
            box = box_of(vertices)
            self.edit(
                lambda engine, plane, o: engine.call(
                    plane, o, "add_box", box, predict=False
                )
            )
        elif kind in ("path", "line"):
            self.edit(
                lambda engine, plane, o: engine.call(
                    plane, o, "add_scribble", vertices, positive, predict=False
                )
            )
        else:
            corners = _ellipse(vertices) if kind == "ellipse" else vertices
            self.edit(
                lambda engine, plane, o: engine.call(
                    plane, o, "add_polygon", corners, positive
                )
            )

    # ---------------------------------------------------------------------- layers

    def _passing_layers(self) -> list[Layer]:
        ours = super()._passing_layers()
        return ours if self.drawings is None else [*ours, self.drawings]

    def _forget_layers(self) -> None:
        self._stop(self._drawing_stops)
        self.drawings, self.tool, self._cuts = None, "click", None
        super()._forget_layers()

    def _answer_layer_gone(self, layer: Layer) -> None:
        if layer is self.drawings:
            self._stop(self._drawing_stops)
            self.drawings, self._cuts = None, None
            self._guarded(lambda: self._take_tool("click"))
        else:
            super()._answer_layer_gone(layer)


#: How napari calls the event after something was added.
ADDED = frozenset({"added", "ActionType.ADDED"})


def _ellipse(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a polygon ``(N, 2)`` for the corners of an ellipse's box."""
    middle = corners.mean(axis=0)
    one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)[:, None]
    return middle + np.cos(angle) * one + np.sin(angle) * other
