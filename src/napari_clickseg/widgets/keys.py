"""The section of the dock that shows the keys."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_clickseg.binding.keys import KEYS

__all__ = ["KeysSection"]


class KeysSection(QWidget):
    """Which keys there are."""

    def __init__(self) -> None:
        super().__init__()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 2, 0, 4)
        layout.setVerticalSpacing(2)
        layout.setColumnStretch(1, 1)
        rows = [("Click", "Add, or as chosen above"), ("Shift+Click", "The opposite")]
        rows += [
            (", ".join(_spoken(k) for k in (*key.keys, *key.points_only)), key.text)
            for key in KEYS
        ]
        rows.append(("Drag, Delete", "Move, delete a click"))
        rows.append(("Drag out", "How far a new click reaches (G-BRS)"))
        for number, (keys, text) in enumerate(rows):
            layout.addWidget(QLabel(f"<b>{keys}</b>"), number, 0)
            layout.addWidget(QLabel(text), number, 1)
        note = QLabel("With one of the layers Clicks, Mask, Objects selected.")
        note.setEnabled(False)
        layout.addWidget(note, len(rows), 0, 1, 2)


def _spoken(key: str) -> str:
    return key.replace("Control", "Ctrl").replace("Meta", "Cmd").replace("-", "+")
