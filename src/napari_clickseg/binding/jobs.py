"""Jobs for the worker, and what is known of their results.

An edit of a session is followed by a request for an answer; reports come back in
the order the jobs ran, each with the image that it is about.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.choices import CHOICES
from napari_clickseg.binding.choosing import Choosing
from napari_clickseg.binding.engine import Engine
from napari_clickseg.binding.planes import (
    Plane,
    PlaneImage,
    plane_image,
    visible_box,
)
from napari_clickseg.binding.preparing import Preparing
from napari_clickseg.binding.reports import Options, Report
from napari_clickseg.binding.shelf import ModelChoice, ModelFacts, ModelShelf
from napari_clickseg.binding.writing import box_reader, label_check
from napari_clickseg.errors import Cancelled, ClickSegError, ImageError
from napari_clickseg.preferences import Preferences, preferences

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_clickseg.boxes import Box
    from napari_clickseg.encoding.prepared_store import PreparedStore
    from napari_clickseg.encoding.preparing import Preparation
    from napari_clickseg.prediction.settings import FirstLook
    from napari_clickseg.worker import Channel, Job

__all__ = ["Context", "Jobs"]

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

#: Answers in a row that changed nothing and left no click disobeyed, after which no
#: better one is asked for.
IDLE_ANSWERS = 2
#: No answer is improved more often than this.
MOST_ANSWERS = 50

HINT_OPEN = "Open an image, then click inside an object."


@dataclass(eq=False)
class Context:
    """What belongs to one image, kept while the user looks at another one."""

    engine: Engine
    objects: weakref.ref[Labels] | None = None
    opened: set[Plane] = field(default_factory=set)
    reports: dict[Plane, Report] = field(default_factory=dict)
    saved: dict[Plane, str] = field(default_factory=dict)
    latest: Report | None = None


class Jobs(Choosing):
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
        self.model_choice = ModelChoice(
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
        #: Images encoded ahead of time, when nothing else is to do.
        self.preparing = Preparing(self)
        channel.idle = self.preparing.advance

    # -------------------------------------------------------------------- reading

    @property
    def context(self) -> Context | None:
        """What belongs to the image in work."""
        return (
            None if self.image_layer is None else self._contexts.get(self.image_layer)
        )

    @property
    def report(self) -> Report | None:
        """The newest report of the plane on screen."""
        context, plane = self.context, self.plane
        return None if context is None or plane is None else context.reports.get(plane)

    @property
    def model_facts(self) -> ModelFacts | None:
        """What is known of the model; None before it is loaded."""
        return self._shelf.facts(self.model_choice)

    @property
    def positive(self) -> bool:
        """Whether the next plain click adds."""
        return self.points is None or self.points.positive

    @property
    def prepared_store(self) -> PreparedStore:
        """Where prepared images are kept, for all viewers."""
        return self._shelf.store

    @property
    def idle(self) -> bool:
        """Whether a job that is asked for now would have to wait for no other."""
        return not (self._channel.closed or self._channel.pending)

    def say(self, text: str, kind: str = "hint") -> None:
        """Put a sentence into the status line."""
        self.hint = (text, kind)
        self.message.emit(text, kind)

    def close(self) -> None:
        """Let go of the viewer and of all work."""
        self._channel.close()
        self.preparing.close()
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
            if key in CHOICES:
                controller.heed_choice(key, value)
                return
            section, _, name = key.partition(".")
            if section == "model":
                controller.model_choice = controller.model_choice._replace(
                    **{name: value}
                )
            else:
                setattr(controller, ATTRIBUTES[key], value)
            controller.changed.emit()

        keys = ("model.name", "model.device", "model.precision", *ATTRIBUTES, *CHOICES)
        return [kept.connect(key, partial(heed, key)) for key in keys]

    # ----------------------------------------------------------------------- jobs

    def current_options(self) -> Options:
        """Return what the dock says now."""
        visible: Box | None = None
        look = self.first_look
        if self.image_layer is not None and self.plane is not None:
            visible = visible_box(self.image_layer, self.plane)
            height, width = self.plane_source().shape
            part = 1.0 if visible is None else visible.area / (height * width)
            if look == "auto":
                look = "visible" if part < ZOOMED_IN else "search"
        first: FirstLook = "search" if look == "auto" else look  # type: ignore[assignment]
        check = None if self.objects_layer is None else label_check(self.objects_layer)
        return Options(
            self.model_choice,
            first,
            self.overlap,
            visible,
            check,
            self.choices.settings,
            self.choices.refinement,
            self.preparing.suffices,
        )

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
        engine, options = context.engine, self.current_options()
        job = self._channel.edit(
            lambda _: work(engine, plane, options), partial(self._job_done, context)
        )
        if not answer:
            return job
        return self.ask(plane, settle=settle, before=job)

    def ask(
        self,
        plane: Plane | None = None,
        *,
        settle: bool = False,
        again: bool = False,
        before: Job | None = None,
        so_far: tuple[int, int] = (0, 0),
    ) -> Job:
        """Ask the model about the clicks as they stand.

        Parameters
        ----------
        settle : bool
            For the final answer, as far as the time budget goes.
        again : bool
            Also where they are answered, because the choices have changed.
        so_far : (int, int)
            How often better answers were asked for already, and how many of the
            last ones changed nothing.
        """
        context, plane = self._open(plane)
        engine, options = context.engine, self.current_options()
        image = self.plane_source() if plane == self.plane else None

        def work(cancelled: Callable[[], bool]) -> Report:
            if image is not None:
                engine.show(plane, image, options)
            return engine.answer(plane, options, settle, cancelled, again=again)

        done = partial(self._answer_done, context, so_far if settle else None)
        return self._channel.answer(work, done, before)

    def ask_again(self) -> None:
        """Answer the object in work as the choices say now."""
        report = self.report
        if report is not None and report.drafted:
            self._channel.make_stale()  # what runs answers as they said before
            self._guarded(lambda: self.ask(settle=True, again=True))

    def background(
        self, work: Callable[[], Any], done: Callable[[Job], None] | None = None
    ) -> Job:
        """Do something in the worker that changes nothing on screen."""
        return self._channel.chore(lambda _: work(), done)

    def opener(self, image: Image) -> Callable[[Plane, PlaneImage], Preparation]:
        """Return what lists the windows of a plane, in the worker."""
        engine, options = self.context_of(image).engine, self.current_options()
        return lambda plane, source: engine.preparation(plane, source, options)

    def context_of(self, image: Image) -> Context:
        """Return what belongs to an image, made where there is nothing yet."""
        context = self._contexts.get(image)
        if context is None:
            this = weakref.ref(self)

            def tell(text: str, part: float | None) -> None:
                jobs = this()
                if jobs is not None:
                    jobs.tell_busy(text, part)

            context = self._contexts[image] = Context(Engine(self._shelf, tell))
        return context

    def _open(self, plane: Plane | None) -> tuple[Context, Plane]:
        """Begin with a plane if that was not done yet."""
        context, plane = self.context, plane or self.plane
        if context is None or plane is None:
            self.plane_source()  # says what is wrong
            raise ImageError("There is nothing to click on yet.")
        if plane not in context.opened:
            source = plane_image(self.channel_layers(), plane)
            context.opened.add(plane)
            labels = (
                None
                if self.objects_layer is None
                else box_reader(self.objects_layer, plane)
            )
            others = (
                None
                if self.objects_layer is None or len(plane.fixed) == 2
                else self.objects_layer.data
            )
            engine, options, first = context.engine, self.current_options(), plane
            self._channel.edit(
                lambda _: engine.open(first, source, options, labels, others),
                partial(self._job_done, context),
            )
        return context, plane

    def _job_done(self, context: Context, job: Job) -> None:
        if job.error is not None:
            self.failed(job.error)
        elif isinstance(job.value, Report):
            if context is self.context and (
                job.before is None or job.before.error is None
            ):
                self._say_what_next(job.value)
            self._guarded(lambda: self.apply(context, job.value))

    def _answer_done(
        self, context: Context, so_far: tuple[int, int] | None, job: Job
    ) -> None:
        """Show an answer, and ask for a better one while nothing else is to do."""
        self._job_done(context, job)
        report = job.value
        if (
            not isinstance(report, Report)
            or context is not self.context
            or job.error is not None
            or job.stale
            or report.settled
            or not (self.settles or self.refinement_in_use.active)
        ):
            return
        if so_far is None:  # the quick answer
            self.ask(report.plane, settle=True)
            return
        count, idle = so_far
        change = report.change
        # While a click is not obeyed, a mask that stands still may yet move.
        moves = change is not None and bool(change.bbox or change.unsatisfied)
        count, idle = count + 1, 0 if moves else idle + 1
        if idle < IDLE_ANSWERS and count < MOST_ANSWERS:
            self.ask(report.plane, settle=True, so_far=(count, idle))
        else:
            self._say_what_next(replace(report, settled=True))

    def _guarded(self, function: Callable[[], Any]) -> None:
        """Call, and tell what went wrong in the status line."""
        try:
            function()
        except ClickSegError as error:
            self.failed(error)

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

    # ------------------------------------------------- what the subclass makes of it

    def apply(self, context: Context, report: Report) -> None:
        """Show what a job did."""
        raise NotImplementedError

    def _show_marks(self) -> None:
        raise NotImplementedError

    def _say_what_next(self, report: Report) -> None:
        raise NotImplementedError
