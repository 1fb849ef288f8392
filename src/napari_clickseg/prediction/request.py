"""One question to the predictor, and what was already worked out for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_clickseg.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from napari_clickseg.boxes import Box
    from napari_clickseg.clicks import Click
    from napari_clickseg.image import ImageSource
    from napari_clickseg.prediction.first_look import Look
    from napari_clickseg.prediction.settings import PredictionSettings, PredictorState
    from napari_clickseg.prediction.tiles import Tile
    from napari_clickseg.prediction.views import Size
    from napari_clickseg.refinement.settings import RefinementSettings


@dataclass
class Request:
    """One question, and what was already worked out for it.

    The settled answer often follows the quick one for the same clicks; then
    only the mirrored pass is left to do. A refinement that a time budget stopped goes
    on when the same is asked again.
    """

    image: ImageSource
    clicks: tuple[Click, ...]
    before: PredictorState
    visible: Box | None
    settings: PredictionSettings
    refinement: RefinementSettings
    cancelled: Callable[[], bool] | None = None
    #: Time after which a refinement is to pause, on the clock of ``perf_counter``.
    deadline: float | None = None
    logits: dict[tuple[Box, Size, bool], Tensor] = field(default_factory=dict)
    #: Refinements under way, by view (see :mod:`napari_clickseg.prediction.refining`).
    works: dict[Any, Any] = field(default_factory=dict)
    searched: Look | None = None
    first_tile: Tile | None = None
    notices: list[str] = field(default_factory=list)

    def same(self, other: Request) -> bool:
        """Whether this request asks what the other did.

        Without a field of its own it means the one of the other: the user may
        have moved the canvas since. How long it may take, and whether the answer is
        corrected afterwards, changes nothing that was worked out.
        """
        return (
            self.image is other.image
            and self.before is other.before
            and self.clicks == other.clicks
            and self.visible in (None, other.visible)
            and self.settings == other.settings
            and _work_of(self.refinement) == _work_of(other.refinement)
        )

    def check(self) -> None:
        """Stop here if the caller wants it."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("The answer was no longer wanted; nothing was changed.")


def _work_of(refinement: RefinementSettings) -> RefinementSettings:
    return replace(refinement, time_budget=None, correct=True)
