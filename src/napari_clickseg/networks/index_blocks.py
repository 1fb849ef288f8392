"""What IndexNet is made of: padded residuals, index maps, context, decoder layers.

Attribute names are those of the published weights.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IndexKind = Literal["m2o", "o2o"]

#: Dilation of the context module's branches at output stride 32.
RATES = (1, 2, 4, 8)


class PaddedResidual(nn.Module):
    """Inverted residual that pads its input, not what its depthwise filter sees.

    So the expansion's bias shows at the border, unlike in the usual MobileNetV2.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after.
    expansion : int
        Factor of the inner width; 1 leaves the first 1x1 out.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += conv_bn_relu6(in_channels, inner, 1)
        layers += [
            nn.Conv2d(inner, inner, 3, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(inplace=True),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, out, H, W)``."""
        y: Tensor = self.conv(F.pad(x, (1, 1, 1, 1)))
        return x + y if self.residual else y


class IndexBlock(nn.Module):
    """Predict the index maps of one layer from its features.

    One small network for each of the four places in a 2 x 2 block; nonlinear and with
    context, in the paper's terms.

    Parameters
    ----------
    channels : int
        Of the features.
    kind : {"m2o", "o2o"}
        Whether each channel's index is computed from all channels (many to one, as
        released) or from that channel only (one to one, far fewer weights).
    """

    def __init__(self, channels: int, kind: IndexKind) -> None:
        super().__init__()
        groups = channels if kind == "o2o" else 1
        for place in range(1, 5):
            branch = nn.Sequential(
                nn.Conv2d(channels, channels, 4, 2, 1, groups=groups, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU6(inplace=True),
                _Pointwise(channels, channels, 1, groups=groups, bias=False),
            )
            self.add_module(f"indexnet{place}", branch)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps for the encoder and for the decoder.

        Parameters
        ----------
        x : Tensor, shape (N, C, H, W)
            H and W even.

        Returns
        -------
        tuple of Tensor, each of shape (N, C, H, W)
            The encoder's sums to 1 over each block; the decoder's lies in [0, 1].
        """
        places = torch.stack([branch(x) for branch in self.children()], 2).sigmoid()
        pooling = places.softmax(2)
        return _shuffled(pooling), _shuffled(places)


class _Pointwise(nn.Conv2d):
    """A 1x1 convolution; of each channel by itself it is a product, and so computed.

    On one thread the library would call a matrix product for every channel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape."""
        if self.groups == x.shape[1]:
            return x * self.weight.view(1, -1, 1, 1)
        return super().forward(x)


class Context(nn.Module):
    """Features at several dilations and of the whole image, joined (ASPP)."""

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.aspp1 = _AtrousBranch(in_channels, width, RATES[0])
        self.aspp2 = _AtrousBranch(in_channels, width, RATES[1])
        self.aspp3 = _AtrousBranch(in_channels, width, RATES[2])
        self.aspp4 = _AtrousBranch(in_channels, width, RATES[3])
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), *conv_bn_relu6(in_channels, width, 1)
        )
        self.bottleneck_conv = nn.Sequential(*conv_bn_relu6(5 * width, out_channels, 1))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, h, w)``."""
        branches = [self.aspp1(x), self.aspp2(x), self.aspp3(x), self.aspp4(x)]
        whole = self.global_avg_pool(x).expand(-1, -1, *x.shape[-2:])
        joined = torch.cat([*branches, whole], 1)
        return self.dropout(self.bottleneck_conv(joined))


class _AtrousBranch(nn.Module):
    """One branch: a 1x1 convolution, behind a dilated depthwise one where asked."""

    def __init__(self, in_channels: int, out_channels: int, rate: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if rate > 1:
            layers += conv_bn_relu6(
                in_channels, in_channels, 3, groups=in_channels, dilation=rate
            )
        layers += conv_bn_relu6(in_channels, out_channels, 1)
        self.atrous_conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, h, w)``."""
        return self.atrous_conv(x)


class DecoderLayer(nn.Module):
    """Spread by the index map where there is one, join the encoder's features."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, separable: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if separable:
            layers += conv_bn_relu6(
                in_channels, in_channels, kernel, groups=in_channels
            )
            kernel = 1
        layers += conv_bn_relu6(in_channels, out_channels, kernel)
        self.dconv = nn.Sequential(*layers)

    def forward(self, x: Tensor, skip: Tensor, index: Tensor | None = None) -> Tensor:
        """Decode one layer.

        Parameters
        ----------
        x : Tensor, shape (N, C, h, w)
            h and w half those of ``skip`` where there is an index map.
        skip : Tensor, shape (N, C, H, W)
        index : Tensor, shape (N, C, H, W), optional

        Returns
        -------
        Tensor, shape (N, out, H, W)
        """
        if index is not None:
            x = index * F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.dconv(torch.cat([x, skip], 1))


def conv_bn_relu6(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    groups: int = 1,
    dilation: int = 1,
) -> list[nn.Module]:
    """List a bias-free convolution that keeps the size, batch norm and ReLU6."""
    padding = dilation * (kernel // 2)
    return [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    ]


def _shuffled(places: Tensor) -> Tensor:
    """Lay ``(N, C, 4, h, w)`` out as ``(N, C, 2 h, 2 w)``."""
    return F.pixel_shuffle(places.flatten(1, 2), 2)
