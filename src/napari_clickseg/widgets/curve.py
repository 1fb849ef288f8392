"""How a model learns, drawn while it does: the loss, and what was held aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_clickseg.widgets.parts import BLUE

if TYPE_CHECKING:
    from napari_clickseg.binding.learning import Curve

__all__ = ["CurveView", "smoothed"]

ORANGE = "#e0a020"
#: Room beside a panel for numbers, above it for its title.
SIDE, TOP, HEIGHT = 38, 17, 150
#: Weight of what came before in the smooth line.
SMOOTH = 0.9

Points = Sequence[tuple[float, float]]


def smoothed(points: Points) -> list[tuple[float, float]]:
    """Return a running mean of the values, which does not lag at the start."""
    out: list[tuple[float, float]] = []
    mean = weight = 0.0
    for x, y in points:
        mean, weight = SMOOTH * mean + (1 - SMOOTH) * y, SMOOTH * weight + 1 - SMOOTH
        out.append((x, mean / weight))
    return out


class CurveView(QWidget):
    """Two panels: the loss of each step, and the model on what was held aside."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.curve: Curve | None = None

    def show_curve(self, curve: Curve) -> None:
        """Draw this, as it is now."""
        self.curve = curve
        latest = curve.validations[-1] if curve.validations else None
        told = [f"loss {curve.losses[-1][1]:.3f}"] if curve.losses else []
        if latest is not None:
            told.append(f"{self._measure(curve)} {self._value(latest):.3f}")
        self.setToolTip(
            "Grey: the loss of each step; blue: its running mean; orange: objects held "
            "aside. " + ", ".join(told)
        )
        self.update()

    @staticmethod
    def _measure(curve: Curve) -> str:
        counted = any(one.noc is not None for one in curve.validations)
        return "clicks to an IoU of 0.85" if counted else curve.score_name

    @staticmethod
    def _value(one: Any) -> float:
        return float(one.score if one.noc is None else one.noc)

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw both panels."""
        curve = self.curve
        if curve is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = painter.font()
        font.setPixelSize(10)
        painter.setFont(font)
        half = self.height() / 2
        steps = max(curve.steps, 1)
        losses = QRectF(0, 0, self.width(), half - 3)
        losses_held = [(one.step, one.loss) for one in curve.validations]
        panel = _Panel(painter, losses, steps, self.palette().text().color())
        panel.frame(
            "Loss (orange: held aside)", [*smoothed(curve.losses), *losses_held]
        )
        panel.line(curve.losses, QColor(144, 144, 144, 110), 1.0)
        panel.line(smoothed(curve.losses), QColor(BLUE), 2.0)
        panel.line(losses_held, QColor(ORANGE), 1.5, dots=True)
        held = [(one.step, self._value(one)) for one in curve.validations]
        below = QRectF(0, half + 3, self.width(), half - 3)
        panel = _Panel(painter, below, steps, self.palette().text().color())
        panel.frame(f"Held aside: {self._measure(curve)}", held)
        panel.line(held, QColor(ORANGE), 1.5, dots=True)
        painter.end()


class _Panel:
    """One set of axes."""

    def __init__(
        self, painter: QPainter, place: QRectF, steps: int, ink: QColor
    ) -> None:
        self.painter, self.place, self.steps, self.ink = painter, place, steps, ink
        self.inside = place.adjusted(SIDE, TOP, -4, -4)
        self.low, self.high = 0.0, 1.0

    def frame(self, title: str, points: Points) -> None:
        """Draw the axes and say between which values they lie."""
        values = [y for _, y in points]
        faint = QColor(self.ink)
        faint.setAlpha(60)
        painter, inside = self.painter, self.inside
        painter.setPen(QPen(faint, 1.0))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawLine(inside.bottomLeft(), inside.bottomRight())
        painter.drawLine(inside.topLeft(), inside.bottomLeft())
        painter.setPen(self.ink)
        head = QRectF(self.place.left(), self.place.top(), self.place.width(), TOP)
        painter.drawText(head, Qt.AlignmentFlag.AlignVCenter, title)
        if not values:
            return
        low, high = min(values), max(values)
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 0.1
        self.low, self.high = low - margin, high + margin
        for value, y in ((low, self._y(low)), (high, self._y(high))):
            side = QRectF(self.place.left(), y - 7, SIDE - 5, 14)
            flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(side, flags, f"{value:.2f}")
            if high - low < 1e-9:
                break

    def line(
        self, points: Points, color: QColor, width: float, *, dots: bool = False
    ) -> None:
        """Draw a line through points, cut off at the frame."""
        places = [QPointF(self._x(x), self._y(y)) for x, y in points]
        painter = self.painter
        painter.save()
        painter.setClipRect(self.inside.adjusted(-3, -3, 3, 3))
        painter.setPen(QPen(color, width))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF(places))
        if dots:
            painter.setBrush(color)
            for place in places:
                painter.drawEllipse(place, 2.5, 2.5)
        painter.restore()

    def _x(self, step: float) -> float:
        return self.inside.left() + self.inside.width() * step / self.steps

    def _y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.inside.bottom() - self.inside.height() * share
