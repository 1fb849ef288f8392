"""Click labels of InterFormer: what is known of each pixel (facts of the release).

A map of five labels takes the place of click maps and previous mask. Clicks write
"definite" disks; each answer moves the other labels one step towards itself, so
that a pixel must be answered twice in the same way to change its mind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
