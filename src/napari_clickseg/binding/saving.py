"""Keep work on disk as it goes, and offer it when the same image comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from napari_clickseg.binding.image_jobs import E
from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.waiting import Waiting

if TYPE_CHECKING:
    from napari_clickseg.worker import Job

__all__ = ["Saving"]

#: Changes after which the session is written.
WORTH_SAVING = frozenset({"commit", "delete", "undo", "redo", "labels"})


class Saving(Waiting[E], Generic[E]):
    """Autosave and resume; the file is named by what the plane holds.

    Those who inherit call :meth:`keep_on_disk` with what was shown, and
    :meth:`look_for_saved` when a plane is on screen.
    """

    #: Whether work is kept on disk.
    autosaves = True
    #: Seconds after which answers between such changes are written, too; None: never.
    saves_every: float | None = None
    _looking = False
    _last_saved = 0.0

    @property
    def resume_text(self) -> str:
        """What the button says that takes up last time's work; "" for none."""
        context, plane = self.context, self.plane
        if context is None or plane is None or plane in context.opened:
            return ""
        saved = context.saved.get(plane, "")
        return f"Take up where you stopped: {saved}" if saved else ""

    def resume(self) -> None:
        """Take up the session of last time."""
        context, plane = self.context, self.plane
        if context is None or plane is None or not self.resume_text:
            return
        context.saved.pop(plane, None)
        context.opened.add(plane)
        engine: Any = context.engine
        options = self.current_options()
        self.make_ready()
        self._channel.edit(
            lambda _: engine.resume(plane, options), partial(self._job_done, context)
        )
        self.ask(plane)

    def keep_on_disk(self, engine: Any, report: Any) -> None:
        """Write the session of a plane where what happened is worth it."""
        change, plane = report.change, report.plane
        if not self.autosaves or change is None:
            return
        now = time.monotonic()
        due = (
            self.saves_every is not None
            and report.settled
            and report.drafted
            and now - self._last_saved > self.saves_every
        )
        if due or (change.kind in WORTH_SAVING and self.saved_by(change)):
            self._last_saved = now
            self._channel.chore(lambda _: engine.autosave(plane), self._told)

    def look_for_saved(self) -> None:
        """See whether there is something of the plane on screen on disk."""
        context, plane, image = self.context, self.plane, self.image_layer
        if (
            not self.autosaves
            or self._looking
            or context is None
            or plane is None
            or image is None
            or plane in context.opened
            or plane in context.saved
        ):
            return
        there = self.work_there(plane)
        source, options = self.plane_source(), self.current_options()
        engine: Any = context.engine
        self._looking = True
        self._channel.chore(
            lambda _: engine.look_for_saved(plane, source, options, there),
            self._looked(engine, plane),
        )

    # ------------------------------------------------- what the subclass makes of it

    def saved_by(self, change: Any) -> bool:
        """Whether a change of such a kind is worth it."""
        del change
        return True

    def work_there(self, plane: Plane) -> Callable[[], bool]:
        """Return what says, in the worker, that there is work on the plane already."""
        del plane
        return lambda: False

    # ----------------------------------------------------------------------- parts

    def _looked(self, engine: Any, plane: Plane) -> Callable[[Job], None]:
        def done(job: Job) -> None:
            self._looking = False
            context = self.context
            if context is None or context.engine is not engine:
                self.look_for_saved()
                return
            context.saved[plane] = job.value or ""
            self.changed.emit()
            if plane != self.plane:  # the view went on meanwhile
                self.look_for_saved()

        return done

    def _told(self, job: Job) -> None:
        if job.error is not None:
            self.failed(job.error)
