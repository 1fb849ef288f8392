"""Windows to learn clicks from: one object each, as a model will see it in use.

Batch ``i`` depends on the seed and on ``i`` alone, and sample ``j`` of it on these and
on ``j``: whoever continues a run sees the same windows, and so do several processes
that share each batch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from napari_clickseg.errors import TrainingError
from napari_clickseg.training.augment import choose_window, recolour, warp
from napari_clickseg.training.finetuning.augmenting import Kind, change
from napari_clickseg.training.finetuning.checking import Entry
from napari_clickseg.training.finetuning.pictures import Pictures
from napari_clickseg.training.sampling import (
    PointList,
    inner_point,
    negative_point,
    next_click,
    perturb,
)

logger = logging.getLogger(__name__)
Image = NDArray[np.uint8]
Mask = NDArray[np.int8]
Batch = dict[str, Tensor]
Changes = Literal["all", "colours", "none"]
#: Windows tried for one sample before the data is said to be no good.
TRIES = 200


@dataclass(frozen=True)
class WindowOptions:
    """How windows and first clicks are drawn.

    Parameters
    ----------
    canvases : sequence of (height, width)
        Sizes that batches take in turn at random.
    whole : float
        Chance of as much of the image as fits, as the first click sees it.
    near : float
        Chance of 1.1 to 2 times the object's box, as later clicks see it; else 2 to 6
        times.
    zoom_side : float
        Windows are no smaller than this many image pixels, as the published zoom-in.
    working : int
        Longest side at which the model looks at a whole image.
    damaged : float
        Chance that a sample starts from a damaged mask, as if corrected.
    extra : float
        Chance of one more random click, again and again.
    capacity : int
        Clicks of each sign that a sample can hold.
    least : int
        Objects must cover this many pixels of the canvas.
    fitted : bool
        Where as much of the image is shown as fits: fitted to the canvas, not at the
        scale of ``working``.
    """

    canvases: Sequence[tuple[int, int]] = ((257, 257), (225, 289), (289, 225))
    whole: float = 0.25
    near: float = 0.5
    zoom_side: float = 200.0
    working: int = 448
    damaged: float = 0.1
    extra: float = 0.3
    capacity: int = 12
    least: int = 24
    fitted: bool = False


@dataclass(frozen=True)
class Source:
    """Images to draw windows from.

    Parameters
    ----------
    pictures : Pictures
        Reads them.
    entries : tuple of Entry
        Which of them.
    kind : {"microscopy", "photo"}
        How they may be changed.
    changes : {"all", "colours", "none"}
        All of them by kornia, for the user's images; colours as in the starters'
        recipes, for the reference; none, and no turning, for validation.
    weight : float
        Share of samples that come from here.
    skipped : mapping
        Numbers of objects that are not drawn, by image number.
    """

    pictures: Pictures
    entries: tuple[Entry, ...]
    kind: Kind
    changes: Changes = "all"
    weight: float = 1.0
    skipped: Mapping[int, frozenset[int]] = field(default_factory=dict)


class ClickWindows:
    """Batches of windows for click networks.

    Parameters
    ----------
    sources : sequence of Source
        Where windows come from.
    batch : int
        Windows in a batch, over all processes.
    options : WindowOptions
        How they are drawn.
    seed : int
        Seed of the whole stream.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        batch: int,
        options: WindowOptions,
        seed: int,
    ) -> None:
        self.sources = tuple(source for source in sources if source.entries)
        self.batch, self.options, self.seed = batch, options, seed
        weights = np.array([source.weight for source in self.sources], dtype=float)
        self.shares = weights / weights.sum()

    def draw(self, number: int, rank: int = 0, world: int = 1) -> Batch:
        """Return a batch, or the part of it that one of several processes learns.

        Returns
        -------
        dict
            ``image`` (N, 3, H, W) uint8, ``mask`` (N, 1, H, W) int8 with -1 unknown,
            ``previous`` (N, 1, H, W) float32, ``points`` (N, 2P, 3) float32 and
            ``counts`` (N, 2), the clicks of each sign.
        """
        rng = np.random.default_rng([self.seed, number])
        canvases = self.options.canvases
        canvas = canvases[int(rng.integers(len(canvases)))]
        samples = [
            self.sample(canvas, np.random.default_rng([self.seed, number, place + 1]))
            for place in range(rank, self.batch, world)
        ]
        images, masks, previous, points = zip(*samples, strict=True)
        return {
            "image": torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()),
            "mask": torch.from_numpy(np.stack(masks)[:, None]),
            "previous": torch.from_numpy(np.stack(previous)[:, None]),
            "points": torch.from_numpy(np.stack([p.rows for p in points])),
            "counts": torch.tensor([p.count for p in points]),
        }

    def sample(
        self, canvas: tuple[int, int], rng: Generator
    ) -> tuple[Image, Mask, NDArray[np.float32], PointList]:
        """Draw one window: image, mask, previous mask and first clicks."""
        why: Exception | None = None
        for _ in range(TRIES):
            source = self.sources[int(rng.choice(len(self.sources), p=self.shares))]
            entry = source.entries[int(rng.integers(len(source.entries)))]
            try:
                image, mask, others = self._window(source, entry, canvas, rng)
            except TrainingError as error:
                if why is None:
                    logger.warning("%s", error)
                why = error
                continue
            if np.count_nonzero(mask == 1) < self.options.least:
                continue
            start = self._first_clicks(mask, others, rng)
            if start is not None:
                return image, mask, *start
        raise TrainingError(
            f"In {TRIES} tries no window showed an object: "
            + (str(why) if why else "the objects are too small to learn from.")
        )

    def _window(
        self, source: Source, entry: Entry, canvas: tuple[int, int], rng: Generator
    ) -> tuple[Image, Mask, NDArray[np.bool_]]:
        options = self.options
        skipped = source.skipped.get(entry.index, frozenset())
        free = [n for n in range(len(entry.objects)) if n not in skipped]
        number = free[int(rng.integers(len(free)))]
        chosen = entry.objects[number]
        picture = source.pictures[entry]
        draw = rng.random()
        if draw < options.whole:
            box, shape = chosen.box, entry.shape
            if options.fitted:
                window = choose_window(box, shape, canvas, None, rng)
            else:
                window = _look(box, shape, canvas, options.working, rng)
        else:
            near = draw < options.whole + options.near
            spread = (1.1, 2.0) if near else (2.0, 6.0)
            side = options.zoom_side if rng.random() < 0.75 else 0.0
            window = choose_window(chosen.box, entry.shape, canvas, spread, rng, side)
        angle, flip = 0.0, False
        if source.changes != "none":
            angle = rng.normal(0, 0.15) if rng.random() < 0.3 else 0.0
            flip = bool(rng.random() < 0.5)
            if source.kind == "microscopy":
                angle += int(rng.integers(4)) * np.pi / 2
        image, ids, target = warp(
            picture.image,
            picture.labels[chosen.layer].astype(np.int16),
            np.array([number + 1], dtype=np.int16),
            canvas,
            window,
            angle,
            flip,
        )
        marks = np.where(target, 1, np.where(ids > 0, 2, ids)).astype(np.int16)
        if source.changes == "all":
            image, marks = change(image, marks, source.kind, rng)
        elif source.changes == "colours":
            image = recolour(image, rng, source.kind == "microscopy")
        mask = np.where(marks == 1, 1, np.minimum(marks, 0)).astype(np.int8)
        return image, mask, marks == 2

    def _first_clicks(
        self, mask: Mask, others: NDArray[np.bool_], rng: Generator
    ) -> tuple[NDArray[np.float32], PointList] | None:
        options = self.options
        points = PointList(options.capacity)
        previous = np.zeros(mask.shape, dtype=np.float32)
        if rng.random() < options.damaged:
            damaged = perturb(mask, rng)
            click = next_click(damaged, mask, rng)
            if click is not None:
                points.add(*click, order=0)
                return damaged, points
        area = mask == 1
        # half of the clicks as the simulated annotator's, in the very middle
        first = inner_point(area, rng, 0.999 if rng.random() < 0.5 else 0.4)
        if first is None:
            return None
        points.add(*first, positive=True, order=0)
        for positive in (True, False):
            while rng.random() < options.extra:
                place = (
                    inner_point(area, rng, 0.1)
                    if positive
                    else negative_point(mask, others, rng)
                )
                if place is None:
                    break
                points.add(*place, positive=positive, order=100)
        return previous, points


def _look(
    box: tuple[int, int, int, int],
    shape: tuple[int, int],
    canvas: tuple[int, int],
    working: int,
    rng: Generator,
) -> tuple[float, float, float]:
    """Choose a window at the scale at which a model sees the whole image."""
    whole = min(shape[0] / canvas[0], shape[1] / canvas[1])
    scale = max(1.0, max(shape) / working)
    scale = min(scale * float(np.exp(rng.uniform(-0.2, 0.35))), max(whole, 0.1))
    centre = []
    for low, high, size, side in (
        (box[0], box[2], shape[0], canvas[0] * scale),
        (box[1], box[3], shape[1], canvas[1] * scale),
    ):
        slack = max(side - (high - low), 0.3 * side) / 2
        middle = (low + high) / 2 + rng.uniform(-0.9, 0.9) * slack
        half = min(side, size) / 2
        centre.append(float(np.clip(middle, half, size - half)))
    return scale, centre[0], centre[1]
