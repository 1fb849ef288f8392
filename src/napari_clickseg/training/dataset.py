"""Batches of windows with one object each, drawn reproducibly by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from napari_clickseg.training.augment import choose_window, paste, recolour, warp
from napari_clickseg.training.packs import Item, Pack, read_labels, read_rgb
from napari_clickseg.training.sampling import (
    PointList,
    inner_point,
    negative_point,
    next_click,
    perturb,
)

Array = NDArray[np.uint8]


@dataclass(frozen=True)
class SamplingOptions:
    """How windows and first clicks are drawn.

    Parameters
    ----------
    canvases : sequence of (height, width, batch)
        Sizes that batches take in turn at random.
    zoom, field : float
        Chance that a window shows the object large (1.15 to 2 times its box),
        or among its surroundings (2 to 9 times); else the whole image.
    paste_target, paste_distractor : float
        Chance that a cut-out is pasted as the object, or beside it (photos).
    merge : float
        Chance that two labelled objects are asked for as one (photos).
    perturbed : float
        Chance that a sample starts from a damaged mask.
    extra_points : float
        Chance of one more random first click, again and again.
    capacity : int
        Clicks of each sign that a sample can hold.
    min_pixels : int
        Objects must cover this many pixels of the canvas.
    """

    canvases: Sequence[tuple[int, int, int]]
    zoom: float = 0.45
    field: float = 0.25
    paste_target: float = 0.12
    paste_distractor: float = 0.15
    merge: float = 0.05
    perturbed: float = 0.12
    extra_points: float = 0.3
    capacity: int = 8
    min_pixels: int = 40


class ClickBatches(Dataset[dict[str, Tensor]]):
    """Batch ``i`` of a stream that is fixed by its seed.

    Parameters
    ----------
    packs : sequence of Pack
        Where samples come from, by weight.
    options : SamplingOptions
        How they are drawn.
    seed : int
        Seed of the whole stream.
    """

    def __init__(
        self, packs: Sequence[Pack], options: SamplingOptions, seed: int
    ) -> None:
        self.packs = [pack for pack in packs if pack.spec.kind != "cutout"]
        self.cutouts = [
            item.image
            for pack in packs
            if pack.spec.kind == "cutout"
            for item in pack.items
        ]
        weights = np.array([pack.spec.weight for pack in self.packs], dtype=float)
        self.shares = weights / weights.sum()
        self.options = options
        self.seed = seed

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (N,3,H,W) uint8, ``mask`` (N,1,H,W) int8 and more.

        Also ``points`` (N,2P,3) float32 with the first clicks, ``counts``
        (N,2) how many of each sign, ``previous`` (N,1,H,W) float32.
        """
        rng = np.random.default_rng([self.seed, index])
        canvases = self.options.canvases
        height, width, batch = canvases[int(rng.integers(len(canvases)))]
        samples = [self._sample((height, width), rng) for _ in range(batch)]
        images, masks, previous, points = zip(*samples, strict=True)
        return {
            "image": torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()),
            "mask": torch.from_numpy(np.stack(masks)[:, None]),
            "previous": torch.from_numpy(np.stack(previous)[:, None]),
            "points": torch.from_numpy(np.stack([p.rows for p in points])),
            "counts": torch.tensor([p.count for p in points]),
        }

    def _sample(
        self, canvas: tuple[int, int], rng: Generator
    ) -> tuple[Array, NDArray[np.int8], NDArray[np.float32], PointList]:
        while True:
            pack = self.packs[int(rng.choice(len(self.packs), p=self.shares))]
            item = pack.items[int(rng.integers(len(pack.items)))]
            image, mask, others = self._window(pack, item, canvas, rng)
            if np.count_nonzero(mask == 1) < self.options.min_pixels:
                continue
            image = recolour(image, rng, pack.spec.kind == "microscopy")
            start = self._first_clicks(mask, others, rng)
            if start is not None:
                return image, mask, *start

    def _window(
        self, pack: Pack, item: Item, canvas: tuple[int, int], rng: Generator
    ) -> tuple[Array, NDArray[np.int8], NDArray[np.bool_]]:
        options, spec = self.options, pack.spec
        photo = spec.kind == "photo"
        chosen = item.objects[int(rng.integers(len(item.objects)))]
        wanted = {chosen[0]}
        box = chosen[2:]
        if photo and len(item.objects) > 1 and rng.random() < options.merge:
            other = item.objects[int(rng.integers(len(item.objects)))]
            wanted.add(other[0])
            box = (
                min(box[0], other[2]),
                min(box[1], other[3]),
                max(box[2], other[4]),
                max(box[3], other[5]),
            )
        source = read_rgb(item.image)
        labels = read_labels(item.mask).astype(np.int16)
        draw = rng.random()
        spread = None
        if draw < options.zoom:
            spread = (1.15, 2.0)
        # cells fill a small part of their image: seldom show all of it
        elif draw < (options.zoom + options.field if photo else 0.95):
            spread = (2.0, 9.0)
        # the published zoom never cuts fewer than 200 pixels
        min_side = 200.0 if rng.random() < 0.35 else 0.0
        window = choose_window(box, labels.shape, canvas, spread, rng, min_side)
        angle = rng.normal(0, 0.15) if rng.random() < 0.3 else 0.0
        if not photo:
            angle += int(rng.integers(4)) * np.pi / 2
        image, ids, target = warp(
            source,
            labels,
            np.array(sorted(wanted), dtype=np.int16),
            canvas,
            window,
            angle,
            bool(rng.random() < 0.5),
        )
        others = (ids > 0) & ~target
        if photo and self.cutouts:
            image, target, others = self._paste(image, target, others, rng)
        mask = target.astype(np.int8)
        mask[ids < 0] = -1
        return image, mask, others

    def _paste(
        self,
        image: Array,
        target: NDArray[np.bool_],
        others: NDArray[np.bool_],
        rng: Generator,
    ) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
        draw = rng.random()
        if draw >= self.options.paste_target + self.options.paste_distractor:
            return image, target, others
        cutout = read_rgb(self.cutouts[int(rng.integers(len(self.cutouts)))])
        if cutout.shape[2] != 4:
            return image, target, others
        cutout = np.dstack([recolour(cutout[..., :3], rng, False), cutout[..., 3]])
        image, covered = paste(image, cutout, rng)
        if draw < self.options.paste_target:
            return image, covered, target & ~covered
        return image, target & ~covered, (others & ~covered) | covered

    def _first_clicks(
        self, mask: NDArray[np.int8], others: NDArray[np.bool_], rng: Generator
    ) -> tuple[NDArray[np.float32], PointList] | None:
        points = PointList(self.options.capacity)
        previous = np.zeros(mask.shape, dtype=np.float32)
        area = mask == 1
        if rng.random() < self.options.perturbed:
            previous = perturb(mask, rng)
            click = next_click(previous, mask, rng)
            if click is not None:
                points.add(*click, order=0)
                return previous, points
            previous = np.zeros_like(previous)
        first = inner_point(area, rng, 0.999 if rng.random() < 0.5 else 0.4)
        if first is None:
            return None
        points.add(*first, positive=True, order=0)
        for positive in (True, False):
            while rng.random() < self.options.extra_points:
                place = (
                    inner_point(area, rng, 0.1)
                    if positive
                    else negative_point(mask, others, rng)
                )
                if place is None:
                    break
                points.add(*place, positive=positive, order=100)
        return previous, points
