"""Keep work on disk as it goes, and offer it when the same image comes back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from napari_clickseg.binding.controller import Controller
from napari_clickseg.binding.engine import Engine
from napari_clickseg.binding.image_jobs import Context
from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.reports import Report
from napari_clickseg.binding.writing import box_reader

if TYPE_CHECKING:
    from napari_clickseg.worker import Job

__all__ = ["Saving"]

#: Changes after which the session is written.
WORTH_SAVING = frozenset({"commit", "delete", "undo", "redo", "labels"})


class Saving(Controller):
    """Autosave and resume; the file is named by what the plane holds."""

    _looking = False

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
        engine, options = context.engine, self.current_options()
        self.make_ready()
        self._channel.edit(
            lambda _: engine.resume(plane, options), partial(self._job_done, context)
        )
        self.ask(plane)

    def apply(self, context: Context[Engine], report: Report) -> None:
        """Show what a job did, and keep it on disk where it is worth it."""
        super().apply(context, report)
        change = report.change
        if (
            self.autosaves
            and change is not None
            and change.labels is not None
            and change.kind in WORTH_SAVING
        ):
            engine, plane = context.engine, report.plane
            self._channel.chore(lambda _: engine.autosave(plane), self._told)

    def _layers_ready(self, new_mask: bool) -> None:
        super()._layers_ready(new_mask)
        self._look_for_saved()

    def _plane_changed(self) -> None:
        super()._plane_changed()
        self._look_for_saved()

    def _look_for_saved(self) -> None:
        context, plane, image = self.context, self.plane, self.image_layer
        if (
            not self.autosaves
            or self._looking
            or context is None
            or plane is None
            or image is None
            or plane in context.opened
            or plane in context.saved
            or self.objects_layer is None
        ):
            return
        source, options, engine = (
            self.plane_source(),
            self.current_options(),
            context.engine,
        )
        labels = box_reader(self.objects_layer, plane)
        self._looking = True
        self._channel.chore(
            lambda _: engine.look_for_saved(plane, source, options, labels),
            self._looked(engine, plane),
        )

    def _looked(self, engine: Engine, plane: Plane) -> Callable[[Job], None]:
        def done(job: Job) -> None:
            self._looking = False
            context = self.context
            if context is None or context.engine is not engine:
                self._look_for_saved()
                return
            context.saved[plane] = job.value or ""
            self.changed.emit()
            if plane != self.plane:  # the view went on meanwhile
                self._look_for_saved()

        return done

    def _told(self, job: Job) -> None:
        if job.error is not None:
            self.failed(job.error)
