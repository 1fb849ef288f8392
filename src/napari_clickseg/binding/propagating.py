"""An object carried through the planes of an image, step by step in the background.

One plane is one job of the worker, and the next one is asked for only when nothing else
waits: so a click goes first, and waits for one plane at most. Each plane is shown as it
comes; undo takes back all of them.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.binding.planes import Plane, PlaneImage, data_shape, plane_image
from napari_clickseg.errors import Cancelled, SessionError
from napari_clickseg.session.propagating import Propagation
from napari_clickseg.session.propagation_rules import PropagationOptions
from napari_clickseg.session.stack import Carried

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image

    from napari_clickseg.binding.context import Context
    from napari_clickseg.binding.effort import WorkingEngine
    from napari_clickseg.binding.jobs import Jobs
    from napari_clickseg.binding.reports import Options, Report
    from napari_clickseg.session.propagating import End
    from napari_clickseg.worker import Job

__all__ = ["Propagating"]


@dataclass(eq=False)
class _Way:
    """One propagation, from one plane of one image."""

    context: Context[WorkingEngine]
    image: Image
    plane: Plane
    axis: int
    options: Options
    image_seen: PlaneImage
    propagation: Propagation | None = None
    stopped: bool = False

    def at(self, index: int) -> Plane:
        """Return another plane along the axis."""
        fixed = list(self.plane.fixed)
        fixed[self.axis] = index
        return Plane(self.plane.axes, tuple(fixed))

    def seen(self, other: PlaneImage) -> PlaneImage:
        """Return another plane, shown as the first one was."""
        contrast, gamma, colormaps = self.image_seen.look
        return replace(other, contrast=contrast, gamma=gamma, colormaps=colormaps)


class Propagating:
    """Carries objects through the planes in one viewer, one at a time.

    Parameters
    ----------
    clicks : Jobs
        Held weakly.
    """

    def __init__(self, clicks: Jobs) -> None:
        self._weak = weakref.ref(clicks)
        self._way: _Way | None = None
        self._last: _Way | None = None
        self._visited: int | None = None
        self._advancing = False
        #: The rules; ``spacing`` is found out from the scale of the image.
        self.rules = PropagationOptions()
        #: The data axis to follow; None: the first that is not on screen.
        self.axis: int | None = None
        #: The newest step; what came of the last propagation, or why nothing.
        self.job: Job | None = None
        self.carried: Carried | None = None
        self.error: Exception | None = None

    # -------------------------------------------------------------------- reading

    @property
    def running(self) -> bool:
        """Whether an object is on its way."""
        return self._way is not None

    def axes(self) -> list[tuple[str, int]]:
        """Return the axes that planes of the image follow each other along, named."""
        clicks = self._weak()
        if clicks is None or clicks.image_layer is None or clicks.plane is None:
            return []
        image, plane = clicks.image_layer, clicks.plane
        shape = data_shape(image)
        return [
            (self._axis_name(axis), axis)
            for axis in range(plane.ndim)
            if axis not in plane.axes and shape[axis] > 1
        ]

    @property
    def ends(self) -> list[End]:
        """Where the last propagation stopped because somebody has to look."""
        return (
            [] if self.carried is None else [e for e in self.carried.ends if e.doubtful]
        )

    def name_of(self, index: int) -> str:
        """Return what a plane of the last propagation is called, such as ``z=31``."""
        way = self._way or self._last
        axis = "" if way is None else self._axis_name(way.axis)
        return f"{axis}={index}" if len(axis) == 1 else f"{axis} {index}"

    @property
    def text(self) -> str:
        """What came of the last propagation, in a sentence; "" for none."""
        if self.carried is None:
            return ""
        return _in_words(self.carried, self.name_of)

    # --------------------------------------------------------------------- doing

    def start(self, label: int | None = None, **wishes: Any) -> None:
        """Carry an object on from the plane on screen.

        Parameters
        ----------
        label : int, optional
            A committed object; default: the one in work.
        **wishes
            ``axis``, and fields of :class:`PropagationOptions`.

        Raises
        ------
        ClickSegError
            If there is nothing to carry, nowhere to, or one is on its way already.
        """
        clicks = self._weak()
        if clicks is None:
            return
        if self.running:
            raise SessionError("An object is on its way already: stop that first (W).")
        axis = self._chosen_axis(wishes.pop("axis", None))
        clicks.make_ready()
        context, plane = clicks.opened()
        image = clicks.image_layer
        assert image is not None
        rules = replace(self.rules, spacing=_spacing(image, plane, axis))
        rules = replace(rules, **wishes)
        self.carried = self.error = self._visited = None
        source = plane_image(clicks.channel_layers(), plane)
        way = _Way(context, image, plane, axis, clicks.current_options(), source)
        self._way = self._last = way
        where = plane.fixed[axis], data_shape(image)[axis]
        clicks.tell_busy("Carrying the object to other planes", None)

        def begin(engine: WorkingEngine, at: Plane, options: Options) -> Report:
            engine.show(at, source, options)
            way.propagation, report = engine.begin_propagation(
                at, options, where, label, rules
            )
            return report

        options = way.options
        self.job = clicks.set_out(
            context,
            lambda: begin(context.engine, plane, options),
            lambda job: self._begun(way, job),
        )
        clicks.changed.emit()

    def cancel(self, *, quietly: bool = False) -> None:
        """Go no further; what was carried stays, and undo takes all of it back."""
        way, clicks = self._way, self._weak()
        if way is None or clicks is None:
            return
        way.stopped = True
        if way.propagation is not None:
            way.propagation.stop()
        self._end(way, quietly=quietly)

    def close(self) -> None:
        """Forget all work."""
        if self._way is not None:
            self._way.stopped = True
        self._way = self._last = None

    def advance(self) -> None:
        """Ask for the next plane, if nothing else is to do."""
        clicks = self._weak()
        if clicks is None or self._advancing:
            return
        self._advancing = True
        try:
            while self._way is not None and clicks.idle:
                way = self._way
                if clicks.context is not way.context:
                    self.cancel()
                elif way.propagation is None:
                    return
                elif (index := way.propagation.upcoming) is None:
                    self._end(way)
                else:
                    self._ask(way, index)
        finally:
            self._advancing = False

    def go_to_stop(self) -> None:
        """Show the next of the planes where the object could not be carried on."""
        ends = self.ends
        if not ends:
            raise SessionError(
                "The last propagation stopped nowhere that you have to look at."
            )
        places = [end.index for end in ends]
        if self._visited in places:
            following = places[(places.index(self._visited) + 1) % len(places)]
        else:
            following = places[0]
        self.go_to(following)

    def go_to(self, index: int) -> None:
        """Show a plane; where the object was in doubt, it is in work there."""
        clicks, way = self._weak(), self._last
        if clicks is None or way is None or way.propagation is None:
            return
        image = clicks.image_layer
        if image is None or image is not way.image:
            raise SessionError(f"That was in '{way.image.name}': choose it again.")
        place = list(way.plane.to_data((0, 0)))
        place[way.axis] = index
        world = image.data_to_world(place)
        offset = clicks.viewer.dims.ndim - image.ndim
        clicks.viewer.dims.set_point(way.axis + offset, float(world[way.axis]))
        self._visited = index
        look, label = way.propagation.doubts.get(index), way.propagation.label
        plane = way.at(index)
        if look is None or clicks.plane != plane:
            return
        clicks.edit(
            lambda engine, at, o: engine.continue_object(at, o, label, look),
            plane=plane,
            answer=False,
        )
        reason = next(end.reason for end in self.ends if end.index == index)
        clicks.say(
            f"Object {label} was not carried here ({reason}). Correct it by clicks and "
            "press N, then W carries it on; or drop it with Q."
        )

    # ----------------------------------------------------------------------- parts

    def _begun(self, way: _Way, job: Job) -> None:
        if way is not self._way:
            return
        if job.error is not None or way.propagation is None:
            self.error = job.error
            self._end(way, quietly=True)

    def _ask(self, way: _Way, index: int) -> None:
        """Have the object carried to a plane."""
        clicks, propagation = self._weak(), way.propagation
        assert clicks is not None
        assert propagation is not None
        plane, context, engine = way.at(index), way.context, way.context.engine
        opening: Callable[[], Any] | None = None
        if plane not in context.opened:
            opening = context.opening[plane] = clicks.opening(engine, plane)
            context.opened.add(plane)
        # All planes are seen as the first one was, also those opened before.
        source = way.seen(plane_image(clicks.channel_layers(), plane))

        def work() -> Report:
            if opening is not None:
                opening()
            engine.show(plane, source, way.options)
            return engine.carry(plane, way.options, propagation, lambda: way.stopped)

        self.job = clicks.background(work, lambda job: self._stepped(way, job))

    def _stepped(self, way: _Way, job: Job) -> None:
        clicks = self._weak()
        if clicks is None:
            return
        if job.error is None:
            way.context.opening.pop(job.value.plane, None)
            clicks.apply(way.context, job.value)  # also of one that was stopped
        if way is self._last and way is not self._way and way.propagation is not None:
            self.carried = Carried.of(way.propagation)
        if way is not self._way:
            return
        if job.error is not None:
            assert way.propagation is not None
            way.propagation.stop("stopped by an error")
            self._end(way, quietly=True)
            if not isinstance(job.error, Cancelled):
                self.error = job.error
            clicks.failed(job.error)
            return
        assert way.propagation is not None
        done, total = len(way.propagation.carried), way.propagation.total
        index = job.value.plane.fixed[way.axis]
        clicks.tell_busy(
            f"Carrying object {way.propagation.label}: {self.name_of(index)}",
            done / total if total else None,
        )

    def _end(self, way: _Way, *, quietly: bool = False) -> None:
        self._way = None
        clicks = self._weak()
        if way.propagation is not None:
            self.carried = Carried.of(way.propagation)
        if clicks is None:
            return
        clicks.tell_busy("", None)
        if not quietly and self.carried is not None:
            more = " J: go there." if self.ends else ""
            clicks.say(self.text + more)
        clicks.changed.emit()

    def _chosen_axis(self, wanted: int | None) -> int:
        axes = [axis for _, axis in self.axes()]
        if not axes:
            raise SessionError(
                "There is nowhere to carry it: the image is one plane. Open a stack or "
                "a time series."
            )
        chosen = self.axis if wanted is None else wanted
        if wanted is not None and wanted not in axes:
            raise SessionError(f"Planes follow each other along the axes {axes} here.")
        return chosen if chosen in axes else axes[0]

    def _axis_name(self, axis: int) -> str:
        clicks = self._weak()
        if clicks is None or clicks.image_layer is None:
            return "plane"
        dims = clicks.viewer.dims
        names = tuple(getattr(clicks.image_layer, "axis_labels", ()))
        name = names[axis] if axis < len(names) else ""
        if not name or name.lstrip("-").isdigit():
            name = dims.axis_labels[axis + dims.ndim - clicks.image_layer.ndim]
        return "plane" if not name or name.lstrip("-").isdigit() else str(name)


def _spacing(image: Image, plane: Plane, axis: int) -> float:
    """Return the distance of two planes in pixels of a plane."""
    scale = np.abs(np.asarray(image.scale, float))
    across = float(np.sqrt(scale[plane.axes[0]] * scale[plane.axes[1]]))
    spacing = float(scale[axis]) / across if across else 1.0
    return spacing if math.isfinite(spacing) and spacing > 0 else 1.0


def _in_words(carried: Carried, name: Callable[[int], str]) -> str:
    many = len(carried.planes)
    text = f"Carried through {many} plane{'' if many == 1 else 's'}"
    if many > 1:
        text += f" ({name(carried.planes[0])} to {carried.planes[-1]})"
    stops = [f"{name(e.index)}: {e.reason}" for e in carried.ends if e.doubtful]
    others = sorted({e.reason for e in carried.ends if not e.doubtful})
    if stops:
        text += f"; stopped at {', '.join(stops)}"
    elif others:
        text += f"; {', '.join(others)}"
    return f"{text}."
