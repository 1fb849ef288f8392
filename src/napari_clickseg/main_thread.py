"""Run functions in the thread of the window."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

__all__ = ["MainThread"]


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
