"""Planes that an object was carried to are taken up together after a crash.

Each plane has its own journal, named by what the plane holds. When one is taken up in
which an object was carried to or from other planes, the journals of those are looked
for along the axes that are not on screen, one plane at a time and when nothing else
waits.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.planes import Plane, data_shape, plane_image
from napari_clickseg.binding.writing import box_reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_clickseg.binding.context import Context
    from napari_clickseg.binding.effort import WorkingEngine
    from napari_clickseg.binding.jobs import Jobs
    from napari_clickseg.binding.planes import PlaneImage
    from napari_clickseg.binding.reports import Options, Report
    from napari_clickseg.worker import Job

__all__ = ["OtherPlanes"]


class OtherPlanes:
    """Takes up the other planes of propagations, in one viewer.

    Parameters
    ----------
    clicks : Jobs
        Held weakly.
    """

    def __init__(self, clicks: Jobs) -> None:
        self._weak = weakref.ref(clicks)
        self._context: Context[WorkingEngine] | None = None
        self._planes: deque[Plane] = deque()
        self._groups: frozenset[str] = frozenset()
        self._options: Options | None = None
        self._total = 0
        self._found = 0
        self._advancing = False

    @property
    def running(self) -> bool:
        """Whether planes are still looked through."""
        return bool(self._planes)

    def start(self, plane: Plane) -> None:
        """Look for what belongs to a plane that is about to be taken up."""
        clicks = self._weak()
        if clicks is None or clicks.image_layer is None or clicks.context is None:
            return
        shape = data_shape(clicks.image_layer)
        ranges = [
            [-1] if axis in plane.axes else range(shape[axis])
            for axis in range(plane.ndim)
        ]
        others = [
            Plane(plane.axes, tuple(fixed)) for fixed in itertools.product(*ranges)
        ]
        # From near to far: what is beside it on screen comes first.
        others.sort(key=partial(_distance, plane))
        self._context, self._options = clicks.context, clicks.current_options()
        engine = clicks.context.engine

        def look(job: Job) -> None:
            if job.error is None and job.value:
                self._groups = frozenset(job.value)
                self._planes, self._found = deque(others), 0
                self._total = len(others)

        clicks.background(partial(_groups_on, engine, plane), look)

    def stop(self) -> None:
        """Look no further."""
        if self._planes:
            self._planes.clear()
            clicks = self._weak()
            if clicks is not None:
                clicks.tell_busy("", None)

    def advance(self) -> None:
        """Look at the next plane, if nothing else is to do."""
        clicks = self._weak()
        if clicks is None or self._advancing:
            return
        self._advancing = True
        try:
            while self._planes and clicks.idle:
                context = self._context
                if context is None or clicks.context is not context:
                    self.stop()
                    return
                plane = self._planes.popleft()
                if plane not in context.opened:
                    self._ask(clicks, context, plane)
        finally:
            self._advancing = False

    def _ask(self, clicks: Jobs, context: Context[WorkingEngine], plane: Plane) -> None:
        layer, engine, options = clicks.objects_layer, context.engine, self._options
        assert options is not None
        source = plane_image(clicks.channel_layers(), plane)
        labels = None if layer is None else box_reader(layer, plane)
        work = partial(_take_up, engine, plane, source, options, self._groups, labels)

        def done(job: Job) -> None:
            if job.error is not None:
                clicks.failed(job.error)
            elif job.value is not None:
                context.opened.add(plane)
                context.saved.pop(plane, None)
                self._found += 1
                clicks.apply(context, job.value)
            left = len(self._planes)
            text = "Taking up the other planes" if left else ""
            clicks.tell_busy(text, 1 - left / self._total if left else None)
            if not left and self._found:
                many = "1 plane" if self._found == 1 else f"{self._found} planes"
                clicks.say(f"Taken up, with {many} that the object was carried to.")

        clicks.background(work, done)


def _take_up(
    engine: WorkingEngine,
    plane: Plane,
    image: PlaneImage,
    options: Options,
    groups: frozenset[str],
    labels: Callable[[], NDArray[Any]] | None,
) -> Report | None:
    """Take up a plane, in the worker, if its journal belongs to these propagations."""

    def there() -> bool:
        return labels is not None and bool(labels().any())

    if engine.session(plane) is not None:
        return None
    if not engine.look_for_saved(plane, image, there):
        return None
    edits = (moment.edit for moment in engine.saved_history(plane).path)
    if not any(getattr(edit, "group", "") in groups for edit in edits):
        engine.leave_saved(plane)
        return None
    report: Report = engine.resume(plane, options)
    return report


def _groups_on(engine: WorkingEngine, plane: Plane) -> set[str]:
    session = engine.session(plane)
    return set() if session is None else session.groups


def _distance(one: Plane, other: Plane) -> int:
    pairs = zip(one.fixed, other.fixed, strict=True)
    return sum(abs(a - b) for a, b in pairs)
