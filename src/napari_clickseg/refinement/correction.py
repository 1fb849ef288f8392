"""Honour clicks in a small neighbourhood, whatever a network answered.

The last resort of the promise that a click always wins: a few pixels around a click
are moved across the threshold, in the space of logits, and nothing else changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from napari_clickseg.boxes import Box

#: No pixel further away than this is changed.
REACH = 4.0
#: Up to here the change is full, so that more than a single pixel follows the click.
CORE = 1.5
#: How far beyond the threshold the click's own pixel comes, in probability.
MARGIN = 0.1
#: Probabilities of 0 and 1 have no logit; they count as this far from them.
_EDGE = 1e-4


class Wish(NamedTuple):
    """What one click wants of its own pixel.

    Parameters
    ----------
    row, col : int
        The pixel, in image coordinates.
    positive : bool
        Whether it belongs to the object.
    """

    row: int
    col: int
    positive: bool


class Corrected(NamedTuple):
    """An answer after correction.

    Parameters
    ----------
    box : Box
        Where it lies; larger than before where a positive click lay outside.
    probability : ndarray, shape of ``box``, float32
        The answer.
    """

    box: Box
    probability: np.ndarray


def contradicted(wishes: Sequence[Wish]) -> tuple[int, ...]:
    """Return the clicks that a later one on the same pixel takes back."""
    newest: dict[tuple[int, int], bool] = {}
    found = []
    for index in range(len(wishes) - 1, -1, -1):
        wish = wishes[index]
        if newest.setdefault((wish.row, wish.col), wish.positive) != wish.positive:
            found.append(index)
    return tuple(reversed(found))


def disobeyed(
    wishes: Sequence[Wish], box: Box, probability: np.ndarray, threshold: float
) -> tuple[int, ...]:
    """Return the clicks whose own pixel has not the label that was asked for.

    Parameters
    ----------
    wishes : sequence of Wish
        All clicks in order.
    box : Box
        Where the answer lies; outside of it there is no object.
    probability : ndarray, shape of ``box``
        The answer.
    threshold : float
        A pixel belongs to the object where its probability is above, in float32.
    """
    return tuple(
        index
        for index, wish in enumerate(wishes)
        if (_at(wish, box, probability) > np.float32(threshold)) != wish.positive
    )


def correct(
    wishes: Sequence[Wish],
    box: Box,
    probability: np.ndarray,
    threshold: float,
    shape: tuple[int, int],
) -> Corrected:
    """Change an answer so that every click's own pixel has its label.

    Parameters
    ----------
    wishes, box, probability, threshold
        As for :func:`disobeyed`; the probability is left as it is.
    shape : (int, int)
        Height and width of the image, which the box never leaves.

    Returns
    -------
    Corrected
        The same arrays where nothing had to be changed.

    Notes
    -----
    Where clicks on one pixel contradict each other the newest wins. The change ends
    before it comes to a pixel that a click of the other sign lies on, so no
    correction undoes another. With a threshold of 1 no pixel can be object, and the
    positive clicks stay unheard.
    """
    failing = set(disobeyed(wishes, box, probability, threshold))
    failing -= set(contradicted(wishes))
    if np.float32(threshold) >= 1:
        failing = {index for index in failing if not wishes[index].positive}
    if not failing:
        return Corrected(box, probability)
    box, probability = _extended(
        [wishes[index] for index in failing if wishes[index].positive],
        box,
        probability,
        shape,
    )
    # In an order that does not depend on how often this was done before.
    for index in sorted(failing):
        wish = wishes[index]
        if box.contains(wish.row, wish.col):
            _bend(probability, box, wish, _reach(wish, wishes), threshold)
    return Corrected(box, probability)


def _at(wish: Wish, box: Box, probability: np.ndarray) -> np.float32:
    if not box.contains(wish.row, wish.col):
        return np.float32(0)
    return np.float32(probability[wish.row - box.top, wish.col - box.left])


def _reach(wish: Wish, wishes: Sequence[Wish]) -> float:
    """Return how far the change may reach: not to a click of the other sign.

    A contradicted click on the very pixel does not count.
    """
    distances = [
        math.hypot(other.row - wish.row, other.col - wish.col)
        for other in wishes
        if other.positive != wish.positive
        and (other.row, other.col) != (wish.row, wish.col)
    ]
    return min([REACH, *distances])


def _extended(
    positive: Sequence[Wish], box: Box, probability: np.ndarray, shape: tuple[int, int]
) -> Corrected:
    """Return a copy, in a box that holds the surroundings of positive clicks."""
    larger = box
    margin = math.ceil(REACH)
    for wish in positive:
        if not box.contains(wish.row, wish.col):
            around = Box(
                wish.row - margin,
                wish.col - margin,
                wish.row + margin + 1,
                wish.col + margin + 1,
            )
            larger = larger.union(around.clip(shape))
    values = np.zeros(larger.shape, dtype=np.float32)
    values[box.relative_to(larger).slices] = probability
    return Corrected(larger, values)


def _bend(
    probability: np.ndarray, box: Box, wish: Wish, reach: float, threshold: float
) -> None:
    """Move the surroundings of a click towards its label, in place."""
    margin = math.ceil(reach)
    around = Box(
        wish.row - margin,
        wish.col - margin,
        wish.row + margin + 1,
        wish.col + margin + 1,
    ).intersect(box)
    part = probability[around.relative_to(box).slices]
    rows = np.arange(around.top, around.bottom)[:, None] - wish.row
    cols = np.arange(around.left, around.right)[None, :] - wish.col
    core = min(CORE, reach / 2)
    fall = np.clip((reach - np.hypot(rows, cols)) / (reach - core), 0, 1)
    weight = fall * fall * (3 - 2 * fall)
    aim = _aim(wish.positive, threshold)
    before = _logit(part.astype(np.float64))
    here = before[wish.row - around.top, wish.col - around.left]
    shift = _logit(np.asarray(aim, np.float64)) - here
    after = 1 / (1 + np.exp(-(before + weight * shift)))
    touched = weight > 0
    # Only ever towards the label: logits of 0 and 1 are cut off on the way.
    better = np.maximum if wish.positive else np.minimum
    part[touched] = better(part, after.astype(np.float32))[touched]
    part[wish.row - around.top, wish.col - around.left] = aim


def _aim(positive: bool, threshold: float) -> np.float32:
    """Return a probability clearly on the right side of the threshold."""
    middle = np.float32(threshold)
    if positive:
        aim = np.float32(threshold + min(MARGIN, (1 - threshold) / 2))
        return max(aim, np.nextafter(middle, np.float32(2)))
    aim = np.float32(threshold - min(MARGIN, threshold / 2))
    return min(aim, middle)


def _logit(values: np.ndarray) -> np.ndarray:
    limited = np.clip(values, _EDGE, 1 - _EDGE)
    logits: np.ndarray = np.log(limited / (1 - limited))
    return logits
