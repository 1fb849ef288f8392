"""RITM's variants: what is in the branch of the clicks, and where it joins."""

from __future__ import annotations

import pytest
import torch
from tests.golden_weights import fill
from tests.networks.tables import table_of
from torch import Tensor, nn
from torch.nn import functional as F

from napari_clickseg.networks.ritm import RITM

TINY = {"backbone": "hrnet4s", "ocr_width": 4}


def question(previous: bool = True) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(1, 4 if previous else 3, 24, 32, generator=generator)
    points = torch.tensor([[[4.0, 7.5, 0.0], [15.0, 20.0, 1.0]]])
    return image, points


def shapes(network: nn.Module, start: str) -> dict[str, tuple[int, ...]]:
    return {
        name: shape
        for name, (_, shape) in table_of(network).items()
        if name.startswith(start) and "running" not in name and shape
    }


def test_the_published_numbers_name_the_same_network() -> None:
    """As the configurations of the release spell it."""
    with torch.device("meta"):
        pairs = [
            (RITM(width=18, ocr_width=48, small=True), RITM("hrnet18s")),
            (RITM(width=18, ocr_width=64), RITM("hrnet18")),
            (RITM(width=32), RITM("hrnet32")),
        ]
    for by_number, by_name in pairs:
        assert by_number.config == by_name.config
        assert table_of(by_number) == table_of(by_name)


@pytest.mark.parametrize("previous", [True, False])
def test_rgb_conv_has_its_published_layers(previous: bool) -> None:
    """Batch norm comes before the activation, unlike in f-BRS."""
    network = RITM(**TINY, use_rgb_conv=True, with_prev_mask=previous)
    maps = 3 if previous else 2
    assert shapes(network, "rgb_conv") == {
        "rgb_conv.0.weight": (6 + maps, 3 + maps, 1, 1),
        "rgb_conv.0.bias": (6 + maps,),
        "rgb_conv.1.weight": (6 + maps,),
        "rgb_conv.1.bias": (6 + maps,),
        "rgb_conv.3.weight": (3, 6 + maps, 1, 1),
        "rgb_conv.3.bias": (3,),
    }
    assert not shapes(network, "maps_transform")


def test_conv_extend_has_its_published_layer() -> None:
    network = RITM(**TINY, conv_extend=True)
    assert shapes(network, "maps_transform") == {
        "maps_transform.weight": (64, 3, 3, 3),
        "maps_transform.bias": (64,),
    }
    both = RITM(**TINY, conv_extend=True, use_rgb_conv=True)
    assert not shapes(both, "maps_transform")
    assert shapes(both, "rgb_conv")


@torch.inference_mode()
def test_rgb_conv_step_by_step() -> None:
    """Normalised RGB, previous mask, positive, negative; then three channels."""
    network = RITM(**TINY, use_rgb_conv=True)
    fill(network)
    image, points = question()
    seen = []
    network.feature_extractor.conv1.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].clone())
    )
    network(image, points)

    rgb = (image[:, :3] - network.normalization.mean) / network.normalization.std
    x = torch.cat([rgb, image[:, 3:], network.dist_maps(image, points)], 1)
    first, norm, _, last = network.rgb_conv
    x = F.leaky_relu(norm(first(x)), 0.2)
    torch.testing.assert_close(seen[0], last(x))


@pytest.mark.parametrize("leaky", [True, False])
@torch.inference_mode()
def test_the_branch_step_by_step(leaky: bool) -> None:
    network = RITM(**TINY, use_leaky_relu=leaky)
    fill(network)
    image, points = question()
    kept = []
    network.feature_extractor.conv2.register_forward_pre_hook(
        lambda _, args: kept.append(args[0].clone())
    )
    network(image, points)

    maps = torch.cat([image[:, 3:], network.dist_maps(image, points)], 1)
    narrow, _, wide, scale = network.maps_transform
    x = narrow(maps)
    x = F.leaky_relu(x, 0.2) if leaky else F.relu(x)
    clicks = F.conv2d(x, wide.weight, wide.bias, stride=2, padding=1)
    stem = network.encode_image(image[:, :3]).features
    torch.testing.assert_close(kept[0], stem + clicks * scale.scale.abs())


@torch.inference_mode()
def test_the_sign_of_the_scale_does_not_matter() -> None:
    network = RITM(**TINY)
    fill(network)
    image, points = question()
    before = network(image, points)["instances"]
    network.maps_transform[3].scale.neg_()
    assert torch.equal(before, network(image, points)["instances"])


@torch.inference_mode()
def test_a_wide_stem_takes_clicks_into_its_first_channels() -> None:
    network = RITM("resnet50", deeplab_ch=8)
    fill(network)
    image, points = question(previous=False)
    seen = []
    network.feature_extractor.backbone.maxpool.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].clone())
    )
    network(image, points)
    added = seen[0] - network.encode_image(image).features
    assert added.shape[1] == 128
    assert added[:, :64].abs().max() > 0.01
    assert added[:, 64:].abs().max() == 0


@torch.inference_mode()
def test_a_binary_mask_is_thresholded_at_one_half() -> None:
    network = RITM(**TINY, binary_prev_mask=True)
    fill(network)
    image, points = question()
    image[0, 3, 0, 0] = 0.5  # not above: background
    cut = image.clone()
    cut[:, 3] = (image[:, 3] > 0.5).float()
    soft = RITM(**TINY)
    fill(soft)
    expected = soft(cut, points)["instances"]
    assert torch.equal(network(image, points)["instances"], expected)


@torch.inference_mode()
def test_other_normalisation() -> None:
    plain = RITM(**TINY, norm_mean_std=([0.0] * 3, [1.0] * 3))
    fill(plain)
    usual = RITM(**TINY)
    fill(usual)
    image, points = question()
    normalised = image.clone()
    normalised[:, :3] = usual.normalization(image[:, :3])
    assert torch.equal(
        plain(normalised, points)["instances"], usual(image, points)["instances"]
    )


def test_constants_are_no_weights() -> None:
    assert not [name for name in RITM(**TINY).state_dict() if "normal" in name]
