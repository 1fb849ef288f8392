"""A pair of hands in front of a napari window: mouse, keyboard, and a stopwatch."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from qtpy.QtCore import QEventLoop, QPoint, Qt, QTimer
from qtpy.QtTest import QTest

from napari_clickseg.binding.hooks import camera_of

LEFT = Qt.MouseButton.LeftButton
RIGHT = Qt.MouseButton.RightButton
PLAIN = Qt.KeyboardModifier.NoModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
CTRL = Qt.KeyboardModifier.ControlModifier


class Hands:
    """Use a viewer as a person would.

    Parameters
    ----------
    viewer : napari.Viewer
        With a window that is shown.
    ui : ViewerClicks
        Its clicks, to know when nothing is going on.
    """

    def __init__(self, viewer, ui):
        self.viewer, self.ui = viewer, ui
        self.canvas = viewer.window._qt_viewer.canvas.native

    # ---------------------------------------------------------------------- waiting

    def wait(self, until: Callable[[], bool] = lambda: False, limit: float = 60.0):
        """Let the event loop run until something holds."""
        loop, timer, end = QEventLoop(), QTimer(), time.perf_counter() + limit
        timer.setInterval(5)
        timer.timeout.connect(
            lambda: loop.quit() if until() or time.perf_counter() > end else None
        )
        timer.start()
        loop.exec()
        timer.stop()

    def pause(self, seconds: float = 0.1):
        self.wait(limit=seconds)

    def settle(self, limit: float = 120.0):
        """Wait until nothing is left to do."""
        ui = self.ui
        self.wait(lambda: not ui._channel.pending and not ui.busy[0], limit)
        assert not ui._channel.pending, "still working"

    # ------------------------------------------------------------------------ mouse

    @property
    def camera(self):
        return camera_of(self.viewer)

    def at(self, row: float, col: float) -> QPoint:
        """Return the place on the canvas of a position in the image."""
        layer, camera = self.ui.image_layer, self.camera
        place = np.array(self.ui.plane.to_data((row, col)))
        world = np.array(layer.data_to_world(place))
        shown = list(self.viewer.dims.displayed)
        away = (world[shown] - np.array(camera.center)[-2:]) * camera.zoom
        size = self.canvas.size()
        return QPoint(
            round(size.width() / 2 + away[1]), round(size.height() / 2 + away[0])
        )

    def hover(self, row: float, col: float):
        QTest.mouseMove(self.canvas, self.at(row, col))
        self.pause(0.05)

    def click(self, row: float, col: float, modifier=PLAIN, button=LEFT):
        place = self.at(row, col)
        QTest.mouseMove(self.canvas, place)
        QTest.mousePress(self.canvas, button, modifier, place)
        QTest.mouseRelease(self.canvas, button, modifier, place)
        self.pause(0.02)

    def drag(
        self, start: tuple[float, float], end: tuple[float, float], steps: int = 8
    ):
        ends = np.array([start, end], dtype=float)
        QTest.mouseMove(self.canvas, self.at(*start))
        QTest.mousePress(self.canvas, LEFT, PLAIN, self.at(*start))
        for part in np.linspace(0, 1, steps + 1)[1:]:
            move(self.canvas, self.at(*(ends[0] * (1 - part) + ends[1] * part)))
            self.pause(0.01)
        QTest.mouseRelease(self.canvas, LEFT, PLAIN, self.at(*end))
        self.pause(0.02)

    def press(self, key, modifier=PLAIN):
        QTest.keyClick(self.canvas, key, modifier)
        self.pause(0.02)


def move(canvas, place: QPoint):
    """Move the mouse with the left button held: QTest forgets the button."""
    from qtpy.QtCore import QEvent, QPointF
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    local = QPointF(place)
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        local,
        QPointF(canvas.mapToGlobal(place)),
        Qt.MouseButton.NoButton,
        LEFT,
        PLAIN,
    )
    QApplication.sendEvent(canvas, event)


#: Milliseconds that the event loop may stand still.
LONGEST = 100.0
#: So much of the time it may do so where the machine is slow or busy with other
#: things. What is computed in the window's own thread keeps it for nearly all of it.
PART = 0.4


class Stopwatch:
    """Measures how long the event loop stands still.

    A timer that is due all the time is late by as long as something else runs.
    """

    def __init__(self):
        self._timer = QTimer()
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._tick)
        self.gaps: list[float] = []
        #: Processor time of this thread in each gap, whatever else the machine does.
        self.work: list[float] = []

    def __enter__(self):
        self.gaps.clear()
        self.work.clear()
        self._last, self._worked = time.perf_counter(), time.thread_time()
        self._timer.start()
        return self

    def __exit__(self, *_):
        self._tick()
        self._timer.stop()

    def _tick(self):
        now, worked = time.perf_counter(), time.thread_time()
        self.gaps.append(now - self._last)
        self.work.append(worked - self._worked)
        self._last, self._worked = now, worked

    @property
    def longest(self) -> float:
        """Longest gap in milliseconds."""
        return 1000 * max(self.gaps)

    @property
    def limit(self) -> float:
        """Longest gap that is no frozen window, in milliseconds."""
        return max(LONGEST, PART * 1000 * sum(self.gaps))

    @property
    def most_work(self) -> float:
        """Most processor time that this thread took in one gap, in milliseconds."""
        return 1000 * max(self.work)
