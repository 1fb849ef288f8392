"""What both families promise: encode once, decode per click, any size."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from tests.golden_weights import fill
from torch import Tensor

from napari_clickseg.networks.click_network import ClickNetwork
from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.ritm import RITM

TINY = {"ocr_width": 4}
NETWORKS: dict[str, Callable[[], ClickNetwork]] = {
    "ritm hrnet": lambda: RITM("hrnet4s", **TINY),
    "ritm no previous mask": lambda: RITM("hrnet4s", with_prev_mask=False, **TINY),
    "ritm rgb_conv": lambda: RITM("hrnet4s", use_rgb_conv=True, **TINY),
    "ritm conv_extend": lambda: RITM("hrnet4s", conv_extend=True, **TINY),
    "ritm binary mask": lambda: RITM("hrnet4s", binary_prev_mask=True, **TINY),
    "ritm resnet34": lambda: RITM("resnet34", deeplab_ch=8),
    "ritm resnet50": lambda: RITM("resnet50", deeplab_ch=8, with_prev_mask=True),
    "fbrs resnet34": lambda: FBRS("resnet34", deeplab_ch=8),
    "fbrs hrnet": lambda: FBRS("hrnet4s", **TINY),
}
SIZE = (37, 53)


@cache
def build(name: str) -> ClickNetwork:
    """Build once for all tests: none may change it."""
    network = NETWORKS[name]()
    fill(network)
    return network


def question(network: ClickNetwork, n: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    channels = 4 if network.with_prev_mask else 3
    image = torch.rand(n, channels, *SIZE, generator=generator)
    points = torch.full((n, 4, network.point_columns), -1.0)
    points[:, 0, :2] = torch.tensor([12.25, 30.0])
    points[:, 2, :2] = torch.tensor([30.0, 9.5])
    return image, points


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_forward_is_encode_then_decode(name: str) -> None:
    network = build(name)
    image, points = question(network)
    previous = image[:, 3:] if network.with_prev_mask else None
    encoded = network.encode_image(image[:, :3])
    kept = encoded.features.clone()

    whole = network(image, points)
    for _ in range(2):  # the encoded image may be used again and again
        parts = network.decode_clicks(encoded, points, previous)
        assert parts.keys() == whole.keys()
        assert all(torch.equal(parts[key], whole[key]) for key in whole)
    assert torch.equal(encoded.features, kept)
    assert whole["instances"].shape == (2, 1, *SIZE)
    assert ("instances_aux" in whole) == network.with_aux_output


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_clicks_and_previous_mask_are_heard(name: str) -> None:
    network = build(name)
    image, points = question(network)
    answer = network(image, points)["instances"]
    moved = points.clone()
    moved[:, 0, 0] += 9
    assert not torch.allclose(answer, network(image, moved)["instances"])
    swapped = points.roll(2, dims=1)
    assert not torch.allclose(answer, network(image, swapped)["instances"])
    if network.with_prev_mask:
        image[:, 3] = 1 - image[:, 3]
        assert not torch.allclose(answer, network(image, points)["instances"])


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_no_previous_mask_means_zeros(name: str) -> None:
    network = build(name)
    image, points = question(network)
    encoded = network.encode_image(image[:, :3])
    zeros = torch.zeros(2, 1, *SIZE)
    assert torch.equal(
        network.decode_clicks(encoded, points)["instances"],
        network.decode_clicks(encoded, points, zeros)["instances"],
    )


@pytest.mark.parametrize("name", ["ritm hrnet", "fbrs resnet34"])
@torch.inference_mode()
def test_half_precision_answers_in_float32(name: str) -> None:
    network = build(name)
    image, points = question(network)
    exact = network(image, points)["instances"]
    half = copy.deepcopy(network).bfloat16()
    answer = half(image.bfloat16(), points)["instances"]
    assert answer.dtype == torch.float32
    assert (answer - exact).abs().mean() < 0.1 * exact.std()


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_image_and_weights(name: str) -> None:
    """Refinement needs the one, training the other."""
    network = copy.deepcopy(build(name))
    image, points = question(network)
    image.requires_grad_()
    network(image, points)["instances"].square().mean().backward()
    assert image.grad is not None
    assert image.grad[:, :3].abs().sum() > 0
    weights = [p for n, p in network.named_parameters() if n.endswith("conv1.weight")]
    assert weights
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in weights)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_wrong_channels_are_refused(channels: int) -> None:
    network = RITM("hrnet4s", **TINY)
    with pytest.raises(ValueError, match=r"\(N, 4, H, W\)"):
        network(torch.zeros(1, channels, 8, 8), torch.full((1, 2, 3), -1.0))


@pytest.mark.parametrize(
    "build_wrong",
    [
        lambda: RITM("hrnet"),
        lambda: RITM("vgg16"),
        lambda: RITM("hrnet7"),  # no published OCR width
        lambda: RITM("hrnet18", ocr_width=0),
        lambda: RITM("hrnet18", deeplab_ch=128),
        lambda: RITM("resnet34", ocr_width=64),
        lambda: RITM("resnet34", with_aux_output=True),
        lambda: RITM("hrnet18", small=True),
        lambda: RITM(norm_mean_std=([0.5], [0.5])),
        lambda: FBRS("resnet18"),
    ],
)
def test_configurations_that_cannot_be(build_wrong: Callable[[], object]) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=r"\w+ \w+"):
        build_wrong()
