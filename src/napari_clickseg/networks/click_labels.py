"""Click labels of InterFormer: what is known of each pixel (facts of the release).

A map of five labels takes the place of click maps and previous mask. Clicks write
"definite" disks; each answer moves the other labels one step towards itself, so
that a pixel must be answered twice in the same way to change its mind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DEFINITE_BACKGROUND = 0
POSSIBLE_BACKGROUND = 1
UNKNOWN = 2
POSSIBLE_FOREGROUND = 3
DEFINITE_FOREGROUND = 4
#: Pixels as far as this from a click carry its label.
RADIUS = 5.0

# Row: the label before; column: the pixel was answered background or foreground.
_AFTER_ANSWER = np.array([[0, 0], [1, 2], [1, 3], [2, 3], [4, 4]], dtype=np.int8)


def start_labels(shape: tuple[int, int]) -> NDArray[np.int8]:
    """Return the labels before the first click: all unknown."""
    return np.full(shape, UNKNOWN, dtype=np.int8)


def add_click(
    labels: NDArray[np.int8],
    position: Sequence[float],
    positive: bool,
    radius: float = RADIUS,
) -> NDArray[np.int8]:
    """Return the labels with one more click.

    Parameters
    ----------
    labels : ndarray of int8, shape (H, W)
        Not changed.
    position : (row, col)
        Where the click is.
    positive : bool
        Its sign.
    radius : float
        Of the disk around the click, its rim included.
    """
    row, col = position
    rows = np.arange(labels.shape[0])[:, None] - row
    cols = np.arange(labels.shape[1])[None] - col
    disk = rows**2 + cols**2 <= radius**2
    label = DEFINITE_FOREGROUND if positive else DEFINITE_BACKGROUND
    return np.where(disk, np.int8(label), labels)


def after_answer(labels: NDArray[np.int8], mask: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return the labels after an answer.

    Parameters
    ----------
    labels : ndarray of int8, shape (H, W)
        As the answer was asked for.
    mask : ndarray of bool, shape (H, W)
        The answer.
    """
    moved: NDArray[np.int8] = _AFTER_ANSWER[labels, mask.astype(np.intp)]
    return moved


# -- as a plane in [0, 1], which takes the place of a previous mask -----------------
#
# 1 is possibly object, 0 possibly background, 1/2 unknown: values that may be resized,
# painted over or come from another tool like any probability. A plane of zeros alone
# is no answer at all, so what was answered background is a little more. What is
# definite follows from the clicks.

_BACKGROUND = 1e-3


def labels_from(plane: Tensor, points: Tensor, radius: float = RADIUS) -> Tensor:
    """Return the click labels of what is remembered and of the clicks.

    Parameters
    ----------
    plane : Tensor, shape (N, 1, H, W)
        What is remembered, in [0, 1].
    points : Tensor, shape (N, 2P, 3)
        Rows of row, column, order in pixels; the positive half first, -1 unused. Of
        two clicks the later one counts where their disks meet.
    radius : float
        Of the disks around clicks, their rims included.

    Returns
    -------
    Tensor of int64, shape (N, H, W)
    """
    known = plane.amax((1, 2, 3), keepdim=True) > 0
    towards = (plane > 0.75).to(torch.int8) - (plane < 0.25).to(torch.int8)
    labels = (UNKNOWN + known * towards)[:, 0]
    half = points.shape[1] // 2
    for plane_labels, clicks in zip(labels, points.tolist(), strict=True):
        used = [
            (order, number < half, row, col)
            for number, (row, col, order) in enumerate(clicks)
            if max(row, col) >= 0
        ]
        for _, positive, row, col in sorted(used):
            _draw(plane_labels, row, col, positive, radius)
    return labels.long()


def _draw(
    labels: Tensor, row: float, col: float, positive: bool, radius: float
) -> None:
    """Write a click's disk into labels ``(H, W)``: only its surroundings are read."""
    top, left = (max(0, math.ceil(at - radius)) for at in (row, col))
    window = labels[
        top : max(0, math.floor(row + radius) + 1),
        left : max(0, math.floor(col + radius) + 1),
    ]
    rows, cols = (
        torch.arange(n, dtype=torch.float64) + first - at
        for n, first, at in zip(window.shape, (top, left), (row, col), strict=True)
    )
    disk = rows[:, None] ** 2 + cols**2 <= radius**2
    label = DEFINITE_FOREGROUND if positive else DEFINITE_BACKGROUND
    window[disk.to(window.device)] = label


def remember(
    plane: NDArray[np.float32], probability: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return what is remembered after an answer.

    Parameters
    ----------
    plane : ndarray, shape (H, W)
        What was remembered before it; zeros alone for nothing.
    probability : ndarray, shape (H, W)
        The answer; more than 0.5 is object, as by the released arg-max.
    """
    answer = probability > 0.5
    labels = np.full(plane.shape, UNKNOWN, dtype=np.int8)
    if plane.any():
        labels[plane > 0.75] = POSSIBLE_FOREGROUND
        labels[plane < 0.25] = POSSIBLE_BACKGROUND
    labels = after_answer(labels, answer)
    values = np.array([0, _BACKGROUND, 0.5, 1.0, 1.0], dtype=np.float32)
    remembered: NDArray[np.float32] = values[labels]
    return remembered
