"""Batches as RITM and InterFormer were trained on.

A recipe says ``protocol = "ritm"`` or ``"interformer"`` and names data in any layout.
The released configurations are ``recipes/ritm-hrnet18s-cocolvis.toml`` and
``recipes/interformer-light-cocolvis.toml``; values as in the released code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from napari_clickseg.training.finetuning.checking import Entry
from napari_clickseg.training.finetuning.pictures import Pictures
from napari_clickseg.training.point_sampler import PointSampler

Image = NDArray[np.uint8]
Labels = NDArray[np.int16]


@dataclass(frozen=True)
class PublishedOptions:
    """How windows are cut and changed.

    Parameters
    ----------
    canvas : (int, int)
        Height and width of a window.
    batch : int
        Windows in a batch.
    scale : (float, float)
        Range of the enlargement, uniform.
    flips : {"horizontal", "any"}
        Mirroring, half of the time; ``any``: along either axis or both.
    quarter_turns : bool
        Turn by a random multiple of 90 degrees.
    shift, angle : float
        Largest shift over the size and angle in degrees, with a chance of 3/4.
    brightness, contrast : float and (float, float)
        Ranges that are added, with a chance of 3/4.
    rgb : float
        Shift of each channel, in 255ths, with a chance of 3/4.
    least_area : int
        Smaller objects are not asked for.
    empty : float
        Chance to keep a window that shows no object.
    stuff : float
        COCO+LVIS: chance that regions of stuff count as objects.
    points : mapping
        Of :class:`~.point_sampler.PointSampler`.
    most_clicks : int
        RITM: corrective clicks at most, drawn evenly from 0.
    decay : float
        InterFormer: chance of one more round over the chance of the one before.
    inner : (float, float)
        InterFormer: the first and later clicks lie deeper than the greatest depth over
        this.
    """

    canvas: Sequence[int] = (320, 480)
    batch: int = 32
    scale: Sequence[float] = (0.75, 1.40)
    flips: str = "horizontal"
    quarter_turns: bool = False
    shift: float = 0.0
    angle: float = 0.0
    brightness: float = 0.25
    contrast: Sequence[float] = (-0.15, 0.4)
    rgb: float = 10.0
    least_area: int = 1000
    empty: float = 0.05
    stuff: float = 0.30
    points: dict[str, Any] = field(default_factory=dict)
    most_clicks: int = 3
    decay: float = 0.6
    inner: Sequence[float] = (1.0, 1.7)


class PublishedBatches(Dataset[dict[str, Tensor]]):
    """Windows of labelled images, drawn reproducibly by number.

    Parameters
    ----------
    sources : sequence of (Pictures, Pictures or None, entries)
        Where from; each image is as likely as any other. The second shows stuff beside
        the objects.
    options : PublishedOptions
        How.
    seed : int
        Seed of the stream.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Pictures, Pictures | None, tuple[Entry, ...]]],
        options: PublishedOptions,
        seed: int,
    ) -> None:
        self.items = [(a, b, entry) for a, b, entries in sources for entry in entries]
        self.options, self.seed = options, seed
        self.sampler = PointSampler(**options.points)

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image``, ``mask`` (N,1,H,W), ``points`` (N, 2P, 3)."""
        rng = np.random.default_rng([self.seed, index])
        samples = [self.sample(rng) for _ in range(self.options.batch)]
        images, masks, points = zip(*samples, strict=True)
        return {
            "image": torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()),
            "mask": torch.from_numpy(np.stack(masks)[:, None]),
            "points": torch.from_numpy(np.stack(points)),
        }

    def sample(
        self, rng: Generator
    ) -> tuple[Image, NDArray[np.int8], NDArray[np.float32]]:
        """Draw a window, what is asked for in it, and the initial clicks."""
        while True:
            things, stuff, entry = self.items[int(rng.integers(len(self.items)))]
            with_stuff = stuff is not None and rng.random() < self.options.stuff
            picture = (stuff if with_stuff and stuff is not None else things)[entry]
            layer = int(rng.integers(len(picture.labels)))
            labels = picture.labels[layer].astype(np.int16)
            image, labels = self.window(picture.image, labels, rng)
            objects = [
                labels == number
                for number in np.unique(labels)
                if number > 0
                and np.count_nonzero(labels == number) >= self.options.least_area
            ]
            if objects:
                chosen = self.sampler.choose(objects, rng)
                target = np.logical_or.reduce(chosen)
                points = self.sampler.draw(chosen, (labels > 0) & ~target, rng)
            elif rng.random() < self.options.empty:
                target = np.zeros(labels.shape, bool)
                points = np.full((2 * self.sampler.most, 3), -1, np.float32)
                points[self.sampler.most, :2] = rng.integers(labels.shape)
                points[self.sampler.most, 2] = 100
            else:
                continue
            mask = target.astype(np.int8)
            mask[labels < 0] = -1
            return self.colour(image, rng), mask, points

    def window(
        self, image: Image, labels: Labels, rng: Generator
    ) -> tuple[Image, Labels]:
        """Enlarge, mirror, turn, pad and cut."""
        options = self.options
        low, high = options.scale
        scale = rng.uniform(low, high)
        size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))
        labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST))
        if rng.random() < 0.5:
            axes = {"horizontal": ((1,),), "any": ((0,), (1,), (0, 1))}[options.flips]
            axis = axes[int(rng.integers(len(axes)))]
            image, labels = np.flip(image, axis), np.flip(labels, axis)
        if options.quarter_turns:
            turns = int(rng.integers(4))
            image, labels = np.rot90(image, turns), np.rot90(labels, turns)
        if (options.shift or options.angle) and rng.random() < 0.75:
            image, labels = self._moved(image, labels, rng)
        return self._cut(image, labels, rng)

    def _moved(
        self, image: Image, labels: Labels, rng: Generator
    ) -> tuple[Image, Labels]:
        height, width = labels.shape
        angle = rng.uniform(-self.options.angle, self.options.angle)
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
        reach = self.options.shift
        moves: Any = rng.uniform(-reach, reach, 2) * (width, height)
        matrix[:, 2] += moves
        image, labels = np.ascontiguousarray(image), np.ascontiguousarray(labels)
        moved = cv2.warpAffine(image, matrix, (width, height))
        marks = cv2.warpAffine(labels, matrix, (width, height), flags=cv2.INTER_NEAREST)
        return np.asarray(moved, np.uint8), np.asarray(marks, np.int16)

    def _cut(
        self, image: Image, labels: Labels, rng: Generator
    ) -> tuple[Image, Labels]:
        height, width = self.options.canvas
        tall, wide = max(0, height - image.shape[0]), max(0, width - image.shape[1])
        if tall or wide:
            pads = ((tall // 2, tall - tall // 2), (wide // 2, wide - wide // 2))
            image = np.pad(image, (*pads, (0, 0)))
            labels = np.pad(labels, pads)
        top = int(rng.integers(image.shape[0] - height + 1))
        left = int(rng.integers(image.shape[1] - width + 1))
        part = (slice(top, top + height), slice(left, left + width))
        return np.ascontiguousarray(image[part]), np.ascontiguousarray(labels[part])

    def colour(self, image: Image, rng: Generator) -> Image:
        """Change brightness and contrast, then shift each channel."""
        options = self.options
        x = image.astype(np.float32)
        if rng.random() < 0.75:
            low, high = options.contrast
            gain = 1 + rng.uniform(low, high)
            shift = rng.uniform(-options.brightness, options.brightness)
            x = np.clip(x * gain + 255 * shift, 0, 255)
        if rng.random() < 0.75:
            x = x + rng.uniform(-options.rgb, options.rgb, 3).astype(np.float32)
        return np.clip(np.round(x), 0, 255).astype(np.uint8)
