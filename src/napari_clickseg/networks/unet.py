"""A plain U-Net: image in, one logit per pixel out; it knows nothing of clicks.

The encoder-decoder of Ronneberger et al. (2015) with padded convolutions and batch
norm. It stands for the networks that people train for their own images, and that
:func:`napari_clickseg.make_interactive` lets them correct by clicks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DoubleConvolution(nn.Sequential):
    """Twice a 3x3 convolution, batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [
                nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class Up(nn.Module):
    """Double the size, join what the encoder has kept, convolve.

    Parameters
    ----------
    in_channels : int
        From the level below.
    out_channels : int
        Of the encoder at this level, and of the answer.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, 2)
        self.convolve = DoubleConvolution(2 * out_channels, out_channels)

    def forward(self, below: Tensor, kept: Tensor) -> Tensor:
        """Map ``(N, in, H/2, W/2)`` and ``(N, out, H, W)`` to ``(N, out, H, W)``."""
        return self.convolve(torch.cat([kept, self.up(below)], 1))


class UNet(nn.Module):
    """Segment all of a kind, without clicks.

    Parameters
    ----------
    channels : sequence of int
        Of each level, from full resolution down; each level halves the size.
    in_channels : int
        Of the image.
    classes : int
        Of the answer: 1 for a foreground's logit, more for one logit each.
    normalise : bool
        Bring each image to mean 0 and standard deviation 1 first, so that bright
        and dark microscopes look alike.

    Notes
    -----
    Height and width must be multiples of :attr:`multiple`.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128),
        in_channels: int = 3,
        classes: int = 1,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        #: What builds this network again.
        self.config: dict[str, Any] = {
            "channels": list(channels),
            "in_channels": in_channels,
            "classes": classes,
            "normalise": normalise,
        }
        self.normalise = normalise
        #: Height and width must be multiples of this.
        self.multiple = 2 ** (len(channels) - 1)
        widths = [in_channels, *channels]
        self.down = nn.ModuleList(
            DoubleConvolution(a, b) for a, b in zip(widths, channels, strict=False)
        )
        upward = list(channels)[::-1]
        self.up = nn.ModuleList(Up(a, b) for a, b in itertools.pairwise(upward))
        self.head = nn.Conv2d(channels[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(N, in_channels, H, W)`` to logits ``(N, classes, H, W)``."""
        x = image
        if self.normalise:
            mean = x.mean((1, 2, 3), keepdim=True)
            deviation = x.std((1, 2, 3), keepdim=True)
            x = (x - mean) / (deviation + 1e-3)
        kept = []
        for level, convolve in enumerate(self.down):
            x = convolve(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for up, beside in zip(self.up, kept[-2::-1], strict=True):
            x = up(x, beside)
        return self.head(x)
