"""Teaching a network depth from scenes whose depth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from napari_clickseg.errors import TrainingError
from napari_clickseg.training.augment import recolour
from napari_clickseg.training.dense import Batch, DenseRun, Stream, scaled
from napari_clickseg.training.dense_losses import (
    depth_gradient_error,
    scale_invariant_error,
)
from napari_clickseg.training.generators.matting import Sources
from napari_clickseg.training.generators.relief import relief
from napari_clickseg.training.generators.scenes import scene
from napari_clickseg.training.generators.textures import Floats
from napari_clickseg.training.packs import Pack, read_labels, read_rgb


@dataclass(frozen=True)
class DepthOptions:
    """How scenes are drawn.

    Parameters
    ----------
    canvases : sequence of (height, width, batch)
        Sizes that batches take in turn at random; multiples of 32.
    relief : float
        Share of height maps as under a microscope; the rest are rooms.
    measured : float
        Share of photos whose depth was measured, where packs have a folder
        ``depth/`` of uint16 millimetres (0: unknown).
    recoloured : float
        Chance of further changes of contrast, colour and sharpness.
    """

    canvases: Sequence[tuple[int, int, int]] = ((224, 288, 8),)
    relief: float = 0.15
    measured: float = 0.0
    recoloured: float = 0.5


def measured_view(
    path: Path, shape: tuple[int, int], rng: Generator
) -> tuple[NDArray[np.uint8], Floats]:
    """Cut a window out of a photo with measured depth.

    Parameters
    ----------
    path : Path
        ``PACK/images/NAME.*``; millimetres lie in ``PACK/depth/NAME.png``.
    shape : (int, int)
        Height and width of what comes out.
    rng : Generator
        Source of chance.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        RGB, four fifths of the photo or more.
    ndarray of float32, shape (H, W)
        Metres, 0 where unknown.
    """
    photo = read_rgb(path)[..., :3]
    metres = read_labels(_depth_of(path)).astype(np.float32) / np.float32(1000)
    height, width = metres.shape
    side = rng.uniform(0.8, 1) * min(height / shape[0], width / shape[1])
    rows, cols = int(side * shape[0]), int(side * shape[1])
    top = int(rng.integers(height - rows + 1))
    left = int(rng.integers(width - cols + 1))
    part = np.s_[top : top + rows, left : left + cols]
    size = (shape[1], shape[0])
    image = cv2.resize(photo[part], size, interpolation=cv2.INTER_AREA)
    depth = cv2.resize(metres[part], size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(image, np.uint8), np.asarray(depth, np.float32)


def _depth_of(image: Path) -> Path:
    return image.parent.parent / "depth" / f"{image.stem}.png"


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
        self.measured = [
            item.image
            for pack in packs
            for item in pack.items
            if _depth_of(item.image).exists()
        ]
        if options.measured and not self.measured:
            raise TrainingError(
                "the recipe asks for photos with measured depth, but no pack has a "
                "folder depth/; set measured = 0 in [sampling]"
            )

    def __getitem__(self, index: int) -> Batch:
        """Return ``image`` (N,3,H,W) uint8 and ``depth`` (N,1,H,W) float32."""
        rng = self.rng(index)
        options = self.options
        height, width, batch = options.canvases[
            int(rng.integers(len(options.canvases)))
        ]
        images, depths = [], []
        for _ in range(batch):
            image, depth = self._draw((height, width), rng)
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

    def _draw(
        self, shape: tuple[int, int], rng: Generator
    ) -> tuple[NDArray[np.uint8], Floats]:
        share = rng.random()
        if share < self.options.measured:
            path = self.measured[int(rng.integers(len(self.measured)))]
            return measured_view(path, shape, rng)
        reliefs = self.options.measured + self.options.relief
        draw = relief if share < reliefs else scene
        sample = draw(shape, rng, self.sources.photos)
        return sample.image, sample.depth


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
