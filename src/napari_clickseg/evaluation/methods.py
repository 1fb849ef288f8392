"""What is evaluated: anything that turns clicks into a mask."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.image import ImageSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_clickseg.clicks import Click
    from napari_clickseg.models.model import Model
    from napari_clickseg.prediction.settings import (
        Prediction,
        PredictionSettings,
        PredictorState,
    )
    from napari_clickseg.refinement.settings import RefinementSettings


#: The policy ``visible`` is measured as if the annotator had zoomed in so far that
#: the object takes up a quarter of the field's width.
FIELD_TIMES = 4.0


class Method(Protocol):
    """Something that answers clicks on an image with a mask."""

    name: str
    pixels: int  #: pixels that the last answer was worked out on
    notices: list[str]  #: what a reader of the numbers should know
    wants_radii: bool  #: whether clicks should say how far the error reaches

    @property
    def where(self) -> str:
        """Device and precision."""
        ...  # pragma: no cover

    def open_image(self, image: Any) -> None:
        """Take a new image, (H, W) or (H, W, C)."""
        ...  # pragma: no cover

    def start_object(self, field: Box | None = None) -> None:
        """Forget the object before; the image stays.

        ``field`` is what an annotator would have on screen for the new one.
        """
        ...  # pragma: no cover

    def answer_without_clicks(self) -> NDArray[np.bool_] | None:
        """Return the mask (H, W) before any click; None: a click is needed."""
        ...  # pragma: no cover

    def answer(self, clicks: Sequence[Click]) -> NDArray[np.bool_]:
        """Return the mask (H, W) for all clicks of the object so far."""
        ...  # pragma: no cover


def field_around(truth: NDArray[np.int8], times: float = FIELD_TIMES) -> Box:
    """Return what an annotator would have on screen: the object and its surroundings.

    Parameters
    ----------
    truth : array (H, W) of int8
        1 is the object.
    times : float
        Side of the (square) field over the object's longer side; the part beyond
        the image is left out.
    """
    rows = np.flatnonzero((truth == 1).any(axis=1))
    cols = np.flatnonzero((truth == 1).any(axis=0))
    if not rows.size:
        return Box.of_shape(truth.shape)
    side = math.ceil(times * max(np.ptp(rows) + 1, np.ptp(cols) + 1))
    top = (int(rows[0]) + int(rows[-1]) + 1 - side) // 2
    left = (int(cols[0]) + int(cols[-1]) + 1 - side) // 2
    return Box(top, left, top + side, left + side).clip(truth.shape)


def as_source(image: Any) -> ImageSource:
    """Return the image as the network sees it: 8-bit values over 255."""
    return ImageSource(np.ascontiguousarray(image))


class ModelMethod:
    """A click model with its zoom-in, flip average and previous mask.

    Parameters
    ----------
    model : Model
        Loaded weights.
    settings : PredictionSettings
        How clicks become answers; the defaults are the published protocol.
    name : str, optional
        Name in tables; the model's own by default.
    refinement : RefinementSettings, optional
        How answers are made to obey the clicks; not at all by default, except for
        models that bring a refinement of their own.
    own : bool
        Whether that one is used.
    """

    def __init__(
        self,
        model: Model,
        settings: PredictionSettings,
        name: str | None = None,
        refinement: RefinementSettings | None = None,
        *,
        own: bool = True,
    ) -> None:
        from napari_clickseg.prediction.predictor import Predictor

        self.name = name or model.name
        if not own and getattr(model, "refinement", None) is not None:
            model = copy.copy(model)
            model.refinement = None
        self.pixels = 0
        self.settings = settings
        self.notices: list[str] = list(model.notices)
        self._predictor = Predictor(model, settings, refinement)
        used = self._predictor.refinement_in_use
        #: The consistency loss leaves out the circle around the newest click.
        self.wants_radii = used.active and used.by_adam
        self._source: ImageSource | None = None
        self._state: PredictorState | None = None
        self._field: Box | None = None

    @property
    def where(self) -> str:
        """Device and precision of the model, now."""
        model = self._predictor.model
        dtype = str(getattr(model, "dtype", "")).removeprefix("torch.")
        return f"{model.device} {dtype}".strip()

    def open_image(self, image: Any) -> None:
        """Take a new image."""
        self._source = as_source(image)
        self._state = None

    def start_object(self, field: Box | None = None) -> None:
        """Forget the object before; only the policy ``visible`` sees the field."""
        self._state = None
        self._field = field if self.settings.first_look == "visible" else None

    def predict(self, clicks: Sequence[Click]) -> Prediction:
        """Return the settled answer and keep its state for the next click."""
        if self._source is None:
            raise RuntimeError("open_image comes before answer")
        prediction = self._predictor.predict(
            self._source, clicks, self._state, settle=True, visible=self._field
        )
        self._state = prediction.state
        self.pixels = math.prod(self._predictor.last_size)
        self.notices.extend(n for n in prediction.notices if n not in self.notices)
        return prediction

    def answer_without_clicks(self) -> NDArray[np.bool_] | None:
        """Return what an automatic model answers by itself, else None."""
        if not getattr(self._predictor.model, "automatic", False):
            return None
        if self._source is None:
            raise RuntimeError("open_image comes before answer")
        return self._mask(self._predictor.predict(self._source, (), None, settle=True))

    def answer(self, clicks: Sequence[Click]) -> NDArray[np.bool_]:
        """Return the mask for all clicks so far."""
        return self._mask(self.predict(clicks))

    def _mask(self, prediction: Prediction) -> NDArray[np.bool_]:
        assert self._source is not None
        mask = np.zeros(self._source.shape, bool)
        # Single precision on both sides, as published.
        threshold = np.float32(self.settings.threshold)
        mask[prediction.box.slices] = prediction.probability > threshold
        return mask
