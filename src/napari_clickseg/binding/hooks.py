"""What a stage of layers leaves to those who build on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_clickseg.binding.marks import Mark, MarkEdit

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

__all__ = ["Hooks", "camera_of", "canvas_size_of", "connected"]


class Hooks:
    """Signals for docks, and what happens when something happens to the layers."""

    #: Something that a dock shows has changed.
    changed = Signal()
    #: A sentence for the status line, and its kind: "hint" or "error".
    message = Signal(str, str)
    #: The mouse moved: what is under it may be something else.
    changed_under_cursor = Signal()

    def say(self, text: str, kind: str = "hint") -> None:
        """Put a sentence into the status line."""
        raise NotImplementedError

    def act(self, action: str) -> None:
        """Do what a key or button asks for."""
        raise NotImplementedError

    def _later(self, function: Callable[[], None]) -> None:
        """Run a function at the next turn of the event loop, if there is one."""
        raise NotImplementedError

    @property
    def _defers(self) -> bool:
        """Whether :meth:`_later` waits for the event loop."""
        raise NotImplementedError

    def _enter_image(self, image: Image) -> None:
        """React to another image to click on."""

    def _image_replaced(self, image: Image) -> None:
        """React to other data in the image layer."""

    def _points_edited(self, edits: list[MarkEdit]) -> None:
        """React to clicks changed on the plane on screen."""

    def _point_elsewhere(self, place: Sequence[float], mark: Mark) -> None:
        """React to a click put onto another plane."""

    def _hovered(self) -> None:
        """React to the mouse over the canvas, about to click."""

    def _plane_changed(self) -> None:
        """React to another plane on screen."""

    def _points_gone(self) -> None:
        """React to the click layer being deleted."""


def camera_of(viewer: ViewerModel) -> Any:
    """Return the camera, which moved in napari 0.9."""
    scene = getattr(viewer, "scene", None)
    return viewer.camera if scene is None else scene.camera


def canvas_size_of(viewer: ViewerModel) -> tuple[int, int] | None:
    """Return height and width of the canvas, which moved in napari 0.9, too."""
    canvas = getattr(viewer, "canvas", None)
    size = getattr(canvas, "size", None) or getattr(viewer, "_canvas_size", None)
    return None if size is None else (int(size[0]), int(size[1]))


def connected(emitter: Any, callback: Callable[..., None]) -> Callable[[], None]:
    """Connect a callback to an event; returns how to disconnect it."""
    emitter.connect(callback)
    return lambda: emitter.disconnect(callback)
