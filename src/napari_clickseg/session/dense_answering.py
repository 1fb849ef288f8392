"""The model of a session of classes, alpha or depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clickseg.clicks import Clicks
from napari_clickseg.errors import ModelError, SessionError
from napari_clickseg.image import ImageSource
from napari_clickseg.models.factories import split_factory
from napari_clickseg.prediction.dense_answering import DenseAnswer, DenseAnswers
from napari_clickseg.prediction.dense_settings import DenseSettings, DenseState
from napari_clickseg.refinement.settings import CONSISTENCY, RefinementSettings
from napari_clickseg.session.answering import (
    Answering,
    Asking,
    _check_device,
    _check_model,
)
from napari_clickseg.session.refining import Refinement, as_refinement
from napari_clickseg.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class DenseAnswering(Answering):
    """Which model answers, where it runs and how its answers are refined.

    Parameters
    ----------
    model, device, precision, check
        See :class:`napari_clickseg.session.answering.Answering`.
    task : str
        What the model has to be for.
    settings : DenseSettings
    refinement : str or RefinementSettings, optional
        In the place of what the settings say.
    """

    def __init__(
        self,
        model: Any,
        device: str = "auto",
        precision: str = "auto",
        *,
        task: str,
        settings: DenseSettings,
        refinement: Refinement = None,
        check: bool = True,
    ) -> None:
        if check:
            if isinstance(model, str | Path):
                _check_model(model)
                _check_named(str(model), task)
            else:
                _check_loaded(model, task)
            _check_device(device, precision)
        self.device, self.precision, self.task = device, precision, task
        self._wanted = model
        self._dense = settings
        self._answers: DenseAnswers | None = None
        self._predictor = self._given = None
        self.refinement = refinement

    @property
    def settings(self) -> Any:
        """How answers are refined, and how large a view the network sees."""
        return self._dense

    @settings.setter
    def settings(self, settings: Any) -> None:
        self._dense = settings
        if self._answers is not None:
            self._answers.settings = settings

    @property
    def refinement(self) -> RefinementSettings:
        """How answers are made to obey the clicks; counts from the next answer."""
        own, usual = self._dense, RefinementSettings()
        return RefinementSettings(
            method=own.method,
            at=own.at,
            iterations=own.iterations or usual.iterations,
            learning_rate=own.learning_rate,
            consistency=CONSISTENCY if own.consistency is None else own.consistency,
            radius=own.radius,
            top_k=own.top_k,
            time_budget=own.time_budget,
            correct=own.correct,
        )

    @refinement.setter
    def refinement(self, refinement: Refinement) -> None:
        if refinement is None:
            return
        own, given = self._dense, as_refinement(refinement)
        usual = given.iterations == RefinementSettings().iterations
        self.settings = DenseSettings.of(
            given,
            iterations=None if usual else given.iterations,
            max_side=own.max_side,
            early_stop=own.early_stop,
            exact_push=own.exact_push,
        )

    @property
    def refinement_in_use(self) -> RefinementSettings:
        """The same."""
        return self.refinement

    @property
    def predictor(self) -> Any:
        """What asks the model; made, with the model loaded, when first asked for."""
        if self._answers is None:
            from napari_clickseg.models.model import load_model

            model: Any = self._wanted
            if isinstance(model, str | Path):
                model = load_model(model, device=self.device, precision=self.precision)
            elif (self.device, self.precision) != ("auto", "auto"):
                model = model.to(device=self.device, precision=self.precision)
            _check_loaded(model, self.task)
            self._wanted = model
            self._answers = DenseAnswers(model, self._dense)
            self._predictor: Any = self._answers
        return self._answers

    def another(self, model: Any, device: str, precision: str) -> DenseAnswering:
        """Return another model that is refined in the same way; None: this one."""
        same = model is None and (device, precision) == ("auto", "auto")
        if same and self._answers is None:
            device, precision = self.device, self.precision
        return DenseAnswering(
            self._wanted if model is None else model,
            device,
            precision,
            task=self.task,
            settings=self._dense,
            check=model is not None,
        )


class DenseAsking(Asking):
    """Asks the model about one image; adds up what it took and what it told.

    Parameters
    ----------
    answering : DenseAnswering
    task_in : callable
        Returns the task in a mode.
    image, told, cancelled
        See :class:`napari_clickseg.session.answering.Asking`.
    """

    def __init__(
        self,
        answering: DenseAnswering,
        task_in: Callable[[str], Task],
        image: ImageSource,
        told: list[str],
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(answering, image, told, cancelled)
        self._task_in = task_in

    @property
    def how(self) -> None:  # type: ignore[override]
        """Not kept: maps are asked again with the settings that the session has."""
        return None

    def __call__(  # type: ignore[override]
        self,
        clicks: Clicks,
        state: DenseState | None,
        *,
        mode: str = "click",
        trimap: NDArray[np.uint8] | None = None,
        painted: NDArray[Any] | None = None,
    ) -> DenseAnswer:
        """Return the answer to these clicks or strokes."""
        answers: Any = self._answering.predictor
        if trimap is None and answers.model.needs_trimap:
            raise SessionError(
                f"{answers.model.name} needs a trimap. Give one with "
                "set_trimap(trimap), or make one with trimap_from_mask(mask)."
            )
        answer: DenseAnswer = answers.predict(
            self._image,
            clicks,
            state,
            task=self._task_in(mode),
            trimap=trimap,
            painted=painted,
            cancelled=self._cancelled,
        )
        self.seconds += answer.seconds
        if answer.settled:
            self._tell(answer.notices)
        return answer


def without_budget(settings: DenseSettings) -> DenseSettings:
    """Return settings by which every answer is refined to its end."""
    return replace(settings, time_budget=None)


def _check_named(name: str, task: str) -> None:
    """Refuse a published model of another task before any work is put into clicks."""
    if Path(name).expanduser().exists() or split_factory(name):
        return  # what it is for is known once it is loaded
    from napari_clickseg.models.registry import get_info

    try:
        info = get_info(name)
    except ModelError:  # a function that builds one
        return
    if info.task != task:
        raise _other_task(info.name, info.task, task)


def _check_loaded(model: Any, task: str) -> None:
    if not hasattr(model, "make_task"):
        own = getattr(getattr(model, "info", None), "task", None)
        if own is not None:
            raise _other_task(model.name, own, task)
        raise ModelError(
            f"A model is a name, a weight file or what load_model returned, not "
            f"{model!r}."
        )
    if model.task != task:
        raise _other_task(model.name, model.task, task)


def _other_task(name: str, own: str, task: str) -> ModelError:
    return ModelError(
        f"{name} is a model for {own}, not for {task}. Choose one that "
        f"'napari-clickseg models list --task {task}' shows, or a weight file."
    )
