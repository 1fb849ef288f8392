"""Dilated ResNets at output stride 8 (Gluon's variants v1b and v1s).

ResNet-34 is v1b with the plain 7x7 stem. The deeper ones are v1s: three 3x3
convolutions make the stem, 128 channels wide.
"""

from __future__ import annotations

from torch import Tensor, nn

from napari_clickseg.networks.layers import (
    BasicBlock,
    Bottleneck,
    conv_bn_relu,
    residual_layer,
)

#: Block, blocks per layer, whether the stem is deep.
VARIANTS: dict[
    str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int], bool]
] = {
    "resnet34": (BasicBlock, (3, 4, 6, 3), False),
    "resnet50": (Bottleneck, (3, 4, 6, 3), True),
    "resnet101": (Bottleneck, (3, 4, 23, 3), True),
    "resnet152": (Bottleneck, (3, 8, 36, 3), True),
}


class ResNet(nn.Module):
    """ResNet without its classifier; layers 3 and 4 dilate instead of striding.

    Parameters
    ----------
    name : str
        A key of :data:`VARIANTS`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        block, blocks, deep = VARIANTS[name]
        self.stem_channels = 128 if deep else 64
        self.conv1 = _deep_stem() if deep else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(self.stem_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        grow = block.expansion
        self.layer1 = residual_layer(block, self.stem_channels, 64, blocks[0])
        self.layer2 = residual_layer(block, 64 * grow, 128, blocks[1], stride=2)
        self.layer3 = residual_layer(block, 128 * grow, 256, blocks[2], dilation=2)
        self.layer4 = residual_layer(block, 256 * grow, 512, blocks[3], dilation=4)
        #: Channels of the two features that :meth:`forward` returns.
        self.out_channels = (64 * grow, 512 * grow)

    def stem(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, stem_channels, H / 2, W / 2)``."""
        return self.relu(self.bn1(self.conv1(image)))

    def forward(self, stem: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``layer1`` at stride 4 and ``layer4`` at stride 8.

        Parameters
        ----------
        stem : Tensor, shape (N, stem_channels, H / 2, W / 2)
            The output of ``stem``, with click features added or not.
        """
        fine = self.layer1(self.maxpool(stem))
        coarse = self.layer4(self.layer3(self.layer2(fine)))
        return fine, coarse


def _deep_stem() -> nn.Sequential:
    """Three 3x3 convolutions; the last one's batch norm is the net's ``bn1``."""
    return nn.Sequential(
        *conv_bn_relu(3, 64, 3, stride=2),
        *conv_bn_relu(64, 64, 3),
        nn.Conv2d(64, 128, 3, padding=1, bias=False),
    )
