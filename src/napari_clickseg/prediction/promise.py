"""A click always wins: the answer is held against the clicks, and corrected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_clickseg.prediction.settings import Prediction
from napari_clickseg.prediction.views import pixel_of
from napari_clickseg.refinement.correction import (
    Wish,
    contradicted,
    correct,
    disobeyed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_clickseg.clicks import Click
    from napari_clickseg.prediction.request import Request
    from napari_clickseg.prediction.settings import PredictorState


@dataclass(frozen=True, eq=False)
class Found:
    """An answer, before it is held against the clicks.

    Parameters
    ----------
    state : PredictorState
        With the network's own answer.
    finished : bool
        Whether its refinement came to an end.
    evaluations : int
        How often its loss was computed.
    """

    state: PredictorState
    finished: bool
    evaluations: int


def wishes_of(clicks: Sequence[Click], shape: tuple[int, int]) -> list[Wish]:
    """Return what each click wants of its own pixel, the one it lies on.

    Parameters
    ----------
    clicks : sequence of Click
    shape : (int, int)
        Height and width of the image.
    """
    return [Wish(*pixel_of(click, shape), click.positive) for click in clicks]


def heard(clicks: Sequence[Click], shape: tuple[int, int]) -> list[Click]:
    """Return the clicks without those that a later one takes back."""
    deaf = set(contradicted(wishes_of(clicks, shape)))
    return [click for index, click in enumerate(clicks) if index not in deaf]


def held_against_clicks(
    request: Request,
    found: Found,
    *,
    settled: bool,
    seconds: float,
    notices: tuple[str, ...],
) -> Prediction:
    """Return the prediction, with the clicks that its answer fails.

    Where a refinement is in use, and wanted to, the answer is corrected around them.
    The state keeps the answer as it was: it is the next click's previous mask and
    tells where to look, as published.
    """
    state, refinement = found.state, request.refinement
    box, probability = state.box, state.probability
    if box is None or probability is None:  # pragma: no cover - for the type checker
        raise AssertionError
    if not (refinement.active and request.clicks):
        return Prediction(box, probability, state, settled, seconds, notices)
    shape, threshold = request.image.shape, request.settings.threshold
    wishes = wishes_of(request.clicks, shape)
    taken_back = contradicted(wishes)
    failed = {*disobeyed(wishes, box, probability, threshold), *taken_back}
    if refinement.correct:
        box, probability = correct(wishes, box, probability, threshold, shape)
        probability.flags.writeable = False
    still = {*disobeyed(wishes, box, probability, threshold), *taken_back}
    return Prediction(
        box,
        probability,
        state,
        settled,
        seconds,
        notices,
        unsatisfied=tuple(sorted(failed)),
        corrected=tuple(sorted(failed - still)),
        contradicted=taken_back,
        evaluations=found.evaluations,
    )
