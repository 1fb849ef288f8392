"""The starter's network: a RITM-style click network on MobileNetV2.

Input, click maps and previous mask are those of RITM (Sofiiuk et al., 2021):
disks of radius 5 and the mask of the click before join after the stem through
a Conv1S branch. Two things are ours, both for a model that has to learn from
little data: click maps are given again to every decoder stage, and each stage
sees how similar a place is to the clicked places (cosine of embeddings).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.networks.click_encoding import DistMaps
from napari_clickseg.networks.mobilenet import TAPS, MobileNetV2


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``(N, C, H, W)`` bilinearly, corners aligned as RITM does."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def scale_points(
    points: Tensor, size: tuple[int, int], working: tuple[int, int]
) -> Tensor:
    """Move points ``(N, 2P, 3)`` from one image size to another; -1 rows stay."""
    factor = points.new_tensor([working[0] / size[0], working[1] / size[1], 1.0])
    unused = points[..., :2].amax(-1, keepdim=True) < 0
    return torch.where(unused, points, points * factor)


class ConvBNReLU(nn.Sequential):
    """Convolution, batch norm, ReLU; padded to keep the size."""

    def __init__(
        self, inp: int, out: int, kernel: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(
                inp, out, kernel, 1, padding, dilation, groups=groups, bias=False
            ),
            nn.BatchNorm2d(out, momentum=0.03),
            nn.ReLU(inplace=True),
        )


def separable(inp: int, out: int, dilation: int = 1) -> nn.Sequential:
    """Depthwise 3x3 then 1x1, each with batch norm and ReLU."""
    return nn.Sequential(
        ConvBNReLU(inp, inp, 3, dilation, groups=inp), ConvBNReLU(inp, out)
    )


class ClickSimilarity(nn.Module):
    """How much each place looks like the clicked places.

    Embeds features, averages the embedding over each of the three maps
    (previous mask, positive disks, negative disks) and returns the cosine of
    every place with each average: three channels in [-1, 1], zero where a map
    is empty.
    """

    def __init__(self, channels: int, embedding: int = 32) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, embedding, 1)

    def forward(self, features: Tensor, maps: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` and maps ``(N, 3, h, w)`` to ``(N, 3, h, w)``."""
        embedded = F.normalize(self.embed(features).float(), dim=1, eps=1e-4)
        n, c, h, w = embedded.shape
        flat = embedded.reshape(n, c, h * w)
        weights = maps.float().reshape(n, 3, h * w)
        mean = torch.bmm(weights, flat.transpose(1, 2))
        mean = F.normalize(mean, dim=2, eps=1e-4)
        return torch.bmm(mean, flat).reshape(n, 3, h, w).to(features.dtype)


class ASPP(nn.Module):
    """Light atrous spatial pyramid pooling (Chen et al., 2018)."""

    def __init__(self, inp: int, out: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.reduce = ConvBNReLU(inp, out)
        self.branches = nn.ModuleList(
            ConvBNReLU(out, out, 3, dilation, groups=out) for dilation in dilations
        )
        self.pool = nn.Sequential(nn.Conv2d(out, out, 1), nn.ReLU(inplace=True))
        self.project = ConvBNReLU(out * (len(dilations) + 2), out)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inp, h, w)`` to ``(N, out, h, w)``."""
        x = self.reduce(x)
        pooled = self.pool(F.adaptive_avg_pool2d(x, 1)).expand_as(x)
        parts = [x, pooled, *(branch(x) for branch in self.branches)]
        y: Tensor = self.project(torch.cat(parts, 1))
        return y


class DecoderStage(nn.Module):
    """Join coarse features, a tap, click maps and similarities at one stride."""

    def __init__(self, coarse: int, tap: int, side: int, out: int) -> None:
        super().__init__()
        self.side = nn.Conv2d(tap, side, 1)
        self.similarity = ClickSimilarity(tap)
        self.fuse = nn.Sequential(
            separable(coarse + side + 6, out), separable(out, out)
        )

    def forward(self, coarse: Tensor, tap: Tensor, maps: Tensor) -> Tensor:
        """Return ``(N, out, h, w)`` at the size of ``tap``."""
        size = (tap.shape[-2], tap.shape[-1])
        parts = [
            resize(coarse, size),
            self.side(tap),
            self.similarity(tap, maps),
            maps.to(tap.dtype),
        ]
        y: Tensor = self.fuse(torch.cat(parts, 1))
        return y


class RITMMobileNetV2(nn.Module):
    """Click segmentation on MobileNetV2, logits at stride 4.

    Parameters
    ----------
    norm_radius : int
        Radius of the click disks in pixels of the network's input.
    context_channels : int
        Width of the context module at stride 16.
    decoder_channels : tuple of int
        Widths of the decoder at strides 8 and 4.
    max_side : int or None
        Inputs with a longer side are reduced to it inside the network, since
        objects larger than those seen in training are not understood. The
        answer comes back at the size of the input.
    """

    with_prev_mask = True
    normalises_input = True
    point_columns = 3

    def __init__(
        self,
        norm_radius: int = 5,
        context_channels: int = 128,
        decoder_channels: tuple[int, int] = (96, 64),
        max_side: int | None = 448,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "norm_radius": norm_radius,
            "context_channels": context_channels,
            "decoder_channels": list(decoder_channels),
            "max_side": max_side,
        }
        self.max_side = max_side
        self.dist_maps = DistMaps(norm_radius=norm_radius, use_disks=True)
        self.backbone = MobileNetV2()
        stem = self.backbone.stem_channels
        self.maps_transform = nn.Sequential(
            nn.Conv2d(3, 16, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, stem, 3, stride=2, padding=1),
        )
        self.maps_scale = nn.Parameter(torch.full((1,), 0.05))
        self.similarity = ClickSimilarity(TAPS[16][1])
        self.context = ASPP(TAPS[16][1] + 6, context_channels, (2, 5, 10))
        wide, narrow = decoder_channels
        self.decode8 = DecoderStage(context_channels, TAPS[8][1], 32, wide)
        self.decode4 = DecoderStage(wide, TAPS[4][1], 24, narrow)
        self.head = nn.Conv2d(narrow, 1, 1)
        self.head_aux = nn.Conv2d(context_channels, 1, 1)

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that the network works at for an input's size."""
        longest = max(height, width)
        if self.max_side is None or longest <= self.max_side:
            return height, width
        scale = self.max_side / longest
        return max(1, round(height * scale)), max(1, round(width * scale))

    def encode_image(self, image: Tensor) -> Tensor:
        """Return the stem's output, which no click changes.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1].
        """
        image = resize(image, self.working_size(*image.shape[-2:]))
        x = image * (255.0 / 128.0) - 1.0  # the range of the starting weights
        x = x.to(self.backbone.stem.weight.dtype)
        features: Tensor = self.backbone.act(self.backbone.stem(x))
        return features

    def decode_clicks(
        self, features: Tensor, points: Tensor, previous: Tensor
    ) -> dict[str, Tensor]:
        """Answer clicks on encoded features.

        Parameters
        ----------
        features : Tensor, shape (N, 32, h / 2, w / 2)
            From :meth:`encode_image`; ``(h, w)`` is the working size of
            ``(H, W)``.
        points : Tensor, shape (N, 2P, 3)
            Rows of row, column, order; positive half first, -1 unused.
        previous : Tensor, shape (N, 1, H, W)
            Probability of the answer before, zeros at the first click.

        Returns
        -------
        dict
            ``instances`` and ``instances_aux``, logits ``(N, 1, H, W)``.
        """
        size = (previous.shape[-2], previous.shape[-1])
        working = self.working_size(*size)
        if working != size:
            points = scale_points(points, size, working)
            previous = resize(previous, working)
        maps = torch.cat([previous, self.dist_maps(previous, points)], 1)
        dtype = features.dtype
        aux = self.maps_transform(maps.to(dtype)) * self.maps_scale.abs().to(dtype)
        taps = self.backbone(features + aux)
        at = {
            stride: F.adaptive_max_pool2d(
                maps, (tap.shape[-2], tap.shape[-1])
            ).to(dtype)
            for stride, tap in taps.items()
        }
        deep = taps[16]
        x = torch.cat([deep, self.similarity(deep, at[16]), at[16]], 1)
        context = self.context(x)
        x = self.decode8(context, taps[8], at[8])
        x = self.decode4(x, taps[4], at[4])
        return {
            "instances": resize(self.head(x).float(), size),
            "instances_aux": resize(self.head_aux(context).float(), size),
        }

    def forward(self, image: Tensor, points: Tensor) -> dict[str, Tensor]:
        """Answer clicks on an image.

        Parameters
        ----------
        image : Tensor, shape (N, 4, H, W)
            RGB in [0, 1] and the previous probability.
        points : Tensor, shape (N, 2P, 3)
            See :meth:`decode_clicks`.
        """
        features = self.encode_image(image[:, :3])
        return self.decode_clicks(features, points, image[:, 3:])
