"""Teaching a network to find all labelled objects by itself, without clicks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from napari_clickseg.training.augment import recolour, warp
from napari_clickseg.training.losses import mean_iou
from napari_clickseg.training.packs import Item, Pack, read_labels, read_rgb
from napari_clickseg.training.progress import Progress
from napari_clickseg.training.run import Run


@dataclass(frozen=True)
class WindowOptions:
    """How windows are drawn.

    Parameters
    ----------
    canvases : sequence of (height, width, batch)
        Sizes that batches take in turn at random; as the network needs them.
    scales : (float, float)
        Range of the enlargement (log-uniform); 1 keeps the image's own pixels.
    """

    canvases: Sequence[tuple[int, int, int]] = ((256, 256, 8),)
    scales: tuple[float, float] = (0.67, 1.5)


class ForegroundBatches(Dataset[dict[str, Tensor]]):
    """Batch ``i`` of a stream of windows that is fixed by its seed.

    Parameters
    ----------
    packs : sequence of Pack
        Where windows come from, by weight.
    options : WindowOptions
        How they are drawn.
    seed : int
        Seed of the whole stream.
    """

    def __init__(
        self, packs: Sequence[Pack], options: WindowOptions, seed: int
    ) -> None:
        self.packs = [pack for pack in packs if pack.spec.kind != "cutout"]
        weights = np.array([pack.spec.weight for pack in self.packs], dtype=float)
        self.shares = weights / weights.sum()
        self.options, self.seed = options, seed

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (N,3,H,W) uint8 and ``mask`` (N,1,H,W) int8.

        The mask is 1 on objects, 0 elsewhere, and -1 outside the image.
        """
        rng = np.random.default_rng([self.seed, index])
        canvases = self.options.canvases
        height, width, batch = canvases[int(rng.integers(len(canvases)))]
        images, masks = [], []
        for _ in range(batch):
            pack = self.packs[int(rng.choice(len(self.packs), p=self.shares))]
            item = pack.items[int(rng.integers(len(pack.items)))]
            image, mask = self._window(item, (height, width), rng)
            images.append(recolour(image, rng, pack.spec.kind == "microscopy"))
            masks.append(mask)
        return {
            "image": torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()),
            "mask": torch.from_numpy(np.stack(masks)[:, None]),
        }

    def _window(
        self, item: Item, canvas: tuple[int, int], rng: Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        source = read_rgb(item.image)
        labels = (read_labels(item.mask) > 0).astype(np.int16)
        # pixels of the image per pixel of the canvas
        pixels = float(np.exp(-rng.uniform(*np.log(self.options.scales))))
        row, col = (
            float(rng.uniform(half, size - half))
            for size, half in (
                (size, min(size, side * pixels) / 2)
                for size, side in zip(labels.shape, canvas, strict=True)
            )
        )
        angle = int(rng.integers(4)) * np.pi / 2 + rng.normal(0, 0.15)
        image, ids, target = warp(
            source,
            labels,
            np.ones(1, dtype=np.int16),
            canvas,
            (pixels, row, col),
            angle,
            bool(rng.random() < 0.5),
        )
        mask = target.astype(np.int8)
        mask[ids < 0] = -1
        return image, mask


class ForegroundRun(Run):
    """A training run without clicks: one optimiser step per batch."""

    def open_data(self, packs: list[Pack]) -> ForegroundBatches:
        """Return windows of whole images, all objects as one foreground."""
        options = WindowOptions(**self.plan.sampling)
        return ForegroundBatches(packs, options, self.plan.schedule.seed)

    def answer(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the network's answer to an image."""
        return {"instances": self.network(*inputs)}

    def rounds(self, batch: dict[str, Tensor]) -> Iterator[Progress]:
        """Learn from a batch, once."""
        start = time.monotonic()
        image, labels = self.send(batch)
        loss, probability = self.learn(labels, image)
        yield self.tell(start, loss, mean_iou(probability, labels))
