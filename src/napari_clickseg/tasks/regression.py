"""What matting and depth share: a click says, or pushes, the value of a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from napari_clickseg.clicks import Click
from napari_clickseg.errors import SettingsError
from napari_clickseg.tasks.attention import beyond
from napari_clickseg.tasks.fields import refuse
from napari_clickseg.tasks.task import ITERATIONS

if TYPE_CHECKING:
    from torch import Tensor

    from napari_clickseg.tasks.task import Mode

#: How far a click pushes (G-BRS, equation 12), in the unit of the output.
PUSH = 0.1


class ValueTask:
    """A click says which value its pixel has, or pushes it up or down.

    Those who inherit are dataclasses with ``mode`` and ``push``, and say
    :meth:`click_values`, the weight and :meth:`margins`.
    """

    noun: ClassVar[str]
    click_weight: ClassVar[float]
    mode: Mode
    push: float

    @property
    def fields(self) -> frozenset[str]:
        """Push mode takes signs, click mode values."""
        own = {"positive"} if self.mode == "push" else {"positive", "value", "radius"}
        return frozenset(own)

    @property
    def channels(self) -> int:
        """A map of values."""
        return 1

    @property
    def weight(self) -> float:
        """Of the consistency loss, which push mode goes without."""
        return 0.0 if self.mode == "push" else self.click_weight

    @property
    def iterations(self) -> int:
        """One for a push, whose way is short."""
        return 1 if self.mode == "push" else ITERATIONS

    @property
    def remembers(self) -> bool:
        """Pushes know nothing of those before."""
        return self.mode == "click"

    def check_options(self) -> None:
        """Refuse what makes no sense.

        Raises
        ------
        SettingsError
        """
        if self.mode not in ("click", "push"):
            raise SettingsError(
                f"{self.noun.capitalize()} knows the modes 'click' and 'push', not "
                f"{self.mode!r}."
            )
        if not (self.push > 0 and math.isfinite(self.push)):
            raise SettingsError(f"push is {self.push!r}: give a number above 0.")

    def check_push(self, click: Click) -> None:
        """Refuse a label or a value: a push has a sign."""
        refuse(click, f"{self.noun} in push mode", "pushes up or down", "label")
        refuse(click, f"{self.noun} in push mode", "pushes up or down", "value")

    def click_values(self, clicks: Sequence[Click]) -> list[float]:
        """Return the value that each click asks for."""
        raise NotImplementedError

    def margins(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far from its target a click is obeyed, and reached."""
        raise NotImplementedError

    def targets(self, clicks: Sequence[Click], start: Tensor) -> Tensor:
        """Return values; those of pushes lie a step from where the output was."""
        if self.mode == "push":
            signs = [1.0 if click.positive else -1.0 for click in clicks]
            return start.detach()[:, 0] + self.push * start.new_tensor(signs)
        return start.new_tensor(self.click_values(clicks))

    def held(self, before: Tensor, far: Tensor) -> Tensor:  # noqa: ARG002
        """Return the values before."""
        return before.detach()

    def consistency_loss(self, held: Tensor, now: Tensor, far: Tensor) -> Tensor:
        """Return the mean squared change, weighted by the mask (equation 11)."""
        return held_loss(held, now, far)

    def attention(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        size: tuple[int, int],
    ) -> NDArray[Any]:
        """Return an inverse Gaussian whose sigma is the radius."""
        return beyond(centre, radii, size)

    def activation(self, output: Tensor) -> Tensor:
        """Return values that there can be."""
        raise NotImplementedError

    def obeyed(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return which clicks are close to their value, or pushed closer to it."""
        distances = self._distances(values, targets)
        if self.mode == "push":
            return distances < self.push
        return distances <= self.margins(targets)[0]

    def reached(self, values: Tensor, targets: Tensor) -> bool:
        """Return whether all clicks have their value as good as exactly."""
        distances = self._distances(values, targets)
        if self.mode == "push":
            return bool((distances <= 0.1 * self.push).all())
        return bool((distances <= self.margins(targets)[1]).all())

    def _distances(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return how far clicks are from their values, as users see them."""
        return (self.activation(values)[:, 0] - targets).abs()


def squared_errors(values: Tensor, targets: Tensor) -> Tensor:
    """Return the squared distance of each click from its value, shape (n,).

    Parameters
    ----------
    values : Tensor, shape (n, 1)
        The output at the clicks.
    targets : Tensor, shape (n,)
    """
    return (targets - values[:, 0]).square()


def held_loss(before: Tensor, now: Tensor, far: Tensor) -> Tensor:
    """Return what it costs to change an output far from a click (equation 11).

    Parameters
    ----------
    before, now : Tensor, shape (1, 1, h, w)
        Outputs with the parameters of the click before, and with those of now.
    far : Tensor, shape (h, w), in [0, 1]
        Weights that the change is multiplied with before it is squared.

    Returns
    -------
    Tensor, shape ()
        The mean over all pixels.
    """
    return ((before - now) * far).square().mean()
