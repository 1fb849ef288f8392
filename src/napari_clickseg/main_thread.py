"""Run functions in the thread of the window, and when it is closed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

__all__ = ["MainThread", "when_closed"]


class MainThread(QObject):
    """Takes functions from any thread and runs them in the one it was made in."""

    _called = QtSignal(object)

    def __init__(self) -> None:
        super().__init__()
        self._called.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def run(self, function: Callable[[], None]) -> None:
        """Run a function at the next turn of the event loop."""
        self._called.emit(function)

    def _run(self, function: Callable[[], None]) -> None:
        function()


def when_closed(viewer: Any, method: Callable[[], None]) -> None:
    """Call a bound method when a viewer's window is gone, if its object still lives.

    The viewer itself may live on: variables of a notebook hold it.
    """
    window = getattr(viewer.window, "_qt_window", None)
    destroyed = getattr(window, "destroyed", None)
    if destroyed is None:
        return
    held = weakref.WeakMethod(method)

    def tell(_window: Any = None) -> None:
        living = held()
        if living is not None:
            living()

    destroyed.connect(tell)
