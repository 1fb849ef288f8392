"""Depth, or height: a click says how far away its pixel is, or pushes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError, SettingsError
from napari_clickseg.tasks.fields import refuse, refuse_negative
from napari_clickseg.tasks.regression import PUSH, ValueTask, squared_errors
from napari_clickseg.tasks.task import Mode

if TYPE_CHECKING:
    from torch import Tensor

#: Weight of the consistency loss, lambda_de, and how many channels are refined
#: (G-BRS, 2.4.4).
WEIGHT, TOP_K = 0.1, 256


@dataclass(frozen=True)
class Depth(ValueTask):
    """A click says which depth its pixel has; in push mode, whether more or less.

    Parameters
    ----------
    mode : {"click", "push"}
    largest : float or None
        Depth that the network cannot go beyond, such as 10 m indoors; None: no limit.
    unit : str
        Of depths, as users read it.
    push : float
        How far a click pushes, in that unit: epsilon of equation 12.
    tolerance : float
        A click is obeyed where the depth differs from its value by no more than this
        part of it.
    stop_at : float
        Part of the value from which on a click needs no more. The paper always makes
        all its iterations.
    top_k : int or None
        Channels that are refined of features that have more.

    Raises
    ------
    SettingsError
        If an option makes no sense.
    """

    mode: Mode = "click"
    largest: float | None = None
    unit: str = "m"
    push: float = PUSH
    tolerance: float = 0.05
    stop_at: float = 0.005
    top_k: int | None = TOP_K

    name: ClassVar[str] = "depth"
    noun: ClassVar[str] = "depth"
    click_weight: ClassVar[float] = WEIGHT

    def __post_init__(self) -> None:
        self.check_options()
        if self.largest is not None and not (
            self.largest > 0 and math.isfinite(self.largest)
        ):
            raise SettingsError(
                f"largest is {self.largest!r}: give a depth above 0, or leave it out."
            )
        if not 0 < self.stop_at <= self.tolerance:
            raise SettingsError(
                f"tolerance is {self.tolerance!r} and stop_at {self.stop_at!r}: give "
                "numbers above 0, stop_at not the larger one."
            )

    def check_click(self, click: Click) -> None:
        """Refuse labels, and anything but a depth that the network can answer."""
        if self.mode == "push":
            self.check_push(click)
            return
        refuse(click, "depth", "carries the depth that its pixel has", "label")
        refuse_negative(
            click,
            "A click for depth carries the depth that its pixel has. Leave positive "
            "out, or choose push mode.",
        )
        if click.value is None:
            raise ClickError(
                f"This click has no value. Give the depth of its pixel in {self.unit}."
            )
        if click.value <= 0 or (self.largest and click.value > self.largest):
            most = f", up to {self.largest:g}" if self.largest else ""
            raise ClickError(
                f"The depth is {click.value:g}: give one in {self.unit} above 0{most}."
            )

    def click_values(self, clicks: Sequence[Click]) -> list[float]:
        """Return the depths asked for."""
        return [float(click.value or 0.0) for click in clicks]

    def margins(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return distances that grow with the depth."""
        return self.tolerance * targets.abs(), self.stop_at * targets.abs()

    def targets(self, clicks: Sequence[Click], start: Tensor) -> Tensor:
        """Return depths; a push never asks for one that there cannot be."""
        wanted = super().targets(clicks, start)
        return wanted.clamp(0, self.largest) if self.mode == "push" else wanted

    def refinement_loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return equation 13 (12 for pushes): the sum of squared errors."""
        return squared_errors(values, targets).sum()

    def activation(self, output: Tensor) -> Tensor:
        """Return depths that there can be."""
        return output.clamp(0, self.largest)

    def result(
        self,
        answer: NDArray[Any],
        threshold: float = 0.5,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return depths, float32."""
        return np.asarray(answer, np.float32)
