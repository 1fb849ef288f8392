"""The section of the dock that shows the keys."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_clickseg.binding.keys import KEYS, Key

__all__ = ["KeysSection"]

#: What the mouse does in click segmentation.
MOUSE = (("Click", "Add, or as chosen above"), ("Shift+Click", "The opposite"))


class KeysSection(QWidget):
    """Which keys there are.

    Parameters
    ----------
    keys : sequence of Key
    mouse : sequence of (str, str)
        What the mouse does, above them.
    """

    def __init__(
        self,
        keys: Sequence[Key] = KEYS,
        mouse: Sequence[tuple[str, str]] = MOUSE,
    ) -> None:
        super().__init__()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 2, 0, 4)
        layout.setVerticalSpacing(2)
        layout.setColumnStretch(1, 1)
        rows = list(mouse)
        rows += [
            (", ".join(_spoken(k) for k in (*key.keys, *key.points_only)), key.text)
            for key in keys
        ]
        rows.append(("Drag, Delete", "Move, delete a click"))
        rows.append(("Drag out", "How far a new click reaches (G-BRS)"))
        for number, (pressed, text) in enumerate(rows):
            layout.addWidget(QLabel(f"<b>{pressed}</b>"), number, 0)
            what = QLabel(text)
            what.setWordWrap(True)
            layout.addWidget(what, number, 1)
        note = QLabel("With one of the layers of this dock selected.")
        note.setEnabled(False)
        layout.addWidget(note, len(rows), 0, 1, 2)


def _spoken(key: str) -> str:
    return key.replace("Control", "Ctrl").replace("Meta", "Cmd").replace("-", "+")
