"""Where simulated annotators click while a model trains.

Masks are int8 ``(H, W)``: 1 object, 0 background, -1 ignored. The corrective
click follows RITM (Sofiiuk et al., 2021): a random pixel of the inner half of
the largest error, by distance transform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Mask = NDArray[np.int8]


def depth_of(area: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel to the outside; the image's border is outside."""
    padded = np.pad(area.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.asarray(depth, dtype=np.float32)


def _choose(candidates: NDArray[np.bool_], rng: Generator) -> tuple[int, int] | None:
    found = np.flatnonzero(candidates)
    if found.size == 0:
        return None
    row, col = divmod(int(found[rng.integers(found.size)]), candidates.shape[1])
    return row, col


def inner_point(
    area: NDArray[np.bool_], rng: Generator, share: float = 0.5
) -> tuple[int, int] | None:
    """Draw a pixel deeper inside ``area`` than ``share`` of its greatest depth."""
    if not area.any():
        return None
    depth = depth_of(area)
    return _choose(depth > share * depth.max(), rng)


def next_click(
    probability: NDArray[np.float32], mask: Mask, rng: Generator
) -> tuple[int, int, bool] | None:
    """Draw the click that corrects an answer.

    Parameters
    ----------
    probability : ndarray, shape (H, W)
        The model's answer in [0, 1].
    mask : ndarray of int8, shape (H, W)
        The truth.
    rng : Generator
        Source of chance.

    Returns
    -------
    (row, col, positive) or None
        None where nothing is wrong.
    """
    missed = depth_of((mask == 1) & (probability < 0.49))
    extra = depth_of((mask == 0) & (probability > 0.49))
    positive = bool(missed.max() > extra.max())
    depth = missed if positive else extra
    deepest = float(depth.max())
    if deepest <= 0:
        return None
    place = _choose(depth > deepest / 2, rng)
    return None if place is None else (*place, positive)


def negative_point(
    mask: Mask, others: NDArray[np.bool_], rng: Generator
) -> tuple[int, int] | None:
    """Draw a first negative click by RITM's three strategies.

    Anywhere in the background (0.1), on another object (0.4, else the
    background), or in a ring around the object (0.5).
    """
    background = mask == 0
    choice = rng.choice(3, p=(0.1, 0.4, 0.5))
    if choice == 1 and others.any():
        return _choose(others & background, rng)
    if choice == 2:
        steps = int(np.ceil(0.1 * np.sqrt(np.count_nonzero(mask == 1))))
        kernel = np.ones((3, 3), np.uint8)
        wide = cv2.dilate((mask == 1).astype(np.uint8), kernel, iterations=steps)
        ring = (wide > 0) & background
        if ring.any():
            return _choose(ring, rng)
    return _choose(background, rng)


def perturb(mask: Mask, rng: Generator) -> NDArray[np.float32]:
    """Damage a mask as an earlier answer or another tool might have left it."""
    area = (mask == 1).astype(np.uint8)
    size = max(1, round(np.sqrt(area.sum()) * rng.uniform(0.02, 0.15)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1,) * 2)
    choice = rng.integers(4)
    if choice == 0:
        area = cv2.dilate(area, kernel)
    elif choice == 1:
        eroded = cv2.erode(area, kernel)
        area = eroded if eroded.any() else area
    elif choice == 2:
        shift = rng.integers(-2 * size, 2 * size + 1, 2)
        area = np.roll(area, tuple(int(s) for s in shift), (0, 1))
    else:  # cut a part away, or add a blob beside it
        rows, cols = np.nonzero(area)
        pick = int(rng.integers(rows.size))
        blob = np.zeros_like(area)
        radius = int(size * rng.uniform(1.5, 4)) + 1
        cv2.circle(blob, (int(cols[pick]), int(rows[pick])), radius, 1, -1)
        area = area & ~blob if rng.random() < 0.5 else area | blob
    blurred = cv2.GaussianBlur(
        area.astype(np.float32), (0, 0), float(rng.uniform(0.5, 3))
    )
    return np.asarray(blurred, dtype=np.float32)


def add_point(
    rows: Tensor, count: Tensor, click: tuple[int, int, bool], order: int
) -> None:
    """Add a click to rows ``(2P, 3)``; when full, the last one gives way."""
    capacity = rows.shape[0] // 2
    half = 0 if click[2] else 1
    slot = min(int(count[half]), capacity - 1)
    rows[half * capacity + slot] = rows.new_tensor([click[0], click[1], order])
    count[half] = slot + 1


class PointList:
    """Clicks of one sample as rows ``(2P, 3)``: positives first, -1 unused."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows = np.full((2 * capacity, 3), -1.0, dtype=np.float32)
        self.count = [0, 0]

    def add(self, row: float, col: float, positive: bool, order: int) -> None:
        """Add a click; when full, the oldest but the first gives way."""
        half = 0 if positive else 1
        start = half * self.capacity
        if self.count[half] == self.capacity:
            block = self.rows[start + 1 : start + self.capacity]
            block[:-1] = block[1:].copy()
            self.count[half] -= 1
        self.rows[start + self.count[half]] = (row, col, order)
        self.count[half] += 1
