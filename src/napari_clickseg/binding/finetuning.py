"""Finetuning in a viewer: one for the dock and the console.

It looks at the data, foretells and learns in a thread of its own; clicks are answered
meanwhile, and go before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.annotated import sources_of
from napari_clickseg.binding.finetune_wishes import FinetuneWishes
from napari_clickseg.binding.lamp import duration
from napari_clickseg.binding.learning import Curve, Wishes, explained, plan
from napari_clickseg.binding.own_models import MODELS, remove_own
from napari_clickseg.errors import (
    Cancelled,
    ClickSegError,
    TrainingError,
    UnknownModelError,
)
from napari_clickseg.models.registry import STARTER, ModelInfo, get_info
from napari_clickseg.preferences import declared, preferences

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_clickseg.binding.shelf import ModelShelf
    from napari_clickseg.training.finetuning.job import FinetuneJob
    from napari_clickseg.training.finetuning.report import (
        Example,
        FinetuneProgress,
        FinetuneResult,
        Forecast,
    )
    from napari_clickseg.worker import Channel

__all__ = ["Finetuning"]

LOG = logging.getLogger("napari_clickseg")
PARTS = {
    "head": "the head",
    "adapters": "the head, and adapters in the encoder",
    "all": "all but what comes before the clicks",
}
#: Between two steps, clicks are waited for no longer than so many seconds.
PATIENCE = 1.0


def model_key(task: str) -> str:
    """Return where the model of a task's dock is remembered."""
    return "model.name" if task == "segmentation" else f"maps.{task}_model"


class Finetuning(FinetuneWishes):
    """Finetuning in one viewer; made by :func:`napari_clickseg.attach`.

    Parameters
    ----------
    viewer : ViewerModel
        Held weakly.
    channel : Channel
        The line to the worker that learns.
    shelf : ModelShelf
        With the models that are loaded.
    session_of : callable
        Returns the viewer's session for a task.
    sessions : callable
        Returns all sessions of all viewers.

    Attributes
    ----------
    wishes : Wishes
        What is chosen; changed by :meth:`choose`.
    more : dict
        Further choices of :func:`napari_clickseg.finetune`, by script.
    state : str
        What is going on.
    job, data, forecast
        What was found when the data were checked, and what it will take.
    earlier : int
        Steps of an earlier run of the same, from which it goes on.
    progress, curve, examples, result
        How it goes, and what came out.
    error : Exception or None
        What went wrong last.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        channel: Channel,
        shelf: ModelShelf,
        session_of: Callable[[str], Any],
        sessions: Callable[[], list[Any]],
    ) -> None:
        self._shelf = shelf
        self._session_of, self._sessions = session_of, sessions
        self._finish = threading.Event()
        super().__init__(viewer, channel)

    # ---------------------------------------------------------------------- doing

    def check(self) -> None:
        """Look at the data, then foretell time and memory; nothing is learned yet."""
        if self.working:
            return
        self._start_over()
        wishes, viewer = self.wishes, self.viewer
        try:
            sources = []
            if not wishes.folder:
                pairs: Any = wishes.pairs
                empty = all(layer is None for pair in pairs for layer in pair)
                sources = sources_of(viewer, [] if empty else pairs, self.task)
        except ClickSegError as error:
            self._failed(error)
            return
        self.state = "checking"
        self.say("Reading images and labels")
        now = Wishes(**{**vars(wishes), "pairs": []})
        more = dict(self.more)
        self._do(
            lambda cancelled: plan(sources, now, more, self._tell, cancelled),
            self._planned,
        )

    def _planned(self, job: FinetuneJob) -> None:
        self.job = job
        logged = job.logged()
        self.earlier = logged[-1].step if logged else 0
        self.state = "ready"
        self.say(
            f"An earlier run of this was stopped after {self.earlier} steps: it goes "
            "on from there."
            if self.earlier
            else "Have a look at what was found, then start."
        )
        self.busy = ("Measuring time and memory", None)
        self._do(lambda cancelled: job.forecast(cancelled), self._foretold)

    def _foretold(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self.changed.emit()

    def start(self) -> None:
        """Learn; go on from where an earlier run of the same was stopped.

        Raises
        ------
        TrainingError
            If the data were not checked.
        """
        if self.working:
            return
        job = self.job
        if job is None or self.state not in ("ready", "stopped"):
            raise TrainingError("Check the data first: then it is known what there is.")
        self._stop.set()  # the forecast
        self.curve = Curve(steps=job.work.options.steps)
        for one in job.logged():
            self.curve.losses.append((one.step, one.loss))
            if one.validation is not None:
                self.curve.validations.append(one.validation)
        self.state, self.error, self.result = "running", None, None
        self._finish.clear()
        finish = self._finish
        self.say(f"Learning {job.name}")
        self._do(
            lambda cancelled: job.run(
                self._progressed, cancelled, finish.is_set, self._shown
            ),
            self._learned,
        )

    def begin_anew(self) -> None:
        """Forget how far an earlier run of the same came, and start from the parent."""
        if self.job is not None and not self.working:
            for name in ("checkpoint.pt", "history.jsonl"):
                (self.job.folder / name).unlink(missing_ok=True)
            self.earlier = 0
            self.start()

    def stop(self) -> None:
        """Stop; what was learned is kept on disk, and :meth:`start` goes on."""
        if self.state in ("running", "finishing"):
            self.state = "stopping"
            self.say("Stopping after this step")
        elif self.state == "checking":
            self.say("Stopping")
        self._stop.set()
        self.changed.emit()

    def finish(self) -> None:
        """Learn no more, and keep what was learned as the new model."""
        if self.state == "running":
            self.state = "finishing"
            self.say("Finishing: measuring what was learned")
            self._finish.set()

    def use(self, name: str | None = None) -> ModelInfo:
        """Have the session of the model's task answer with it, from now on."""
        if name is None and self.result is None:
            raise TrainingError("Nothing was finetuned yet: start first.")
        info = get_info(name or self.result.name)  # type: ignore[union-attr]
        self._session_of(info.task).set_model(info.name)
        preferences().set(model_key(info.task), info.name)
        self.say(f"Clicks are answered by {info.name} now.")
        return info

    def remove(self, name: str) -> None:
        """Delete a finetuned or added model; who uses it goes back to the usual one."""
        if self.working and self.wishes.model == name:
            raise TrainingError(f"{name} is learning: stop first.")
        info = remove_own(name)
        usual = str(declared()[model_key(info.task).split(".")[0]][_setting(info.task)])
        for session in self._sessions():
            if session.model_choice.name == info.name:
                session.set_model(usual)
            of_objects = getattr(session, "object_model", None)  # in matting
            if of_objects is not None and of_objects.name == info.name:
                session.object_model = of_objects._replace(name=usual)
        if preferences().get(model_key(info.task)) == info.name:
            preferences().set(model_key(info.task), usual)
        for session in self._sessions()[:1]:
            session.background(partial(self._shelf.forget, info.name))
        if not self._sessions():
            self._shelf.forget(info.name)
        if self.wishes.model == info.name:
            self.choose(model=STARTER)
        if self.result is not None and self.result.name == info.name:
            self._start_over()
        self.say(f"{info.name} is deleted.")

    def leave(self) -> str:
        """Stop because the dock is closed; returns what to tell, "" for nothing."""
        if self.state not in ("running", "finishing"):
            self._stop.set()
            return ""
        self.stop()
        name = "" if self.job is None else f" of {self.job.name}"
        text = (
            f"Finetuning{name} was stopped. To go on from there, open the dock "
            "Finetune again and press 'Go on'; after a restart, choose the same layers "
            "or folder, model and name, and check the data."
        )
        LOG.warning(text)  # the window may be closed as well
        return text

    def close(self) -> None:
        """Stop, and let go of the viewer."""
        if self._channel.closed:
            return  # with the window; the viewer went later
        self.leave()
        self._channel.close()
        viewer = self._viewer()
        if viewer is not None:
            for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
                event.disconnect(self._layers_changed)

    def try_to(self, action: Callable[[], Any]) -> None:
        """Do something for a dock: what is wrong is told, not raised."""
        try:
            action()
        except ClickSegError as error:
            self.error = error
            self.say(str(error), "error")

    @property
    def what_learns(self) -> str:
        """Which part of the model will learn, in a sentence; "" before it is known."""
        if self.job is None:
            return ""
        job = self.job
        return f"Trained: {PARTS[job.parts]} of {job.parent}, as {job.name}."

    @property
    def how_far(self) -> str:
        """How far learning is, with the time that is left."""
        progress, forecast = self.progress, self.forecast
        if progress is None:
            return self.hint[0]
        text = progress.text
        if progress.seconds_left is None and forecast is not None:
            left = forecast.seconds * (1 - progress.fraction)
            text += f", about {duration(left)} left"
        return text

    # ----------------------------------------------------------------- in the worker

    def _progressed(self, progress: FinetuneProgress) -> None:
        """Note how it goes, and let clicks go first (in the worker)."""

        def note() -> None:
            self.progress = progress
            self.curve.take(progress)

        self._deliver(note)
        until = time.monotonic() + PATIENCE
        while self._channel.queues and time.monotonic() < until and self._clicking():
            time.sleep(0.01)

    def _clicking(self) -> bool:
        """Whether a click waits for its answer in any viewer (in the worker)."""
        try:
            return not all(session.idle for session in self._sessions())
        except RuntimeError:  # a viewer has just been opened
            return False

    def _shown(self, examples: tuple[Example, ...]) -> None:
        def note() -> None:
            self.examples = examples

        self._deliver(note)

    # --------------------------------------------------------------------- outcomes

    def _learned(self, result: FinetuneResult) -> None:
        self.result, self.state = result, "done"
        self.curve.losses = list(result.history)
        self.curve.validations = list(result.validations)
        self.examples = result.examples
        MODELS.changed.emit()
        self.say(result.headline)

    def _failed(self, error: Exception) -> None:
        learning = self.state in ("running", "stopping", "finishing")
        if learning:
            self.state = "stopped"
        elif self.state == "checking":
            self.state = "idle"
        if isinstance(error, Cancelled):
            if learning and self.job is not None:
                steps = self.job.logged()
                self.earlier = steps[-1].step if steps else 0
                self.say(
                    f"Stopped after {self.earlier} of {self.curve.steps} steps; what "
                    "was learned is kept. 'Go on' continues, another day as well."
                )
            elif self.state == "idle":
                self.say("Stopped. Check again when you like.")
            return
        self.error = error
        text = explained(error)
        if text is None:
            LOG.error("Unexpected error", exc_info=error)
            text = (
                f"Something went wrong that should not ({type(error).__name__}: "
                f"{error}). The log has the details; please report it."
            )
        if isinstance(error, UnknownModelError):
            text = f"{self.wishes.model} is not there any more: choose another model."
        self.say(text, "error")


def _setting(task: str) -> str:
    return model_key(task).split(".")[1]
