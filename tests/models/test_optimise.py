"""Folding batch norm keeps the answer, and happens only where it is allowed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from napari_clickseg.models.model import run_network
from napari_clickseg.models.optimise import (
    fold_batch_norm,
    foldable_pairs,
    round_weights,
    working_copy,
)
from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.layers import IMAGENET
from napari_clickseg.networks.ritm import RITM
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2

if TYPE_CHECKING:
    from collections.abc import Callable

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ritm-hrnet18s": lambda: RITM("hrnet18s"),
    "ritm-hrnet18-noprev": lambda: RITM("hrnet18", with_prev_mask=False),
    "ritm-hrnet32": lambda: RITM("hrnet32"),
    "ritm-resnet34": lambda: RITM("resnet34"),
    "ritm-resnet50-rgb-conv": lambda: RITM("resnet50", use_rgb_conv=True),
    "ritm-hrnet18s-conv-extend": lambda: RITM("hrnet18s", conv_extend=True),
    "fbrs-resnet34": lambda: FBRS("resnet34"),
    "fbrs-resnet101": lambda: FBRS("resnet101"),
    "fbrs-hrnet18": lambda: FBRS("hrnet18"),
    "starter": RITMMobileNetV2,
}


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch norms something to do; a fresh one does next to nothing."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator)

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(uniform(module.running_mean, -0.3, 0.3))
                module.running_var.copy_(uniform(module.running_var, 0.3, 2))
                module.weight.copy_(uniform(module.weight, 0.6, 1.8))
                module.bias.copy_(uniform(module.bias, -0.3, 0.3))
    return network.eval()


def question(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, 49, 65, generator=generator)
    previous = torch.rand(2, 1, 49, 65, generator=generator)
    points = torch.tensor([[[20.0, 30, 0], [-1, -1, -1], [40, 9, 1], [3, 3, 2]]] * 2)
    return image, points, previous


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_answers_the_same_when_folded(name):
    torch.manual_seed(0)
    network = lively(NETWORKS[name]())
    image, points, previous = question()
    before = run_network(network, image, points, previous)
    folded = fold_batch_norm(network, lambda: run_network(network, image, points))
    after = run_network(network, image, points, previous)
    assert before.std() > 1e-3
    assert (before - after).abs().max() <= 1e-4
    # What is left was not run at all (OCR of one object), or follows no convolution.
    left = [n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    unused = ("f_pixel", "f_object")
    mixing = {"fbrs": "rgb_conv.2"}.get(name.split("-")[0])
    assert all(any(u in n for u in unused) or n == mixing for n in left)
    assert folded > 10 or name == "starter"  # which has no batch norm


class Toy(nn.Module):
    """Four convolutions, each followed by batch norm, with something in the way."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.nested = nn.Sequential(
            nn.Conv2d(4, 4, 1, bias=False), nn.Sequential(nn.BatchNorm2d(4))
        )
        self.read_twice = nn.Conv2d(4, 4, 1)
        self.norm_a = nn.BatchNorm2d(4)
        self.run_twice = nn.Conv2d(4, 4, 1)
        self.norm_b = nn.BatchNorm2d(4)
        self.before_relu = nn.Conv2d(4, 4, 1)
        self.norm_c = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.nested(self.plain(x))
        y = self.read_twice(x)
        x = self.norm_a(y) + y
        x = self.run_twice(self.norm_b(self.run_twice(x)))
        return self.norm_c(self.before_relu(x).relu())


def test_only_private_pairs_are_folded():
    toy = lively(Toy())
    x = torch.rand(1, 3, 8, 8)
    pairs = foldable_pairs(toy, lambda: toy(x))
    assert pairs == [("plain.0", "plain.1"), ("nested.0", "nested.1.0")]
    before = toy(x)
    assert fold_batch_norm(toy, lambda: toy(x)) == 2
    torch.testing.assert_close(toy(x), before, atol=1e-5, rtol=1e-5)
    assert isinstance(toy.get_submodule("nested.1.0"), nn.Identity)


class Scales(nn.Module):
    """The same pair at two scales; a convolution that two norms share."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.shared = nn.Conv2d(4, 4, 1)
        self.norm_a = nn.BatchNorm2d(4)
        self.norm_b = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        large, small = self.pair(x), self.pair(x[..., ::2, ::2])
        return self.norm_a(self.shared(large)).mean() + self.norm_b(self.shared(small))


def test_pairs_that_run_several_times_are_folded_once():
    net = lively(Scales())
    x = torch.rand(1, 3, 12, 12)
    assert foldable_pairs(net, lambda: net(x)) == [("pair.0", "pair.1")]
    before = net(x)
    assert fold_batch_norm(net, lambda: net(x)) == 1
    torch.testing.assert_close(net(x), before, atol=1e-5, rtol=1e-5)


def test_batch_norm_without_fixed_statistics_stays():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    x = torch.rand(2, 3, 8, 8)
    assert foldable_pairs(net.train(), lambda: net(x)) == []
    net[1] = nn.BatchNorm2d(4, track_running_stats=False)
    assert foldable_pairs(net.eval(), lambda: net(x)) == []


def test_hooks_are_gone_afterwards():
    toy = lively(Toy())

    def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        foldable_pairs(toy, fail)
    assert not any(module._forward_hooks for module in toy.modules())


def test_working_copy_leaves_the_original_alone():
    torch.manual_seed(0)
    network = lively(RITM("hrnet18s"))
    weights = copy.deepcopy(network.state_dict())
    fast = working_copy(network, torch.device("cpu"), torch.bfloat16, True)
    assert all(torch.equal(x, weights[n]) for n, x in network.state_dict().items())
    assert network.feature_extractor.conv2.weight.dtype == torch.float32
    conv = fast.feature_extractor.conv2.weight
    assert conv.dtype == torch.bfloat16
    assert conv.is_contiguous(memory_format=torch.channels_last)
    assert not any(p.requires_grad for p in fast.parameters())


def test_constants_of_the_normalisation_are_not_rounded():
    network = RITM("hrnet18s").eval()
    fast = working_copy(network, torch.device("cpu"), torch.bfloat16, False)
    constants = dict(fast.normalization.named_buffers())
    assert constants["normalise.mean"].flatten().tolist() == pytest.approx(
        IMAGENET[0], abs=1e-7
    )
    half = fast.normalization(torch.full((1, 3, 2, 2), 0.485))
    assert half.dtype == torch.bfloat16
    assert half[0, 0].abs().max() < 1e-6


@pytest.mark.parametrize(
    "shape", [(7, 5, 3, 3), (6, 19, 1, 1), (4, 1, 3, 3), (3, 8, 1, 1)]
)
def test_rounding_errors_cancel(shape):
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(shape, generator=generator)
    carried = round_weights(weight, torch.bfloat16)
    nearest = weight.to(torch.bfloat16)
    assert carried.dtype == torch.bfloat16
    assert carried.shape == weight.shape
    # no weight moves by more than one step of the largest beside it
    assert (carried.float() - weight).abs().max() <= weight.abs().max() * 2**-8
    left = (carried.float() - weight).sum((1, 2, 3)).abs()
    plain = (nearest.float() - weight).sum((1, 2, 3)).abs()
    assert left.mean() < 0.6 * plain.mean()


def test_weights_that_fit_are_not_rounded():
    weight = torch.randn(4, 6, 3, 3).to(torch.bfloat16)
    assert torch.equal(round_weights(weight.float(), torch.bfloat16), weight)


def test_the_copy_has_the_carefully_rounded_weights():
    network = lively(RITMMobileNetV2())
    fast = working_copy(network, torch.device("cpu"), torch.bfloat16, True)
    weight = network.maps_transform[2].weight
    expected = round_weights(weight, torch.bfloat16)
    assert torch.equal(fast.maps_transform[2].weight, expected)
    assert not torch.equal(expected, weight.to(torch.bfloat16))
