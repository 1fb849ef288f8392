"""The dock "Objects": all committed objects of the plane as a list to work in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QItemSelection, QItemSelectionModel, QSize, Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_clickseg.napari_layers import attach
from napari_clickseg.widgets.effort import EffortRow
from napari_clickseg.widgets.object_columns import CATEGORY, COLUMNS, FILTERS, SIDE
from napari_clickseg.widgets.object_menu import KEYS, ObjectMenu
from napari_clickseg.widgets.object_model import ObjectModel
from napari_clickseg.widgets.object_table import ObjectTable
from napari_clickseg.widgets.parts import Choice, button

if TYPE_CHECKING:
    import napari

__all__ = ["ObjectsWidget"]

#: So many pictures are asked for at once.
AT_ONCE = 40


class ObjectsWidget(QWidget):
    """List the objects of the plane on screen.

    Parameters
    ----------
    viewer : napari.Viewer
        All docks of a viewer, and the console, share one session.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.clicks = clicks = attach(viewer)
        self._drawing = self._ours = False
        self._drawn_for: Any = None
        self.model = ObjectModel(clicks.classify_objects, self._draw_soon)
        self.table = table = ObjectTable(self._pressed)
        table.setModel(self.model)
        self.menu = ObjectMenu(clicks, lambda: self.chosen, table.edit_class, self)
        viewport: Any = table.viewport()
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.customContextMenuRequested.connect(
            lambda at: self.menu.popup(viewport.mapToGlobal(at))
        )
        selection: Any = table.selectionModel()
        self._selection = selection
        selection.selectionChanged.connect(self._chosen)
        table.doubleClicked.connect(self._opened)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Id or class")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(lambda _: self._filter())
        self.kind = Choice(self._choose_kind, "Which objects are listed")
        self._kind = "All"
        self.kind.offer([(name, name) for name in FILTERS], self._kind)
        self.count = QLabel()
        self.buttons: dict[str, QWidget] = {}
        top, steps, edits = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.search, 1)
        top.addWidget(self.kind, 1)
        for row, names in ((steps, self.menu.steps), (edits, self.menu.edits)):
            for name, (text, tip) in names.items():
                self.buttons[name] = button(text, tip, partial(self.menu.do, name))
                row.addWidget(self.buttons[name])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(5)
        layout.addLayout(top)
        layout.addWidget(table, 1)
        layout.addWidget(self.count)
        layout.addLayout(steps)
        layout.addLayout(edits)
        self.effort = EffortRow(clicks)
        layout.addWidget(self.effort)
        clicks.changed.connect(self.refresh)
        self.refresh()

    def sizeHint(self) -> QSize:
        """Return a size at which a list of objects is of use."""
        return QSize(380, 460)

    @property
    def chosen(self) -> list[int]:
        """Ids of the objects that are chosen, as they were chosen."""
        rows = self._selection.selectedRows()
        labels = [self.model.labels[index.row()] for index in rows]
        current = self.table.currentIndex().row()
        if 0 <= current < len(self.model.labels):
            newest = self.model.labels[current]
            if newest in labels:  # the last: where the view is
                labels.remove(newest)
                labels.append(newest)
        return labels

    def refresh(self) -> None:
        """Show how things are."""
        clicks = self.clicks
        if not isalive(self):  # closed; the session goes on
            clicks.changed.disconnect(self.refresh)
            return
        report = clicks.report
        shown_for = clicks.image_layer, clicks.plane
        if shown_for != self._drawn_for:
            self._drawn_for = shown_for
            self.model.forget_pictures()
        if report is not None and report.objects is not self.model.objects:
            objects = report.objects
            self._keeping_place(lambda: self.model.show_objects(objects))
        elif report is None and len(self.model.objects):
            self._keeping_place(
                lambda: self.model.show_objects(type(self.model.objects)())
            )
        self._select(clicks.selected)
        self.effort.refresh()
        self._say_how_many()
        self._draw_soon()

    # ----------------------------------------------------------------------- parts

    def _say_how_many(self) -> None:
        total, listed = len(self.model.objects), self.model.rowCount()
        left = self.model.undecided
        chosen = len(self.chosen)
        parts = [f"{total} object{'s' if total != 1 else ''}"]
        if listed != total:
            parts.append(f"{listed} listed")
        if left:
            parts.append(f"{left} undecided")
        if chosen > 1:
            parts.append(f"{chosen} chosen")
        self.count.setText(", ".join(parts))
        for name, widget in self.buttons.items():
            widget.setEnabled(self.menu.possible(name, chosen))

    def _keeping_place(self, change: Callable[[], bool]) -> None:
        """Change the rows; what is chosen and in sight stays so."""
        bar: Any = self.table.verticalScrollBar()
        at, chosen = bar.value(), self.clicks.selected
        self._ours = True
        try:
            if change():
                bar.setValue(at)
                self._select(chosen, again=True)
        finally:
            self._ours = False

    def _select(self, labels: tuple[int, ...], *, again: bool = False) -> None:
        rows = [row for n in labels if (row := self.model.row_of(n)) is not None]
        model = self._selection
        if not again and sorted(rows) == sorted(i.row() for i in model.selectedRows()):
            return
        selection, last = QItemSelection(), len(COLUMNS) - 1
        for row in rows:
            selection.select(self.model.index(row, 0), self.model.index(row, last))
        self._ours, ours = True, self._ours
        model.select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if rows:
            index = self.model.index(rows[-1], 1)
            model.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.NoUpdate)
            self.table.scrollTo(index)
        self._ours = ours

    def _chosen(self, *_: Any) -> None:
        if not self._ours:
            self.clicks.choose_selected(self.chosen, show=True)
            self._say_how_many()

    def _opened(self, index: Any) -> None:
        if index.column() != CATEGORY:
            self.menu.do("reopen")

    def _pressed(self, key: int) -> bool:
        name = KEYS.get(key)
        if name is not None:
            self.menu.do(name)
        return name is not None

    def _choose_kind(self, kind: str) -> None:
        self._kind = kind
        self._filter()

    def _filter(self) -> None:
        text, kind = self.search.text(), self._kind
        self._keeping_place(lambda: self.model.filter(text, kind))
        self._say_how_many()

    def _draw_soon(self) -> None:
        if not self._drawing:
            self.clicks.later(self._draw)

    def _draw(self) -> None:
        if self._drawing or not isalive(self):
            return
        wanted = self.model.wanted(AT_ONCE)
        if wanted:
            ratio = max(1.0, self.devicePixelRatioF())
            self._drawing = self.clicks.draw_thumbnails(
                wanted, round(SIDE * ratio), self._drawn
            )

    def _drawn(self, made: list[Any]) -> None:
        self._drawing = False
        if isalive(self) and made:
            self.model.take_pictures(made)
            self._draw_soon()
