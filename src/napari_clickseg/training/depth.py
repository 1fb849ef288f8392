"""Teaching a network depth from scenes whose depth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from napari_clickseg.training.augment import recolour
from napari_clickseg.training.dense import Batch, DenseRun, Stream, scaled
from napari_clickseg.training.dense_losses import (
    depth_gradient_error,
    scale_invariant_error,
)
from napari_clickseg.training.generators.matting import Sources
from napari_clickseg.training.generators.relief import relief
from napari_clickseg.training.generators.scenes import scene
from napari_clickseg.training.packs import Pack


@dataclass(frozen=True)
class DepthOptions:
    """How scenes are drawn.

    Parameters
    ----------
    canvases : sequence of (height, width, batch)
        Sizes that batches take in turn at random; multiples of 32.
    relief : float
        Share of height maps as under a microscope; the rest are rooms.
    recoloured : float
        Chance of further changes of contrast, colour and sharpness.
    """

    canvases: Sequence[tuple[int, int, int]] = ((224, 288, 8),)
    relief: float = 0.15
    recoloured: float = 0.5


class SceneBatches(Stream):
    """Scenes, drawn reproducibly by number.

    Parameters
    ----------
    packs : sequence of Pack
        Photos for pictures on walls and some surfaces.
    options : DepthOptions
        How.
    seed : int
        Seed of the whole stream.
    """

    def __init__(self, packs: Sequence[Pack], options: DepthOptions, seed: int) -> None:
        super().__init__(seed)
        self.sources, self.options = Sources(packs), options

    def __getitem__(self, index: int) -> Batch:
        """Return ``image`` (N,3,H,W) uint8 and ``depth`` (N,1,H,W) float32."""
        rng = self.rng(index)
        options = self.options
        height, width, batch = options.canvases[
            int(rng.integers(len(options.canvases)))
        ]
        images, depths = [], []
        for _ in range(batch):
            draw = relief if rng.random() < options.relief else scene
            sample = draw((height, width), rng, self.sources.photos)
            image, depth = sample.image, sample.depth
            if rng.random() < options.recoloured:
                # as a photo: turned to its negative, a relief would be another
                image = recolour(image, rng, microscopy=False)
            if rng.random() < 0.5:
                image, depth = image[:, ::-1], depth[:, ::-1]
            images.append(image)
            depths.append(depth)
        return {
            "image": torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()),
            "depth": torch.from_numpy(np.stack(depths)[:, None].copy()),
        }


class DepthRun(DenseRun):
    """Learning depth in metres."""

    task: ClassVar[str] = "depth"
    score_name: ClassVar[str] = "delta1"

    def open_data(self, packs: list[Pack]) -> SceneBatches:
        """Return scenes."""
        options = DepthOptions(**self.plan.sampling)
        return SceneBatches(packs, options, self.plan.schedule.seed)

    def given(self, batch: Batch) -> Tensor:
        """Return RGB."""
        normalises = bool(getattr(self.network, "normalises_input", False))
        return scaled(batch["image"], normalises)

    def judge(self, output: Tensor, batch: Batch) -> tuple[Tensor, float]:
        """Return the scale-invariant loss, and the share of pixels within 25 %."""
        losses, truth = self.plan.losses, batch["depth"]
        valid = (truth > 0).float()
        loss = scale_invariant_error(output, truth, valid, losses.forgiven)
        if losses.gradient:
            error = depth_gradient_error(output, truth, valid)
            loss = loss + losses.gradient * error
        guess = output.detach().clamp_min(1e-3)
        ratio = torch.maximum(guess / truth, truth / guess)
        right = ((ratio < 1.25) & (valid > 0)).float().sum()
        return loss, float(right / valid.sum().clamp_min(1))
