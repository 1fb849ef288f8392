"""Stacks whose objects are known, and a predictor that finds what is equally bright."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tests.session.fakes import FakePredictor

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import Cancelled
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction import Prediction, PredictorState
from napari_clickseg.session import StackSession

SHAPE = (14, 48, 60)


class BrightPredictor(FakePredictor):
    """Answers what is as bright as a positive click and hangs together with it."""

    #: Probability inside.
    sure = 0.9

    def predict(
        self,
        image: ImageSource,
        clicks: Sequence[Click],
        state: PredictorState | None = None,
        *,
        settle: bool = True,
        visible: Box | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Prediction:
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped.")
        self.asked.append({"clicks": tuple(clicks), "state": state})
        box = Box.of_shape(image.shape)
        gray = image.window(box)[..., 0]
        found = np.zeros(image.shape, bool)
        rows, cols = np.ogrid[: image.shape[0], : image.shape[1]]
        for click in clicks:
            at = round(click.row), round(click.col)
            if click.positive:
                parts, _ = ndimage.label(np.abs(gray - gray[at]) < 0.1)
                found |= parts == parts[at]
            else:
                found &= np.hypot(rows - click.row, cols - click.col) > 4
        values = np.where(found, self.sure, 0.05).astype(np.float32)
        after = PredictorState(roi=box, box=box, probability=values)
        assert after.probability is not None
        return Prediction(box, after.probability, after, settle, 0.01)


def ellipsoids(
    *each: tuple[tuple[float, float, float], tuple[float, float, float], int],
    shape: tuple[int, int, int] = SHAPE,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Draw bodies of one brightness on a dark field: centre, radii, brightness."""
    grid = np.mgrid[tuple(slice(n) for n in shape)].astype(float)
    image, objects = np.full(shape, 20, np.uint8), np.zeros(shape, np.int32)
    for number, (centre, radii, bright) in enumerate(each, start=1):
        away = sum(
            ((axis - at) / radius) ** 2
            for axis, at, radius in zip(grid, centre, radii, strict=True)
        )
        inside = (away < 1) & (objects == 0)
        image[inside], objects[inside] = bright, number
    return image, objects


def stack_session(image: NDArray[Any], **options: Any) -> StackSession:
    """Return sessions that such a predictor answers."""
    from napari_clickseg.session.answering import Answering
    from napari_clickseg.session.base import SESSION_SETTINGS

    predictor = BrightPredictor()
    answering = Answering(
        "fake", settings=SESSION_SETTINGS, predictor=predictor, check=False
    )
    stack = StackSession(image, answering, contrast=(0, 255), **options)
    stack.predictor = predictor  # type: ignore[attr-defined]
    return stack
