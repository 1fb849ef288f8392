"""The circle of an attention radius, drawn over the clicks and part of no layer.

napari has no public way to draw something of one's own into the canvas: a line is
hung below what draws the click layer, so that it lies in its coordinates whatever
the transform. Without a window, or with a napari that keeps its drawing elsewhere,
the circle is only remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.marks import Mark
from napari_clickseg.binding.planes import Plane

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Points

__all__ = ["Reach"]

#: Corners of the polygon that is drawn.
CORNERS = 97
#: A wide dark line below a narrow bright one is seen on any image.
LINES = ((5.0, "#000000", 0.5), (2.2, "", 1.0))


class Reach:
    """How far the newest click reaches, as a circle around it.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Points
        The layer of clicks.
    wanted : callable
        Says whether radii have a meaning now; must not keep the viewer alive.
    colour : callable
        Returns the colour of a click.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        layer: Points,
        wanted: Callable[[], bool],
        colour: Callable[[Mark], str],
    ) -> None:
        self._layer, self._wanted, self._colour = layer, wanted, colour
        window = getattr(viewer, "window", None)
        # The canvas holds the viewer, which may be freed before this is.
        self._canvas = _canvas(window)
        self._lines: list[Any] = []
        #: The click whose circle is shown; None: no circle.
        self.mark: Mark | None = None
        self._plane: Plane | None = None

    @property
    def wanted(self) -> bool:
        """Whether radii have a meaning: dragging beside a click draws one."""
        return self._wanted()

    def show(self, plane: Plane | None, mark: Mark | None) -> None:
        """Draw the circle of this click; none where it has no radius."""
        if mark is None or plane is None or mark.radius is None or not self.wanted:
            mark = plane = None
        if (mark, plane) == (self.mark, self._plane):
            return
        self.mark, self._plane = mark, plane
        if mark is None or plane is None:
            self._draw(None, "")
        else:
            self._draw(self._outline(plane, mark), self._colour(mark))

    def hide(self) -> None:
        """Draw no circle."""
        self.show(None, None)

    def close(self) -> None:
        """Take the line away."""
        self.hide()
        for line in self._lines:
            line.parent = None
        self._lines = []
        self._canvas = None

    def _outline(self, plane: Plane, mark: Mark) -> NDArray[np.float32]:
        """Return the corners as ``(x, y)`` in the layer's displayed coordinates."""
        angles = np.linspace(0.0, 2.0 * np.pi, CORNERS)
        assert mark.radius is not None
        places = np.array(
            [
                plane.to_data((mark.row + mark.radius * s, mark.col + mark.radius * c))
                for s, c in zip(np.sin(angles), np.cos(angles), strict=True)
            ]
        )
        displayed = _displayed(self._layer, plane)
        return places[:, [displayed[-1], displayed[-2]]].astype(np.float32)

    def _draw(self, outline: NDArray[np.float32] | None, color: str) -> None:
        if outline is None:
            for line in self._lines:
                line.visible = False
            return
        node = self._node()
        if node is None:
            return
        from vispy.scene.visuals import Line
        from vispy.visuals.transforms import MatrixTransform

        if not self._lines:
            self._lines = [Line(method="agg", antialias=True) for _ in LINES]
            for line in self._lines:
                # napari writes into the matrix of all that hangs below a layer.
                line.transform = MatrixTransform()
                line.order = 10**6
        for line, (width, own, alpha) in zip(self._lines, LINES, strict=True):
            if line.parent is not node:
                line.parent = node
            line.set_data(pos=outline, color=_rgba(own or color, alpha), width=width)
            line.visible = True

    def _node(self) -> Any:
        """Return what draws the click layer, where there is a window."""
        try:
            return self._canvas.layer_to_visual[self._layer].node
        except (AttributeError, KeyError):
            return None


def _canvas(window: Any) -> Any:
    try:
        return window._qt_viewer.canvas  # noqa: SLF001
    except AttributeError:
        return None


def _displayed(layer: Points, plane: Plane) -> list[int]:
    """Return the two axes of the layer on screen, in the order of the screen."""
    try:
        displayed = [int(axis) for axis in layer._slice_input.displayed]  # noqa: SLF001
    except AttributeError:
        return list(plane.axes)
    return displayed if sorted(displayed) == list(plane.axes) else list(plane.axes)


def _rgba(color: str, alpha: float) -> tuple[float, float, float, float]:
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, alpha
