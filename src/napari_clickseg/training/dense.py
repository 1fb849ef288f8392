"""How networks learn that answer every pixel, without clicks: what they share.

One optimiser step per batch. Batch norms of a pretrained encoder stay as they came;
those of new layers gather statistics for the first part of a run and are then kept, so
that the network ends as it will be used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import Dataset

from napari_clickseg.errors import TrainingError
from napari_clickseg.networks.layers import IMAGENET
from napari_clickseg.training.progress import Progress
from napari_clickseg.training.run import Run

#: Part of a run after which no batch norm learns its statistics any more.
NORMS_UNTIL = 0.6
Batch = dict[str, Tensor]


class Stream(Dataset[Batch]):
    """Batch ``i`` of a stream without end that its seed fixes.

    Parameters
    ----------
    seed : int
        Seed of the whole stream.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __len__(self) -> int:
        return 2**31

    def rng(self, index: int) -> Generator:
        """Return batch ``index``'s source of chance."""
        return np.random.default_rng([self.seed, index])


class DenseRun(Run):
    """A training run of a network that answers every pixel."""

    #: Beginnings of the names of what MobileNetV2's weights fill and what then learns
    #: slowly. IndexNet's first layer does not: it has the trimap to learn.
    pretrained = (
        "backbone.",
        "encoder.base_model.",
        *(f"layer{n}." for n in range(1, 8)),
    )
    #: The same, with that layer: what keeps its batch norms and the filters' sizes.
    filled = (*pretrained, "layer0.")
    score_name: ClassVar[str] = "score"

    def begin_from(self, root: Path, start: str) -> list[nn.Module]:
        """Fill the encoder with MobileNetV2's filters, wherever the network has it."""
        from napari_clickseg.training.start import load_backbone, read_filters

        network = self.network
        take: Callable[[list[tuple[Tensor, Tensor]]], int] | None
        take = getattr(network, "start_from", None)
        if take is not None:
            try:
                take(read_filters(root / start))
            except ValueError as error:
                raise TrainingError(f"starting weights {start}: {error}") from error
        else:
            backbone = getattr(network, "backbone", None)
            encoder = getattr(network, "encoder", None)
            backbone = backbone or getattr(encoder, "base_model", None)
            if backbone is None:
                raise TrainingError(f"{self.plan.architecture} takes no backbone start")
            load_backbone(backbone, root, start)
        return [
            module
            for name, module in network.named_modules()
            if f"{name}.".startswith(self.filled)
        ]

    def begin_step(self) -> None:
        """Set the learning rates, and hold the batch norms that are to stay."""
        super().begin_step()
        started = self.plan.start is not None
        over = self.progress() > NORMS_UNTIL
        for name, module in self.network.named_modules():
            if isinstance(module, nn.BatchNorm2d) and (
                over or (started and name.startswith(self.filled))
            ):
                module.eval()

    def rounds(self, batch: Batch) -> Iterator[Progress]:
        """Learn from a batch, once."""
        start = time.monotonic()
        batch = {key: value.to(self.device) for key, value in batch.items()}
        self.begin_step()
        with self.autocast(), parametrize.cached():
            output: Tensor = self.network(self.given(batch))
        loss, score = self.judge(output.float(), batch)
        self.end_step(loss)
        yield self.tell(start, float(loss.detach()), score)

    def given(self, batch: Batch) -> Tensor:
        """Return what the network is given, made of a batch."""
        raise NotImplementedError

    def judge(self, output: Tensor, batch: Batch) -> tuple[Tensor, float]:
        """Return the loss of an answer, and a score that people can read."""
        raise NotImplementedError


def scaled(image: Tensor, normalises: bool) -> Tensor:
    """Return uint8 RGB (N, 3, H, W) as a network takes it, channels last.

    Parameters
    ----------
    image : Tensor of uint8
    normalises : bool
        Whether the network itself normalises RGB in [0, 1]; else ImageNet's mean and
        deviation are used here.
    """
    x = image.float().div_(255)
    if not normalises:
        mean, std = (x.new_tensor(c).view(1, 3, 1, 1) for c in IMAGENET)
        x = (x - mean) / std
    return x.contiguous(memory_format=torch.channels_last)
