"""MobileNetV2 features (Sandler et al., CVPR 2018) at output stride 16 or 32.

The convolutions carry a bias and no batch norm: the starting weights that we
use come with their normalisation already folded in, and a network without
batch norm behaves the same in training and in use.
"""

from __future__ import annotations

from torch import Tensor, nn

#: expansion, output channels, stride and dilation of each inverted residual.
BLOCKS: tuple[tuple[int, int, int, int], ...] = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 24, 1, 1),
    (6, 32, 2, 1),
    (6, 32, 1, 1),
    (6, 32, 1, 1),
    (6, 64, 2, 1),
    (6, 64, 1, 1),
    (6, 64, 1, 1),
    (6, 64, 1, 1),
    (6, 96, 1, 1),
    (6, 96, 1, 1),
    (6, 96, 1, 1),
    (6, 160, 1, 1),
    (6, 160, 1, 2),
    (6, 160, 1, 2),
    (6, 320, 1, 2),
)

#: index of the last block at each stride, and its channels.
TAPS: dict[int, tuple[int, int]] = {4: (2, 24), 8: (5, 32), 16: (16, 320)}
#: the same at output stride 32, whose block 13 strides as the original's.
PYRAMID: dict[int, tuple[int, int]] = {
    2: (0, 16),
    4: (2, 24),
    8: (5, 32),
    16: (12, 96),
    32: (16, 320),
}


class InvertedResidual(nn.Module):
    """Expand by a 1x1, filter each channel by a 3x3, project by a 1x1.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after.
    expansion : int
        Factor of the inner width; 1 leaves the first 1x1 out.
    stride, dilation : int
        Of the depthwise 3x3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        stride: int,
        dilation: int,
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [nn.Conv2d(in_channels, inner, 1), nn.ReLU6(inplace=True)]
        layers += [
            nn.Conv2d(
                inner,
                inner,
                3,
                stride=stride,
                padding=dilation,
                dilation=dilation,
                groups=inner,
            ),
            nn.ReLU6(inplace=True),
            nn.Conv2d(inner, out_channels, 1),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, out, ceil(H / stride), ...)``."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """MobileNetV2 up to its last block, with taps at strides 4, 8 and 16.

    The part up to stride 4 and the rest are apart, so that click maps can join
    in between and the first part is done once for an image.

    Parameters
    ----------
    output_stride : {16, 32}
        At 16 the last blocks are dilated; at 32 they stride as they were trained on
        ImageNet, for :meth:`pyramid`. The weights are the same.
    """

    #: Name of the last block.
    last = f"blocks.{len(BLOCKS) - 1}"
    #: Channels of what :meth:`pyramid` returns.
    channels = tuple(channels for _, channels in PYRAMID.values())

    def __init__(self, output_stride: int = 16) -> None:
        super().__init__()
        self.output_stride = output_stride
        channels = 32
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, stride=2, padding=1), nn.ReLU6(inplace=True)
        )
        blocks = []
        for number, (expansion, out_channels, stride, dilation) in enumerate(BLOCKS):
            if output_stride == 32 and number > PYRAMID[16][0]:
                stride = 2 if number == PYRAMID[16][0] + 1 else 1
                dilation = 1
            blocks.append(
                InvertedResidual(channels, out_channels, expansion, stride, dilation)
            )
            channels = out_channels
        self.blocks = nn.ModuleList(blocks)

    def shallow(self, image: Tensor) -> Tensor:
        """Map RGB in [-1, 1], ``(N, 3, H, W)``, to ``(N, 24, H / 4, W / 4)``."""
        x: Tensor = self.stem(image)
        for block in self.blocks[: TAPS[4][0] + 1]:
            x = block(x)
        return x

    def deep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map the stride-4 tap to those at strides 8 and 16.

        Returns
        -------
        Tensor, shape (N, 32, H / 8, W / 8)
        Tensor, shape (N, 320, H / 16, W / 16)
        """
        for block in self.blocks[TAPS[4][0] + 1 : TAPS[8][0] + 1]:
            x = block(x)
        at8 = x
        for block in self.blocks[TAPS[8][0] + 1 :]:
            x = block(x)
        return at8, x

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Map RGB in [-1, 1] to features at strides 2, 4, 8, 16 and 32.

        Only at output stride 32. The features are those of linear bottlenecks: of
        either sign.
        """
        x: Tensor = self.stem(image)
        taps = {}
        for number, block in enumerate(self.blocks):
            x = block(x)
            taps[number] = x
        return [taps[number] for number, _ in PYRAMID.values()]
