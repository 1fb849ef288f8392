"""What all docks have in common: a column that scrolls, and lists of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QScrollArea, QScrollBar, QVBoxLayout, QWidget

from napari_clickseg.widgets.status import Fold

__all__ = ["described", "lay_out"]

MARGIN = 6


def lay_out(
    dock: QWidget, rows: Sequence[QWidget], sections: Mapping[str, tuple[str, QWidget]]
) -> None:
    """Put rows one below the other into a dock, as wide as the widest needs.

    Parameters
    ----------
    dock : QWidget
        Empty.
    rows : sequence of QWidget
    sections : mapping
        Titles and contents of sections that fold: they count even while folded.
    """
    inside = _Column()
    layout = QVBoxLayout(inside)
    layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
    layout.setSpacing(5)
    for each in rows:
        layout.addWidget(each)
    layout.addStretch(1)
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(inside)
    outer = QVBoxLayout(dock)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(scroll)
    needed = [content for _title, content in sections.values()]

    def fit() -> None:
        widest = max(each.minimumSizeHint().width() for each in needed)
        width = max(inside.minimumSizeHint().width(), widest + Fold.INDENT)
        scroll.setMinimumWidth(width + QScrollBar().sizeHint().width() + 2 * MARGIN)

    inside.resized = fit
    fit()


class _Column(QWidget):
    """A column of rows that tells when it needs another width: with another font."""

    resized: Callable[[], None] | None = None

    def event(self, event: QEvent | None) -> bool:
        """Tell, after the layout has seen it."""
        done: bool = super().event(event)
        if (
            event is not None
            and event.type() == QEvent.Type.LayoutRequest
            and self.resized is not None
        ):
            self.resized()
        return done


def described(info: Any) -> str:
    """Return a model's name, and what it takes to get it."""
    if info.bundled or info.downloaded:
        return str(info.name)
    size = f", {info.size / 1e6:.0f} MB" if info.size else ""
    return f"{info.name}  (download{size})"
