"""Images of one viewer prepared in the background.

One window of an image is one job of the worker, and the next one is asked for only
when nothing else waits: so a click goes first, and waits for one window at most.
"""

from __future__ import annotations

import itertools
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_clickseg.binding.lamp import Lamp, Progress, Shown, Work, duration
from napari_clickseg.binding.planes import (
    Plane,
    data_shape,
    displayed_plane,
    plane_image,
    visible_box,
)
from napari_clickseg.encoding.prepared_store import usual_folder
from napari_clickseg.errors import ClickSegError, ImageError
from napari_clickseg.preferences import preferences

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_clickseg.binding.jobs import Jobs
    from napari_clickseg.boxes import Box
    from napari_clickseg.encoding.preparing import Preparation
    from napari_clickseg.worker import Job

__all__ = ["Preparing"]

#: Preferences of where prepared images are kept.
KEYS = ("preparing.keep", "preparing.folder", "preparing.max_gigabytes")
GIGABYTE = 10**9


@dataclass(eq=False)
class _Task:
    """One plane to prepare; ``within``: only this part of it."""

    image: weakref.ref[Image]
    plane: Plane
    within: Box | None = None
    shown: Shown | None = None
    preparation: Preparation | None = None


class Preparing(Lamp):
    """Prepares images of a viewer, and knows what is prepared.

    Parameters
    ----------
    clicks : Jobs
        Held weakly.
    """

    def __init__(self, clicks: Jobs) -> None:
        super().__init__(clicks)
        self._tasks: deque[_Task] = deque()
        self._more: Iterator[_Task] = iter(())
        self._count = self._total = 0
        self._started = 0.0
        self._advancing = False
        #: The piece of work that was asked for last, and why preparing ended early.
        self.job: Job | None = None
        self.error: Exception | None = None
        #: How far it is; None where nothing is being prepared.
        self.progress: Progress | None = None
        #: Whether all planes of stacks are prepared, the one on screen first.
        self.all_planes = bool(preferences().get("preparing.all_planes"))
        #: Whether models look closer than was prepared where objects are small.
        self.closer = bool(preferences().get("preparing.closer"))
        self._configure()
        kept, this = preferences(), weakref.ref(self)

        def heed() -> None:
            preparing = this()
            if preparing is not None:
                preparing._configure()  # noqa: SLF001
                preparing.forget()

        def heed_choices() -> None:
            preparing = this()
            if preparing is not None:
                preparing.all_planes = bool(kept.get("preparing.all_planes"))
                preparing.closer = bool(kept.get("preparing.closer"))
                preparing.changed.emit()

        self._stops = [kept.connect(key, heed) for key in KEYS]
        self._stops += [
            kept.connect(f"preparing.{name}", heed_choices)
            for name in ("all_planes", "closer")
        ]

    @property
    def suffices(self) -> bool:
        """Whether clicks may ask for nothing but what is prepared."""
        return not self.closer and self.light().state == "on"

    @property
    def running(self) -> bool:
        """Whether images are being prepared."""
        return bool(self._tasks)

    # --------------------------------------------------------------------- asking

    def prepare_image(self) -> None:
        """Prepare the image in work: what is on screen first.

        Raises
        ------
        ImageError
            If there is none.
        ClickSegError
            If the model cannot prepare images.
        """
        clicks = self._clicks()
        if clicks is not None:
            clicks.plane_source()  # says what is wrong
            image = clicks.image_layer
            self._begin([] if image is None else [image])

    def prepare_all(self) -> None:
        """Prepare all images of the viewer, beginning with the one in work."""
        clicks = self._clicks()
        if clicks is None:
            return
        images, current = clicks.images(), clicks.image_layer
        if not images:
            raise ImageError("There is no image yet: open one in napari first.")
        if current in images:  # the next ones in the list, then from its start
            at = images.index(current)
            images = images[at:] + images[:at]
        self._begin(images)

    def prepare_view(self) -> None:
        """Prepare what is on screen, and nothing else."""
        clicks = self._clicks()
        if clicks is not None:
            clicks.plane_source()
            image, plane = clicks.image_layer, clicks.plane
            if image is not None and plane is not None:
                field = visible_box(image, plane, clicks.viewer)
                self._start([_Task(weakref.ref(image), plane, field)], 1)

    def cancel(self) -> None:
        """Prepare nothing more; what is done stays."""
        clicks, running = self._clicks(), self.running
        self._finish()
        if clicks is not None and running:
            clicks.say("Stopped. What is prepared stays so.")

    def use_all_planes(self, on: bool) -> None:
        """Prepare all planes of stacks, or the one on screen; remembered."""
        self.all_planes = on
        preferences().set("preparing.all_planes", on)

    def look_closer(self, on: bool) -> None:
        """Let models look closer than was prepared; remembered."""
        self.closer = on
        preferences().set("preparing.closer", on)

    def keep_on_disk(self, on: bool) -> None:
        """Keep prepared images on disk, or until the program ends; remembered."""
        preferences().set("preparing.keep", on)
        self._configure()
        self.changed.emit()

    def use_folder(self, folder: str) -> None:
        """Use the feature store in a folder; empty for the usual place."""
        preferences().set("preparing.folder", folder)
        self._configure()
        self.forget()

    def forget(self) -> None:
        """Look anew what is prepared."""
        self._finish()
        super().forget()
        self.advance()

    def close(self) -> None:
        """Forget all work."""
        self._tasks.clear()
        self._more = iter(())
        while self._stops:
            self._stops.pop()()

    def _configure(self) -> None:
        """Have the store as the preferences say."""
        clicks, kept = self._clicks(), preferences()
        if clicks is None:
            return
        folder = str(kept.get("preparing.folder")).strip()
        clicks.prepared_store.configure(
            folder or usual_folder(),
            round(float(kept.get("preparing.max_gigabytes")) * GIGABYTE) or None,
            keep=bool(kept.get("preparing.keep")),
        )

    # ---------------------------------------------------------------------- tasks

    def _begin(self, images: list[Image]) -> None:
        planes = [(image, self._planes_of(image)) for image in images]
        count = sum(len(of_image) for _, of_image in planes)
        self._start(
            (
                _Task(weakref.ref(image), plane)
                for image, of_image in planes
                for plane in of_image
            ),
            count,
        )

    def _start(self, tasks: Iterable[_Task], count: int) -> None:
        if self.sentence:
            raise ClickSegError(self.sentence)
        self._finish()
        self.error = None
        self._more, self._count, self._total = iter(tasks), 0, count
        self._started = time.perf_counter()
        self._next_task()
        self._tell_progress()
        self.advance()

    def _planes_of(self, image: Image) -> list[Plane]:
        """Return the plane on screen, then if wanted all that are parallel to it."""
        clicks = self._clicks()
        try:
            plane = None if clicks is None else displayed_plane(clicks.viewer, image)
        except ClickSegError:  # it lacks the axes that are on screen
            return []
        if plane is None or not self.all_planes:
            return [] if plane is None else [plane]
        ranges = [
            [-1] if axis in plane.axes else range(length)
            for axis, length in enumerate(data_shape(image))
        ]
        every = (Plane(plane.axes, fixed) for fixed in itertools.product(*ranges))
        return [plane, *(each for each in every if each != plane)]

    def _next_task(self) -> None:
        """Begin with the next plane, if there is one."""
        self._tasks.clear()
        for task in self._more:
            self._count += 1
            if task.image() is not None:
                self._tasks.append(task)
                return

    def _finish(self) -> None:
        self._tasks.clear()
        self._more = iter(())
        self.progress = None
        self.changed.emit()

    # ----------------------------------------------------------------------- jobs

    def advance(self) -> None:
        """Ask for the next piece of work, if nothing else is to do."""
        clicks = self._clicks()
        if clicks is None or self._advancing:
            return
        self._advancing = True
        try:
            # Without an event loop jobs are done as soon as they are asked for.
            while clicks.idle:
                work = self._work(clicks)
                if work is None:
                    break
                self.job = clicks.background(*work)
        except ClickSegError as error:  # the plane or the image is gone
            self._failed(error)
        finally:
            self._advancing = False

    def _work(self, clicks: Jobs) -> Work | None:
        """Return what to do next in the worker, and what then."""
        while self._tasks:
            task = self._tasks[0]
            image = task.image()
            if image is None or image not in clicks.viewer.layers:
                self._next_task()
                self._tell_progress()
            elif task.preparation is None:
                return self._opening(clicks, image, task)
            elif self.shown(image, task.plane) != task.shown:
                raise ImageError(
                    f"'{image.name}' is shown otherwise than when preparing began "
                    "(contrast, channels or model): prepare it again."
                )
            else:
                return self._stepping(clicks, image, task, task.preparation)
        return self.looking()

    def _opening(self, clicks: Jobs, image: Image, task: _Task) -> Work:
        """Load the model, and list the windows of a plane."""
        source = plane_image(clicks.channel_layers(image), task.plane)
        shown, open_plane = self.shown(image, task.plane), clicks.opener(image)
        known = self.known(image, shown)

        def work() -> Preparation:
            return known or open_plane(task.plane, source)

        def done(job: Job) -> None:
            if job.error is not None:
                self._failed(job.error)
                return
            task.preparation, task.shown = job.value, shown
            self.remember(image, shown, job.value)
            self._tell_progress()

        return work, done

    def _stepping(
        self, clicks: Jobs, image: Image, task: _Task, preparation: Preparation
    ) -> Work:
        """Encode one window."""
        here = image is clicks.image_layer and task.plane == clicks.plane
        first = visible_box(image, task.plane, clicks.viewer) if here else None

        def work() -> bool:
            return preparation.step(first, task.within)

        def done(job: Job) -> None:
            if job.error is not None:
                self._failed(job.error)
            elif task.within is None and not preparation.fits:
                self._too_large(image, task, preparation)
            elif not job.value:
                if not here:
                    preparation.image.release()
                self._over(task)
            self._tell_progress()

        return work, done

    def _too_large(self, image: Image, task: _Task, work: Preparation) -> None:
        """Prepare what is on screen alone, of an image that the store cannot hold."""
        clicks = self._clicks()
        if clicks is None:
            return
        text = (
            f"'{image.name}' would take {work.bytes / GIGABYTE:.1f} GB, more than may "
            "be kept (see Preferences)"
        )
        if image is clicks.image_layer and task.plane == clicks.plane:
            task.within = visible_box(image, task.plane, clicks.viewer)
            clicks.say(f"{text}: only what is on screen is prepared.")
        else:
            clicks.say(f"{text}: it is left out.", "error")
            self._over(task)

    def _over(self, task: _Task) -> None:
        """Go on with the next plane; tell it where that was the last one."""
        clicks, image = self._clicks(), task.image()
        if not self._tasks or self._tasks[0] is not task:  # cancelled
            return
        self._next_task()
        if self._tasks or clicks is None:
            return
        self._finish()
        took = duration(time.perf_counter() - self._started)
        if self._total > 1:
            clicks.say(f"All {self._total} images are prepared ({took}).")
        elif task.within is not None:
            clicks.say(f"What is on screen is prepared ({took}).")
        elif image is not None:
            clicks.say(f"'{image.name}' is prepared ({took}).")

    def _failed(self, error: Exception) -> None:
        clicks, self.error = self._clicks(), error
        self._finish()
        if clicks is not None:
            clicks.failed(error)

    def _tell_progress(self) -> None:
        task = self._tasks[0] if self._tasks else None
        image = None if task is None else task.image()
        if task is None or image is None:
            self.progress = None
        else:
            place, work, part = task.plane.describe(), task.preparation, None
            text = f"{image.name} [{place}]" if place else image.name
            if self._total > 1:
                text += f" ({self._count} of {self._total})"
            if work is not None:
                part = work.share(task.within)
                left = work.seconds_left(task.within)
                text += "" if left is None else f": {duration(left)} left"
            self.progress = Progress(text, part)
        self.changed.emit()
