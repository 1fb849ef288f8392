"""Where the first click looks when the whole image is too much.

A click says where an object is, not how large it is. The published protocol
shows the network the whole image, which fails where objects are small against
it (a field of nuclei). Two other policies: the field that the user has on the
canvas, or the best of a ladder of windows around the click, each judged by the
answer that the network gives on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_clickseg.boxes import Box
from napari_clickseg.prediction.views import (
    Size,
    View,
    clicks_box,
    fit_size,
    project,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_clickseg.clicks import Click
    from napari_clickseg.prediction.settings import PredictionSettings

#: Sides of the smallest and of the largest window that is tried, image pixels.
SMALLEST, LARGEST = 64, 2048
#: Each window of the ladder is about so many times larger than the one before.
STEP = 1.7
#: Longer side of a window while windows are compared, network pixels.
COMPARE_AT = 256


@dataclass(frozen=True, slots=True)
class Look:
    """A window for the first click.

    Parameters
    ----------
    box : Box
        The window.
    """

    box: Box

    def view(self, settings: PredictionSettings) -> View:
        """Return the view of the window, which is stored for later clicks."""
        size = fit_size(self.box.shape, settings.target_size)
        return View(self.box, size, self.box, self.box, changed=True)

    def min_crop(self, settings: PredictionSettings) -> int:
        """Return the smallest window for later clicks, image pixels.

        The published 200 pixels would throw away a smaller window that was
        found to suit the object.
        """
        return min(settings.min_crop_size, max(self.box.shape))


def window_around(inside: Box, side: int, shape: Size) -> Box:
    """Return a square window about the centre of a box, moved into the image.

    Parameters
    ----------
    inside : Box
        What the window is about; contained in it where ``side`` allows.
    side : int
        Height and width; the image may be smaller.
    shape : (int, int)
        Height and width of the image.
    """
    height, width = min(side, shape[0]), min(side, shape[1])
    top = (inside.top + inside.bottom - height) // 2
    left = (inside.left + inside.right - width) // 2
    top = min(max(top, 0), shape[0] - height)
    left = min(max(left, 0), shape[1] - width)
    return Box(top, left, top + height, left + width)


def ladder(inside: Box, shape: Size, *, within: int | None = None) -> list[Box]:
    """Return windows from small to large around the clicked pixels.

    Each lies in the next one; the last is the whole image where that is not
    larger than :data:`LARGEST`.

    Parameters
    ----------
    inside : Box
        Box around the positive clicks.
    shape : (int, int)
        Height and width of the image.
    within : int, optional
        No window larger than this.
    """
    longest = min(max(shape), LARGEST if within is None else min(within, LARGEST))
    smallest = max(SMALLEST, 2 * max(inside.shape))
    if smallest >= longest:
        return [window_around(inside, max(longest, smallest), shape)]
    steps = max(1, round(math.log(longest / smallest) / math.log(STEP)))
    sides = np.geomspace(smallest, longest, steps + 1).round().astype(int)
    boxes: list[Box] = []
    for side in sides:
        box = window_around(inside, int(side), shape)
        if box not in boxes:
            boxes.append(box)
    return boxes


def visible(clicks: Sequence[Click], field: Box, shape: Size) -> Look | None:
    """Return the field shown on the canvas, or None if it is of no use.

    Parameters
    ----------
    clicks : sequence of Click
        Clicks so far; positive ones outside the field (a script's) widen it.
    field : Box
        What the canvas shows, image pixels; may reach beyond the image.
    shape : (int, int)
        Height and width of the image.
    """
    box = field.clip(shape)
    clicked = clicks_box(clicks, shape)
    if box.empty:
        return None
    if clicked is not None:
        box = box.union(clicked)
    return Look(box) if max(box.shape) <= LARGEST else None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What speaks for and against an answer on one window; all in [0, 1].

    Parameters
    ----------
    area : float
        Share of the window that the object takes.
    stability : float
        IoU of the masks at a stricter and at a laxer threshold.
    border : float
        Share of the window's inner border that the object touches.
    obeys : float
        How well the answer follows the clicks.
    confidence : float
        Mean probability in the object.
    agreement : float
        IoU with the answer on the next larger window (on the next smaller one
        for the largest), inside the smaller of the two.
    """

    area: float
    stability: float
    border: float
    obeys: float
    confidence: float
    agreement: float

    @property
    def score(self) -> float:
        """How likely the window suits the object; the best one is taken."""
        if self.area == 0:
            return -10.0 + self.obeys
        size = min(self.area / 0.06, 1.0, (1 - self.area) / 0.3)
        return (
            self.stability
            + self.agreement
            + self.confidence
            + 0.5 * size
            - 2 * self.border
            + self.obeys
        )


def search(
    clicks: Sequence[Click],
    shape: Size,
    look: Callable[[Sequence[Box], Size], np.ndarray],
    *,
    within: Box | None = None,
) -> Look:
    """Return the window of the ladder that suits the clicked object best.

    Parameters
    ----------
    clicks : sequence of Click
        Clicks so far.
    shape : (int, int)
        Height and width of the image.
    look : callable
        Takes windows and a size, returns the network's logits ``(N, h, w)``.
    within : Box, optional
        What the canvas shows: no larger window is tried.
    """
    inside = clicks_box(clicks, shape)
    if inside is None:  # nothing but negative clicks: there is no object to fit
        first = clicks_box([replace(clicks[0], positive=True)], shape)
        return Look(window_around(first or Box.of_shape(shape), LARGEST, shape))
    longest = None if within is None else max(within.clip(shape).shape)
    boxes = ladder(inside, shape, within=longest or None)
    if len(boxes) == 1:
        return Look(boxes[0])
    judged = judge(boxes, look_at(boxes, look), clicks, shape)
    return Look(max(zip(judged, boxes, strict=True), key=lambda pair: pair[0].score)[1])


def look_at(
    boxes: Sequence[Box], look: Callable[[Sequence[Box], Size], np.ndarray]
) -> list[np.ndarray]:
    """Return logits of windows, those of one size in one batch."""
    sizes = [fit_size(box.shape, COMPARE_AT) for box in boxes]
    answers: dict[Box, np.ndarray] = {}
    for size in dict.fromkeys(sizes):
        group = [box for box, own in zip(boxes, sizes, strict=True) if own == size]
        answers.update(zip(group, look(group, size), strict=True))
    return [answers[box] for box in boxes]


def judge(
    boxes: Sequence[Box],
    logits: Sequence[np.ndarray],
    clicks: Sequence[Click],
    shape: Size,
) -> list[Judgement]:
    """Judge the answers on nested windows, small to large."""
    found = [
        _clicked_part(answer > 0, box, clicks)
        for answer, box in zip(logits, boxes, strict=True)
    ]
    out = []
    for i, (box, answer, mask) in enumerate(zip(boxes, logits, found, strict=True)):
        other = i + 1 if i + 1 < len(boxes) else i - 1
        small, large = sorted((i, other))
        nested = _cut(found[large], boxes[large], boxes[small], found[small].shape)
        strict, lax = mask & (answer > 1), _clicked_part(answer > -1, box, clicks)
        out.append(
            Judgement(
                area=float(mask.mean()),
                stability=float(strict.sum() / max(1, lax.sum())),
                border=_border_share(mask, box, shape),
                obeys=_obedience(answer, box, clicks),
                confidence=float(_sigmoid(answer[mask]).mean()) if mask.any() else 0.0,
                agreement=_iou(found[small], nested),
            )
        )
    return out


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def _pixels(box: Box, size: Size, clicks: Sequence[Click]) -> np.ndarray:
    """Return the clicks' pixels ``(n, 2)`` on a resized window."""
    at = project(np.array([click.position for click in clicks]), box, size)
    return np.clip(np.floor(at + 0.5).astype(int), 0, np.array(size) - 1)


def _clicked_part(mask: np.ndarray, box: Box, clicks: Sequence[Click]) -> np.ndarray:
    """Return the connected parts of a mask that a positive click lies on."""
    parts, _ = ndimage.label(mask)
    positive = [click for click in clicks if click.positive]
    rows, cols = _pixels(box, mask.shape, positive).T
    wanted = np.unique(parts[rows, cols])
    part: np.ndarray = np.isin(parts, wanted[wanted > 0])
    return part


def _obedience(answer: np.ndarray, box: Box, clicks: Sequence[Click]) -> float:
    """Return the mean probability of what the clicks ask for."""
    rows, cols = _pixels(box, answer.shape, clicks).T
    sign = np.array([1.0 if click.positive else -1.0 for click in clicks])
    return float(_sigmoid(sign * answer[rows, cols]).mean())


def _border_share(mask: np.ndarray, box: Box, shape: Size) -> float:
    """Return the share of true pixels along edges that are not the image's."""
    edges = [
        edge
        for edge, inner in [
            (mask[0], box.top > 0),
            (mask[-1], box.bottom < shape[0]),
            (mask[:, 0], box.left > 0),
            (mask[:, -1], box.right < shape[1]),
        ]
        if inner
    ]
    return float(np.concatenate(edges).mean()) if edges else 0.0


def _cut(mask: np.ndarray, box: Box, inner: Box, size: Size) -> np.ndarray:
    """Return the part of a mask on ``box`` that lies in ``inner``, resized."""
    rows = inner.top + (np.arange(size[0]) + 0.5) * inner.shape[0] / size[0]
    cols = inner.left + (np.arange(size[1]) + 0.5) * inner.shape[1] / size[1]
    y = ((rows - box.top) * mask.shape[0] / box.shape[0]).astype(int)
    x = ((cols - box.left) * mask.shape[1] / box.shape[1]).astype(int)
    y, x = np.clip(y, 0, mask.shape[0] - 1), np.clip(x, 0, mask.shape[1] - 1)
    cut: np.ndarray = mask[np.ix_(y, x)]
    return cut


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else 0.0
