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
from napari_clickseg.networks.layers import adaptive_max
from napari_clickseg.networks.mobilenet import TAPS, MobileNetV2


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``(N, C, H, W)`` bilinearly, corners aligned as RITM does."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def scale_points(
    points: Tensor, size: tuple[int, int], working: tuple[int, int]
) -> Tensor:
    """Move points ``(N, 2P, 3)`` between image sizes, corners on corners."""
    factors = [(w - 1) / max(s - 1, 1) for s, w in zip(size, working, strict=True)]
    unused = points[..., :2].amax(-1, keepdim=True) < 0
    return torch.where(unused, points, points * points.new_tensor([*factors, 1.0]))


def pointwise(inp: int, out: int) -> nn.Sequential:
    """1x1 convolution, group norm, ReLU.

    Group norm, because images at the first click and at the tenth differ so much
    that the averaged statistics of batch norm suit neither.
    """
    return nn.Sequential(
        nn.Conv2d(inp, out, 1, bias=False),
        nn.GroupNorm(8, out),
        nn.ReLU(inplace=True),
    )


def separable(inp: int, out: int) -> nn.Sequential:
    """Depthwise 3x3, then :func:`pointwise`."""
    return nn.Sequential(
        nn.Conv2d(inp, inp, 3, padding=1, groups=inp), *pointwise(inp, out)
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
        self.reduce = pointwise(inp, out)
        self.branches = nn.ModuleList(
            nn.Conv2d(out, out, 3, padding=dilation, dilation=dilation, groups=out)
            for dilation in dilations
        )
        self.pool = nn.Sequential(nn.Conv2d(out, out, 1), nn.ReLU(inplace=True))
        self.project = pointwise(out * (len(dilations) + 2), out)

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

    The network works at sizes of the form ``16 k + 1``, at which strided grids
    and corner-aligned resizing agree; other inputs are resized inside and the
    answer comes back at the size of the input.

    Parameters
    ----------
    norm_radius : int
        Radius of the click disks in pixels at the working size.
    context_channels : int
        Width of the context module at stride 16.
    decoder_channels : tuple of int
        Widths of the decoder at strides 8 and 4.
    max_side : int or None
        Longest working side. Larger inputs are reduced inside the network,
        since objects larger than those seen in training are not understood.
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
        # A name for the scaled image: RGB-BRS changes it there.
        self.scaled = nn.Identity()
        self.dist_maps = DistMaps(norm_radius=norm_radius, use_disks=True)
        self.backbone = MobileNetV2()
        self.maps_transform = nn.Sequential(
            nn.Conv2d(3, 16, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(32, TAPS[4][1], 3, stride=2, padding=1),
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
        scale = 1.0
        if self.max_side is not None and longest > self.max_side:
            scale = self.max_side / longest
        sides = (max(1, round((side * scale - 1) / 16)) for side in (height, width))
        tall, wide = (16 * side + 1 for side in sides)
        return tall, wide

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where refinements change this network, by refinement.

        f-BRS-B and G-BRS: the concatenation before the last decoder; f-BRS-A: the
        context at stride 16; f-BRS-C: before the last convolution. See
        :meth:`napari_clickseg.networks.click_network.ClickNetwork.places`.
        """
        return {
            "rgb": ("scaled",),
            "distmap": ("dist_maps",),
            "f-brs-a": ("context",),
            "f-brs-b": ("decode4.fuse:input",),
            "f-brs-c": ("decode4",),
            "g-brs": ("decode4.fuse:input",),
        }

    def encode_image(self, image: Tensor) -> Tensor:
        """Return features at stride 4, which no click changes.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1].

        Returns
        -------
        Tensor, shape (N, 24, h / 4, w / 4)
            Where ``(h, w)`` is the working size of ``(H, W)``.
        """
        image = resize(image, self.working_size(image.shape[-2], image.shape[-1]))
        x = self.scaled(image * (255.0 / 128.0) - 1.0)  # as the starting weights want
        return self.backbone.shallow(x.to(self.head.weight.dtype))

    def decode_clicks(
        self, features: Tensor, points: Tensor, previous: Tensor
    ) -> dict[str, Tensor]:
        """Answer clicks on encoded features.

        Parameters
        ----------
        features : Tensor, shape (N, 24, h / 4, w / 4)
            From :meth:`encode_image`.
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
        previous = resize(previous, working)
        points = scale_points(points.float(), size, working)
        maps = torch.cat([previous, self.dist_maps(previous, points)], 1)
        dtype = features.dtype
        aux = self.maps_transform(maps.to(dtype)) * self.maps_scale.abs().to(dtype)
        at8, at16 = self.backbone.deep(features + aux)
        maps4, maps8, maps16 = (
            adaptive_max(maps, (tap.shape[-2], tap.shape[-1])).to(dtype)
            for tap in (features, at8, at16)
        )
        x = torch.cat([at16, self.similarity(at16, maps16), maps16], 1)
        context = self.context(x)
        x = self.decode8(context, at8, maps8)
        x = self.decode4(x, features, maps4)
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
