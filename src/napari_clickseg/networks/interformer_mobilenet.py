"""A small member of the InterFormer family: MobileNetV2 instead of a ViT.

Its decoder is that of InterFormer Light, I-MSA and UPerHead, so that an image is
encoded once and each click costs a fraction of a whole pass. It differs from the
released models in what suits a small network and little training data: the
previous answer enters as shares of "possibly object" and "possibly background"
instead of hard labels, the first query also knows how similar each place is to
the clicked ones, and norms do not depend on a batch's statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from napari_clickseg.networks.click_encoding import DistMaps
from napari_clickseg.networks.interactive_attention import InteractiveNeck
from napari_clickseg.networks.mobilenet import TAPS, MobileNetV2
from napari_clickseg.networks.ritm_mobilenet import (
    ASPP,
    ClickSimilarity,
    pointwise,
    separable,
)
from napari_clickseg.networks.uperhead import FCNHead, UPerHead, resize

#: Working sizes are multiples of this, the stride of the coarsest map.
MULTIPLE = 32
#: Labels of a place, and those of them that similarities are measured to:
#: possibly object, clicked as object, clicked as background.
LABELS = 5
COMPARED = (3, 4, 0)


def group_norm(channels: int) -> nn.Module:
    """Return the norm of the heads: eight groups."""
    return nn.GroupNorm(8, channels)


def largest(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return the largest value of each block; ``size`` divides the map's sides.

    As max pooling, whose kernel also notes where each value was.
    """
    for axis in (-2, -1):
        x = x.unflatten(axis, (size[axis], x.shape[axis] // size[axis])).amax(axis)
    return x


class PyramidEncoder(nn.Module):
    """Feature pyramid on MobileNetV2's taps (Lin et al., CVPR 2017).

    Parameters
    ----------
    channels : sequence of int
        Of the maps at strides 4, 8, 16 and 32.
    width : int
        Channels on the way down.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        taps = [TAPS[stride][1] for stride in (4, 8, 16)]
        self.context = ASPP(taps[2], width, (2, 5, 10))
        self.lateral = nn.ModuleList(nn.Conv2d(tap, width, 1) for tap in taps[:2])
        self.smooth = nn.ModuleList(separable(width, width) for _ in taps[:2])
        self.coarsest = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width),
            *pointwise(width, width),
        )
        self.out = nn.ModuleList(pointwise(width, out) for out in channels)

    def forward(self, at4: Tensor, at8: Tensor, at16: Tensor) -> list[Tensor]:
        """Map the taps to maps at strides 4, 8, 16 and 32."""
        x = self.context(at16)
        maps = [self.coarsest(x), x]
        for tap, lateral, smooth in zip(
            (at8, at4), self.lateral[::-1], self.smooth[::-1], strict=True
        ):
            x = smooth(resize(x, tap.shape[-2:]) + lateral(tap))
            maps.append(x)
        return [out(x) for out, x in zip(self.out, maps[::-1], strict=True)]


class InterFormerMobileNetV2(nn.Module):
    """InterFormer on MobileNetV2.

    Parameters
    ----------
    channels : sequence of int
        Of the pyramid at strides 4, 8, 16 and 32; multiples of 8 that the heads 1,
        2, 4 and 8 divide.
    depths : sequence of int
        Blocks of the neck's stages.
    width, head_channels : int
        Of the pyramid's way down, and of the head.
    norm_radius : int
        Radius of the click disks in pixels at the working size.
    max_side : int or None
        Longest working side; larger inputs are reduced inside.
    """

    with_prev_mask = True
    normalises_input = True
    point_columns = 3
    #: See few windows, and keep what was made of them.
    encodes_once = True
    #: It encodes quickly enough to look closer at small objects when it is asked.
    magnifies = 4.0
    #: Training reaches into ``encode_image``.
    encoder_learns = True

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 256),
        depths: Sequence[int] = (1, 1, 2, 1),
        width: int = 96,
        head_channels: int = 48,
        norm_radius: int = 5,
        max_side: int | None = 448,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "channels": list(channels),
            "depths": list(depths),
            "width": width,
            "head_channels": head_channels,
            "norm_radius": norm_radius,
            "max_side": max_side,
        }
        self.max_side = max_side
        self.normalised = nn.Identity()
        self.dist_maps = DistMaps(norm_radius=norm_radius, use_disks=True)
        self.backbone = MobileNetV2()
        self.pyramid = PyramidEncoder(channels, width)
        self.similarities = nn.ModuleList(
            ClickSimilarity(each) for each in channels[:3]
        )
        planes = LABELS + len(COMPARED) * len(self.similarities)
        self.neck = InteractiveNeck(channels, depths, labels=planes)
        nn.init.normal_(self.neck.patch_embed, std=0.5)
        self.decode_head = UPerHead(channels, head_channels, 1, norm=group_norm)
        self.auxiliary_head = FCNHead(channels[2], head_channels, 1, norm=group_norm)

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where refinement puts its layers."""
        fused = ("decode_head.joined",)
        return {
            "rgb": ("normalised",),
            "distmap": ("dist_maps",),
            "f-brs-a": ("decode_head.bottleneck",),
            "f-brs-b": fused,
            "f-brs-c": ("decode_head.fpn_bottleneck",),
            "g-brs": fused,
        }

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that the network works at for an input's size."""
        longest = max(height, width)
        scale = 1.0
        if self.max_side is not None and longest > self.max_side:
            scale = self.max_side / longest
        tall, wide = (
            MULTIPLE * max(1, round(side * scale / MULTIPLE))
            for side in (height, width)
        )
        return tall, wide

    def encode_image(self, image: Tensor) -> list[Tensor]:
        """Return the feature pyramid, which no click changes.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1].

        Returns
        -------
        list of Tensor
            At strides 4, 8, 16 and 32 of the working size.
        """
        pyramid: list[Tensor] = self.pyramid(*self.taps(image))
        return pyramid

    def taps(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the backbone's maps at strides 4, 8 and 16."""
        image = resize(image, self.working_size(image.shape[-2], image.shape[-1]))
        # The range of the starting weights.
        x = self.normalised(image * (255.0 / 128.0) - 1.0)
        at4 = self.backbone.shallow(x.to(self.neck.patch_embed.dtype))
        return at4, *self.backbone.deep(at4)

    def shares(self, points: Tensor, previous: Tensor, size: Sequence[int]) -> Tensor:
        """Return how much of each pixel carries which of the five labels.

        Disks around clicks are definite; elsewhere the previous probability is
        split between possible object and possible background. Where there is no
        previous answer (all zeros), everything is unknown.

        Returns
        -------
        Tensor, shape (N, 5, *size), float32
        """
        height, width = previous.shape[-2:]
        previous = resize(previous, size).float()
        factors = [size[0] / height, size[1] / width]
        unused = points[..., :2].amax(-1, keepdim=True) < 0
        scaled = (points[..., :2] + 0.5) * points.new_tensor(factors) - 0.5
        places = torch.cat([scaled, points[..., 2:]], -1)
        disks = self.dist_maps(previous, torch.where(unused, points, places))
        positive, negative = disks.float().split(1, 1)
        # Of a pixel in both kinds of disk, half belongs to each.
        total = (positive + negative).clamp(min=1)
        free = 1 - (positive + negative).clamp(max=1)
        known = (previous.amax((1, 2, 3), keepdim=True) > 0).float()
        return torch.cat(
            [
                negative / total,
                free * known * (1 - previous),
                free * (1 - known).expand_as(free),
                free * known * previous,
                positive / total,
            ],
            1,
        )

    def cues(self, pyramid: Sequence[Tensor], shares: Tensor) -> Tensor:
        """Return what the first query is told of each place.

        Returns
        -------
        Tensor, shape (N, 14, h, w)
            At the finest map: the shares, then at strides 4, 8 and 16 the cosines
            with what is possibly object, object and background.
        """
        size = pyramid[0].shape[-2:]
        there = shares[:, COMPARED]
        planes = [resize(shares, size)]
        for similarity, features in zip(self.similarities, pyramid, strict=False):
            # The largest of the largest: each level reads the one before.
            there = largest(there, features.shape[-2:])
            planes.append(resize(similarity(features, there).float(), size))
        return torch.cat(planes, 1)

    def decode_clicks(
        self, pyramid: Sequence[Tensor], points: Tensor, previous: Tensor
    ) -> dict[str, Tensor]:
        """Answer clicks on encoded features.

        Parameters
        ----------
        pyramid : sequence of Tensor
            From :meth:`encode_image`.
        points : Tensor, shape (N, 2P, 3)
            Rows of row, column, order; positive half first, -1 unused.
        previous : Tensor, shape (N, 1, H, W)
            Probability of the answer before, zeros at the first click.

        Returns
        -------
        dict
            ``instances``, and where gradients are recorded ``instances_aux``: logits
            ``(N, 1, H, W)``.
        """
        size = (previous.shape[-2], previous.shape[-1])
        shares = self.shares(points, previous, self.working_size(*size))
        maps = self.neck.decode(pyramid, self.cues(pyramid, shares))
        answer = {"instances": resize(self.decode_head(maps).float(), size)}
        if torch.is_grad_enabled():  # for training alone
            coarse = self.auxiliary_head(maps[2]).float()
            answer["instances_aux"] = resize(coarse, size)
        return answer

    def forward(self, image: Tensor, points: Tensor) -> dict[str, Tensor]:
        """Answer clicks on an image.

        Parameters
        ----------
        image : Tensor, shape (N, 4, H, W)
            RGB in [0, 1] and the previous probability.
        points : Tensor, shape (N, 2P, 3)
            See :meth:`decode_clicks`.
        """
        pyramid = self.encode_image(image[:, :3])
        return self.decode_clicks(pyramid, points, image[:, 3:])
