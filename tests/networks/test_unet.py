"""The plain U-Net."""

from __future__ import annotations

import pytest
import torch

from napari_clickseg.models.checkpoint import (
    build_network,
    read_checkpoint,
    save_checkpoint,
)
from napari_clickseg.networks.unet import UNet


@pytest.mark.parametrize(
    ("channels", "size"), [((4, 8), (6, 10)), ((4, 6, 8, 12), (16, 40))]
)
def test_answers_have_the_size_of_the_image(channels, size):
    network = UNet(channels, in_channels=2, classes=3).eval()
    assert network.multiple == 2 ** (len(channels) - 1)
    answer = network(torch.rand(2, 2, *size))
    assert answer.shape == (2, 3, *size)
    assert answer.std() > 0


def test_brightness_and_contrast_make_no_difference():
    torch.manual_seed(0)
    network = UNet((4, 8)).eval()
    image = torch.rand(1, 3, 16, 16)
    dim = 0.2 + 0.5 * image
    plain = UNet((4, 8), normalise=False).eval()
    plain.load_state_dict(network.state_dict())
    with torch.inference_mode():
        change, unprotected = (
            float((n(dim) - n(image)).abs().max()) for n in (network, plain)
        )
    assert change < 0.1 * unprotected


def test_a_flat_image_is_no_trouble():
    assert torch.isfinite(UNet((4, 8)).eval()(torch.zeros(1, 3, 8, 8))).all()


def test_every_level_is_seen():
    """The gradient of the answer reaches every weight, skips included."""
    network = UNet((4, 6, 8)).eval()
    network(torch.rand(1, 3, 16, 16)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in network.parameters())


def test_it_is_built_again_from_its_file(tmp_path):
    network = UNet((4, 6), classes=2).eval()
    file = tmp_path / "unet.safetensors"
    save_checkpoint(file, network, metadata={"licence": "CC0-1.0"})
    again = build_network(read_checkpoint(file))
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(again(image), network(image))
