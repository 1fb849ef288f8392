"""What the command palette calls: the actions of the viewer that is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari

__all__ = [
    "accept",
    "commit",
    "discard",
    "grow_radius",
    "next_object",
    "next_unlabelled",
    "previous_object",
    "propagate",
    "propose",
    "redo",
    "reject",
    "reopen",
    "shrink_radius",
    "to_stop",
    "toggle_refinement",
    "toggle_sign",
    "undo",
]


def undo(viewer: napari.Viewer) -> None:
    """Take back the last click, mask or commit."""
    _act(viewer, "undo")


def redo(viewer: napari.Viewer) -> None:
    """Bring back what undo took."""
    _act(viewer, "redo")


def commit(viewer: napari.Viewer) -> None:
    """Make the mask an object and start the next one."""
    _act(viewer, "commit")


def discard(viewer: napari.Viewer) -> None:
    """Drop the object in work."""
    _act(viewer, "discard")


def toggle_sign(viewer: napari.Viewer) -> None:
    """Switch between clicks that add and clicks that take away."""
    _act(viewer, "toggle_sign")


def next_object(viewer: napari.Viewer) -> None:
    """Show the next object."""
    _act(viewer, "next_object")


def previous_object(viewer: napari.Viewer) -> None:
    """Show the previous object."""
    _act(viewer, "previous_object")


def reopen(viewer: napari.Viewer) -> None:
    """Reopen the object that is shown or under the mouse."""
    _act(viewer, "reopen")


def propagate(viewer: napari.Viewer) -> None:
    """Carry an object through the planes; while it is on its way: stop."""
    _act(viewer, "propagate")


def to_stop(viewer: napari.Viewer) -> None:
    """Go to the plane where an object could not be carried on."""
    _act(viewer, "to_stop")


def propose(viewer: napari.Viewer) -> None:
    """Look for objects without a click; while it runs: stop."""
    _act(viewer, "propose")


def accept(viewer: napari.Viewer) -> None:
    """Keep the proposal that is shown, and show the next one."""
    _act(viewer, "accept")


def reject(viewer: napari.Viewer) -> None:
    """Delete the object that is shown, and show the next proposal."""
    _act(viewer, "reject")


def next_unlabelled(viewer: napari.Viewer) -> None:
    """Go to what has no object yet."""
    _act(viewer, "next_unlabelled")


def toggle_refinement(viewer: napari.Viewer) -> None:
    """Make the model obey the clicks, or take its own answers."""
    _act(viewer, "toggle_refinement")


def grow_radius(viewer: napari.Viewer) -> None:
    """Let the newest click reach farther."""
    _act(viewer, "grow_radius")


def shrink_radius(viewer: napari.Viewer) -> None:
    """Let the newest click reach less far."""
    _act(viewer, "shrink_radius")


def _act(viewer: napari.Viewer, action: str) -> None:
    from napari_clickseg.napari_layers import attach

    attach(viewer).act(action)
