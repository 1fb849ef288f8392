"""What the object list, its menu and its keys do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.framing import Frames
from napari_clickseg.binding.hooks import camera_of
from napari_clickseg.binding.navigation import Navigation
from napari_clickseg.binding.thumbnails import Thumbnail
from napari_clickseg.boxes import Box
from napari_clickseg.errors import SessionError
from napari_clickseg.session.unlabelled import Region

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_clickseg.binding.context import Context
    from napari_clickseg.binding.planes import Plane
    from napari_clickseg.session import SegmentedObject
    from napari_clickseg.session.objects import Objects
    from napari_clickseg.worker import Channel, Job

__all__ = ["ObjectActions"]


class ObjectActions(Navigation):
    """Edits of committed objects; none of these waits or raises."""

    def __init__(self, viewer: Any, channel: Channel, shelf: Any) -> None:
        #: Objects that are chosen in the list, by id.
        self.selected: tuple[int, ...] = ()
        self._decided: set[int] = set()
        #: Regions without an object that were shown, and of what.
        self._passed: tuple[Any, Plane | None, dict[Box, Region]] = (None, None, {})
        self._frames = Frames()
        super().__init__(viewer, channel, shelf)

    @property
    def objects_now(self) -> Objects | None:
        """The objects of the plane on screen, as they were reported last."""
        report = self.report
        return None if report is None else report.objects

    # ------------------------------------------------------------------- choosing

    def choose_selected(self, labels: Sequence[int], *, show: bool = False) -> None:
        """Choose objects; with ``show`` the view goes to the last of them."""
        self.selected = tuple(labels)
        if show and labels:
            self._guarded(lambda: self.show_object(labels[-1]))
        self._frame_selected()

    def show_object(self, label: int) -> None:
        """Bring an object into the middle of the view, and put a frame around it."""
        if label not in self.selected:
            self.selected = (label,)
        super().show_object(label)
        self._frame_selected()
        objects = self.objects_now
        if objects is not None and label in objects and objects[label].undecided:
            left = len(self._undecided(objects))
            self.say(
                f"Proposal {label}, {left} undecided. K: keep, D: drop, R: correct it."
            )

    def _frame_selected(self) -> None:
        image, plane, objects = self.image_layer, self.plane, self.objects_now
        if image is None or plane is None or not self.in_view:
            return
        boxes = (
            []
            if objects is None
            else [
                objects[label].pixels.box for label in self.selected if label in objects
            ]
        )
        with self._quietly():
            self._frames.show(self.viewer, image, plane, boxes)

    def apply(self, context: Context[Any], report: Any) -> None:
        """Show what a job did; frames go with their objects."""
        super().apply(context, report)
        change = report.change
        if self.selected and change is not None and change.labels is not None:
            self._frame_selected()

    def _plane_changed(self) -> None:
        self.selected = ()
        self._frame_selected()
        super()._plane_changed()

    def _passing_layers(self) -> list[Layer]:
        ours, frames = super()._passing_layers(), self._frames.layer
        return ours if frames is None else [*ours, frames]

    def _zoomed(self, event: Any = None) -> None:
        super()._zoomed(event)
        self._frames.fit_zoom(float(camera_of(self.viewer).zoom))

    # ---------------------------------------------------------------------- edits

    def merge_objects(self, labels: Sequence[int]) -> None:
        """Make one object of several; the first keeps its id."""
        self._edit_objects("merge", list(labels))
        if labels:
            self.selected = (labels[0],)

    def split_object(self, label: int, line: Any) -> None:
        """Cut an object along a line (N, 2) of the plane."""
        self._edit_quietly(
            lambda engine, plane, o: engine.split(plane, o, label, line), answer=False
        )

    def delete_objects(self, labels: Iterable[int]) -> None:
        """Remove objects, in one step."""
        self._edit_objects("delete", list(labels))

    def classify_objects(self, labels: Iterable[int], category: str) -> None:
        """Say of which class objects are."""
        self._edit_objects("set_class", list(labels), category)

    def accept_objects(self, labels: Iterable[int]) -> None:
        """Keep proposals as they are."""
        self._edit_objects("accept", list(labels))

    def relabel_object(self, label: int, new: int) -> None:
        """Give an object another id."""
        self._edit_quietly(
            lambda engine, plane, o: engine.relabel(plane, o, label, new), answer=False
        )

    def reopen_object(self, label: int) -> None:
        """Take an object back into work."""
        self.shown_object = None
        self._edit_quietly(
            lambda engine, plane, o: engine.call(plane, o, "reopen", label)
        )
        self._guarded(self.activate)

    def _edit_objects(self, name: str, *arguments: Any) -> None:
        self._edit_quietly(
            lambda engine, plane, o: engine.call(plane, o, name, *arguments),
            answer=False,
        )

    # ----------------------------------------------------------------- by one key

    def _act_accept(self) -> None:
        """Keep the proposal that is shown, and go on to the next."""
        self._decide(self.accept_objects, "proposal")

    def _act_reject(self) -> None:
        """Delete the object that is shown, and go on to the next proposal."""
        self._decide(self.delete_objects, "object")

    def _decide(self, act: Callable[[list[int]], None], what: str) -> None:
        self._open(None)
        objects = self.objects_now
        undecided = [] if objects is None else self._undecided(objects)
        label = self.shown_object
        if label is not None and (
            objects is None or label not in objects or label in self._decided
        ):
            label = None
        if label is None:
            if not undecided:
                raise SessionError(
                    f"There is no {what} to decide on. Show one with G and H, or have "
                    "objects proposed."
                )
            self.show_object(undecided[0])
            return
        if what == "proposal" and label not in undecided:
            self._show_next(undecided, label)
            return
        act([label])
        self._decided.add(label)
        self._show_next([n for n in undecided if n != label], label)

    def _undecided(self, objects: Objects) -> list[int]:
        if not self._channel.pending_edits:
            self._decided.clear()
        return [n for n, o in objects.items() if o.undecided and n not in self._decided]

    def _show_next(self, undecided: list[int], after: int) -> None:
        if undecided:
            later = [n for n in undecided if n > after]
            self.show_object((later or undecided)[0])
        else:
            self.shown_object = None
            self.choose_selected(())

    def _act_next_unlabelled(self) -> None:
        """Go to the nearest proposal that nobody decided on, or to what has none."""
        context, plane = self._open(None)
        objects = self.objects_now
        undecided = [] if objects is None else self._undecided(objects)
        if undecided:
            self._show_next(undecided, self.shown_object or 0)
            return
        options, engine = self.current_options(), context.engine
        if self._passed[:2] != (context, plane):
            self._passed = context, plane, {}
        skip = frozenset(self._passed[2])
        self.tell_busy("Looking for what has no object yet", None)
        self._channel.answer(
            lambda cancelled: engine.unlabelled(plane, options, None, cancelled, skip),
            self._found,
        )

    def _found(self, job: Job) -> None:
        self.tell_busy("", None)
        region: Region | None = job.value
        if job.error is not None:
            self.failed(job.error)
        elif not job.dropped and region is None and self._passed_by():
            self._passed[2].clear()
            self.say("All that stands out was shown. U begins with the largest again.")
        elif not job.dropped and region is None:
            self.say(
                "Nothing on screen or around it stands out without an object. Move the "
                "view, or have objects proposed."
            )
        elif region is not None:
            self._passed[2][region.box] = region
            self._guarded(lambda: self.look_at(region.box))
            self.say(
                f"No object here yet: {region.area} pixels stand out. Click inside, or "
                "U for the next."
            )

    def _passed_by(self) -> bool:
        """Whether regions were shown that have no object still."""
        objects = self.objects_now
        places = [each.place for each in self._passed[2].values()]
        pixels = [Box(int(r), int(c), int(r) + 1, int(c) + 1) for r, c in places]
        return objects is None or not all(
            objects.labels(p).values.any() for p in pixels
        )

    def _act_list_objects(self) -> None:
        """Open the list, where there is a window."""
        window = getattr(self.viewer, "window", None)
        if window is None:
            raise SessionError("There is no window in which a list could be.")
        window.add_plugin_dock_widget("napari-clickseg", "Objects")

    def later(self, function: Callable[[], None]) -> None:
        """Run a function at the next turn of the event loop, if there is one."""
        self._later(function)

    # ----------------------------------------------------------------- thumbnails

    def draw_thumbnails(
        self,
        wanted: Sequence[SegmentedObject],
        side: int,
        done: Callable[[list[Thumbnail]], None],
    ) -> bool:
        """Have some objects drawn in the worker; False: it has other things to do."""
        context, plane = self.context, self.plane
        if context is None or plane is None or not self.idle:
            return False
        engine = context.engine

        def drawn(job: Job) -> None:
            done(job.value or [])

        self.background(partial(engine.thumbnails, plane, wanted, side), drawn)
        return True
