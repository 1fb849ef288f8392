"""Layers that several published networks share.

Attribute names are those of the published checkpoints: renaming one renames
weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.errors import ModelError

#: Mean and standard deviation of ImageNet's RGB in [0, 1].
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = True) -> Tensor:
    """Resize bilinearly.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    size : sequence of int
        Wanted height and width.
    align_corners : bool
        Whether corner pixels keep their place, as RITM and f-BRS do everywhere.

    Returns
    -------
    Tensor, shape (N, C, height, width)
        ``x`` itself where it already has that size.
    """
    height, width = size
    if x.shape[-2:] == (height, width):
        return x
    return F.interpolate(
        x, (height, width), mode="bilinear", align_corners=align_corners
    )


def adaptive_max(x: Tensor, size: Sequence[int]) -> Tensor:
    """Take the largest value of each cell of a grid, as adaptive max pooling does.

    Exported programs get it as two gathers: ONNX has no such pooling.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    size : sequence of int
        Height and width of the grid.

    Returns
    -------
    Tensor, shape (N, C, height, width)
    """
    height, width = size
    if not torch.compiler.is_exporting():
        return F.adaptive_max_pool2d(x, (height, width))
    rows = _cells(x.shape[-2], height).to(x.device)
    cols = _cells(x.shape[-1], width).to(x.device)
    x = x[:, :, rows.flatten()].unflatten(2, rows.shape).amax(3)
    return x[..., cols.flatten()].unflatten(3, cols.shape).amax(4)


def _cells(length: int, count: int) -> Tensor:
    """Return the positions that each cell covers, the last of them repeated."""
    starts = [i * length // count for i in range(count)]
    ends = [-(-(i + 1) * length // count) for i in range(count)]
    widest = max(end - start for start, end in zip(starts, ends, strict=True))
    return torch.tensor(
        [
            [min(start + step, end - 1) for step in range(widest)]
            for start, end in zip(starts, ends, strict=True)
        ]
    )


def check_multiple(image: Tensor, multiple: int) -> None:
    """Refuse an image whose sides a network cannot halve often enough.

    Parameters
    ----------
    image : Tensor, shape (N, C, H, W)
    multiple : int

    Raises
    ------
    ModelError
        If H or W is no multiple of it.
    """
    height, width = image.shape[-2:]
    if height % multiple or width % multiple:
        raise ModelError(
            f"This network takes images whose sides are multiples of {multiple}, not "
            f"{height} x {width}: resize or pad the image first."
        )


def conv_bn_relu(
    in_channels: int,
    out_channels: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    relu: bool = True,
) -> nn.Sequential:
    """Build a bias-free convolution (key ``0``), batch norm (``1``) and ReLU.

    Padding keeps ``ceil(size / stride)``.
    """
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_channels, out_channels, kernel, stride, padding, dilation, bias=False
        ),
        nn.BatchNorm2d(out_channels),
    ]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Normalise(nn.Module):
    """Subtract a mean and divide by a standard deviation, channel by channel.

    The constants move with the network but are no part of its weights.

    Parameters
    ----------
    mean, std : sequence of float
        One number per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            constants = torch.tensor(list(values), dtype=torch.float32)
            self.register_buffer(name, constants.view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``."""
        return (x - self.mean) / self.std


class ScaleLayer(nn.Module):
    """Multiply by the magnitude of one learned number (key ``scale``).

    Starts small, so that a new branch hardly disturbs pretrained features.
    """

    def __init__(self, initial: float = 0.05) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` of any shape."""
        return x * self.scale.abs()


class SeparableConv2d(nn.Module):
    """Depthwise 3x3 convolution, 1x1 convolution, batch norm, ReLU (``body``)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(
                in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False
            ),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, out, H, W)``."""
        return self.body(x)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., 2016).

    Parameters
    ----------
    in_channels, planes : int
        Channels before and after.
    stride, dilation : int
        Of the first convolution.
    second_dilation : int
        Of the second; dilated ResNets change it one layer before the first.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        second_dilation: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            in_channels, planes, 3, stride, dilation, dilation, bias=False
        )
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(
            planes, planes, 3, 1, second_dilation, second_dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, planes * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, planes, H / stride, W / stride)``."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(out + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution and a shortcut; the 3x3 carries the stride.

    Parameters are those of :class:`BasicBlock`; ``second_dilation`` is taken
    for a common signature and has no meaning here.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        second_dilation: int = 1,  # noqa: ARG002
    ) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(
            planes, planes, 3, stride, dilation, dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, 4 planes, H / stride, W / stride)``."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(out + shortcut)


def residual_layer(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    planes: int,
    blocks: int,
    *,
    stride: int = 1,
    dilation: int = 1,
) -> nn.Sequential:
    """Chain residual blocks; the first one strides and changes the width.

    In a dilated layer the first block still has half the dilation (it works on
    what the layer before has left), only BasicBlock's second convolution has
    the full one already.
    """
    first = max(1, dilation // 2)
    layers: list[nn.Module] = [block(in_channels, planes, stride, first, dilation)]
    width = planes * block.expansion
    layers += [block(width, planes, 1, dilation, dilation) for _ in range(1, blocks)]
    return nn.Sequential(*layers)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """Project the shortcut where the block changes size or width."""
    if stride == 1 and in_channels == out_channels:
        return None
    return conv_bn_relu(in_channels, out_channels, stride=stride, relu=False)
