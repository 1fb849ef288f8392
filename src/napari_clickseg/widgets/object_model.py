"""The committed objects as rows of a table, for thousands of them."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QImage, QPixmap

from napari_clickseg.session.objects import Objects
from napari_clickseg.widgets.object_columns import (
    AREA,
    CATEGORY,
    CLICKS,
    COLUMNS,
    FILTERS,
    LABEL,
    PICTURE,
    SECONDS,
    STATE,
    TIPS,
    VALUES,
    state_in_words,
    text_of,
)

if TYPE_CHECKING:
    from napari_clickseg.binding.thumbnails import Thumbnail
    from napari_clickseg.session import SegmentedObject

__all__ = ["ObjectModel"]

#: So many thumbnails are kept.
KEPT = 2000
_DISPLAY, _ALIGN = Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.TextAlignmentRole
_PICTURE, _TIP = Qt.ItemDataRole.DecorationRole, Qt.ItemDataRole.ToolTipRole
_EDIT = Qt.ItemDataRole.EditRole
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_CENTRE = int(Qt.AlignmentFlag.AlignCenter)


class ObjectModel(QAbstractTableModel):
    """Rows of objects, sorted and filtered.

    Parameters
    ----------
    classify : callable
        Told the ids and the class that was typed.
    draw : callable
        Told that pictures are wanted (see :meth:`wanted`).
    """

    def __init__(
        self, classify: Callable[[list[int], str], Any], draw: Callable[[], Any]
    ) -> None:
        super().__init__()
        self._classify, self._draw = classify, draw
        self.objects = Objects()
        self.labels: list[int] = []
        #: Proposals that nobody has decided on.
        self.undecided = 0
        self._rows: dict[int, int] = {}
        self._column, self._descending = LABEL, False
        self._text, self._kind = "", "All"
        self._pictures: dict[int, tuple[SegmentedObject, QPixmap]] = {}
        self._wanted: dict[int, None] = {}

    # -------------------------------------------------------------------- changing

    def show_objects(self, objects: Objects) -> bool:
        """List these objects; returns whether rows came, went or moved."""
        if objects is self.objects:
            return False
        changed = list(objects.differing(self.objects))
        for label in changed:
            for sign, them in ((-1, self.objects), (1, objects)):
                if label in them:
                    self.undecided += sign * them[label].undecided
        self.objects = objects
        listed = self._rows
        if self._column == LABEL and all(
            (n in listed) == (n in objects and self._holds(objects[n])) for n in changed
        ):
            for label in changed:
                self._tell_row(label)
            return False
        return self._arrange()

    def sort(self, column: int, order: Any = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        if column in VALUES:
            self._column = column
            self._descending = order == Qt.SortOrder.DescendingOrder
            self._arrange()

    def filter(self, text: str, kind: str) -> bool:
        """List objects of a kind whose id or class holds a text."""
        self._text, self._kind = text.strip().casefold(), kind
        return self._arrange()

    def _holds(self, each: SegmentedObject) -> bool:
        text = self._text
        return FILTERS[self._kind](each) and (
            not text or text in each.category.casefold() or text == str(each.label)
        )

    def _arrange(self) -> bool:
        """Sort and filter anew; returns whether that changed anything."""
        key = VALUES[self._column]
        found = [each for each in self.objects.in_any_order() if self._holds(each)]
        found.sort(key=VALUES[LABEL])
        found.sort(key=key, reverse=self._descending)
        labels = [each.label for each in found]
        if labels == self.labels:
            if labels:
                last = self.index(len(labels) - 1, len(COLUMNS) - 1)
                self.dataChanged.emit(self.index(0, 0), last)
            return False
        self.beginResetModel()
        self.labels = labels
        self._rows = {label: row for row, label in enumerate(labels)}
        self.endResetModel()
        return True

    def _tell_row(self, label: int) -> None:
        row = self._rows.get(label)
        if row is not None:
            last = self.index(row, len(COLUMNS) - 1)
            self.dataChanged.emit(self.index(row, 0), last)

    # -------------------------------------------------------------------- pictures

    def wanted(self, most: int) -> list[SegmentedObject]:
        """Return objects whose pictures were asked for last, and forget the others."""
        newest = list(self._wanted)[-most:]
        self._wanted = dict.fromkeys(newest)
        return [self.objects[n] for n in reversed(newest) if n in self.objects]

    def take_pictures(self, made: list[Thumbnail]) -> None:
        """Show pictures that were drawn."""
        for each, pixels in made:
            height, width, _ = pixels.shape
            image = QImage(
                pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888
            )
            self._wanted.pop(each.label, None)
            self._pictures.pop(each.label, None)
            self._pictures[each.label] = each, QPixmap.fromImage(image)
            row = self._rows.get(each.label)
            if row is not None:
                index = self.index(row, PICTURE)
                self.dataChanged.emit(index, index, [_PICTURE])
        while len(self._pictures) > KEPT:
            del self._pictures[next(iter(self._pictures))]

    def forget_pictures(self) -> None:
        """Draw all anew: the image, or its contrast, is another."""
        self._pictures.clear()
        self._wanted.clear()

    def _picture(self, each: SegmentedObject) -> QPixmap | None:
        kept = self._pictures.get(each.label)
        if kept is None or kept[0] is not each:
            self._wanted.pop(each.label, None)
            self._wanted[each.label] = None
            self._draw()
        return None if kept is None else kept[1]

    # --------------------------------------------------------------------- reading

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return how many objects are listed."""
        return 0 if parent is not None and parent.isValid() else len(self.labels)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return how many columns there are."""
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def row_of(self, label: int) -> int | None:
        """Return the row of an object, if it is listed."""
        return self._rows.get(label)

    def headerData(self, section: int, orientation: Any, role: int = _DISPLAY) -> Any:
        """Return the name of a column, and what it means."""
        if orientation == Qt.Orientation.Horizontal:
            if role == _DISPLAY:
                return COLUMNS[section]
            if role == _TIP:
                return TIPS[section]
        return None

    def data(self, index: QModelIndex, role: int = _DISPLAY) -> Any:
        """Return what a cell shows."""
        row, column = index.row(), index.column()
        if not 0 <= row < len(self.labels):
            return None
        each = self.objects.get(self.labels[row])
        if each is None:
            return None
        if role == _PICTURE:
            return self._picture(each) if column == PICTURE else None
        if role in (_DISPLAY, _EDIT):
            return text_of(each, column)
        if role == _ALIGN:
            if column in (LABEL, AREA, CLICKS, SECONDS):
                return _RIGHT
            return _CENTRE if column == STATE else None
        if role == _TIP and column == STATE:
            return state_in_words(each)
        return None

    def flags(self, index: QModelIndex) -> Any:
        """Return what can be done to a cell: classes are typed."""
        usual = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if index.column() == CATEGORY:
            return usual | Qt.ItemFlag.ItemIsEditable
        return usual

    def setData(self, index: QModelIndex, value: Any, role: int = _EDIT) -> bool:
        """Take a class that was typed."""
        if role != _EDIT or index.column() != CATEGORY:
            return False
        label = self.labels[index.row()]
        if str(value).strip() != self.objects[label].category:
            self._classify([label], str(value))
        return True

    def nearest_row(self, label: int) -> int:
        """Return the row of an object, or where it was in the order of ids."""
        row = self._rows.get(label)
        if row is None:
            row = bisect.bisect(self.labels, label) if self._column == LABEL else 0
        return min(row, len(self.labels) - 1)
