"""The clicks that RITM's training begins with, drawn as published.

Sofiiuk, Petrov and Konushin, "Reviving iterative training with mask guidance for
interactive segmentation" (2021), and its released code: numbers of clicks fall off
geometrically, positive ones lie inside the object eroded a little, negative ones are
drawn by one of three strategies each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
#: What the third column of an initial click says.
ORDER = 100.0
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class PointSampler:
    """How initial clicks are drawn.

    Parameters
    ----------
    most : int
        Clicks of one sign at most, and rows of each sign.
    gamma : float
        Factor by which each further click is rarer.
    merge : float
        Chance that two objects are asked for as one.
    most_merged : int
        Objects in such a union.
    eroded : float
        Chance that positive clicks keep away from the outline.
    erosions : int
        By so many steps of a 3 x 3 square; given up where ten pixels or less remain.
    background, other, border : float
        Chances of the strategies of negative clicks: anywhere beside the object; on
        another object (where there is none, beside); in a ring around it.
    ring : float
        Width of that ring over the root of the object's area.
    """

    most: int = 24
    gamma: float = 0.8
    merge: float = 0.15
    most_merged: int = 2
    eroded: float = 0.9
    erosions: int = 3
    background: float = 0.1
    other: float = 0.4
    border: float = 0.5
    ring: float = 0.1

    def positives(self, rng: Generator) -> int:
        """Draw how many positive clicks an object gets, from 1 to ``most``."""
        return 1 + self._number(self.most, rng)

    def negatives(self, rng: Generator) -> int:
        """Draw how many negative clicks there are, from 0 to ``most``."""
        return self._number(self.most + 1, rng)

    def _number(self, count: int, rng: Generator) -> int:
        chances = self.gamma ** np.arange(count)
        return int(rng.choice(count, p=chances / chances.sum()))

    def choose(self, objects: Sequence[Mask], rng: Generator) -> list[Mask]:
        """Choose what is asked for: one object, or now and then a union.

        Parameters
        ----------
        objects : sequence of ndarray of bool, shape (H, W)
            At least one.
        """
        count = 1
        if len(objects) > 1 and rng.random() < self.merge:
            count = int(rng.integers(2, min(self.most_merged, len(objects)) + 1))
        places = rng.choice(len(objects), count, replace=False)
        return [objects[int(place)] for place in places]

    def draw(
        self, chosen: Sequence[Mask], others: Mask, rng: Generator
    ) -> NDArray[np.float32]:
        """Draw the initial clicks.

        Parameters
        ----------
        chosen : sequence of ndarray of bool, shape (H, W)
            The objects that are asked for.
        others : ndarray of bool, shape (H, W)
            Pixels of other objects.
        rng : Generator
            Source of chance.

        Returns
        -------
        ndarray of float32, shape (2 * most, 3)
            Rows of row, column and 100; the positive half first, -1 unused. The first
            click of each object comes first, the rest is drawn from the union.
        """
        target = np.logical_or.reduce(list(chosen))
        first = [self._inside(mask, 1, rng) for mask in chosen]
        count = 1 + self._number(self.most, rng)
        rest = self._inside(target, max(0, count - len(chosen)), rng)
        inside = np.concatenate([*first, rest])[: self.most]
        outside = self._outside(target, others, self.negatives(rng), rng)
        rows = np.full((2 * self.most, 3), -1, np.float32)
        for start, places in ((0, inside), (self.most, outside)):
            rows[start : start + len(places), :2] = places
            rows[start : start + len(places), 2] = ORDER
        return rows

    def inner(self, mask: Mask, rng: Generator) -> Mask:
        """Return where positive clicks may lie: the object, eroded or not."""
        if rng.random() >= self.eroded:
            return mask
        small = cv2.erode(
            mask.astype(np.uint8),
            _SQUARE,
            iterations=self.erosions,
            borderType=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
        return small > 0 if small.sum() > 10 else mask

    def _inside(self, mask: Mask, count: int, rng: Generator) -> NDArray[np.int64]:
        return _drawn(self.inner(mask, rng), count, rng)

    def _outside(
        self, target: Mask, others: Mask, count: int, rng: Generator
    ) -> NDArray[np.int64]:
        beside = ~target
        others = others & beside
        strategies = {
            "background": beside,
            "other": others if others.any() else beside,
            "border": self.border_of(target),
        }
        chances = np.array([self.background, self.other, self.border])
        places = list(strategies.values())
        drawn = [
            _drawn(places[int(number)], 1, rng)
            for number in rng.choice(3, count, p=chances / chances.sum())
        ]
        return np.concatenate([np.zeros((0, 2), np.int64), *drawn])

    def border_of(self, target: Mask) -> Mask:
        """Return the ring around an object."""
        steps = int(np.ceil(self.ring * np.sqrt(np.count_nonzero(target))))
        wide = cv2.dilate(target.astype(np.uint8), _SQUARE, iterations=steps)
        return (wide > 0) & ~target


def _drawn(where: Mask, count: int, rng: Generator) -> NDArray[np.int64]:
    """Draw places of a mask, as often as asked; fewer only where there are none."""
    places = np.argwhere(where)
    if not len(places):
        return np.zeros((0, 2), np.int64)
    return places[rng.integers(len(places), size=count)]
