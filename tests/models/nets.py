"""Small networks that know nothing of clicks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """A convolutional network with one downsampling; what it returns varies.

    Parameters
    ----------
    classes, channels : int
        Of the answer, of the image.
    last : callable
        Makes the answer of the logits.
    """

    def __init__(self, classes: int = 1, channels: int = 3, last: Any = None) -> None:
        super().__init__()
        torch.manual_seed(classes)
        self.first = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
        )
        self.head = nn.Conv2d(8, classes, 1)
        self.last = last
        with torch.no_grad():
            for part in self.modules():
                if isinstance(part, nn.Conv2d):
                    part.weight.mul_(3)

    def forward(self, x: Tensor) -> Any:
        size = x.shape[2:]
        x = torch.relu(self.first(x))
        x = self.head(torch.relu(x + self.block(x)))
        x = nn.functional.interpolate(x, size, mode="bilinear", align_corners=False)
        return x if self.last is None else self.last(x)
