"""Networks for classes, matting and depth: sizes, precision, places, starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.golden_weights import fill, settle
from torch import Tensor, nn

from napari_clickseg.errors import ModelError
from napari_clickseg.models.optimise import fold_batch_norm
from napari_clickseg.networks.bts import BTS, Encoder, LocalPlanes
from napari_clickseg.networks.densenet import DenseNet
from napari_clickseg.networks.index_blocks import IndexBlock
from napari_clickseg.networks.indexnet import IndexNet
from napari_clickseg.networks.layers import IMAGENET, Normalise
from napari_clickseg.networks.mobilenet import MobileNetV2
from napari_clickseg.networks.multiscale import MultiScaleHRNet
from napari_clickseg.refinement.insertion import record
from napari_clickseg.refinement.layers import make_layer
from napari_clickseg.refinement.sites import Site

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "indexnet": IndexNet,
    "indexnet light": lambda: IndexNet("o2o", separable=True, context=32),
    "bts densenet121": lambda: BTS("densenet121", 64),
    "bts mobilenetv2": lambda: BTS("mobilenetv2", 64),
    "multiscale": lambda: MultiScaleHRNet(3, width=8, ocr_width=16, small=True),
    "multiscale, three scales": lambda: MultiScaleHRNet(
        3, (0.5, 1, 2), width=4, ocr_width=8, small=True
    ),
}
#: Channels at the places of each, from low to high resolution.
PLACES = {
    "indexnet": [160, 64, 32, 24, 32],
    "indexnet light": [160, 64, 32, 24, 32],
    "bts densenet121": [1024],
    "bts mobilenetv2": [320],
    "multiscale": [32, 16, 8],
    "multiscale, three scales": [16, 8, 4],
}


def image_for(network: nn.Module, size: tuple[int, int] = (64, 96)) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, *size, generator=generator)
    image = Normalise(*IMAGENET)(image)
    if isinstance(network, IndexNet):
        trimap = torch.randint(0, 3, (2, 1, *size), generator=generator) / 2
        image = torch.cat([image, trimap], 1)
    return image


@cache
def build(name: str) -> Any:
    """Build once for all tests: none may change it."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    fill(network)
    settle(network, lambda: network(image_for(network)))
    return network.requires_grad_(False)


# --------------------------------------------------------------- refinement


def replaced(network: nn.Module, values: dict[str, Tensor]) -> Tensor:
    """Run with tensors replaced at labels, by hooks of the test's own."""
    calls: Counter[str] = Counter()
    handles = []
    for path in {Site.parse(label).path for label in values}:

        def change(value: Any, path: str = path) -> Any:
            number = calls[path]
            calls[path] += 1
            many = list(value) if isinstance(value, list | tuple) else [value]
            for site, new in ((Site.parse(k), v) for k, v in values.items()):
                if (site.path, site.call) == (path, number):
                    many[site.index or 0] = new
            return type(value)(many) if isinstance(value, list | tuple) else many[0]

        module = network.get_submodule(path)
        if path:
            hook = module.register_forward_hook(lambda _, args, out, c=change: c(out))
        else:
            hook = module.register_forward_pre_hook(lambda _, args, c=change: c(args))
        handles.append(hook)
    try:
        return network(image_for(network))
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("place", ["L1", "g-brs", "rgb"])
def test_a_tail_is_the_full_forward(name: str, place: str) -> None:
    network = build(name)
    image = image_for(network)
    with torch.inference_mode():
        plain = network(image)
    tail = record(network, network.places()[place], lambda: network(image))
    assert not tail.complete, tail.reason
    assert (tail.output - plain).abs().max() <= 1e-5 * plain.abs().max()

    generator = torch.Generator().manual_seed(5)
    values = [
        (x + 0.1 * x.std() * torch.randn(x.shape, generator=generator)).requires_grad_()
        for x in tail.features
    ]
    answer = tail(*values)
    expected = replaced(network, dict(zip(tail.labels, values, strict=True)))
    scale = expected.abs().max()
    assert (answer - expected).abs().max() <= 1e-5 * scale
    assert (expected - plain).abs().max() > 1e-4 * scale
    weights = torch.linspace(-1, 1, answer.numel()).view_as(answer)
    found = torch.autograd.grad((answer * weights).sum(), values)
    wanted = torch.autograd.grad((expected * weights).sum(), values)
    for ours, theirs in zip(found, wanted, strict=True):
        assert theirs.abs().max() > 0
        assert (ours - theirs).norm() <= 1e-3 * theirs.norm()


@pytest.mark.parametrize("name", NETWORKS)
def test_places_from_low_to_high_resolution(name: str) -> None:
    network = build(name)
    places = network.places()
    image = image_for(network)
    passes = len(getattr(network, "scales", (1,)))
    levels = [places[f"L{n}"] for n in range(1, len(PLACES[name]) + 1)]
    assert places["g-brs"] == levels[-1]
    assert set(places) == {"g-brs", "rgb"} | {f"L{n + 1}" for n in range(len(levels))}
    sizes = []
    for number, level in enumerate(levels, start=1):
        assert level == levels[-1][:number]
        features = record(network, level[-1:], lambda: network(image)).features
        assert len(features) == passes
        assert {x.shape[1] for x in features} == {PLACES[name][number - 1]}
        sizes.append(max(x.shape[-1] for x in features))
    assert sizes == sorted(set(sizes))
    (rgb,) = record(network, places["rgb"], lambda: network(image)).features
    assert torch.equal(rgb, image[:, :3])  # never the trimap


@pytest.mark.parametrize("name", ["indexnet light", "bts mobilenetv2", "multiscale"])
@pytest.mark.parametrize("kind", ["sb", "bmsb", "bmsb-m", "bmconv"])
def test_layers_at_all_places_begin_as_the_network(name: str, kind: Any) -> None:
    network = build(name)
    image = image_for(network)[:1]
    tail = record(network, network.places()["g-brs"], lambda: network(image))
    layers = [make_layer(kind, feature) for feature in tail.features]
    answer = tail(*layers)
    assert torch.equal(answer, tail.output)
    answer.square().mean().backward()
    for layer in layers:
        assert layer.bias.grad is not None
        assert layer.bias.grad.abs().max() > 0


# ------------------------------------------------------ sizes and precision


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_half_precision(name: str) -> None:
    network = NETWORKS[name]()
    network.load_state_dict(build(name).state_dict())
    network.eval().bfloat16()
    image = image_for(network)
    answer = network(image.bfloat16())
    assert answer.dtype == torch.bfloat16
    assert torch.isfinite(answer).all()
    # Small networks with random weights magnify rounding a lot: rounding the weights
    # alone leaves a correlation of 0.9, whatever the rest computes in.
    both = torch.stack([answer.float(), build(name)(image)]).flatten(1)
    assert torch.corrcoef(both)[0, 1] > 0.5


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_folded_batch_norm(name: str) -> None:
    """As models run them; norms that stand behind an activation stay."""
    exact = build(name)
    network = NETWORKS[name]()
    network.load_state_dict(exact.state_dict())
    network.eval().double()
    image = image_for(network).double()
    before = network(image)
    folded = fold_batch_norm(network, lambda: network(image))
    assert folded > 0
    assert (network(image) - before).abs().max() <= 1e-4 * before.abs().max()


@pytest.mark.parametrize("size", [(33, 50), (64, 97), (128, 31)])
@torch.inference_mode()
def test_any_size_of_image_has_classes(size: tuple[int, int]) -> None:
    network = build("multiscale")
    assert network(image_for(network, size)).shape == (2, 3, *size)


@pytest.mark.parametrize("name", ["indexnet light", "bts mobilenetv2"])
@torch.inference_mode()
def test_sides_are_multiples_of_32(name: str) -> None:
    network = build(name)
    assert network.multiple == 32
    assert network(image_for(network, (32, 160))).shape == (2, 1, 32, 160)
    with pytest.raises(ModelError, match="multiples of 32, not 64 x 80"):
        network(image_for(network, (64, 80)))


@torch.inference_mode()
def test_one_scale_is_the_trunk_and_its_head() -> None:
    network = MultiScaleHRNet(3, (1.0,), width=4, ocr_width=8, small=True)
    fill(network)
    image = image_for(network)
    assert torch.equal(network(image), network.at_scale(image)[0])


@torch.inference_mode()
def test_scales_are_joined_as_published() -> None:
    """From the finest to the coarsest, each weighed by its own attention."""
    network = build("multiscale, three scales")
    image = image_for(network)

    def to(x: Tensor, size: tuple[int, int]) -> Tensor:
        return nn.functional.interpolate(x, size, mode="bilinear", align_corners=False)

    whole = (64, 96)
    fine, _, _ = network.at_scale(to(image, (128, 192)))
    own, trust, _ = network.at_scale(image)
    expected = trust * own + (1 - trust) * to(fine, whole)
    coarse, trust, _ = network.at_scale(to(image, (32, 48)))
    expected = to(trust * coarse, whole) + (1 - to(trust, whole)) * expected
    torch.testing.assert_close(network(image), expected)


@pytest.mark.parametrize("scales", [(0.5,), (), (0, 1), (-1, 1)])
def test_scales_that_make_no_sense(scales: tuple[float, ...]) -> None:
    with pytest.raises(ModelError, match="1 among them"):
        MultiScaleHRNet(3, scales, width=4, ocr_width=8, small=True)


# ------------------------------------------------------------- what they say


@given(st.integers(0, 10_000), st.sampled_from(["m2o", "o2o"]))
@torch.inference_mode()
def test_index_maps_share_out_each_block(seed: int, kind: Any) -> None:
    generator = torch.Generator().manual_seed(seed)
    block = IndexBlock(3, kind).eval()
    pooling, spreading = block(3 * torch.randn(1, 3, 8, 6, generator=generator))
    sums = 4 * nn.functional.avg_pool2d(pooling, 2)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    assert spreading.min() >= 0
    assert spreading.max() <= 1
    # Both come from the same numbers: where one is larger, so is the other.
    ours = nn.functional.pixel_unshuffle(pooling, 2).view(1, 3, 4, 4, 3)
    theirs = nn.functional.pixel_unshuffle(spreading, 2).view(1, 3, 4, 4, 3)
    torch.testing.assert_close(theirs.softmax(2), ours)


def test_a_channels_own_index_ignores_the_others() -> None:
    block = IndexBlock(3, "o2o").eval()
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, 1:] += 1
    with torch.inference_mode():
        for ours, theirs in zip(block(x), block(other), strict=True):
            assert torch.equal(ours[:, 0], theirs[:, 0])
            assert not torch.equal(ours[:, 1], theirs[:, 1])


@given(
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0.5),
    st.floats(0.1, 5),
    st.sampled_from([2, 4, 8]),
)
def test_planes_are_drawn_where_rays_meet_them(
    n1: float, n2: float, distance: float, side: int
) -> None:
    """A point at that depth on a pixel's ray lies in the plane."""
    n3 = (1 - n1**2 - n2**2) ** 0.5
    plane = torch.tensor([n1, n2, n3, distance], dtype=torch.float64)
    depth = LocalPlanes(side)(plane.view(1, 4, 1, 1).expand(1, 4, 2, 3))
    assert depth.shape == (1, 1, 2 * side, 3 * side)
    cell = depth[0, 0, side : 2 * side, side : 2 * side]
    for row in range(side):
        for column in range(side):
            u = (column + 0.5) / side - 0.5
            v = (row + 0.5) / side - 0.5
            ray = torch.tensor([u, v, 1.0], dtype=torch.float64)
            point = cell[row, column] * ray
            assert abs(float(point @ plane[:3]) - distance) < 1e-9


@torch.inference_mode()
def test_depth_stays_within_its_bounds() -> None:
    network = BTS("mobilenetv2", 64, max_depth=3.5)
    network.eval()
    guesses = network.guesses(20 * torch.randn(1, 3, 64, 64))
    assert guesses.depth.min() >= 0
    assert guesses.depth.max() <= 3.5


def test_how_large_the_light_ones_are() -> None:
    def mib(network: nn.Module) -> float:
        state = network.state_dict().values()
        return sum(x.numel() for x in state) * 2 / 2**20

    assert mib(IndexNet("o2o", separable=True)) < 5
    assert mib(BTS("mobilenetv2", 128)) < 6


# ------------------------------------------------------------------- starts


def pack() -> tuple[MobileNetV2, list[tuple[Tensor, Tensor]]]:
    """Return a MobileNetV2 and its filters in order."""
    torch.manual_seed(3)
    source = MobileNetV2(output_stride=32).eval()
    convolutions = [m for m in source.modules() if isinstance(m, nn.Conv2d)]
    return source, [(m.weight, m.bias) for m in convolutions if m.bias is not None]


@torch.inference_mode()
def test_indexnet_starts_from_folded_filters() -> None:
    source, filters = pack()
    network = IndexNet("o2o", separable=True, context=32).eval()
    assert network.start_from(filters) == 51
    rgb = torch.rand(1, 3, 16, 16)
    image = torch.cat([Normalise(*IMAGENET)(rgb), torch.rand(1, 1, 16, 16)], 1)
    ours = network.layer0(image)
    stem = source.stem[0]
    assert isinstance(stem, nn.Conv2d)
    signed = nn.functional.conv2d(2 * rgb - 1, stem.weight, stem.bias)
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], signed.clamp(0, 6))
    # A block answers alike, but for its border.
    features = torch.randn(1, 64, 9, 9)
    block = network.get_submodule("layer4.2")
    expected = source.blocks[8](features)
    torch.testing.assert_close(
        block(features)[..., 1:-1, 1:-1],
        expected[..., 1:-1, 1:-1],
        rtol=1e-4,
        atol=1e-5,
    )


def test_other_filters_are_refused() -> None:
    _, filters = pack()
    network = IndexNet("o2o", separable=True, context=32)
    with pytest.raises(ValueError, match="51 filters are needed, not 50"):
        network.start_from(filters[:50])
    with pytest.raises(ValueError, match="no MobileNetV2 of width 1"):
        network.start_from(filters[::-1])


@torch.inference_mode()
def test_mobilenet_at_stride_32_has_the_same_weights() -> None:
    torch.manual_seed(0)
    dilated = MobileNetV2().eval()
    strided = MobileNetV2(output_stride=32).eval()
    strided.load_state_dict(dilated.state_dict())
    image = torch.rand(1, 3, 64, 96) * 2 - 1
    taps = strided.pyramid(image)
    assert [x.shape[1] for x in taps] == list(strided.channels)
    assert [96 // x.shape[-1] for x in taps] == [2, 4, 8, 16, 32]
    shallow = dilated.shallow(image)
    assert torch.equal(taps[1], shallow)
    assert torch.equal(taps[2], dilated.deep(shallow)[0])


@torch.inference_mode()
def test_the_small_encoder_sees_rgb_as_its_filters_do() -> None:
    encoder = Encoder("mobilenetv2").eval()
    rgb = torch.rand(1, 3, 32, 32)
    ours = encoder(Normalise(*IMAGENET)(rgb))
    theirs = encoder.base_model.pyramid(2 * rgb - 1)
    torch.testing.assert_close(ours[-1], theirs[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "channels"),
    [
        ("densenet121", (64, 64, 128, 256, 1024)),
        ("densenet161", (96, 96, 192, 384, 2208)),
    ],
)
def test_densenet_has_the_published_widths(
    variant: str, channels: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        network = DenseNet(variant)
        taps = network.pyramid(torch.empty(1, 3, 64, 64))
    assert network.channels == channels
    assert tuple(x.shape[1] for x in taps) == channels
    assert [64 // x.shape[-1] for x in taps] == [2, 4, 8, 16, 32]


def test_unknown_encoders_and_sizes() -> None:
    with pytest.raises(ValueError, match="choose densenet121, densenet161, mobile"):
        BTS("resnet18")
    with pytest.raises(ValueError, match="multiple of 16"):
        BTS("mobilenetv2", 100)
