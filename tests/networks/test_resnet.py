"""Where the ResNets stride and dilate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_clickseg.networks.resnet import ResNet

#: Dilation of the 3x3 convolutions in the first and in any later block.
DILATIONS = {
    "resnet34": {
        "layer2": ([1, 1], [1, 1]),
        "layer3": ([1, 2], [2, 2]),
        "layer4": ([2, 4], [4, 4]),
    },
    "resnet50": {
        "layer2": ([1], [1]),
        "layer3": ([1], [2]),
        "layer4": ([2], [4]),
    },
}


def dilations(block: nn.Module) -> list[int]:
    convolutions = (m for m in block.modules() if isinstance(m, nn.Conv2d))
    return [c.dilation[0] for c in convolutions if c.kernel_size == (3, 3)]


@pytest.mark.parametrize("name", DILATIONS)
def test_dilations(name: str) -> None:
    with torch.device("meta"):
        network = ResNet(name)
    for layer, (first, later) in DILATIONS[name].items():
        blocks = list(network.get_submodule(layer).children())
        assert dilations(blocks[0]) == first
        assert all(dilations(block) == later for block in blocks[1:])


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet34", (64, 512)), ("resnet101", (256, 2048))]
)
def test_strides(name: str, channels: tuple[int, int]) -> None:
    with torch.device("meta"):
        network = ResNet(name)
        stem = network.stem(torch.empty(1, 3, 64, 96))
        fine, coarse = network(stem)
    assert stem.shape == (1, network.stem_channels, 32, 48)
    assert fine.shape == (1, channels[0], 16, 24)
    assert coarse.shape == (1, channels[1], 8, 12)
