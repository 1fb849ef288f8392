"""Segmentation: one object against the rest, by positive and negative clicks.

The losses by which refinement makes an answer obey clicks work on torch tensors, but
nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError
from napari_clickseg.tasks.attention import outside_of
from napari_clickseg.tasks.task import ITERATIONS, Mode

if TYPE_CHECKING:
    from torch import Tensor

#: Keeps the published loss defined where there is no click of one sign.
EPSILON = 1e-5
#: A click counts as reached where its distance to the target is below this (G-BRS,
#: 2.4.1).
REACHED = 0.8


@dataclass(frozen=True)
class Segmentation:
    """A click says whether its pixel belongs to the object.

    Parameters
    ----------
    threshold : float
        Probability from which on a pixel counts as object, for the losses.
    """

    threshold: float = 0.5

    name: ClassVar[str] = "segmentation"
    mode: ClassVar[Mode] = "click"
    fields: ClassVar[frozenset[str]] = frozenset({"positive", "radius"})
    channels: ClassVar[int] = 1
    weight: ClassVar[float] = 100.0
    iterations: ClassVar[int] = ITERATIONS
    top_k: ClassVar[int | None] = None
    remembers: ClassVar[bool] = True

    def check_click(self, click: Click) -> None:
        """Refuse labels and values: a sign, and perhaps a radius, is all there is.

        The radius (image pixels, above 0) is the attention radius of G-BRS: how far
        around the click a refinement may change what is there.
        """
        for field in ("label", "value"):
            if getattr(click, field) is not None:
                raise ClickError(
                    f"A click for segmentation is positive or negative and has no "
                    f"{field}. Leave {field} out."
                )

    def mask(self, answer: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
        """Return the pixels above the threshold (strictly, as published)."""
        # The published evaluation compares with a Python float, in float32.
        mask: NDArray[np.bool_] = answer > np.float32(threshold)
        return mask

    def result(self, answer: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
        """Return the mask."""
        return self.mask(answer, threshold)

    def targets(self, clicks: Sequence[Click], start: Tensor) -> Tensor:
        """Return signs: 1 for positive clicks, -1 for negative ones."""
        return start.new_tensor([1.0 if click.positive else -1.0 for click in clicks])

    def refinement_loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return equation 8; values are logits, (n, 1)."""
        return click_loss(values[:, 0], targets, self.threshold)

    def held(self, before: Tensor, far: Tensor) -> Tensor:  # noqa: ARG002
        """Return the logits before."""
        return before.detach()

    def consistency_loss(self, held: Tensor, now: Tensor, far: Tensor) -> Tensor:
        """Return the mean squared change of logits outside the circle."""
        return consistency_loss(held, now, far, 1.0)

    def attention(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        size: tuple[int, int],
    ) -> NDArray[Any]:
        """Return 0 within the circle, 1 outside."""
        return outside_of(centre, radii, size).astype(np.float32)

    def obeyed(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return which clicks lie on their side of the threshold."""
        return targets * (values[:, 0] - middle_logit(self.threshold)) > 0

    def reached(self, values: Tensor, targets: Tensor) -> bool:
        """Return whether all clicks come close enough to their target."""
        distances = click_distances(values[:, 0], targets, self.threshold)
        return bool((distances < REACHED).all())

    def activation(self, output: Tensor) -> Tensor:
        """Return probabilities."""
        return output.sigmoid()


def brs_mask_loss(
    probability: Tensor, positive: Tensor, negative: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return how far an answer is from clicks, as f-BRS measures it.

    Parameters
    ----------
    probability : Tensor, shape (N, 1, H, W), in [0, 1]
        The answer; a mirrored copy of the batch counts like any other.
    positive, negative : Tensor, shape (N, 1, H, W), 0 or 1
        Squares around the clicks of each sign.

    Returns
    -------
    loss : Tensor, shape ()
        Mean squared distance to 1 on ``positive`` plus that to 0 on ``negative``.
    worst_positive, worst_negative : Tensor, shape ()
        Largest distance of each sign; 0 where there is no click of it.

    Notes
    -----
    Sofiiuk et al., CVPR 2020, as its published code has it: the two signs weigh the
    same, however many clicks there are of each (facts 2.6).
    """
    missing = (1 - probability) * positive
    surplus = probability * negative
    loss = missing.square().sum() / (positive.sum() + EPSILON)
    loss = loss + surplus.square().sum() / (negative.sum() + EPSILON)
    return loss, missing.detach().abs().max(), surplus.detach().abs().max()


def click_distances(values: Tensor, signs: Tensor, threshold: float = 0.5) -> Tensor:
    """Return how much each click misses its target, one-sided.

    Parameters
    ----------
    values : Tensor, shape (..., n)
        Logits at the clicks.
    signs : Tensor, shape (n,)
        1 for positive clicks, -1 for negative ones.
    threshold : float
        Probability from which on a pixel counts as object. Targets lie at distance
        1 on either side of its logit, which is 0 for 0.5 as in the paper.

    Returns
    -------
    Tensor, shape (..., n)
        ``max(1 - l f, 0)``: 0 at the target and beyond, 1 on the threshold.
    """
    return (1 - signs * (values - middle_logit(threshold))).clamp(min=0)


def click_loss(values: Tensor, signs: Tensor, threshold: float = 0.5) -> Tensor:
    """Return the refinement loss of G-BRS for segmentation (equation 8).

    Parameters are those of :func:`click_distances`; logits beyond their target cost
    nothing.

    Returns
    -------
    Tensor, shape (...)
        Sum over the clicks.
    """
    return click_distances(values, signs, threshold).square().sum(-1)


def consistency_loss(
    before: Tensor, now: Tensor, outside: Tensor, weight: float
) -> Tensor:
    """Return what it costs to change the answer far from a click (equations 7, 8).

    Parameters
    ----------
    before, now : Tensor, shape (N, 1, H, W)
        Logits with the parameters of the click before, and with those of now.
    outside : Tensor, shape (1 or N, 1, H, W), 0 or 1
        0 within the attention radius of the newest click.
    weight : float
        Lambda: 100 for segmentation.

    Returns
    -------
    Tensor, shape ()
        ``weight`` times the squared change outside, divided by the number of all
        pixels, not only of those outside.
    """
    return weight * ((before - now) * outside).square().mean()


def middle_logit(threshold: float) -> float:
    """Return the logit of a threshold in [0, 1], limited to +-4.6."""
    limited = min(max(threshold, 0.01), 0.99)
    return math.log(limited / (1 - limited))
