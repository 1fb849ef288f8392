"""A predictor that answers at once and gives away what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import Cancelled
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction import Prediction, PredictionSettings, PredictorState
from napari_clickseg.refinement.settings import RefinementSettings


@dataclass
class FakePredictor:
    """Answers a disk around each click, mixed with the answer before.

    The quick answer differs a little from the settled one, and every answer
    depends on the one before it, as with a network.
    """

    radius: float = 4.0
    settings: PredictionSettings = field(default_factory=PredictionSettings)
    notices: tuple[str, ...] = ()
    failure: Exception | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    model: Any = None

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
        if self.failure is not None:
            raise self.failure
        self.asked.append({"count": len(clicks), "settle": settle, "visible": visible})
        before = state or PredictorState()
        reach = int(self.radius) + 1
        box = before.box if before.box is not None else Box(0, 0, 0, 0)
        for click in clicks:
            row, col = round(click.row), round(click.col)
            near = Box(row - reach, col - reach, row + reach + 1, col + reach + 1)
            box = box.union(near.clip(image.shape))
        rows = np.arange(box.top, box.bottom)[:, None]
        cols = np.arange(box.left, box.right)[None, :]
        values = 0.25 * before.window(box)
        for click in clicks:
            near = (rows - click.row) ** 2 + (cols - click.col) ** 2 <= self.radius**2
            values = np.where(near, 0.7 * click.positive + 0.2 * values, values)
        values = (values * (1.0 if settle else 0.95)).astype(np.float32)
        after = PredictorState(roi=box, box=box, probability=values)
        assert after.probability is not None
        return Prediction(box, after.probability, after, settle, 0.5, self.notices)


@dataclass
class RefiningPredictor(FakePredictor):
    """A predictor that disobeys negative clicks until it is refined, by and by.

    With a time budget the settled answer takes ``rounds`` calls; with each of them
    the disk of a click grows by a pixel. A negative click is never obeyed by the
    "network": its own pixel alone is taken away, where the refinement corrects.
    """

    rounds: int = 1
    refinement: RefinementSettings = field(default_factory=RefinementSettings)
    done: dict[Any, int] = field(default_factory=dict)

    def predict(
        self,
        image: ImageSource,
        clicks: Sequence[Click],
        state: PredictorState | None = None,
        *,
        settle: bool = True,
        **options: Any,
    ) -> Prediction:
        if not self.refinement.active:
            return super().predict(image, clicks, state, settle=settle, **options)
        key = (tuple(clicks), id(state), self.refinement)
        done = min(self.done.get(key, 0) + settle, self.rounds)
        if self.refinement.time_budget is None and settle:
            done = self.rounds
        self.done[key] = done
        wide = FakePredictor(self.radius + done, self.settings)
        answer = wide.predict(
            image, [c for c in clicks if c.positive], state, settle=True, **options
        )
        self.asked.append({"count": len(clicks), "settle": settle, "visible": None})
        values = answer.probability.copy()
        left = tuple(i for i, click in enumerate(clicks) if not click.positive)
        if self.refinement.correct:
            for i in left:
                row = round(clicks[i].row) - answer.box.top
                col = round(clicks[i].col) - answer.box.left
                if 0 <= row < values.shape[0] and 0 <= col < values.shape[1]:
                    values[row, col] = 0.0
        after = PredictorState(roi=answer.box, box=answer.box, probability=values)
        assert after.probability is not None
        return Prediction(
            answer.box,
            after.probability,
            after,
            done >= self.rounds,
            0.5,
            self.notices,
            unsatisfied=() if self.refinement.correct else left,
            corrected=left if self.refinement.correct else (),
        )
