"""What a script reads of the clicks of a viewer, from whatever thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.engine import Engine
from napari_clickseg.binding.navigation import Navigation
from napari_clickseg.binding.planes import Plane
from napari_clickseg.clicks import Clicks
from napari_clickseg.errors import SessionError
from napari_clickseg.refinement.settings import RefinementSettings
from napari_clickseg.session import ClickSession, SegmentedObject, SessionStats
from napari_clickseg.session.refining import Refinement, as_refinement

if TYPE_CHECKING:
    from napari_clickseg.models.model import Model
    from napari_clickseg.prediction.settings import PredictionSettings
    from napari_clickseg.worker import Job

__all__ = ["Reading"]

T = TypeVar("T")


class Reading(Navigation):
    """State and options of the plane on screen, as they are when all is done."""

    @property
    def session(self) -> ClickSession:
        """The session of the plane on screen; change it only by the methods here."""
        found: ClickSession = self._ask_engine(
            lambda engine, plane: engine.session(plane)
        )
        return found

    @property
    def clicks(self) -> Clicks:
        """The clicks of the object in work."""
        return self.session.clicks

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels of the object in work: boolean (H, W)."""
        return self.session.mask

    @property
    def probability(self) -> NDArray[np.float32]:
        """How sure the model is of each pixel: float32 (H, W) in [0, 1]."""
        return self.session.probability

    @property
    def result(self) -> NDArray[Any]:
        """What the task makes of the answer; for segmentation the mask."""
        return self.session.result

    @property
    def labels(self) -> NDArray[np.int32]:
        """The committed objects of the plane: int32 (H, W)."""
        return self.session.labels

    @property
    def objects(self) -> Mapping[int, SegmentedObject]:
        """The committed objects of the plane by label."""
        return self.session.objects

    @property
    def stats(self) -> SessionStats:
        """Clicks and seconds for each object, of all planes."""
        latest = None if self.context is None else self.context.latest
        return SessionStats((), 0) if latest is None else latest.stats

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the plane."""
        return self.session.shape

    @property
    def model(self) -> Model:
        """The model, loaded if it was not yet."""
        options = self._in_owner(self.current_options)
        loaded: Model = self._ask_engine(
            lambda engine, _plane: engine.load_model(options)
        )
        return loaded

    @property
    def model_name(self) -> str:
        """Name or file of the model."""
        return self.model_choice.name

    @property
    def settings(self) -> PredictionSettings:
        """Where the model looks; set it to change that from the next answer on."""
        return self.session.settings

    @settings.setter
    def settings(self, settings: PredictionSettings) -> None:
        def use(engine: Engine, plane: Plane) -> None:
            engine.use_settings(plane, settings)

        self._ask_engine(use)

        def show() -> None:
            self.first_look = settings.first_look
            choices = replace(self.choices, settings=settings)
            self.use_choices(choices, ask=False)

        self._in_owner(show)

    @property
    def refinement(self) -> RefinementSettings:
        """How answers are made to obey the clicks; counts from the next answer.

        Set to a name, the rest stays as the dock says, the time for a click above
        all.
        """
        return self.choices.refinement

    @refinement.setter
    def refinement(self, refinement: Refinement) -> None:
        if isinstance(refinement, str):
            new = self.choices.refinement.updated({"method": refinement})
        else:
            new = as_refinement(refinement)
        choices = replace(self.choices, refinement=new)
        self._in_owner(lambda: self.use_choices(choices, ask=False))

    @property
    def usual_radius(self) -> float:
        """How far a click reaches that has no radius of its own, in image pixels."""
        return self.session.usual_radius

    @property
    def can_undo(self) -> bool:
        """Whether undo would do something."""
        return self.session.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether redo would do something."""
        return self.session.can_redo

    # ----------------------------------------------------------------------- parts

    def _ask_engine(self, work: Callable[[Engine, Plane], Any]) -> Any:
        """Return what ``work`` finds in the worker, after all that was asked for."""

        def start() -> Job:
            context, plane = self._open(None)
            return self._channel.chore(lambda _: work(context.engine, plane))

        return self._wait(self._in_owner(start))

    def _in_owner(self, function: Callable[[], T]) -> T:
        """Run a function in the thread that owns the layers, and wait for it."""
        if self._channel.owned:
            return function()
        results: list[T] = []
        failures: list[Exception] = []
        ready = threading.Event()

        def run() -> None:
            try:
                results.append(function())
            except Exception as error:  # noqa: BLE001  (raised in the calling thread)
                failures.append(error)
            ready.set()

        self._channel.tell(run)
        ready.wait()
        if failures:
            raise failures[0]
        return results[0]

    def _wait(self, job: Job) -> Any:
        self._channel.wait(job)
        for each in (job.before, job):
            if each is not None and each.error is not None:
                raise each.error
        if job.dropped:
            raise SessionError("This was overtaken by a newer click: try it again.")
        return job.value
