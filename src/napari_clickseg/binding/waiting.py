"""Waiting for the worker, from whatever thread: for scripts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari_clickseg.binding.image_jobs import E, ImageJobs
from napari_clickseg.binding.planes import Plane
from napari_clickseg.errors import SessionError

if TYPE_CHECKING:
    from napari_clickseg.worker import Job

__all__ = ["Waiting"]

T = TypeVar("T")


class Waiting(ImageJobs[E], Generic[E]):
    """Jobs that a script may wait for; parameters as of :class:`ImageJobs`."""

    def _ask_engine(self, work: Callable[[E, Plane], Any]) -> Any:
        """Return what ``work`` finds in the worker, after all that was asked for."""

        def start() -> Job:
            context, plane = self._open(None)
            return self._channel.chore(lambda _: work(context.engine, plane))

        return self._wait(self._in_owner(start))

    def _in_owner(self, function: Callable[[], T]) -> T:
        """Run a function in the thread that owns the layers, and wait for it."""
        if self._channel.owned:
            return function()
        results: list[T] = []
        failures: list[Exception] = []
        ready = threading.Event()

        def run() -> None:
            try:
                results.append(function())
            except Exception as error:  # noqa: BLE001  (raised in the calling thread)
                failures.append(error)
            ready.set()

        self._channel.tell(run)
        ready.wait()
        if failures:
            raise failures[0]
        return results[0]

    def _wait(self, job: Job) -> Any:
        self._channel.wait(job)
        for each in (job.before, job):
            if each is not None and each.error is not None:
                raise each.error
        if job.dropped:
            raise SessionError("This was overtaken by a newer click: try it again.")
        return job.value
