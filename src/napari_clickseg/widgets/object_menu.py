"""What can be done to the objects that are chosen in the list: menu, buttons, keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog, QMenu, QWidget

from napari_clickseg.binding.keys import with_key

if TYPE_CHECKING:
    from napari_clickseg.napari_layers import ViewerClicks
    from napari_clickseg.session.objects import SegmentedObject

__all__ = ["KEYS", "ObjectMenu"]

#: Keys of the list while it has the focus.
KEYS = {
    int(Qt.Key.Key_Delete): "delete",
    int(Qt.Key.Key_Backspace): "delete",
    int(Qt.Key.Key_M): "merge",
    int(Qt.Key.Key_S): "split",
    int(Qt.Key.Key_C): "class",
    int(Qt.Key.Key_R): "reopen",
    int(Qt.Key.Key_K): "accept",
    int(Qt.Key.Key_D): "reject",
    int(Qt.Key.Key_U): "unlabelled",
    int(Qt.Key.Key_Return): "reopen",
    int(Qt.Key.Key_Enter): "reopen",
}


class ObjectMenu:
    """Actions on the chosen objects.

    Parameters
    ----------
    clicks : ViewerClicks
    chosen : callable
        Returns the ids of the objects that are chosen.
    edit_class : callable
        Lets the class of one object be typed in the list.
    parent : QWidget
        In front of which questions are asked.
    """

    steps: ClassVar[dict[str, tuple[str, str]]] = {
        "accept": (
            "Keep",
            with_key("Keep the proposal and show the next one", "accept"),
        ),
        "reject": (
            "Drop",
            with_key("Delete the object and show the next proposal", "reject"),
        ),
        "reopen": (
            "Correct",
            with_key("Take it back into work, with its clicks", "reopen"),
        ),
        "unlabelled": (
            "Next unlabelled",
            with_key("What has no object yet", "next_unlabelled"),
        ),
    }
    edits: ClassVar[dict[str, tuple[str, str]]] = {
        "merge": (
            "Merge",
            "Make one object of those chosen; the first keeps its id (M)",
        ),
        "split": ("Split", "Cut it along a line that you draw (S)"),
        "class": ("Class\N{HORIZONTAL ELLIPSIS}", "Say what they are (C)"),
        "delete": ("Delete", "Remove those chosen, in one step (Delete)"),
    }

    def __init__(
        self,
        clicks: ViewerClicks,
        chosen: Callable[[], list[int]],
        edit_class: Callable[[], Any],
        parent: QWidget,
    ) -> None:
        self._clicks, self._edit_class, self._parent = clicks, edit_class, parent
        self._chosen = chosen

    def possible(self, name: str, count: int) -> bool:
        """Whether an action makes sense with so many objects chosen."""
        if name == "unlabelled":
            return self._clicks.image_layer is not None
        if name in ("accept", "reject"):
            return True
        if name in ("split", "reopen", "relabel"):
            return count == 1
        return count >= (2 if name == "merge" else 1)

    def popup(self, at: Any) -> None:
        """Show the menu at a place on screen."""
        menu = self.made()
        menu.exec(at)
        menu.deleteLater()

    def made(self) -> QMenu:
        """Return the menu for what is chosen now."""
        menu, count = QMenu(self._parent), len(self._ids())
        entries = {**self.steps, **self.edits, "relabel": ("Other id", "")}
        for name, (text, tip) in entries.items():
            if name == "unlabelled":
                menu.addSeparator()
                continue
            shown = text + tip[tip.rfind("(") - 1 :] if "(" in tip else f"{text}..."
            action: Any = menu.addAction(shown)
            action.setObjectName(name)
            action.setEnabled(self.possible(name, count))
            action.triggered.connect(lambda _=False, name=name: self.do(name))
        return menu

    def do(self, name: str) -> None:
        """Do something to the chosen objects."""
        ids, clicks = self._ids(), self._clicks
        if name in ("accept", "reject"):
            if len(ids) > 1:
                act = (
                    clicks.accept_objects if name == "accept" else clicks.delete_objects
                )
                act(ids)
            else:
                clicks.act(name)
        elif name == "unlabelled":
            clicks.act("next_unlabelled")
        elif not self.possible(name, len(ids)):
            needed = "two or more objects" if name == "merge" else "one object"
            clicks.say(f"Choose {needed} in the list first.")
        elif name == "reopen":
            clicks.reopen_object(ids[0])
        elif name == "merge":
            clicks.merge_objects(ids)
        elif name == "delete":
            clicks.delete_objects(ids)
        elif name == "split":
            clicks.draw_split(ids[0])
        elif name == "class":
            self._ask_class(ids)
        elif name == "relabel":
            self._ask_id(ids[0])

    def _ids(self) -> list[int]:
        return self._chosen()

    def _ask_class(self, ids: list[int]) -> None:
        if len(ids) == 1:
            self._edit_class()
            return
        objects: Mapping[int, SegmentedObject] = self._clicks.objects_now or {}
        known = sorted({each.category for each in objects.values()} | {""})
        name, done = QInputDialog.getItem(
            self._parent, "Class", f"Class of {len(ids)} objects:", known, 0, True
        )
        if done:
            self._clicks.classify_objects(ids, name)

    def _ask_id(self, label: int) -> None:
        new, done = QInputDialog.getInt(
            self._parent, "Other id", f"Id of object {label}:", label, 1, 2**31 - 1
        )
        if done:
            self._clicks.relabel_object(label, new)
