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
    mask_box,
    project,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_clickseg.clicks import Click
    from napari_clickseg.prediction.settings import PredictionSettings

#: Sides of the smallest and of the largest window that is tried, image pixels.
SMALLEST, LARGEST = 64, 2048
#: Each window of the ladder is about so many times larger than the one before.
STEP = 2.0
#: Longer side of a window while windows are compared, network pixels.
COMPARE_AT = 256
#: The window at last is so many times as large as the object that was found...
AROUND = 3.0
#: ...but not smaller than this, image pixels.
SMALLEST_FITTED = 48
#: ...and is shown to the network with at most so many pixels a side: an object
#: that fills an image, seen larger, is larger than those in training.
LOOK_AT = 320
#: Longer side of an object over that of a window, below and above which the
#: answer is less to be trusted.
TINY, FILLING = 0.12, 0.6


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
        target = settings.target_size
        if isinstance(target, int):
            target = min(target, LOOK_AT)
        size = fit_size(self.box.shape, target)
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
    """What speaks for and against the answer on one window of the ladder.

    All but ``extent`` and ``field`` lie in [0, 1], and more is better.

    Parameters
    ----------
    object_box : Box or None
        The object that was found, in image pixels; None: there is none.
    extent : float
        The object's longer side over the window's.
    field : float
        The window's longer side over that of the largest window.
    smaller, larger : float
        IoU of the whole object with the answers on the next smaller and on the
        next larger window (the other one at the ends of the ladder). What is
        cut off by the smaller window counts against it.
    consensus : float
        Mean IoU with all other answers.
    confidence : float
        Mean probability in the object.
    stability : float
        Share of the object at a lax threshold that a strict one leaves.
    cut : bool
        Whether the object reaches an edge of the window inside the image.
    """

    object_box: Box | None
    extent: float
    field: float
    smaller: float
    larger: float
    consensus: float
    confidence: float
    stability: float
    cut: bool

    @property
    def score(self) -> float:
        """How well the window suits the object; the highest one is taken.

        Agreement counts most, above all with the smaller window: a part of an
        object that fills a small window changes when there is more to see, an
        object does not. Windows in which the object is tiny or fills the view
        are out of the network's training range. All else equal, a larger
        window is the safer choice. The weights were tuned on images that the
        bundled model was not trained on.
        """
        if self.object_box is None:
            return -10.0
        extent = max(self.extent, 0.02)
        return (
            self.smaller
            + 0.3 * self.larger
            + 0.4 * self.consensus
            + 0.5 * self.confidence
            + 0.3 * math.sqrt(self.stability)
            + 0.08 * math.log(self.field)
            - 0.25 * max(0.0, math.log(TINY / extent))
            - 0.3 * max(0.0, math.log(extent / FILLING))
            - 0.2 * self.cut
        )


def search(
    clicks: Sequence[Click],
    shape: Size,
    look: Callable[[Sequence[Box], Size], np.ndarray],
    *,
    within: Box | None = None,
) -> Look:
    """Return the window that suits the clicked object best.

    The network is asked on all windows of a ladder. The most credible answer
    tells how large the object is, and the window is fitted to that.

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
    best = max(range(len(boxes)), key=lambda i: judged[i].score)
    found = judged[best].object_box
    if found is None:
        return Look(boxes[-1])
    found = found.union(inside)
    side = min(LARGEST, max(SMALLEST_FITTED, round(AROUND * max(found.shape))))
    return Look(window_around(found, side, shape).union(inside))


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
    """Judge the answers on windows that lie in each other, small to large.

    Parameters
    ----------
    boxes : sequence of Box
        At least two windows; one may reach a little beyond the next.
    logits : sequence of ndarray, shape (h, w)
        The network's answer on each.
    clicks : sequence of Click
        At least one positive.
    shape : (int, int)
        Height and width of the image.
    """
    masks = [
        _clicked_part(answer > 0, box, clicks)
        for answer, box in zip(logits, boxes, strict=True)
    ]
    same = _agreement(boxes, masks)
    count = len(boxes)
    longest = max(boxes[-1].shape)
    out = []
    for i, (box, answer, mask) in enumerate(zip(boxes, logits, masks, strict=True)):
        down, up = (i - 1 if i else 1), (i + 1 if i + 1 < count else i - 1)
        lax = _clicked_part(answer > -1, box, clicks)
        found = mask_box(mask)
        out.append(
            Judgement(
                object_box=None if found is None else _in_image(found, mask, box),
                extent=max(found.shape) / max(mask.shape) if found else 0.0,
                field=max(box.shape) / longest,
                smaller=float(same[i, down]),
                larger=float(same[i, up]),
                consensus=float((same[i].sum() - same[i, i]) / (count - 1)),
                confidence=float(_sigmoid(answer[mask]).mean()) if found else 0.0,
                stability=float((mask & (answer > 1)).sum() / max(1, lax.sum())),
                cut=found is not None and _is_cut(found, mask, box, shape),
            )
        )
    return out


def _agreement(boxes: Sequence[Box], masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the IoU of every two masks as objects of the image, ``(n, n)``."""
    areas = [mask.mean() * box.area for mask, box in zip(masks, boxes, strict=True)]
    same = np.zeros((len(boxes), len(boxes)))
    for large in range(len(boxes)):
        for small in range(large + 1):
            box, mask = boxes[small], masks[small]
            nested = _cut(masks[large], boxes[large], box, mask.shape)
            common = (mask & nested).mean() * box.area
            union = areas[small] + areas[large] - common
            same[small, large] = same[large, small] = common / union if union else 0
    return same


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def _clicked_part(mask: np.ndarray, box: Box, clicks: Sequence[Click]) -> np.ndarray:
    """Return the connected parts of a mask that a positive click lies on."""
    parts, _ = ndimage.label(mask)
    at = project(np.array([c.position for c in clicks if c.positive]), box, mask.shape)
    pixels = np.clip(np.floor(at + 0.5).astype(int), 0, np.array(mask.shape) - 1)
    wanted = np.unique(parts[pixels[:, 0], pixels[:, 1]])
    part: np.ndarray = np.isin(parts, wanted[wanted > 0])
    return part


def _in_image(found: Box, mask: np.ndarray, box: Box) -> Box:
    """Return a box of a resized window in image coordinates."""
    rows, cols = (n / m for n, m in zip(box.shape, mask.shape, strict=True))
    return Box(
        box.top + math.floor(found.top * rows),
        box.left + math.floor(found.left * cols),
        box.top + math.ceil(found.bottom * rows),
        box.left + math.ceil(found.right * cols),
    ).intersect(box)


def _is_cut(found: Box, mask: np.ndarray, box: Box, shape: Size) -> bool:
    """Whether an object lies within a pixel of an edge that is not the image's."""
    return (
        (found.top <= 1 and box.top > 0)
        or (found.left <= 1 and box.left > 0)
        or (found.bottom >= mask.shape[0] - 1 and box.bottom < shape[0])
        or (found.right >= mask.shape[1] - 1 and box.right < shape[1])
    )


def _cut(mask: np.ndarray, box: Box, inner: Box, size: Size) -> np.ndarray:
    """Return the part of a mask on ``box`` that lies in ``inner``, resized.

    Where ``inner`` reaches beyond ``box``, there is no object.
    """
    rows = inner.top + (np.arange(size[0]) + 0.5) * inner.shape[0] / size[0]
    cols = inner.left + (np.arange(size[1]) + 0.5) * inner.shape[1] / size[1]
    y = ((rows - box.top) * mask.shape[0] / box.shape[0]).astype(int)
    x = ((cols - box.left) * mask.shape[1] / box.shape[1]).astype(int)
    there = np.ix_(
        (rows >= box.top) & (rows < box.bottom), (cols >= box.left) & (cols < box.right)
    )
    y, x = np.clip(y, 0, mask.shape[0] - 1), np.clip(x, 0, mask.shape[1] - 1)
    cut: np.ndarray = np.zeros(size, dtype=bool)
    cut[there] = mask[np.ix_(y, x)][there]
    return cut
