"""The dock "Semantic classes"."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

from napari_clickseg.widgets.maps import MapWidget
from napari_clickseg.widgets.parts import BLUE, Halves

__all__ = ["SemanticWidget"]

#: So many classes are seen at once; more are scrolled to.
ROWS = 7


class SemanticWidget(MapWidget):
    """Correct a map of classes by clicks, or with a brush.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: Any) -> None:
        self._shown: Any = None
        super().__init__(
            napari_viewer,
            "semantic",
            ("Classify", "Ask the model for the classes of the whole image"),
        )

    def own_rows(self) -> list[QWidget]:
        """Return how to click or paint, and the classes to choose from."""
        clicks = self.clicks
        self.mode = Halves(
            (("click", "Click", BLUE), ("stroke", "Brush", BLUE)),
            clicks.set_mode,
            "A click, or strokes of napari's brush, say which class is right",
        )
        self.classes = QListWidget()
        self.classes.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.classes.setIconSize(QSize(14, 14))
        self.classes.setToolTip("The class that is right where you click or paint next")
        self.classes.itemClicked.connect(
            lambda item: self._chosen(self.classes.row(item) + 1)
        )
        return [self.mode, self.classes]

    def mouse_rows(self) -> list[tuple[str, str]]:
        """Return what the mouse does."""
        return [("Click", "This pixel has the chosen class")]

    def refresh_own(self, report: Any) -> None:
        """Show mode and classes."""
        clicks = self.clicks
        self.mode.show_value(clicks.mode)
        if self._shown != clicks.classes:
            self._shown = clicks.classes
            self.classes.clear()
            for entry in clicks.classes:
                swatch = QPixmap(14, 14)
                swatch.fill(QColor(*entry.colour))
                self.classes.addItem(QListWidgetItem(QIcon(swatch), entry.name))
            height = self.classes.sizeHintForRow(0)
            rows = min(ROWS, len(clicks.classes))
            self.classes.setFixedHeight(rows * height + 2 * self.classes.frameWidth())
        self.classes.setCurrentRow(clicks.wished - 1)
        drafted = report is not None and report.drafted
        self.begin.setVisible(not drafted)

    def described_under(self, value: Any) -> str:
        """Return the class under the mouse, and the one that is wished for."""
        classes = self.clicks.classes
        if not 1 <= int(value) <= len(classes):
            return ""
        wish = classes.of(self.clicks.wished).name
        return f"{classes.of(int(value)).name} \N{RIGHTWARDS ARROW} {wish}"

    def _chosen(self, label: int) -> None:
        self.clicks.choose_class(label)
        if self.clicks.mode == "click":
            self.clicks.activate()
