"""UPerHead (Xiao et al., ECCV 2018) as InterFormer uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


class ConvModule(nn.Module):
    """Convolution without bias (``conv``), a norm (``bn``), ReLU."""

    def __init__(
        self, inp: int, out: int, kernel: int = 1, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, out, kernel, padding=kernel // 2, bias=False)
        self.bn = norm(out)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inp, h, w)`` to ``(N, out, h, w)``."""
        return F.relu(self.bn(self.conv(x)))


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize bilinearly; corners are not aligned, unlike in RITM."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class UPerHead(nn.Module):
    """Pyramid pooling on the coarsest map, then a top-down pyramid.

    Parameters
    ----------
    in_channels : sequence of int
        Of the four input maps, finest first.
    channels : int
        Width inside.
    classes : int
        Channels of the result.
    pool_scales : sequence of int
        Sides of the pooled maps.
    norm : callable
        Makes the norm after each convolution; batch norm as published.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (32, 64, 128, 256),
        channels: int = 64,
        classes: int = 2,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        *,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        *fine, coarse = in_channels

        def conv(inp: int, kernel: int = 1) -> ConvModule:
            return ConvModule(inp, channels, kernel, norm)

        self.conv_seg = nn.Conv2d(channels, classes, 1)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), conv(coarse))
            for scale in pool_scales
        )
        self.bottleneck = conv(coarse + len(pool_scales) * channels, 3)
        self.lateral_convs = nn.ModuleList(conv(inp) for inp in fine)
        self.fpn_convs = nn.ModuleList(conv(channels, 3) for _ in fine)
        self.fpn_bottleneck = conv(len(in_channels) * channels, 3)
        #: What precedes the last fusion; a place for refinement.
        self.joined = nn.Identity()

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Map four maps to logits ``(N, classes, h, w)`` at the finest size."""
        coarse = pyramid[-1]
        pooled = [
            resize(module(coarse), coarse.shape[-2:]) for module in self.psp_modules
        ]
        maps = [
            conv(x) for conv, x in zip(self.lateral_convs, pyramid[:-1], strict=True)
        ]
        maps.append(self.bottleneck(torch.cat([coarse, *pooled], 1)))
        for i in range(len(maps) - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + resize(maps[i], maps[i - 1].shape[-2:])
        fine = [conv(x) for conv, x in zip(self.fpn_convs, maps[:-1], strict=True)]
        size = fine[0].shape[-2:]
        joined = torch.cat([resize(x, size) for x in [*fine, maps[-1]]], 1)
        return self.conv_seg(self.fpn_bottleneck(self.joined(joined)))


class FCNHead(nn.Module):
    """The auxiliary head, for training: one convolution, then the classes."""

    def __init__(
        self,
        inp: int = 128,
        channels: int = 64,
        classes: int = 2,
        *,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        self.convs = nn.ModuleList([ConvModule(inp, channels, 3, norm)])

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inp, h, w)`` to ``(N, classes, h, w)``."""
        for conv in self.convs:
            x = conv(x)
        return self.conv_seg(x)
