"""Small pieces that the docks are put together from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from magicgui.widgets import CheckBox, FloatSpinBox
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)

__all__ = [
    "Badge",
    "Choice",
    "Halves",
    "SignSwitch",
    "button",
    "form",
    "number",
    "switch",
]

GREEN, RED, BLUE = "#1baf5c", "#f0442e", "#1e90ff"
RULE = "rgba(128, 128, 128, 90)"


def button(text: str, tip: str, clicked: Callable[[], Any]) -> QPushButton:
    """Return a push button that leaves the keyboard to the canvas."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.clicked.connect(lambda _checked=False: clicked())
    return made


def form(*rows: tuple[str, QWidget]) -> QWidget:
    """Return labelled rows."""
    widget = QWidget()
    layout = QFormLayout(widget)
    layout.setContentsMargins(0, 2, 0, 4)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    for name, field in rows:
        layout.addRow(name, field) if name else layout.addRow(field)
    return widget


def switch(text: str, tip: str, changed: Callable[[bool], Any]) -> CheckBox:
    """Return a box to tick that tells its new state."""
    box = CheckBox(text=text, tooltip=tip)
    box.changed.connect(changed)
    return box


class _Still(QObject):
    """Leaves the mouse wheel to the dock, which scrolls, until a field is in use."""

    def eventFilter(self, field: QObject | None, event: QEvent | None) -> bool:
        """Do not turn a number by accident."""
        turned = event is not None and event.type() == QEvent.Type.Wheel
        if turned and isinstance(field, QWidget) and not field.hasFocus():
            event.ignore()  # type: ignore[union-attr]
            return True
        return False


def number(
    tip: str,
    limits: tuple[float, float],
    step: float,
    changed: Callable[[Any], Any],
    *,
    unit: str = "",
    at_lowest: str = "",
) -> FloatSpinBox:
    """Return a field for a number, whole if ``step`` is, that tells a new one.

    Parameters
    ----------
    tip : str
    limits : (float, float)
        Smallest and largest value.
    step : float
    changed : callable
    unit : str
        Shown behind the number.
    at_lowest : str
        Shown in the place of the smallest value.
    """
    whole = isinstance(step, int)
    # The field for whole numbers has neither a unit nor a text for its smallest.
    made = FloatSpinBox(min=limits[0], max=limits[1], step=step, tooltip=tip)
    native = made.native
    native.setDecimals(0 if whole else 2)
    native.setKeyboardTracking(False)  # not after every digit
    native.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    native.setMinimumWidth(60)
    native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    native.installEventFilter(_Still(native))
    if unit:
        native.setSuffix(f" {unit}")
    if at_lowest:
        native.setSpecialValueText(at_lowest)
    made.changed.connect(lambda value: changed(round(value) if whole else value))
    return made


class Choice(QComboBox):
    """A drop-down list of values with texts that tells only the user's choices."""

    def __init__(self, chosen: Callable[[Any], Any], tip: str = "") -> None:
        super().__init__()
        self.setToolTip(tip)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        # As wide as the dock, however long the texts are.
        self.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._values: list[Any] = []
        self.activated.connect(lambda index: chosen(self._values[index]))

    def offer(self, choices: list[tuple[str, Any]], current: Any) -> None:
        """Show these texts and values, and which one holds."""
        texts = [text for text, _ in choices]
        self._values = [value for _, value in choices]
        if texts != [self.itemText(i) for i in range(self.count())]:
            self.clear()
            self.addItems(texts)
        # Identity: layers compare by what they hold.
        found = (
            i
            for i, value in enumerate(self._values)
            if value is current or (isinstance(value, str) and value == current)
        )
        self.setCurrentIndex(next(found, -1))


class Badge(QLabel):
    """A short word in a rounded frame: where the model runs."""

    def __init__(self) -> None:
        super().__init__()
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setStyleSheet(
            f"QLabel {{ border: 1px solid {RULE}; border-radius: 7px;"
            " padding: 1px 7px; font-size: 10px; font-weight: bold; }"
        )


class Halves(QWidget):
    """Buttons side by side of which one holds.

    Parameters
    ----------
    choices : sequence of (value, str, str)
        Value, text and colour of each.
    chosen : callable
        Told the user's choice.
    tip : str
    """

    def __init__(
        self,
        choices: Sequence[tuple[Any, str, str]],
        chosen: Callable[[Any], Any],
        tip: str = "",
    ) -> None:
        super().__init__()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self.buttons: dict[Any, QToolButton] = {}
        for number, (value, text, color) in enumerate(choices):
            half = QToolButton()
            half.setText(text)
            half.setCheckable(True)
            half.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            half.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            half.setMinimumHeight(28)
            half.setToolTip(tip)
            sides = [("left", number == 0), ("right", number == len(choices) - 1)]
            rounded = " ".join(
                f"border-{edge}-{side}-radius: 5px;"
                for side, outer in sides
                if outer
                for edge in ("top", "bottom")
            )
            half.setStyleSheet(
                f"QToolButton {{ border: 1px solid {RULE}; padding: 3px; {rounded} }}"
                f"QToolButton:checked {{ background: {color}; color: white;"
                f" border-color: {color}; font-weight: bold; }}"
            )
            half.clicked.connect(lambda _checked=False, v=value: chosen(v))
            layout.addWidget(half)
            self.buttons[value] = half

    def show_value(self, value: Any) -> None:
        """Light up the one that holds."""
        for each, half in self.buttons.items():
            half.setChecked(each == value)


class SignSwitch(Halves):
    """Two halves: plain clicks add, or take away.

    Parameters
    ----------
    chosen : callable
        Told whether plain clicks add.
    more, less : str
        What the two kinds of click are called.
    """

    def __init__(
        self,
        chosen: Callable[[bool], Any],
        more: str = "+  Add",
        less: str = "\N{MINUS SIGN}  Take away",
    ) -> None:
        choices = ((True, more, GREEN), (False, less, RED))
        tip = "What a plain click does (T switches; Shift+click does the other)"
        super().__init__(choices, chosen, tip)

    def show_sign(self, positive: bool) -> None:
        """Light up the half that holds."""
        self.show_value(positive)
