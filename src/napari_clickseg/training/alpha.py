"""Teaching a network alpha from composites whose alpha is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_clickseg.networks.indexnet import IndexNet
from napari_clickseg.training.dense import Batch, DenseRun, Stream, scaled
from napari_clickseg.training.dense_losses import (
    alpha_error,
    composition_error,
    gradient_error,
    laplacian_error,
)
from napari_clickseg.training.generators.matting import (
    UNKNOWN,
    MattingSample,
    Sources,
    composite,
)
from napari_clickseg.training.packs import Pack


@dataclass(frozen=True)
class MattingOptions:
    """How composites are drawn.

    Parameters
    ----------
    canvases : sequence of (height, width, batch)
        Sizes that batches take in turn at random; multiples of 32.
    larger : (float, float)
        Composites are drawn this many times larger (log-uniform) and a window of
        them, with unknown pixels at its middle, is taken.
    widths : (float, float)
        Of the trimaps' bands, in pixels.
    """

    canvases: Sequence[tuple[int, int, int]] = ((192, 192, 6),)
    larger: tuple[float, float] = (1.0, 1.7)
    widths: tuple[float, float] = (1.5, 22.0)


def window(
    sample: MattingSample, canvas: tuple[int, int], rng: Generator
) -> MattingSample:
    """Cut a window out of a sample, around a pixel that is unknown."""
    unknown = np.flatnonzero(sample.trimap == UNKNOWN)
    places = divmod(
        int(unknown[rng.integers(unknown.size)]) if unknown.size else 0,
        sample.trimap.shape[1],
    )
    cut = []
    for place, size, side in zip(places, sample.trimap.shape, canvas, strict=True):
        low = int(np.clip(place - side // 2, 0, size - side))
        cut.append(slice(low, low + side))
    part = (cut[0], cut[1])
    return MattingSample(
        sample.image[part],
        sample.foreground[part],
        sample.background[part],
        sample.alpha[part],
        sample.trimap[part],
    )


class MattingBatches(Stream):
    """Composites, drawn reproducibly by number.

    Parameters
    ----------
    packs : sequence of Pack
        Photos and cut-outs to draw from.
    options : MattingOptions
        How.
    seed : int
        Seed of the whole stream.
    """

    def __init__(
        self, packs: Sequence[Pack], options: MattingOptions, seed: int
    ) -> None:
        super().__init__(seed)
        self.sources, self.options = Sources(packs), options

    def __getitem__(self, index: int) -> Batch:
        """Return uint8 ``image``, ``front``, ``back``, ``trimap``, float ``alpha``.

        All of shape (N, C, H, W).
        """
        rng = self.rng(index)
        canvases = self.options.canvases
        height, width, batch = canvases[int(rng.integers(len(canvases)))]
        samples = []
        for _ in range(batch):
            low, high = np.log(self.options.larger)
            factor = float(np.exp(rng.uniform(low, high)))
            shape = (round(height * factor), round(width * factor))
            sample = composite(shape, rng, self.sources, self.options.widths)
            samples.append(window(sample, (height, width), rng))
        pictures: dict[str, list[NDArray[Any]]] = {
            "image": [s.image for s in samples],
            "front": [s.foreground for s in samples],
            "back": [s.background for s in samples],
            "trimap": [s.trimap[..., None] for s in samples],
            "alpha": [s.alpha[..., None] for s in samples],
        }
        return {
            key: torch.from_numpy(np.stack(found).transpose(0, 3, 1, 2).copy())
            for key, found in pictures.items()
        }


#: Layers of an IndexNet whose batch norms never see a batch's own statistics. The last
#: one has a single channel, alpha itself: normalised over a batch, every batch would
#: have the same mean alpha. The other one sees one value an image.
PLAIN_NORMS = ("pred.", "dconv_pp.global_avg_pool.")


@torch.no_grad()
def begin_between(network: IndexNet) -> None:
    """Let an IndexNet begin with alpha about 1/2 everywhere, and look where it learns.

    The answer has a single channel: with filters drawn at random it is as likely as
    not below 0, and it takes hundreds of steps until the last one has changed its sign.
    The dilated filters of the context module reach beyond small canvases: what they
    cannot learn there begins at 0 rather than at random.
    """
    for module in network.pred.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.fill_(0.5)
            module.bias.fill_(0.5)
    first = next(m for m in network.pred.modules() if isinstance(m, nn.Conv2d))
    first.weight.mul_(0.1)
    last = network.pred[1]
    assert isinstance(last, nn.Conv2d)
    middle = last.kernel_size[0] // 2
    last.weight.zero_()
    last.weight[0, 0, middle, middle] = 1
    for module in network.dconv_pp.modules():
        if isinstance(module, nn.Conv2d) and module.dilation[0] > 1:
            centre = module.weight[..., 1, 1].clone().abs().clamp_min(0.5)
            module.weight.zero_()
            module.weight[..., 1, 1] = centre


class AlphaRun(DenseRun):
    """Learning alpha, given image and trimap."""

    task: ClassVar[str] = "matting"
    score_name: ClassVar[str] = "MAE"

    def begin_from(self, root: Path, start: str) -> list[nn.Module]:
        """Fill the encoder, and let the answer begin between 0 and 1."""
        filled = super().begin_from(root, start)
        if isinstance(self.network, IndexNet):
            begin_between(self.network)
        return filled

    def begin_step(self) -> None:
        """Set the learning rates, and hold the norms that no batch is to move."""
        super().begin_step()
        for name, module in self.network.named_modules():
            norm = isinstance(module, nn.BatchNorm2d) and name.startswith(PLAIN_NORMS)
            # where begin_between saw to what they are given; and so few steps leave
            # nothing to be forgotten on purpose
            if (norm and self.plan.start is not None) or isinstance(module, nn.Dropout):
                module.eval()

    def open_data(self, packs: list[Pack]) -> MattingBatches:
        """Return composites."""
        options = MattingOptions(**self.plan.sampling)
        return MattingBatches(packs, options, self.plan.schedule.seed)

    def given(self, batch: Batch) -> Tensor:
        """Return RGB and the trimap in [0, 1], ``(N, 4, H, W)``."""
        normalises = bool(getattr(self.network, "normalises_input", False))
        image = scaled(batch["image"], normalises)
        joined = torch.cat([image, batch["trimap"].float() / 255], 1)
        return joined.contiguous(memory_format=torch.channels_last)

    def judge(self, output: Tensor, batch: Batch) -> tuple[Tensor, float]:
        """Return the loss where alpha is unknown, and the mean error there."""
        losses, truth = self.plan.losses, batch["alpha"]
        unknown = (batch["trimap"] == UNKNOWN).float()
        loss = alpha_error(output, truth, unknown)
        if losses.composition:
            image, front, back = (
                batch[key].float() / 255 for key in ("image", "front", "back")
            )
            error = composition_error(output, image, front, back, unknown)
            loss = loss + losses.composition * error
        if losses.laplacian:
            error = laplacian_error(output, truth, unknown)
            loss = loss + losses.laplacian * error
        if losses.gradient:
            known = torch.ones_like(unknown)
            whole = unknown * output + (1 - unknown) * truth
            # differences are none where both are known: their number is not asked
            share = unknown.mean().clamp_min(1e-3)
            loss = loss + losses.gradient * gradient_error(whole, truth, known) / share
        wrong = (output.detach().clamp(0, 1) - truth).abs() * unknown
        return loss, float(wrong.sum() / unknown.sum().clamp_min(1))
