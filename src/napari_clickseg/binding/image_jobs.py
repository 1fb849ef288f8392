"""Jobs for the worker, and what is known of their results: what all docks share.

An edit of a session is followed by a request for an answer; reports come back in
the order the jobs ran, each with the image that it is about.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from napari_clickseg.binding.context import Context, E
from napari_clickseg.binding.marks import AddMark, Mark, MarkEdit
from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.reports import Report
from napari_clickseg.binding.shelf import ModelChoice, ModelFacts, ModelShelf, Tell
from napari_clickseg.binding.telling import HINT_OPEN, Telling
from napari_clickseg.errors import (
    ClickSegError,
    ImageError,
    InterruptedWorkError,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_clickseg.worker import Channel, Job

__all__ = ["Context", "ImageJobs"]

LOG = logging.getLogger("napari_clickseg")

#: Answers in a row that changed nothing and left no click disobeyed, after which no
#: better one is asked for.
IDLE_ANSWERS = 2
#: No answer is improved more often than this.
MOST_ANSWERS = 50


class ImageJobs(Telling, Generic[E]):
    """Clicks of one viewer.

    Parameters
    ----------
    viewer : ViewerModel
    channel : Channel
        The line to the worker, owned by this thread.
    shelf : ModelShelf
        Where models come from; shared by all viewers.
    """

    #: Which model answers, where and how exactly; set by the subclass.
    model_choice: ModelChoice

    def __init__(
        self, viewer: ViewerModel, channel: Channel, shelf: ModelShelf
    ) -> None:
        self._channel = channel
        self._shelf = shelf
        self._contexts: weakref.WeakKeyDictionary[Image, Context[E]] = (
            weakref.WeakKeyDictionary()
        )
        self._warmed: ModelChoice | None = None
        super().__init__(viewer)

    # -------------------------------------------------------------------- reading

    @property
    def context(self) -> Context[E] | None:
        """What belongs to the image in work."""
        return (
            None if self.image_layer is None else self._contexts.get(self.image_layer)
        )

    @property
    def report(self) -> Any:
        """The newest report of the plane on screen; None before there is one."""
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
    def idle(self) -> bool:
        """Whether a job that is asked for now would have to wait for no other."""
        return not (self._channel.closed or self._channel.pending)

    def set_image_layer(self, image: Image | None) -> None:
        """Click on this image from now on; None: on none, and that is said."""
        super().set_image_layer(image)
        if image is None and not self._channel.closed:
            self.say(HINT_OPEN)

    def close(self) -> None:
        """Let go of the viewer and of all work, once the edits that wait are made.

        In the worker, since it may be in the middle of one, or still load the model.
        """
        if self._channel.closed:
            return  # with the window; the viewer went later
        for context in self._contexts.values():
            self._channel.edit(_closing(context.engine))
        self._channel.close()
        super().close()
        self._contexts.clear()

    # ----------------------------------------------------------------------- jobs

    def edit(
        self,
        work: Callable[[E, Plane, Any], Any],
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
        opening, there = context.opening.get(plane), partial(_is_open, engine, plane)

        def begun(_: Callable[[], bool]) -> Any:
            if opening is not None and not there():
                opening()  # it did not go well the first time: no edit is lost for that
            return work(engine, plane, options)

        job = self._channel.edit(begun, partial(self._job_done, context))
        if not answer or (job.error is not None and not there()):
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
        engine: Any = context.engine
        options = self.current_options()
        image = self.plane_source() if plane == self.plane else None

        def work(cancelled: Callable[[], bool]) -> Any:
            if before and before.error and not _is_open(engine, plane):
                return None  # why not was said
            if image is not None:
                engine.show(plane, image, options)
            return engine.answer(plane, options, settle, cancelled, again=again)

        done = partial(self._answer_done, context, so_far if settle else None)
        return self._channel.answer(work, done, before)

    def ask_again(self) -> None:
        """Answer what is in work as the choices say now."""
        report = self.report
        if report is not None and report.drafted:
            self._channel.make_stale()  # what runs answers as they said before
            self._guarded(lambda: self.ask(settle=True, again=True))

    def background(
        self, work: Callable[[], Any], done: Callable[[Job], None] | None = None
    ) -> Job:
        """Do something in the worker that changes nothing on screen."""
        return self._channel.chore(lambda _: work(), done)

    def context_of(self, image: Image) -> Context[E]:
        """Return what belongs to an image, made where there is nothing yet."""
        context = self._contexts.get(image)
        if context is None:
            this = weakref.ref(self)

            def tell(text: str, part: float | None) -> None:
                jobs = this()
                if jobs is not None:
                    jobs.tell_busy(text, part)

            engine: Any = self.new_engine(tell)
            engine.keeps = getattr(self, "autosaves", True)
            context = self._contexts[image] = Context(engine)
        return context

    def _open(self, plane: Plane | None) -> tuple[Context[E], Plane]:
        """Begin with a plane if that was not done yet."""
        context, plane = self.context, plane or self.plane
        if context is None or plane is None:
            self.plane_source()  # says what is wrong
            raise ImageError("There is nothing to click on yet.")
        if plane not in context.opened:
            opening = self.opening(context.engine, plane)
            context.opened.add(plane)
            context.opening[plane] = opening
            self._channel.edit(
                lambda _: opening(), partial(self._opening_done, context, plane)
            )
        return context, plane

    def _opening_done(self, context: Context[E], plane: Plane, job: Job) -> None:
        if job.error is not None and (
            isinstance(job.error, InterruptedWorkError)
            or not isinstance(job.error, ClickSegError)
        ):
            context.opened.discard(plane)  # it may go well the next time
        else:
            context.opening.pop(plane, None)
        self._job_done(context, job)

    def _job_done(self, context: Context[E], job: Job) -> None:
        if job.error is not None:
            self.failed(job.error)
            if isinstance(job.error, InterruptedWorkError):
                self._look_again(context)
        elif isinstance(job.value, Report):
            if context is self.context and (
                job.before is None or job.before.error is None
            ):
                self._say_what_next(job.value)
            self._guarded(lambda: self.apply(context, job.value))

    def _look_again(self, context: Context[E]) -> None:
        """Show what the session holds: nobody knows how far an ended job came.

        Without a word: what happened is what the status line says.
        """
        plane, engine = self.plane, context.engine
        if context is not self.context or plane is None or plane not in context.opened:
            return
        options = self.current_options()

        def look(_: Callable[[], bool]) -> Any:
            there: Any = engine
            return there.whole(plane, options) if there.session(plane) else None

        def show(job: Job) -> None:
            if isinstance(job.value, Report):
                self._guarded(lambda: self.apply(context, job.value))

        self._channel.chore(look, show)

    def _answer_done(
        self, context: Context[E], so_far: tuple[int, int] | None, job: Job
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
            or not self.goes_on
        ):
            return
        if so_far is None:  # the quick answer
            self.ask(report.plane, settle=True)
            return
        count, idle = so_far
        change = report.change
        # While a click is not obeyed, an answer that stands still may yet move.
        moves = change is not None and bool(change.bbox or change.unsatisfied)
        count, idle = count + 1, 0 if moves else idle + 1
        if idle < IDLE_ANSWERS and count < MOST_ANSWERS:
            self.ask(report.plane, settle=True, so_far=(count, idle))
        else:
            self._say_what_next(replace(report, settled=True))

    def _edit_quietly(
        self,
        work: Callable[[E, Plane, Any], Any],
        *,
        plane: Plane | None = None,
        answer: bool = True,
    ) -> None:
        """Edit because of an event: what is wrong is told, not raised."""
        self._guarded(lambda: self.edit(work, plane=plane, answer=answer))

    # --------------------------------------------------------------------- events

    def _later(self, function: Callable[[], None]) -> None:
        self._channel.tell(function)

    @property
    def _defers(self) -> bool:
        return self._channel.queues

    def _image_replaced(self, image: Image) -> None:
        if (old := self._contexts.pop(image, None)) is not None:
            engine: Any = old.engine
            self._channel.chore(lambda _: engine.close())
        self._channel.make_stale()
        self.image_layer = None
        self.set_image_layer(image)

    def _points_edited(self, edits: list[MarkEdit]) -> None:
        self._edit_quietly(lambda engine, *to: _edit_marks(engine, edits, *to))

    def _point_elsewhere(self, place: Sequence[float], mark: Mark) -> None:
        if self.plane is None:
            return
        edits: list[MarkEdit] = [AddMark(mark)]
        try:
            self.edit(
                lambda engine, *to: _edit_marks(engine, edits, *to),
                plane=self.plane.at(place),
            )
        except (ClickSegError, IndexError):
            self.say("A click lies outside of the image and was left out.", "error")

    def _hovered(self) -> None:
        """Load the model when the mouse is about to click."""
        if self._warmed == self.model_choice or self.context is None:
            return
        self._warmed = self.model_choice
        engine: Any = self.context.engine
        options = self.current_options()
        self._channel.chore(lambda _: engine.warm_up(options), self._warm_done)

    def _warm_done(self, job: Job) -> None:
        if job.error is not None:
            self.failed(job.error)
        self.changed.emit()

    def _show_marks(self) -> None:
        """Show the session's clicks, unless edits of them are still on their way."""
        if self.points is None or self._channel.pending_edits:
            return
        report = self.report
        self.points.show(self.plane, () if report is None else report.marks)

    # ------------------------------------------------- what the subclass makes of it

    def new_engine(self, tell: Tell) -> E:
        """Return what works in the worker, for one image."""
        raise NotImplementedError

    def opening(self, engine: E, plane: Plane) -> Callable[[], Any]:
        """Return the job that begins with a plane."""
        raise NotImplementedError

    def current_options(self) -> Any:
        """Return what the dock says now."""
        raise NotImplementedError

    @property
    def goes_on(self) -> bool:
        """Whether an answer that is not settled is improved when nothing waits."""
        raise NotImplementedError

    def apply(self, context: Context[E], report: Any) -> None:
        """Show what a job did."""
        raise NotImplementedError

    def _say_what_next(self, report: Any) -> None:
        raise NotImplementedError


def _is_open(engine: Any, plane: Plane) -> bool:
    return engine.session(plane) is not None


def _closing(engine: Any) -> Callable[[Any], Any]:
    """Return the edit that ends the sessions of an image."""
    return lambda _: engine.close()


def _edit_marks(engine: Any, edits: list[MarkEdit], plane: Plane, options: Any) -> Any:
    return engine.edit_marks(plane, edits, options)
