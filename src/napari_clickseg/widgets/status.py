"""The status line of a dock, and sections that fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_clickseg.widgets.parts import RED, RULE, button

__all__ = ["Fold", "StatusLine"]


class StatusLine(QWidget):
    """The sentence that says what is going on, with progress and a way to stop."""

    def __init__(self, stop: Callable[[], Any]) -> None:
        super().__init__()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setMinimumHeight(34)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self._stop = button("Stop", "Stop loading", stop)
        self._working = QWidget()
        row = QHBoxLayout(self._working)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self._stop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 2)
        layout.setSpacing(3)
        layout.addWidget(self.text)
        layout.addWidget(self._working)
        self._working.hide()

    def show_hint(self, text: str, kind: str, busy: str, part: float | None) -> None:
        """Show a sentence, or what takes a while."""
        shown = f"{busy} \N{HORIZONTAL ELLIPSIS}" if busy else text
        color = RED if kind == "error" and not busy else ""
        self.text.setStyleSheet(f"color: {color};" if color else "")
        self.text.setText(shown)
        self._working.setVisible(bool(busy))
        self.bar.setRange(0, 0 if part is None else 1000)
        if part is not None:
            self.bar.setValue(int(part * 1000))


class Fold(QCollapsible):
    """A section that opens and closes, and tells when."""

    INDENT = 12

    def __init__(
        self, title: str, content: QWidget, is_open: bool, turned: Callable[[], Any]
    ) -> None:
        # Its own arrows are drawn in black, whatever the theme.
        super().__init__(title, expandedIcon=QIcon(), collapsedIcon=QIcon())
        self._title = title
        self.setDuration(0)
        for layout, margins in (
            (self.layout(), (0, 0, 0, 0)),
            (self.content().layout(), (self.INDENT - 4, 2, 4, 6)),
        ):
            if layout is not None:
                layout.setContentsMargins(*margins)
                layout.setSpacing(0)
        self.toggleButton().setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.toggleButton().setStyleSheet(
            "QPushButton { text-align: left; padding: 4px 6px; border: none;"
            " background: transparent; font-weight: bold; }"
            f"QPushButton:hover {{ background: {RULE}; }}"
        )
        self.addWidget(content)
        if is_open:
            self.expand(animate=False)
        self._show_arrow(is_open)
        self.toggled.connect(self._show_arrow)
        self.toggled.connect(lambda _open: turned())

    def _show_arrow(self, is_open: bool) -> None:
        arrow = (
            "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
            if is_open
            else "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
        )
        self.setText(f"{arrow}  {self._title}")
