"""Matting: a click says how much of its pixel is the object, or pushes that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError, SettingsError
from napari_clickseg.tasks.fields import refuse
from napari_clickseg.tasks.regression import PUSH, ValueTask, squared_errors
from napari_clickseg.tasks.task import Mode

if TYPE_CHECKING:
    from torch import Tensor

#: Weight of the consistency loss, lambda_mt (G-BRS, 2.4.3).
WEIGHT = 1000.0


@dataclass(frozen=True)
class Matting(ValueTask):
    """A click says which alpha its pixel has; in push mode, whether more or less.

    A click without a value wishes 1 if it is positive and 0 if it is negative.

    Parameters
    ----------
    mode : {"click", "push"}
    push : float
        How far a click pushes alpha, epsilon of equation 12.
    tolerance : float
        A click is obeyed where alpha is no further than this from its value.
    stop_at : float
        Distance from which on a click needs no more. The paper always makes all its
        iterations; this is a step of an 8-bit alpha.

    Raises
    ------
    SettingsError
        If an option makes no sense.
    """

    mode: Mode = "click"
    push: float = PUSH
    tolerance: float = 0.05
    stop_at: float = 1 / 255

    name: ClassVar[str] = "matting"
    noun: ClassVar[str] = "matting"
    click_weight: ClassVar[float] = WEIGHT
    top_k: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        self.check_options()
        if not 0 < self.stop_at <= self.tolerance:
            raise SettingsError(
                f"tolerance is {self.tolerance!r} and stop_at {self.stop_at!r}: give "
                "numbers above 0, stop_at not the larger one."
            )

    def check_click(self, click: Click) -> None:
        """Refuse labels, alpha beyond 0 to 1, and a value together with a minus."""
        if self.mode == "push":
            self.check_push(click)
            return
        refuse(click, "matting", "carries the alpha that its pixel has", "label")
        if click.value is None:
            return
        if not 0 <= click.value <= 1:
            raise ClickError(
                f"Alpha is {click.value:g}: give a value from 0 (background) to 1 "
                "(object)."
            )
        if not click.positive:
            raise ClickError(
                "A click for matting has a value or is negative, which means 0. Leave "
                "one of them out."
            )

    def click_values(self, clicks: Sequence[Click]) -> list[float]:
        """Return alpha; by its sign where a click carries none."""
        return [
            float(click.positive) if click.value is None else click.value
            for click in clicks
        ]

    def margins(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same distances for every alpha."""
        return (
            targets.new_full((), self.tolerance),
            targets.new_full((), self.stop_at),
        )

    def targets(self, clicks: Sequence[Click], start: Tensor) -> Tensor:
        """Return alpha; a push never asks for less than 0 or more than 1."""
        wanted = super().targets(clicks, start)
        return wanted.clamp(0, 1) if self.mode == "push" else wanted

    def refinement_loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return equation 11 (12 for pushes): the mean squared error at the clicks."""
        return squared_errors(values, targets).mean()

    def activation(self, output: Tensor) -> Tensor:
        """Return alpha from 0 to 1."""
        return output.clamp(0, 1)

    def result(
        self,
        answer: NDArray[Any],
        threshold: float = 0.5,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return alpha, float32 in [0, 1]."""
        return np.clip(np.asarray(answer, np.float32), 0, 1)
