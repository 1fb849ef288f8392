"""Keep work on disk as it goes, and offer it when the same image comes back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from napari_clickseg.binding.context import E
from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.waiting import Waiting

if TYPE_CHECKING:
    from napari_clickseg.worker import Job

__all__ = ["Saving"]


class Saving(Waiting[E], Generic[E]):
    """Journals and taking up again; a journal is named by what the plane holds.

    Those who inherit call :meth:`keep_on_disk` with what was shown, and
    :meth:`look_for_saved` when a plane is on screen.
    """

    _autosaves = True
    _looking = False
    _trouble = ""

    def say(self, text: str, kind: str = "hint") -> None:
        """Put a sentence into the status line; that edits are not kept goes before."""
        if kind == "hint" and self._trouble:
            text, kind = self._trouble, "error"
        super().say(text, kind)

    @property
    def autosaves(self) -> bool:
        """Whether work is kept on disk."""
        return self._autosaves

    @autosaves.setter
    def autosaves(self, on: bool) -> None:
        self._autosaves = on
        for context in list(getattr(self, "_contexts", {}).values()):
            self._channel.chore(partial(_keep_journals, context.engine, on))

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
        """Say, as long as it is so, that edits of a plane are not on disk."""
        if self.autosaves and report.change is not None:
            self._channel.chore(
                lambda _: engine.check_journal(report.plane), self._told
            )

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
        source = self.plane_source()
        engine: Any = context.engine
        self._looking = True
        self._channel.chore(
            lambda _: engine.look_for_saved(plane, source, there),
            self._looked(engine, plane),
        )

    # ------------------------------------------------- what the subclass makes of it

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
            return
        before, self._trouble = self._trouble, job.value
        if self._trouble:
            self.say(self._trouble, "error")
        elif before:
            self.say("All your edits are on disk again.")


def _keep_journals(engine: Any, on: bool, _cancelled: Callable[[], bool]) -> None:
    engine.keep_journals(on)
