"""From clicks to an answer: where to look, the model's passes, the way back.

``settings`` and ``views`` need numpy only; ``predictor`` and ``first_look``
need torch and are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_clickseg.prediction.settings import (
    Prediction,
    PredictionSettings,
    PredictorState,
)

if TYPE_CHECKING:
    from napari_clickseg.prediction.predictor import Predictor

__all__ = ["Prediction", "PredictionSettings", "Predictor", "PredictorState"]


def __getattr__(name: str) -> Any:
    if name == "Predictor":
        from napari_clickseg.prediction.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
