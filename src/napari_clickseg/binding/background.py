"""Work in a thread of its own that only the newest wish asks for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_clickseg.errors import Cancelled

if TYPE_CHECKING:
    from napari_clickseg.worker import Channel, Job

__all__ = ["Background"]


class Background:
    """One thing is done at a time; what it tells arrives in the window's thread.

    Parameters
    ----------
    channel : Channel
        The line to the worker.

    Attributes
    ----------
    hint : (str, str)
        The sentence of the status line, and its kind: "hint" or "error".
    busy : (str, float or None)
        What takes a while ("" for nothing), and how far it is.
    """

    changed = Signal()

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.hint: tuple[str, str] = ("", "hint")
        self.busy: tuple[str, float | None] = ("", None)
        self._stop = threading.Event()
        self._task: Job | None = None
        self._turn = 0
        self._news: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def say(self, text: str, kind: str = "hint") -> None:
        """Put a sentence into the status line."""
        self.hint = (text, kind)
        self.changed.emit()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being done (by script: the window stands still)."""
        end = None if timeout is None else time.monotonic() + timeout
        while self._task is not None:
            left = None if end is None else end - time.monotonic()
            if (left is not None and left <= 0) or not self._channel.wait(
                self._task, left
            ):
                return False
        return True

    def _do(
        self, work: Callable[[Callable[[], bool]], Any], done: Callable[[Any], None]
    ) -> None:
        """Have the worker do something; what was asked for before is told to stop."""
        self._stop.set()
        self._stop = stop = threading.Event()
        self._turn += 1
        turn = self._turn

        def run(cancelled: Callable[[], bool]) -> Any:
            def stopped() -> bool:
                return stop.is_set() or cancelled()

            if stopped():
                raise Cancelled("Stopped.")
            return work(stopped)

        def over(job: Job) -> None:
            if turn != self._turn:
                return  # something newer has been asked for
            self._task, self.busy = None, ("", None)
            if job.error is not None:
                self._failed(job.error)
            elif not job.dropped:
                done(job.value)
            self.changed.emit()

        job = self._channel.chore(run, over)
        if not job.applied.is_set():
            self._task = job

    def _abandon(self) -> None:
        """Stop what is being done, and do not hear of it any more."""
        self._stop.set()
        self._turn += 1
        self._task, self.busy = None, ("", None)

    def _failed(self, error: Exception) -> None:
        """Tell what went wrong."""
        raise NotImplementedError

    def _tell(self, text: str, part: float | None) -> None:
        def show() -> None:
            self.busy = (text, part)
            self.changed.emit()

        self._channel.tell(show)

    def _deliver(self, note: Callable[[], None]) -> None:
        """Tell news in the window's thread, many at once where they come quickly."""
        with self._lock:
            self._news.append(note)
            first = len(self._news) == 1
        if first:
            self._channel.tell(self._take_news)

    def _take_news(self) -> None:
        with self._lock:
            news, self._news = self._news, []
        for note in news:
            note()
        self.changed.emit()
