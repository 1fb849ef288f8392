"""Tails of our own networks, behind every published place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from tests.golden_weights import fill
from torch import Tensor, nn

from napari_clickseg.models.optimise import fold_batch_norm, working_copy
from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.ritm import RITM
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2
from napari_clickseg.networks.unet import UNet
from napari_clickseg.refinement.insertion import record
from napari_clickseg.refinement.layers import make_layer
from napari_clickseg.refinement.sites import Site
from napari_clickseg.refinement.tail import Tail

NETWORKS: dict[str, Callable[[], Any]] = {
    "ritm hrnet18s": lambda: RITM("hrnet18s"),
    "ritm hrnet tiny": lambda: RITM("hrnet4s", ocr_width=4),
    "ritm resnet34": lambda: RITM("resnet34", deeplab_ch=16, with_prev_mask=True),
    "ritm rgb_conv": lambda: RITM("resnet50", deeplab_ch=8, use_rgb_conv=True),
    "fbrs resnet34": lambda: FBRS("resnet34"),
    "fbrs hrnet18": lambda: FBRS("hrnet18"),
    "starter": RITMMobileNetV2,
}
PLACES = ("rgb", "distmap", "f-brs-a", "f-brs-b", "f-brs-c", "g-brs")
SIZE = (49, 65)


@cache
def build(name: str) -> Any:
    """Build once for all tests: none may change it."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    if isinstance(network, RITMMobileNetV2):
        return network.eval().requires_grad_(False)
    fill(network)
    return network.eval().requires_grad_(False)


def question(
    network: Any, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Callable[[], Tensor]:
    """Return a run of encode and decode, on an image and its mirror image."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, *SIZE, generator=generator)
    image = torch.cat([image, image.flip(3)])
    points = torch.full((2, 4, network.point_columns), -1.0)
    points[:, 0, :2] = torch.tensor([[12.25, 30.0], [12.25, SIZE[1] - 31.0]])
    points[:, 2, :2] = torch.tensor([[30.0, 9.5], [30.0, SIZE[1] - 10.5]])
    previous = torch.rand(2, 1, *SIZE, generator=generator)
    if not getattr(network, "normalises_input", True):
        image = image.to(dtype)
    image, points, previous = (x.to(device) for x in (image, points, previous))

    def run() -> Tensor:
        encoded = network.encode_image(image)
        return network.decode_clicks(encoded, points, previous)["instances"]

    return run


def in_full(network: nn.Module, site: str, value: Tensor, run: Any) -> Tensor:
    """Run everything with a value at a site, by a hook of the test's own."""
    place = Site.parse(site)
    module = network.get_submodule(place.path)
    if place.before:
        handle = module.register_forward_pre_hook(
            lambda _, args: (value.to(args[0].dtype).clone(), *args[1:])
        )
    else:
        handle = module.register_forward_hook(
            lambda _, args, out: value.to(out.dtype).clone()
        )
    try:
        return run()
    finally:
        handle.remove()


def assert_follows(tail: Tail, network: Any, site: str, run: Any) -> None:
    feature = tail.features[0]
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(feature.shape, generator=generator)
    # Relative to the feature: click maps are 0 and 1, others far from it.
    spread = feature.std().clamp(min=1e-3)
    value = (feature + 0.3 * spread * noise).requires_grad_()
    answer = tail(value)
    expected = in_full(network, site, value, run)
    scale = expected.abs().max()
    assert (answer - expected).abs().max() <= 1e-5 * scale
    assert (expected - tail.output).abs().max() > 1e-4 * scale
    weights = torch.linspace(-1, 1, answer.numel()).view_as(answer)
    (found,) = torch.autograd.grad((answer * weights).sum(), value)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), value)
    assert wanted.abs().max() > 0
    assert (found - wanted).norm() <= 1e-4 * wanted.norm()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_tail_is_the_full_forward(name, place):
    network = build(name)
    run = question(network)
    (site,) = network.places()[place]
    with torch.inference_mode():  # as models run
        plain = run()
    tail = record(network, [site], run)
    assert not tail.complete, tail.reason
    assert (tail.output - plain).abs().max() <= 1e-5 * plain.abs().max()
    assert_follows(tail, network, site, run)


@pytest.mark.parametrize("name", NETWORKS)
def test_places_have_the_published_channels(name):
    network = build(name)
    run = question(network)
    found = {}
    for place, (site,) in network.places().items():
        (feature,) = record(network, [site], run).features
        found[place] = feature.shape[1]
    assert found["rgb"] == 3
    assert found["distmap"] == 2
    trunk = getattr(network, "feature_extractor", None)
    if trunk is None:
        assert [found[f"f-brs-{x}"] for x in "abc"] == [128, 126, 64]
    elif hasattr(trunk, "aspp"):
        width = trunk.skip_project.skip_project[0].out_channels
        ch = trunk.head.block[-1].out_channels
        coarse = trunk.backbone.out_channels[1]
        assert [found[f"f-brs-{x}"] for x in "abc"] == [coarse, ch + width, ch]
    else:
        joined, last = trunk.out_channels, trunk.cls_head.in_channels
        assert [found[f"f-brs-{x}"] for x in "abc"] == [joined, joined, last]
    assert found["g-brs"] == found["f-brs-b"]


@pytest.mark.parametrize("kind", ["sb", "bmsb", "bmsb-m", "bmconv", "map"])
@pytest.mark.parametrize("place", ["rgb", "distmap", "f-brs-b"])
def test_layers_begin_as_the_networks_own_answer(kind, place):
    network = build("starter")
    tail = record(network, network.places()[place], question(network))
    layer = make_layer(kind, tail.features[0], mirrored=True)
    assert torch.equal(tail(layer(tail.features[0])), tail.output)
    assert torch.equal(tail(layer), tail.output)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("ritm hrnet tiny", torch.bfloat16),
        ("ritm resnet34", torch.bfloat16),
        ("starter", torch.bfloat16),
        ("starter", torch.float16),
    ],
)
@pytest.mark.parametrize("place", ["rgb", "distmap", "f-brs-b", "f-brs-c"])
def test_half_precision_has_a_tail_in_float32(name, dtype, place):
    network = build(name)
    fast = working_copy(network, torch.device("cpu"), dtype, True)
    run = question(fast)
    (site,) = fast.places()[place]

    def in_inference() -> Tensor:
        with torch.inference_mode():
            return run()

    tail = record(fast, [site], in_inference)
    assert not tail.complete, tail.reason
    assert tail.features[0].dtype == torch.float32
    assert tail.output.dtype == torch.float32
    value = tail.features[0].clone().requires_grad_()
    answer = tail(value)
    (slope,) = torch.autograd.grad(answer.square().mean(), value)
    assert slope.abs().max() > 0
    # The rest in float32 is nearer to the exact network's answer to this feature.
    exact = in_full(network, site, value.detach(), question(network))
    assert (answer - exact).abs().max() <= 0.05 * exact.abs().max()
    as_it_is = record(fast, [site], in_inference, dtype=None)
    assert as_it_is.features[0].dtype in (dtype, torch.float32)
    change = (as_it_is(as_it_is.features[0]) - as_it_is.output).abs().max()
    assert change <= 1e-2 * as_it_is.output.abs().max()


@pytest.mark.parametrize("name", ["ritm hrnet tiny", "fbrs resnet34", "starter"])
def test_places_survive_folding_and_the_working_copy(name):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    if name != "starter":
        fill(network)
    network.eval().requires_grad_(False)
    before = question(network)()
    fold_batch_norm(network, question(network))
    fast = working_copy(network, torch.device("cpu"), torch.float32, True)
    run = question(fast)
    for (site,) in fast.places().values():
        tail = record(fast, [site], run)
        assert not tail.complete
        assert (tail.output - before).abs().max() <= 1e-3 * before.abs().max()
        assert_follows(tail, fast, site, run)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["ritm hrnet tiny", "fbrs resnet34", "starter"])
def test_on_a_gpu(name, dtype):
    network = working_copy(build(name), torch.device("cuda"), dtype, True)
    run = question(network, dtype, "cuda")
    for (site,) in network.places().values():
        tail = record(network, [site], run)
        assert not tail.complete, tail.reason
        assert tail.features[0].device.type == "cuda"
        for kind in ("sb", "bmsb-m", "bmconv"):
            layer = make_layer(kind, tail.features[0], mirrored=True)
            assert torch.equal(layer(tail.features[0]), tail.features[0])
            tail(layer).square().mean().backward()
            assert layer.bias.grad.abs().max() > 0


def test_branches_of_one_network_together():
    network = build("ritm hrnet tiny")
    tail = record(network, ["feature_extractor.stage4"], question(network))
    assert len(tail.features) == 4
    layers = [make_layer("bmconv", f, mirrored=True) for f in tail.features]
    answer = tail(*(layer(f) for layer, f in zip(layers, tail.features, strict=True)))
    assert torch.equal(answer, tail.output)
    answer.square().mean().backward()
    assert all(layer.map.grad.abs().max() > 0 for layer in layers)


def test_a_plain_unet():
    torch.manual_seed(0)
    net = UNet(channels=(4, 8, 16))
    fill(net)
    net.eval().requires_grad_(False)
    image = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))

    def run() -> Tensor:
        return net(image)

    names = [n for n in dict(net.named_modules()) if n.count(".") == 1] + ["down.1.3"]
    followed = 0
    for name in names:
        tail = record(net, [name], run)
        assert not tail.complete, tail.reason
        assert_follows(tail, net, name, run)
        followed += 1
    assert followed == 6


class TwoScales(nn.Module):
    """One network on two sizes of the image, averaged (as in HMSA)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        small = nn.functional.interpolate(image, scale_factor=0.5, mode="bilinear")
        answer = self.network(small)
        answer = nn.functional.interpolate(answer, image.shape[-2:], mode="bilinear")
        return 0.4 * answer + 0.6 * self.network(image)


def test_several_scales():
    torch.manual_seed(0)
    net = TwoScales(UNet(channels=(4, 8, 16))).eval().requires_grad_(False)
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    first = "network.down.0"
    tail = record(net, [first], lambda: net(image))
    assert len(tail.features) == 2
    layers = [make_layer("bmsb", feature) for feature in tail.features]
    with torch.no_grad():
        for layer in layers:
            layer.scale.add_(0.1)
            layer.map.add_(0.2)
    calls = iter(layers)
    module = net.get_submodule(first)
    handle = module.register_forward_hook(lambda _, args, out: next(calls)(out))
    expected = net(image)
    handle.remove()
    torch.testing.assert_close(tail(*layers), expected)
