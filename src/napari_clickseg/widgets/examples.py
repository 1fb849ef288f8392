"""Thumbnails of objects held aside: as the model answered before, and now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent, QPen, QPixmap
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_clickseg.widgets.parts import GREEN

if TYPE_CHECKING:
    from napari_clickseg.training.finetuning.report import Example

__all__ = ["ExamplesView", "crop_of", "drawn"]

#: Side of a thumbnail on screen, and room for the words above a row.
SIDE, HEAD, GAP = 78, 15, 4
MASK = np.array([30, 144, 255], np.float32)
OUTLINE = np.array([255, 220, 60], np.uint8)


def crop_of(example: Example) -> tuple[slice, slice]:
    """Return a square window around an object, with room around it."""
    rows, cols = np.nonzero(example.truth)
    height, width = example.truth.shape
    longest = int(max(np.ptp(rows), np.ptp(cols)))
    side = min(int(1.7 * longest + 9), height, width)
    middle = (rows.min() + rows.max() + 1) / 2, (cols.min() + cols.max() + 1) / 2
    top = int(np.clip(middle[0] - side / 2, 0, height - side))
    left = int(np.clip(middle[1] - side / 2, 0, width - side))
    return slice(top, top + side), slice(left, left + side)


def drawn(example: Example, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the window of an example with an answer in blue, the truth outlined.

    Returns
    -------
    ndarray of uint8, shape (SIDE, SIDE, 3)
    """
    window = crop_of(example)
    side = window[0].stop - window[0].start
    # Twice as fine as on screen, for sharp outlines.
    places = (np.arange(2 * SIDE) * side / (2 * SIDE)).astype(int)
    picture = example.image[window][places][:, places].astype(np.float32)
    answer = mask[window][places][:, places]
    picture[answer] = 0.55 * picture[answer] + 0.45 * MASK
    out = picture.astype(np.uint8)
    truth = example.truth[window][places][:, places]
    inner = truth.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(truth, step, axis)
    out[truth & ~inner] = OUTLINE
    return np.ascontiguousarray(out)


class ExamplesView(QWidget):
    """Two rows of thumbnails: before, and now."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(2 * (SIDE + HEAD) + GAP)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Objects held aside, answered after one click (green). Blue: the answer; "
            "yellow: the outline as you annotated it"
        )
        self.examples: tuple[Example, ...] = ()
        self._drawn: list[tuple[QPixmap, QPixmap, QPointF]] = []

    def show_examples(self, examples: tuple[Example, ...]) -> None:
        """Draw these."""
        if examples is self.examples:
            return
        self.examples = examples
        self._drawn = [
            (
                _pixmap(drawn(each, each.before)),
                _pixmap(drawn(each, each.after)),
                _click(each),
            )
            for each in examples
        ]
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw the thumbnails, smaller where the dock is narrow."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        font = painter.font()
        font.setPixelSize(10)
        painter.setFont(font)
        count = max(len(self._drawn), 1)
        side = min(SIDE, self.width() / count - GAP)
        for row, words in enumerate(("Before, after one click", "Now")):
            top = row * (SIDE + HEAD + GAP)
            painter.setPen(self.palette().text().color())
            head = QRectF(0, top, self.width(), HEAD)
            painter.drawText(head, Qt.AlignmentFlag.AlignVCenter, words)
            for column, (before, now, click) in enumerate(self._drawn):
                place = QRectF(column * (side + GAP), top + HEAD, side, side)
                picture = now if row else before
                painter.drawPixmap(place, picture, QRectF(picture.rect()))
                painter.setPen(QPen(QColor("white"), 1.0))
                painter.setBrush(QColor(GREEN))
                painter.drawEllipse(place.topLeft() + side * click, 3.5, 3.5)
        painter.end()


def _click(example: Example) -> QPointF:
    """Return where an example's click lies in its thumbnail, whose side is 1."""
    rows, cols = crop_of(example)
    row, col, _positive = example.clicks[0]
    scale = 1 / (rows.stop - rows.start)
    return QPointF((col - cols.start + 0.5) * scale, (row - rows.start + 0.5) * scale)


def _pixmap(picture: NDArray[np.uint8]) -> QPixmap:
    height, width, _ = picture.shape
    image = QImage(
        picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888
    )
    return QPixmap.fromImage(image.copy())
