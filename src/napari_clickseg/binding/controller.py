"""What happens to the layers becomes edits; reports become pixels of the layers.

Only the box that changed is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_clickseg.binding.context import Context
from napari_clickseg.binding.effort import WorkingEngine
from napari_clickseg.binding.jobs import Jobs
from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.reports import Report
from napari_clickseg.binding.told import after_edit
from napari_clickseg.binding.writing import (
    box_reader,
    read_box,
    write_box,
    write_box_undoable,
)
from napari_clickseg.session.changes import PART

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_clickseg.session import Change
    from napari_clickseg.worker import Job


__all__ = ["Controller"]

#: The part that the layer of committed objects plays.
OBJECTS = "objects"

HINT_CLICK = "Click inside an object."
HINT_CORRECT = "Click to add, Shift+click to take away. N: done, next object."
HINT_REACH = (
    "Click to add, Shift+click to take away. Drag out from a click to say how far it "
    "reaches (Space moves the view)."
)
MASK_GONE = (
    "The mask layer is gone, and the object in work with it: Ctrl+Z brings both back."
)
HINT_REFINING = "Refining: the mask still gets better. Click on whenever you like."


class Controller(Jobs):
    """Clicks of one viewer; parameters as of :class:`Jobs`."""

    # --------------------------------------------------------------------- showing

    def apply(self, context: Context[WorkingEngine], report: Report) -> None:
        """Show what a job did, perhaps to an image that is not in work any more."""
        self._apply_one(context, report)
        for each in report.others:
            self._apply_one(context, each)
        self.changed.emit()

    def _apply_one(self, context: Context[WorkingEngine], report: Report) -> None:
        context.reports[report.plane] = context.latest = report
        here = context is self.context
        if here and not self.in_view:
            return
        if here and report.taken_up is not None:
            self._adopt(*report.taken_up)
        change = report.change
        if change is not None and change.bbox is not None:
            with self._quietly():
                for part in change.boxes:
                    self._write(context, report.plane, part, here=here)
                if change.parts:
                    self._draw(context)
        if here:
            self._show_marks()
        self.keep_on_disk(context.engine, report)

    def _write(
        self,
        context: Context[WorkingEngine],
        plane: Plane,
        change: Change,
        *,
        here: bool,
    ) -> None:
        """Put what changed in one box into the layers."""
        if change.bbox is None:
            return
        missing = self.mask_layer is None and change.mask is not None
        if here and (
            (missing and change.mask is not None and change.mask.any())
            or (self.objects_layer is None and change.labels is not None)
        ):
            self.make_ready()  # a layer was deleted
        several = change.kind == PART  # drawn together
        if here and change.mask is not None and self.mask_layer is not None:
            write_box(
                self.mask_layer, plane, change.bbox, change.mask, refresh=not several
            )
        objects = context.layer(OBJECTS)
        if change.labels is not None and objects is not None:
            if several:
                write_box(objects, plane, change.bbox, change.labels, refresh=False)
            else:
                write_box_undoable(objects, plane, change.bbox, change.labels)

    def _draw(self, context: Context[WorkingEngine]) -> None:
        for layer in (self.mask_layer, context.layer(OBJECTS)):
            if layer is not None:
                layer.refresh(extent=False, highlight=False)

    def work_there(self, plane: Plane) -> Callable[[], bool]:
        """Return what says, in the worker, that there are objects already."""
        layer = self.objects_layer
        if layer is None:
            return lambda: True
        labels = box_reader(layer, plane)
        return lambda: bool(labels().any())

    def _show_mask(self, plane: Plane) -> None:
        """Fill a mask layer that was made anew; the status line stays as it is."""
        context = self.context
        if context is None or plane not in context.opened:
            return
        engine, options = context.engine, self.current_options()

        def show(job: Job) -> None:
            if isinstance(job.value, Report):
                self._guarded(lambda: self.apply(context, job.value))
            elif job.error is not None:
                self.failed(job.error)

        self._channel.chore(lambda _: engine.whole(plane, options, labels=False), show)

    def _say_what_next(self, report: Report) -> None:
        change = report.change
        if change is not None and change.notices:
            self.say(change.notices[-1])
        elif change is not None and change.kind == "commit":
            label = (
                report.objects.next_label - 1 if change.label is None else change.label
            )
            self.say(f"Object {label} committed. Click inside the next one.")
        elif change is not None and change.kind == "propose":
            self.say(_proposed(len(change.proposed)))
        elif change is not None and (told := after_edit(change, report.objects)):
            self.say(told)
        elif report.plane == self.plane and self._improves(report):
            self.say(HINT_REFINING)
        elif report.plane == self.plane:
            self.say(self._hint(report))

    def _hint(self, report: Report | None) -> str:
        if report is None or not report.drafted:
            return HINT_CLICK
        return HINT_REACH if self.uses_radius else HINT_CORRECT

    def _improves(self, report: Report) -> bool:
        """Whether a refinement is still at work on the answer that is shown."""
        return report.drafted and not report.settled and self.refinement_in_use.active

    # ------------------------------------------------------ what happens to the layers

    def _enter_image(self, image: Image) -> None:
        context = self.context_of(image)
        objects = context.layer(OBJECTS)
        if objects is not None and objects in self.viewer.layers:
            self.set_objects_layer(objects, tell=False)
        self.say(HINT_CLICK)

    def _layers_ready(self, new_mask: bool) -> None:
        self._show_marks()
        if new_mask and self.plane is not None:
            self._show_mask(self.plane)
        self.look_for_saved()

    def _objects_chosen(self) -> None:
        context = self.context
        if context is None:
            return
        context.keep(OBJECTS, self.objects_layer)
        if self.objects_layer is not None and context.opened:
            engine, data = context.engine, self.objects_layer.data
            self._channel.chore(lambda _: engine.count_anew(data))
        for plane in tuple(context.opened):
            self._send_objects(plane, replaced=True)

    def _plane_changed(self) -> None:
        self.shown_object = None
        self._show_marks()
        report = self.report
        if self.plane is not None:
            self.say(self._hint(report))
        self.changed.emit()
        self.look_for_saved()

    def _mask_painted(self) -> None:
        if self.mask_layer is None or self.plane is None:
            return
        painted = read_box(self.mask_layer, self.plane)
        self._edit_quietly(lambda engine, plane, o: engine.set_mask(plane, o, painted))

    def _objects_painted(self) -> None:
        context = self.context
        if self.plane is not None and context and self.plane in context.opened:
            self._send_objects(self.plane)

    def _send_objects(self, plane: Plane, *, replaced: bool = False) -> None:
        """Tell the session what the objects layer holds now.

        Parameters
        ----------
        plane : Plane
        replaced : bool
            Whether the layer counts as it is, since it is another one. Else only what
            differs from what was written into it: the worker may be farther by now.
        """
        context = self.context
        if self.objects_layer is None or context is None:
            return
        self._objects_touched = False
        labels = read_box(self.objects_layer, plane)
        report = None if replaced else context.reports.get(plane)
        known = None if report is None else report.objects
        self._edit_quietly(
            lambda engine, plane, o: engine.set_labels(plane, o, labels, known),
            plane=plane,
            answer=False,
        )

    def _points_gone(self) -> None:
        told = "The click layer is gone: press 'Add' or 'Take away' to go on."
        self.say(told)
        self._drop_draft(told)

    def _mask_gone(self) -> None:
        self._drop_draft(MASK_GONE)

    def _drop_draft(self, told: str) -> None:
        """Discard what is in work, clicks that are still on their way included."""
        context, plane = self.context, self.plane
        if context is None or plane is None or plane not in context.opened:
            return
        engine, options = context.engine, self.current_options()

        def done(job: Job) -> None:
            self._job_done(context, job)
            dropped = isinstance(job.value, Report) and job.value.change is not None
            if dropped and context is self.context:
                self.say(told)

        self._channel.edit(lambda _: engine.drop(plane, options), done)

    def _objects_gone(self) -> None:
        context = self.context
        if context is None:
            return
        context.keep(OBJECTS, None)
        for plane in tuple(context.opened):
            self._edit_quietly(
                lambda engine, plane, o: engine.clear_labels(plane, o),
                plane=plane,
                answer=False,
            )


def _proposed(count: int) -> str:
    """Return the sentence that follows a search."""
    if not count:
        return "No object was found that is not there yet."
    what = "1 object" if count == 1 else f"{count} objects"
    return (
        f"{what} proposed. K: keep, D: delete, R: correct the one that is shown; undo "
        "takes all back."
    )
