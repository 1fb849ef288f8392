"""DeepLabV3+ (Chen et al., ECCV 2018) as RITM and f-BRS publish it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_clickseg.networks.layers import SeparableConv2d, conv_bn_relu, resize
from napari_clickseg.networks.resnet import ResNet

SKIP_CHANNELS = 32
RATES = (12, 24, 36)


class ASPPPooling(nn.Module):
    """The whole image's average as a feature of every place (key ``gap``)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.gap = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), *conv_bn_relu(in_channels, out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, h, w)``."""
        return resize(self.gap(x), x.shape[-2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling.

    Parameters
    ----------
    in_channels, out_channels : int
        Width before, and of each branch and the result.
    dropout : float
        Share of values dropped in training.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        atrous = (
            conv_bn_relu(in_channels, out_channels, 3, dilation=rate) for rate in RATES
        )
        self.concurent = nn.ModuleList(  # spelled as published
            [
                conv_bn_relu(in_channels, out_channels),
                *atrous,
                ASPPPooling(in_channels, out_channels),
            ]
        )
        self.project = nn.Sequential(
            *conv_bn_relu((2 + len(RATES)) * out_channels, out_channels),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, h, w)``."""
        branches = [branch(x) for branch in self.concurent]
        return self.project(torch.cat(branches, 1))


class SkipProject(nn.Module):
    """Narrow the fine features that skip the backbone's depth."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.skip_project = conv_bn_relu(in_channels, SKIP_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, 32, h, w)``."""
        return self.skip_project(x)


class DeepLabHead(nn.Module):
    """Merge context and fine features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            SeparableConv2d(channels + SKIP_CHANNELS, channels),
            SeparableConv2d(channels, channels),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels + 32, h, w)`` to ``(N, channels, h, w)``."""
        return self.block(x)


class DeepLabV3Plus(nn.Module):
    """Features of DeepLabV3+ at stride 4.

    Parameters
    ----------
    backbone : str
        ``"resnet34"``, ``"resnet50"``, ``"resnet101"`` or ``"resnet152"``.
    channels : int
        Width of the context and of the result.
    dropout : float
        In the ASPP, in training.
    """

    def __init__(self, backbone: str, channels: int, dropout: float) -> None:
        super().__init__()
        self.backbone = ResNet(backbone)
        fine, coarse = self.backbone.out_channels
        self.head = DeepLabHead(channels)
        self.skip_project = SkipProject(fine)
        self.aspp = ASPP(coarse, channels, dropout)

    def stem(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, 64 or 128, H / 2, W / 2)``."""
        return self.backbone.stem(image)

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return the insertion points of f-BRS.

        A: the backbone's last features, before the ASPP; B: context and fine
        features side by side; C: merged, before the last head.
        """
        return {
            "f-brs-a": ("backbone.layer4",),
            "f-brs-b": ("head:input",),
            "f-brs-c": ("head",),
            "g-brs": ("head:input",),
        }

    def forward(self, stem: Tensor) -> Tensor:
        """Return features ``(N, channels, H / 4, W / 4)``.

        Parameters
        ----------
        stem : Tensor, shape (N, 64 or 128, H / 2, W / 2)
            The output of ``stem``, with click features added or not.
        """
        fine, coarse = self.backbone(stem)
        skip = self.skip_project(fine)
        context = resize(self.aspp(coarse), skip.shape[-2:])
        return self.head(torch.cat([context, skip], 1))


class SepConvHead(nn.Module):
    """Separable convolutions down to one channel of logits."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        middle = in_channels // 2
        self.layers = nn.Sequential(
            SeparableConv2d(in_channels, middle),
            SeparableConv2d(middle, middle),
            nn.Conv2d(middle, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, 1, h, w)``."""
        return self.layers(x)
