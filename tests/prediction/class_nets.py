"""A network for classes that goes by brightness alone, of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_clickseg.models.dense_model import DenseModel
from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.tasks import Classes
from napari_clickseg.tasks.class_lists import CELLS

#: Grey values of a painted image: what the network takes for which class.
BACKGROUND, BORDER, INTERIOR = 0, 128, 255


class ByBrightness(nn.Module):
    """Background is dark, border grey, interior bright."""

    normalises_input = True
    multiple = 1

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.tensor([0.0, 1.0, 0.5]))
        self.sides: list[tuple[int, int]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sides.append((int(image.shape[2]), int(image.shape[3])))
        apart = image[:, :1] - self.centres.view(1, 3, 1, 1)
        return -200 * apart**2


def bright_model(network: nn.Module | None = None, **options: Any) -> DenseModel:
    """Return a model for proposals without weights to be learned."""
    info = ModelInfo(
        name="bright", task="semantic", architecture="?", file="", licence="", source=""
    )
    options.setdefault("classes", CELLS)
    return DenseModel(network or ByBrightness(), info, optimise=False, **options)


def other_classes() -> Classes:
    """Return three classes that say nothing of objects."""
    return Classes.named(["sky", "sea", "land"])


def painted(
    shape: tuple[int, int], discs: list[tuple[int, int, int]]
) -> np.ndarray[Any, Any]:
    """Return an image of discs (row, column, radius) with a border of two pixels."""
    image = np.zeros(shape, np.uint8)
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    for row, col, radius in discs:
        apart = np.hypot(rows - row, cols - col)
        image[apart <= radius] = BORDER
        image[apart <= radius - 2] = INTERIOR
    return image
