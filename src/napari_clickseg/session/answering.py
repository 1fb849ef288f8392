"""The model of a session: chosen by name, loaded when it is first asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Clicks
from napari_clickseg.errors import DeviceError, UnknownModelError
from napari_clickseg.image import ImageSource
from napari_clickseg.models.factories import check_factory, split_factory
from napari_clickseg.prediction.settings import (
    Prediction,
    PredictionSettings,
    PredictorState,
)
from napari_clickseg.refinement.settings import RefinementSettings
from napari_clickseg.session.refining import (
    Disobeyed,
    How,
    Refinement,
    as_refinement,
    in_use,
)

if TYPE_CHECKING:
    from napari_clickseg.models.model import Model
    from napari_clickseg.prediction.predictor import Predictor


class Answering:
    """Which model answers, where it runs and where it looks.

    Parameters
    ----------
    model : str, Path or Model
        A name of :func:`napari_clickseg.list_models`, a weight file, or a
        loaded model.
    device, precision : str
        As for :func:`napari_clickseg.load_model`.
    settings : PredictionSettings
        Where to look and how to average.
    predictor : Predictor, optional
        Something with the predictor's ``predict`` and ``settings``, in the
        place of a model.
    refinement : str or RefinementSettings, optional
        How answers are made to obey the clicks; default: not at all, or as the
        given predictor does.

    Raises
    ------
    UnknownModelError, DeviceError, SettingsError
        If there is no such model, device or refinement.
    """

    def __init__(
        self,
        model: str | Path | Model,
        device: str = "auto",
        precision: str = "auto",
        *,
        settings: PredictionSettings,
        predictor: Predictor | None = None,
        refinement: Refinement = None,
        check: bool = True,
    ) -> None:
        if check:
            _check_model(model)
            _check_device(device, precision)
        self.device, self.precision = device, precision
        self._wanted = model
        self._settings = settings if predictor is None else predictor.settings
        self._predictor = self._given = predictor
        if refinement is None:
            refinement = getattr(predictor, "refinement", None)
        self.refinement = refinement

    @property
    def settings(self) -> PredictionSettings:
        """Where to look and how to average; a change counts from the next answer."""
        return self._settings

    @settings.setter
    def settings(self, settings: PredictionSettings) -> None:
        self._settings = settings
        if self._predictor is not None:
            self._predictor.settings = settings

    @property
    def refinement(self) -> RefinementSettings:
        """How answers are made to obey the clicks; counts from the next answer."""
        return self._refinement

    @refinement.setter
    def refinement(self, refinement: Refinement) -> None:
        self._refinement = as_refinement(refinement)
        if self._predictor is not None:
            self._predictor.refinement = self.refinement_in_use

    @property
    def refinement_in_use(self) -> RefinementSettings:
        """The same, or the model's own where that brings one and none is wanted."""
        predictor = self._predictor
        model = self._wanted if predictor is None else predictor.model
        return in_use(self._refinement, model)

    @property
    def model_name(self) -> str:
        """Name of the model (its file, where that is not loaded yet)."""
        return str(getattr(self._wanted, "name", self._wanted))

    @property
    def source(self) -> str:
        """Name or path by which ``load_model`` finds this model again."""
        if isinstance(self._wanted, str | Path):
            return str(self._wanted)
        file = getattr(getattr(self._wanted, "info", None), "file", "")
        found_by_it = Path(file).is_absolute() or split_factory(file)
        return file if found_by_it else self.model_name

    def rest(self) -> None:
        """Let go of what the predictor keeps of the image."""
        if self._predictor is not None and self._predictor is not self._given:
            self._predictor.forget()

    @property
    def predictor(self) -> Predictor:
        """The predictor; made, with its model loaded, when first asked for."""
        if self._predictor is None:
            from napari_clickseg.models.model import load_model
            from napari_clickseg.prediction.predictor import Predictor

            model, where = self._wanted, (self.device, self.precision)
            if isinstance(model, str | Path):
                model = load_model(model, device=self.device, precision=self.precision)
            elif where != ("auto", "auto"):
                model = model.to(device=self.device, precision=self.precision)
            self._wanted = model
            self._predictor = Predictor(model, self._settings)
            self._predictor.refinement = self.refinement_in_use
        return self._predictor

    def another(
        self, model: str | Path | Model | None, device: str, precision: str
    ) -> Answering:
        """Return another model that looks in the same way.

        None stands for this one; then what is loaded is shared, if it need not
        run elsewhere.
        """
        if model is None and (device, precision) == ("auto", "auto"):
            loaded = self._predictor is not None
            return Answering(
                self._wanted,
                "auto" if loaded else self.device,
                "auto" if loaded else self.precision,
                settings=self._settings,
                predictor=self._given,
                refinement=self._refinement,
                check=False,
            )
        return Answering(
            self._wanted if model is None else model,
            device,
            precision,
            settings=self._settings,
            refinement=self._refinement,
        )

    def describe(self) -> dict[str, str | None]:
        """Return which model answers, for the record."""
        model = None if self._predictor is None else self._predictor.model
        return {
            "name": self.model_name,
            "source": self.source,
            "sha256": getattr(model, "sha256", None),
            "device": str(getattr(model, "device", self.device)),
            "precision": str(getattr(model, "dtype", self.precision)).removeprefix(
                "torch."
            ),
        }


class Asking:
    """Asks the model about one image; adds up what it took and what it told.

    Parameters
    ----------
    answering : Answering
        The model.
    image : ImageSource
        The image.
    told : list of str
        Where notices go as well, to stay.
    cancelled : callable, optional
        Asked between passes of the model; True stops.
    """

    def __init__(
        self,
        answering: Answering,
        image: ImageSource,
        told: list[str],
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._answering, self._image, self._cancelled = answering, image, cancelled
        self._told = told
        self.seconds = 0.0
        self.notices: tuple[str, ...] = ()

    @property
    def how(self) -> How:
        """Where the model looks now, and how answers are refined."""
        return How(self._answering.settings, self._answering.refinement)

    def use(self, how: How) -> None:
        """Ask from now on as was asked before, but without a time budget."""
        self._answering.settings = how.settings
        refinement = replace(how.refinement, time_budget=None)
        if refinement != self._answering.refinement:
            self._answering.refinement = refinement

    def __call__(
        self,
        clicks: Clicks,
        state: PredictorState | None,
        settle: bool,
        visible: Box | None,
    ) -> Prediction:
        """Return the answer to these clicks (see ``Predictor.predict``)."""
        prediction = self._answering.predictor.predict(
            self._image,
            clicks,
            state,
            settle=settle,
            visible=visible,
            cancelled=self._cancelled,
        )
        self.seconds += prediction.seconds
        self._tell(prediction.notices)
        # Before that, the refinement may yet succeed.
        if prediction.settled:
            notice = Disobeyed.of(prediction).notice(clicks)
            self._tell((notice,) if notice else ())
        return prediction

    def _tell(self, notices: tuple[str, ...]) -> None:
        self.notices += notices
        # An answer that is improved step by step says the same each time.
        self._told.extend(each for each in notices if each not in self._told[-2:])


def _check_model(model: str | Path | Model) -> None:
    """Refuse an unknown model before any work is put into clicks."""
    if not isinstance(model, str | Path):
        if hasattr(model, "make_task"):
            from napari_clickseg.models.given import check_answers_clicks

            check_answers_clicks(model)
        if not hasattr(model, "decode"):
            raise UnknownModelError(
                f"A model is a name, a weight file or what load_model returned, not "
                f"{model!r}."
            )
        return
    path = Path(model).expanduser()
    if path.is_file():
        return
    if split_factory(model):
        check_factory(str(model))
        return
    if isinstance(model, Path) or path.name != model:
        raise UnknownModelError(
            f"There is no weight file {path}. Check the path, or choose a name that "
            "'napari-clickseg models list' shows."
        )
    from napari_clickseg.models.registry import get_info

    get_info(model)


def _check_device(device: str, precision: str) -> None:
    from napari_clickseg.device import PRECISIONS, choose_device

    # Looking a device up imports torch, which takes seconds: these two need not.
    if device not in ("auto", "cpu"):
        choose_device(device)
    if precision not in PRECISIONS:
        raise DeviceError(
            f"There is no precision {precision!r}. Choose one of "
            f"{', '.join(map(repr, PRECISIONS))}."
        )
