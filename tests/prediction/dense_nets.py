"""Tiny random networks with a value for every pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tiny(nn.Module):
    """Features at half resolution, then a map.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    largest : float, optional
        The answer lies between 0 and this.
    multiple : int
        Sides must be multiples of it.
    """

    def __init__(
        self,
        inputs: int = 3,
        outputs: int = 1,
        largest: float | None = None,
        multiple: int = 2,
        width: int = 12,
        seed: int = 0,
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.multiple, self.largest = multiple, largest
        self.first = nn.Conv2d(inputs, width, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, outputs, 1)
        self.eval().requires_grad_(False)
        self.runs = 0

    def places(self) -> dict[str, tuple[str, ...]]:
        return {"g-brs": ("second",), "rgb": ("input",)}

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[2] % self.multiple == 0
        assert image.shape[3] % self.multiple == 0
        self.runs += 1
        x = self.second(self.first(image).relu())
        x = self.head(F.leaky_relu(x, 0.1))
        x = F.interpolate(x, image.shape[2:], mode="bilinear", align_corners=False)
        return x if self.largest is None else self.largest * x.sigmoid()
