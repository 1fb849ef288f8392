"""Clicks and seconds, and studies, for the dock and for scripts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.effort import Wanted
from napari_clickseg.binding.object_console import ObjectConsole
from napari_clickseg.binding.planes import Plane, data_shape
from napari_clickseg.binding.writing import box_reader
from napari_clickseg.errors import MaskError
from napari_clickseg.session.effort import IDLE, Activity, Effort, save_effort
from napari_clickseg.session.study import Study

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_clickseg.worker import Job

__all__ = ["Working"]


class Working(ObjectConsole):
    """How much work objects are."""

    #: Where the lines of a study go, while there is one.
    study_path: Path | None = None

    def effort(self, *, idle_limit: float = IDLE) -> Effort:
        """Return clicks and active seconds of the objects of all planes.

        Pauses longer than ``idle_limit`` (seconds) do not count.
        """
        found: Effort = self._ask_engine(lambda engine, _: engine.effort(idle_limit))
        return found

    @property
    def activity(self) -> tuple[Activity, ...]:
        """What was done on the plane and when, undo and redo included."""
        found: tuple[Activity, ...] = self.session.activity
        return found

    @property
    def study(self) -> Study | None:
        """The study that is written on the plane; None where there is none."""
        found: Study | None = self.session.study
        return found

    def start_study(self, reference: Any, path: str | Path, **options: Any) -> None:
        """Write one line for each commit from now on, against a reference.

        Parameters
        ----------
        reference : Labels layer or its name
            Of the shape of the image.
        path : path
            ``.csv``; see :class:`napari_clickseg.session.study.Study`.
        **options
            ``goals`` and ``idle_limit``.
        """
        job = self._in_owner(lambda: self._start_study(reference, path, **options))
        self._wait(job)

    def stop_study(self) -> None:
        """Write no more lines."""
        self._in_owner(self.end_study)

    # ----------------------------------------------------------------- for the dock

    def save_effort_to(self, path: str) -> None:
        """Write clicks and seconds of all planes to a file (.csv, .json)."""
        context, _ = self._open(None)

        def done(job: Job) -> None:
            if job.error is not None:
                self.failed(job.error)
            else:
                self.say(f"Clicks and seconds written to {job.value}.")

        engine = context.engine
        self.background(lambda: save_effort(engine.effort(), path), done)

    def reference_choices(self) -> list[Labels]:
        """Return the layers that objects can be compared with."""
        return [
            each for each in self.objects_choices() if each is not self.objects_layer
        ]

    def begin_study(self, reference: Labels, path: str) -> None:
        """Start a study; what is wrong is told."""
        self._guarded(lambda: self._start_study(reference, path))

    def end_study(self) -> None:
        """End the study."""
        self.study_path = None
        for context in self._contexts.values():
            self.background(partial(context.engine.start_study, None))
        self.say("The study is over; its lines stay in the file.")
        self.changed.emit()

    def _start_study(self, reference: Any, path: str | Path, **options: Any) -> Job:
        layer = (
            self.viewer.layers[reference] if isinstance(reference, str) else reference
        )
        context, _ = self._open(None)
        image = self.image_layer
        if image is None or data_shape(layer) != data_shape(image):
            raise MaskError(
                f"'{layer.name}' is no reference for the image: it has another shape. "
                "Choose a Labels layer of the image's shape."
            )
        engine = context.engine

        def of_plane(plane: Plane) -> Any:
            return box_reader(layer, plane)()

        wanted = Wanted(of_plane, Path(path), **options)

        def done(job: Job) -> None:
            if job.error is not None:
                self.failed(job.error)
                return
            self.study_path = wanted.path
            self.say(f"Each commit is written to {wanted.path} from now on.")
            self.changed.emit()

        return self.background(partial(engine.start_study, wanted), done)
