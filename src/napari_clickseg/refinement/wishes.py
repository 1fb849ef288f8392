"""What clicks ask of an answer, in the coordinates of what the network sees.

An answer is a batch of logits: of a window, and perhaps of its mirror image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_clickseg.refinement.adam import Judgement
from napari_clickseg.refinement.lbfgs import Obedience
from napari_clickseg.tasks.attention import outside_of as outside_of
from napari_clickseg.tasks.segmentation import (
    REACHED,
    brs_mask_loss,
    click_distances,
    consistency_loss,
    middle_logit,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Size = tuple[int, int]

#: Clicks are squares of three by three pixels (facts 2.6).
SQUARE = 1


def averaged(logits: Tensor) -> Tensor:
    """Return the answer (1, 1, h, w) to a window, or to it and its mirror image."""
    if logits.shape[0] == 1:
        return logits
    return 0.5 * (logits[:1] + logits[1:].flip(3))


class PointWishes:
    """Clicks as G-BRS sees them: equation 8 for all, equation 7 around the newest.

    Both are asked of the averaged answer, since that is what the user gets.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
        Rows and columns at which the answer is read, inside of it; fractional where
        the window was resized, and then it is read between four pixels as the way
        back to the image does.
    positive : sequence of bool, length n
        Signs of the clicks.
    outside : ndarray, shape (h, w), bool
        What lies outside the attention of the newest click.
    weight : float
        Of the consistency loss.
    threshold : float
        Probability above which a pixel belongs to the object.
    device : torch.device
        Where answers are.
    """

    def __init__(
        self,
        positions: np.ndarray,
        positive: Sequence[bool],
        outside: np.ndarray,
        weight: float,
        threshold: float,
        device: torch.device,
    ) -> None:
        size = outside.shape
        index, share = _corners(np.asarray(positions, np.float64).reshape(-1, 2), size)
        self._index = torch.from_numpy(index).to(device)
        self._share = torch.from_numpy(share).to(device, torch.float32)
        signs = np.where(np.asarray(positive, bool), 1.0, -1.0)
        self._signs = torch.from_numpy(signs).to(device, torch.float32)
        self._outside = torch.from_numpy(outside).to(device, torch.float32)[None, None]
        self._weight, self._threshold = weight, threshold

    def values(self, answer: Tensor) -> Tensor:
        """Return the averaged answer's logits at the clicks, (n,)."""
        return (answer.flatten()[self._index] * self._share).sum(-1)

    def __call__(self, logits: Tensor, start: Tensor) -> Judgement:
        """Judge logits (N, 1, h, w) against those at the click's beginning."""
        answer = averaged(logits)
        values = self.values(answer)
        distances = click_distances(values, self._signs, self._threshold)
        loss = distances.square().sum()
        if self._weight:
            loss = loss + consistency_loss(
                averaged(start), answer, self._outside, self._weight
            )
        # Clicks beyond their target are reached: only the distance to it counts.
        reached = bool((distances < REACHED).all())
        wrong = int((self._signs * (values - middle_logit(self._threshold)) <= 0).sum())
        return Judgement(loss, wrong, reached)


class SquareWishes:
    """Clicks as f-BRS sees them: squares, in a window and in its mirror image.

    Parameters
    ----------
    positions : sequence of ndarray, shape (n, 2)
        For each copy of the window its clicks; they may lie outside.
    positive : sequence of bool, length n
        Signs of the clicks.
    size : (int, int)
        Height and width of the answer.
    threshold : float
        Probability above which a pixel belongs to the object.
    device : torch.device
        Where answers are.
    published : bool
        Clicks beyond the upper or left border are squares as far from the lower or
        right one; otherwise they are none.

    Notes
    -----
    In the published code a slice that starts below zero counts from the end. Squares
    that reach over the upper or left border are empty there; here they are cut off at
    the border, like those at the lower and right one. Squares that lie beyond it come
    back on the other side. That is only done to repeat published numbers.
    """

    def __init__(
        self,
        positions: Sequence[np.ndarray],
        positive: Sequence[bool],
        size: Size,
        threshold: float,
        device: torch.device,
        *,
        published: bool = False,
    ) -> None:
        masks = np.zeros((2, len(positions), 1, *size), dtype=np.float32)
        for copy, clicks in enumerate(positions):
            for (row, col), sign in zip(clicks, positive, strict=True):
                # round() takes halves to the even neighbour, as published.
                rows = _square(round(float(row)), size[0], published)
                cols = _square(round(float(col)), size[1], published)
                masks[0 if sign else 1, copy, 0, rows, cols] = 1
        self._positive, self._negative = torch.from_numpy(masks).to(device)
        self._threshold = threshold

    def __call__(self, logits: Tensor) -> Obedience:
        """Say how well logits (N, 1, h, w) obey."""
        probability = torch.sigmoid(logits)
        loss, missing, surplus = brs_mask_loss(
            probability, self._positive, self._negative
        )
        reached = float(missing) < 1 - self._threshold and (
            float(surplus) < self._threshold
        )
        return Obedience(loss, reached, probability.detach() > self._threshold)


def _square(middle: int, length: int, published: bool) -> slice:
    first, end = middle - SQUARE, middle + SQUARE + 1
    if published and end < 0:
        first, end = first + length, end + length
    return slice(min(max(first, 0), length), min(max(end, 0), length))


def _corners(positions: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Return flat indices and weights (n, 4) of the pixels around each position."""
    low = np.floor(positions).astype(np.int64)
    low = np.clip(low, 0, np.maximum(np.array(size) - 2, 0))
    part = np.clip(positions - low, 0, 1)
    high = np.minimum(low + 1, np.array(size) - 1)
    index, share = [], []
    for rows, by_row in ((low[:, 0], 1 - part[:, 0]), (high[:, 0], part[:, 0])):
        for cols, by_col in ((low[:, 1], 1 - part[:, 1]), (high[:, 1], part[:, 1])):
            index.append(rows * size[1] + cols)
            share.append(by_row * by_col)
    return np.stack(index, -1), np.stack(share, -1)
