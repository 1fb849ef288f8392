"""From what happens to the layers to jobs for the worker, and back.

The click layer and the painted mask become edits, each followed by a request for
an answer; reports come back in order, and only the box that changed is written.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_clickseg.binding.engine import Engine, Options, Report
from napari_clickseg.binding.marks import AddMark, Mark, MarkEdit
from napari_clickseg.binding.planes import Plane, visible_box
from napari_clickseg.binding.shelf import ModelChoice, ModelFacts, ModelShelf
from napari_clickseg.binding.stage import Stage
from napari_clickseg.binding.writing import (
    label_check,
    read_box,
    write_box,
    write_box_undoable,
)
from napari_clickseg.errors import Cancelled, ClickSegError
from napari_clickseg.preferences import Preferences, preferences

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_clickseg.boxes import Box
    from napari_clickseg.prediction.settings import FirstLook
    from napari_clickseg.worker import Channel, Job

__all__ = ["Controller"]

LOG = logging.getLogger("napari_clickseg")

#: The view counts as zoomed in when it shows less of the image than this.
ZOOMED_IN = 0.6

#: Preferences, and where their values are held.
ATTRIBUTES = {
    "clicks.first_look": "first_look",
    "clicks.overlap": "overlap",
    "clicks.settle": "settles",
    "saving.autosave": "autosaves",
}

HINT_OPEN = "Open an image, then click inside an object."
HINT_CLICK = "Click inside an object."
HINT_CORRECT = "Click to add, Shift+click to take away. N: done, next object."


@dataclass(eq=False)
class Context:
    """What belongs to one image, kept while the user looks at another one."""

    engine: Engine
    objects: weakref.ref[Labels] | None = None
    opened: set[Plane] = field(default_factory=set)
    reports: dict[Plane, Report] = field(default_factory=dict)
    saved: dict[Plane, str] = field(default_factory=dict)


class Controller(Stage):
    """Clicks of one viewer.

    Parameters
    ----------
    viewer : ViewerModel
    channel : Channel
        The line to the worker, owned by this thread.
    shelf : ModelShelf
        Where models come from; shared by all viewers.
    """

    def __init__(
        self, viewer: ViewerModel, channel: Channel, shelf: ModelShelf
    ) -> None:
        self._channel = channel
        self._shelf = shelf
        self._contexts: weakref.WeakKeyDictionary[Image, Context] = (
            weakref.WeakKeyDictionary()
        )
        self._warmed: ModelChoice | None = None
        self.shown_object: int | None = None
        #: What is going on ("" for nothing) and how far it is.
        self.busy: tuple[str, float | None] = ("", None)
        self.hint = (HINT_OPEN, "hint")
        chosen = preferences()
        chosen.apply_cache_folder()
        self.model = ModelChoice(
            chosen.get("model.name"),
            chosen.get("model.device"),
            chosen.get("model.precision"),
        )
        self.first_look: str = chosen.get("clicks.first_look")
        self.overlap: str = chosen.get("clicks.overlap")
        self.settles: bool = chosen.get("clicks.settle")
        self.autosaves: bool = chosen.get("saving.autosave")
        super().__init__(viewer)
        self._preference_stops = self._follow_preferences(chosen)

    # -------------------------------------------------------------------- reading

    @property
    def context(self) -> Context | None:
        """What belongs to the image in work."""
        return None if self.image is None else self._contexts.get(self.image)

    @property
    def report(self) -> Report | None:
        """The newest report of the plane on screen."""
        context, plane = self.context, self.plane
        return None if context is None or plane is None else context.reports.get(plane)

    @property
    def model_facts(self) -> ModelFacts | None:
        """What is known of the model; None before it is loaded."""
        return self._shelf.facts(self.model)

    @property
    def positive(self) -> bool:
        """Whether the next plain click adds."""
        return self.points is None or self.points.positive

    def say(self, text: str, kind: str = "hint") -> None:
        """Put a sentence into the status line."""
        self.hint = (text, kind)
        self.message.emit(text, kind)

    def close(self) -> None:
        """Let go of the viewer and of all work."""
        self._channel.close()
        self._stop(self._preference_stops)
        super().close()
        self._contexts.clear()

    def _follow_preferences(self, kept: Preferences) -> list[Callable[[], None]]:
        """Heed changes in napari's Preferences; returns how to stop."""
        this = weakref.ref(self)

        def heed(key: str) -> None:
            controller = this()
            if controller is None:
                return
            value = kept.get(key)
            section, _, name = key.partition(".")
            if section == "model":
                controller.model = controller.model._replace(**{name: value})
            else:
                setattr(controller, ATTRIBUTES[key], value)
            controller.changed.emit()

        keys = ("model.name", "model.device", "model.precision", *ATTRIBUTES)
        return [kept.connect(key, partial(heed, key)) for key in keys]

    # ----------------------------------------------------------------------- jobs

    def options(self) -> Options:
        """Return what the dock says now."""
        visible: Box | None = None
        look = self.first_look
        if self.image is not None and self.plane is not None:
            visible = visible_box(self.image, self.plane)
            height, width = self.plane_source().shape
            part = 1.0 if visible is None else visible.area / (height * width)
            if look == "auto":
                look = "visible" if part < ZOOMED_IN else "search"
        first: FirstLook = "search" if look == "auto" else look  # type: ignore[assignment]
        check = None if self.objects is None else label_check(self.objects)
        return Options(self.model, first, self.overlap, visible, check)

    def edit(
        self,
        work: Callable[[Engine, Plane, Options], Report],
        *,
        plane: Plane | None = None,
        answer: bool = True,
        settle: bool = False,
    ) -> Job:
        """Do something to the session of a plane, then ask for an answer.

        Returns the last job, for those who wait.
        """
        context, plane = self._open(plane)
        engine, options = context.engine, self.options()
        job = self._channel.edit(lambda _: work(engine, plane, options), self._job_done)
        if not answer:
            return job
        return self.ask(plane, settle=settle, before=job)

    def ask(
        self,
        plane: Plane | None = None,
        *,
        settle: bool = False,
        before: Job | None = None,
    ) -> Job:
        """Ask the model about the clicks as they stand."""
        context, plane = self._open(plane)
        engine, options = context.engine, self.options()
        image = self.plane_source() if plane == self.plane else None

        def work(cancelled: Callable[[], bool]) -> Report:
            if image is not None:
                engine.show(plane, image, options)
            return engine.answer(plane, options, settle, cancelled)

        return self._channel.answer(work, self._answer_done, before)

    def _open(self, plane: Plane | None) -> tuple[Context, Plane]:
        """Begin with a plane if that was not done yet."""
        source = self.plane_source()
        context = self.context
        assert context is not None
        if plane is None:
            plane = self.plane
        assert plane is not None
        if plane not in context.opened:
            context.opened.add(plane)
            if plane != self.plane:
                from napari_clickseg.binding.planes import plane_image

                source = plane_image(self.channel_layers(), plane)
            labels = None if self.objects is None else read_box(self.objects, plane)
            others = (
                None
                if self.objects is None or len(plane.fixed) == 2
                else self.objects.data
            )
            engine, options, first = context.engine, self.options(), plane
            self._channel.edit(
                lambda _: engine.open(first, source, options, labels, others),
                self._job_done,
            )
        return context, plane

    def _job_done(self, job: Job) -> None:
        if job.error is not None:
            self.failed(job.error)
        elif isinstance(job.value, Report):
            if job.before is None or job.before.error is None:
                self._say_what_next(job.value)
            try:
                self.apply(job.value)
            except ClickSegError as error:  # the layer cannot be written to
                self.failed(error)

    def _answer_done(self, job: Job) -> None:
        self._job_done(job)
        report = job.value
        if (
            isinstance(report, Report)
            and job.error is None
            and self.settles
            and not report.settled
            and not job.stale
        ):
            self.ask(report.plane, settle=True)

    def failed(self, error: Exception) -> None:
        """Tell what went wrong in one sentence, and show what still stands."""
        if isinstance(error, Cancelled):
            self.say(str(error) or "Stopped.")
        elif isinstance(error, ClickSegError):
            self.say(str(error), "error")
        else:
            LOG.error("Unexpected error", exc_info=error)
            self.say(
                f"Something went wrong that should not ({type(error).__name__}: "
                f"{error}). The log has the details; please report it.",
                "error",
            )
        self._show_marks()
        self.changed.emit()

    def tell_busy(self, text: str, part: float | None) -> None:
        """Show that something takes a while (called from the worker)."""
        this = weakref.ref(self)

        def show() -> None:
            controller = this()
            if controller is not None:
                controller.busy = (text, part)
                controller.changed.emit()

        self._channel.tell(show)

    # --------------------------------------------------------------------- showing

    def apply(self, report: Report) -> None:
        """Show what a job did."""
        context = self.context
        if context is None or report.plane not in context.opened or not self.in_view:
            return
        context.reports[report.plane] = report
        change = report.change
        if change is not None and change.bbox is not None:
            box = change.bbox
            with self._quietly():
                if change.mask is not None:
                    self._write_mask(report, box, change.mask)
                if change.labels is not None:
                    self._write_objects(report.plane, box, change.labels)
        self._show_marks()
        self.changed.emit()

    def _write_mask(self, report: Report, box: Box, mask: np.ndarray) -> None:
        if self.mask is None:
            if mask.any():
                self.make_ready()  # shows all of it
        else:
            write_box(self.mask, report.plane, box, mask)

    def _write_objects(self, plane: Plane, box: Box, labels: np.ndarray) -> None:
        if self.objects is None and labels.any():
            self.make_ready()
        if self.objects is not None:
            write_box_undoable(self.objects, plane, box, labels)

    def _show_whole(self, plane: Plane) -> None:
        """Fill layers that were made anew."""
        context = self.context
        if context is not None and plane in context.opened:
            engine, options = context.engine, self.options()
            self._channel.chore(lambda _: engine.whole(plane, options), self._job_done)

    def _show_marks(self) -> None:
        """Show the session's clicks, unless edits of them are still on their way."""
        if self.points is None or self._channel.pending_edits:
            return
        report = self.report
        self.points.show(self.plane, () if report is None else report.marks)

    def _say_what_next(self, report: Report) -> None:
        change = report.change
        if change is not None and change.notices:
            self.say(change.notices[-1])
        elif change is not None and change.kind == "commit":
            label = (
                max(report.boxes, default=0) if change.label is None else change.label
            )
            self.say(f"Object {label} committed. Click inside the next one.")
        elif report.plane == self.plane:
            self.say(HINT_CORRECT if report.drafted else HINT_CLICK)

    # ------------------------------------------------------ what happens to the layers

    def _later(self, function: Callable[[], None]) -> None:
        self._channel.tell(function)

    def _enter_image(self, image: Image) -> None:
        context = self._contexts.get(image)
        if context is None:
            this = weakref.ref(self)

            def tell(text: str, part: float | None) -> None:
                controller = this()
                if controller is not None:
                    controller.tell_busy(text, part)

            context = self._contexts[image] = Context(Engine(self._shelf, tell))
        objects = None if context.objects is None else context.objects()
        if objects is not None and objects in self.viewer.layers:
            self.set_objects_layer(objects, tell=False)
        self.say(HINT_CLICK)

    def _layers_ready(self, new_mask: bool) -> None:
        self._show_marks()
        if new_mask and self.plane is not None:
            self._show_whole(self.plane)

    @property
    def _defers(self) -> bool:
        return self._channel.queues

    def _image_replaced(self, image: Image) -> None:
        self._contexts.pop(image, None)
        self._channel.make_stale()
        self.image = None
        self.set_image_layer(image)

    def _objects_chosen(self) -> None:
        context = self.context
        if context is None:
            return
        context.objects = None if self.objects is None else weakref.ref(self.objects)
        if self.objects is not None:
            for plane in context.opened:
                self._send_objects(plane)

    def _plane_changed(self) -> None:
        self.shown_object = None
        self._show_marks()
        report = self.report
        if self.plane is not None:
            self.say(HINT_CORRECT if report and report.drafted else HINT_CLICK)
        self.changed.emit()

    def _points_edited(self, edits: list[MarkEdit]) -> None:
        try:
            self.edit(lambda engine, plane, o: engine.edit_marks(plane, edits, o))
        except ClickSegError as error:
            self.failed(error)

    def _point_elsewhere(self, place: Sequence[float], positive: bool) -> None:
        if self.plane is None:
            return
        plane = self.plane.at(place)
        edits: list[MarkEdit] = [AddMark(Mark(*plane.to_plane(place), positive))]
        try:
            self.edit(
                lambda engine, plane, o: engine.edit_marks(plane, edits, o), plane=plane
            )
        except (ClickSegError, IndexError):
            self.say("A click lies outside of the image and was left out.", "error")

    def _hovered(self) -> None:
        """Load the model when the mouse is about to click."""
        if self._warmed == self.model or self.context is None:
            return
        self._warmed = self.model
        engine, options = self.context.engine, self.options()
        self._channel.chore(lambda _: engine.warm_up(options), self._warm_done)

    def _warm_done(self, job: Job) -> None:
        if job.error is not None:
            self.failed(job.error)
        self.changed.emit()

    def _mask_painted(self) -> None:
        if self.mask is None or self.plane is None:
            return
        painted = read_box(self.mask, self.plane)
        self.edit(lambda engine, plane, o: engine.set_mask(plane, o, painted))

    def _objects_painted(self) -> None:
        context = self.context
        if self.plane is not None and context and self.plane in context.opened:
            self._send_objects(self.plane)

    def _send_objects(self, plane: Plane) -> None:
        """Tell the session what the objects layer holds now."""
        if self.objects is None:
            return
        self._objects_touched = False
        labels = read_box(self.objects, plane)
        self.edit(
            lambda engine, plane, o: engine.set_labels(plane, o, labels),
            plane=plane,
            answer=False,
        )

    def _points_gone(self) -> None:
        self.say("The click layer is gone: press 'Add' or 'Remove' to go on.")
        self._drop_draft()

    def _mask_gone(self) -> None:
        self._drop_draft()

    def _drop_draft(self) -> None:
        report, context = self.report, self.context
        if context is not None and report is not None and report.drafted:
            self.edit(
                lambda engine, plane, o: engine.call(plane, o, "discard"), answer=False
            )

    def _objects_gone(self) -> None:
        context = self.context
        if context is None:
            return
        context.objects = None
        for plane in tuple(context.opened):
            self.edit(
                lambda engine, plane, o: engine.clear_labels(plane, o),
                plane=plane,
                answer=False,
            )
