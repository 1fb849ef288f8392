"""HRNetV2 (Wang et al., TPAMI 2020) with the parameter names of its release.

Four branches at strides 4, 8, 16 and 32 run side by side and exchange
features after each module.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from napari_clickseg.networks.layers import (
    BasicBlock,
    Bottleneck,
    conv_bn_relu,
    residual_layer,
    resize,
)

STEM_CHANNELS = 64


class HighResolutionModule(nn.Module):
    """Residual branches at several strides, then every branch to every other.

    Parameters
    ----------
    channels : sequence of int
        Width of each branch, finest first.
    blocks : int
        Residual blocks per branch.
    align_corners : bool
        How coarse branches are resized, see
        :func:`~napari_clickseg.networks.layers.resize`.
    """

    def __init__(
        self, channels: Sequence[int], blocks: int, align_corners: bool = True
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.branches = nn.ModuleList(
            residual_layer(BasicBlock, width, width, blocks) for width in channels
        )
        count = range(len(channels))
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(channels, source=j, target=i) for j in count)
            for i in count
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Map one ``(N, channels[i], h_i, w_i)`` per branch to the same shapes."""
        features = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        fused = []
        for target, layers in zip(features, self.fuse_layers, strict=True):
            pairs = zip(cast("nn.ModuleList", layers), features, strict=True)
            size = target.shape[-2:]
            first, *others = (
                resize(layer(x), size, align_corners=self.align_corners)
                for layer, x in pairs
            )
            fused.append(self.relu(sum(others, first)))
        return fused


class HighResolutionNet(nn.Module):
    """HRNetV2 up to the concatenation of its four branches.

    Parameters
    ----------
    width : int
        Channels of the finest branch; each next one has twice as many.
    small : bool
        The lighter "small v2" net: half the blocks, fewer modules.
    align_corners : bool
        As in :class:`HighResolutionModule`.
    """

    def __init__(
        self, width: int, small: bool = False, *, align_corners: bool = True
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        blocks = 2 if small else 4
        modules = (1, 3, 2) if small else (1, 4, 3)
        channels = [width * factor for factor in (1, 2, 4, 8)]
        #: Channels of :meth:`concatenated`.
        self.out_channels = sum(channels)

        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.conv2 = nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = residual_layer(Bottleneck, STEM_CHANNELS, 64, blocks)
        self.transition1 = _transition([64 * Bottleneck.expansion], channels[:2])
        self.stage2 = _stage(channels[:2], blocks, modules[0], align_corners)
        self.transition2 = _transition(channels[:2], channels[:3])
        self.stage3 = _stage(channels[:3], blocks, modules[1], align_corners)
        self.transition3 = _transition(channels[:3], channels)
        self.stage4 = _stage(channels, blocks, modules[2], align_corners)

    def stem(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, 64, H / 2, W / 2)``, where clicks join."""
        return self.relu(self.bn1(self.conv1(image)))

    def concatenated(self, stem: Tensor) -> Tensor:
        """Map the stem to all branches at stride 4.

        Parameters
        ----------
        stem : Tensor, shape (N, 64, H / 2, W / 2)

        Returns
        -------
        Tensor, shape (N, 15 width, H / 4, W / 4)
            Finest branch first.
        """
        x = self.layer1(self.relu(self.bn2(self.conv2(stem))))
        features = self.stage2([layer(x) for layer in self.transition1])
        features = self.stage3(_widen(self.transition2, features))
        features = self.stage4(_widen(self.transition3, features))
        size = features[0].shape[-2:]
        same = [resize(x, size, align_corners=self.align_corners) for x in features]
        return torch.cat(same, 1)


def _stage(
    channels: Sequence[int], blocks: int, modules: int, align_corners: bool
) -> nn.Sequential:
    return nn.Sequential(
        *(HighResolutionModule(channels, blocks, align_corners) for _ in range(modules))
    )


def _widen(transition: nn.ModuleList, features: list[Tensor]) -> list[Tensor]:
    """Give the next stage its inputs: a new branch starts from the coarsest."""
    inputs = [*features, features[-1]]
    return [layer(x) for layer, x in zip(transition, inputs, strict=True)]


def _transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """Adapt widths and add the branch of the next stride.

    Branches that stay as they are pass through an identity, which has no keys.
    """
    layers: list[nn.Module] = []
    for i, width in enumerate(after):
        if i >= len(before):
            down = conv_bn_relu(before[-1], width, 3, stride=2)
            layers.append(nn.Sequential(down))
        elif before[i] != width:
            layers.append(conv_bn_relu(before[i], width, 3))
        else:
            layers.append(nn.Identity())
    return nn.ModuleList(layers)


def _exchange(channels: Sequence[int], *, source: int, target: int) -> nn.Module:
    """Bring one branch to another's width and, going coarser, to its stride.

    Going finer, the caller resizes.
    """
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_bn_relu(channels[source], channels[target], relu=False)
    steps = target - source
    widths = [channels[source]] * steps + [channels[target]]
    return nn.Sequential(
        *(
            conv_bn_relu(a, b, 3, stride=2, relu=step < steps)
            for step, (a, b) in enumerate(pairwise(widths), start=1)
        )
    )
