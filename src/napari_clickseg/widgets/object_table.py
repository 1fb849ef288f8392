"""The table of the dock "Objects"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_clickseg.widgets.object_columns import CATEGORY, PICTURE, SIDE, STATE

__all__ = ["ObjectTable"]

#: So many rows are in sight at least.
ROWS = 6
WIDTHS = {0: SIDE + 8, 1: 48, 3: 66, 4: 50, 5: 62, 6: 26}


class ObjectTable(QTableView):
    """A table in which whole rows are chosen, quick with thousands of them."""

    def __init__(self, pressed: Callable[[int], bool]) -> None:
        super().__init__()
        self._pressed = pressed
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setShowGrid(False)
        self.setMinimumHeight(ROWS * (SIDE + 4))
        self.setSortingEnabled(True)
        self.setIconSize(QSize(SIDE, SIDE))
        rows: Any = self.verticalHeader()
        rows.setVisible(False)
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(SIDE + 4)
        columns: Any = self.horizontalHeader()
        columns.setHighlightSections(False)

    def setModel(self, model: Any) -> None:
        """Take a model, and set widths."""
        super().setModel(model)
        header: Any = self.horizontalHeader()
        for column, width in WIDTHS.items():
            header.resizeSection(column, width)
        header.setSectionResizeMode(CATEGORY, QHeaderView.ResizeMode.Stretch)
        for column in (PICTURE, STATE):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
        self.sortByColumn(1, Qt.SortOrder.AscendingOrder)

    def edit_class(self) -> None:
        """Let the class of the current object be typed."""
        row = self.currentIndex().row()
        if row >= 0:
            self.setFocus()
            model: Any = self.model()
            self.edit(model.index(row, CATEGORY))

    def keyPressEvent(self, event: Any) -> None:
        """Take our keys; others move in the list."""
        plain = event.modifiers() in (
            Qt.KeyboardModifier.NoModifier,
            Qt.KeyboardModifier.KeypadModifier,
        )
        if not (plain and self._pressed(event.key())):
            super().keyPressEvent(event)
