"""What record refuses, and modules of other kinds: scripts, exports, inference mode."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_clickseg.errors import Cancelled, ClickSegError, RefinementError
from napari_clickseg.networks.unet import UNet
from napari_clickseg.refinement.insertion import interactive_points, record
from napari_clickseg.refinement.layers import make_layer
from napari_clickseg.refinement.sites import Site

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(
            not torch.cuda.is_available(), reason="no CUDA device here"
        ),
    ),
]


def unet(seed: int = 0) -> UNet:
    torch.manual_seed(seed)
    return UNet(channels=(4, 8), normalise=False).eval().requires_grad_(False)


def image(n: int = 2) -> Tensor:
    return torch.rand(n, 3, 16, 24, generator=torch.Generator().manual_seed(1))


# Names -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("head", Site("head")),
        ("head:output", Site("head")),
        ("a.b.0:input", Site("a.b.0", before=True)),
        ("stage4[1]", Site("stage4", index=1)),
        ("body#2", Site("body", call=2)),
        ("body:input#0[3]", Site("body", before=True, call=0, index=3)),
        ("body[3]#0", Site("body", call=0, index=3)),
        ("input", Site("", before=True)),
        ("input[1]", Site("", before=True, index=1)),
        (" head ", Site("head")),
    ],
)
def test_sites_are_read(text, site):
    assert Site.parse(text) == site
    assert Site.parse(str(site)) == site
    assert Site.parse(site) is site


@pytest.mark.parametrize("text", ["", "a b", "head:inputs", "head[x]", "head#", "[1]"])
def test_sites_that_say_nothing(text):
    with pytest.raises(RefinementError, match="names no place"):
        Site.parse(text)


def test_unknown_submodules_are_answered_with_near_ones():
    net, x = unet(), image()
    with pytest.raises(RefinementError, match=r"no submodule 'heads'.*'head'"):
        record(net, ["heads"], lambda: net(x))
    with pytest.raises(RefinementError, match=r"'up.0.convolve'"):
        record(net, ["convolve"], lambda: net(x))
    assert issubclass(RefinementError, ClickSegError)


def test_places_that_are_not_reached():
    net, x = unet(), image()
    with pytest.raises(RefinementError, match="'down' was not reached"):
        record(net, ["down"], lambda: net(x))
    with pytest.raises(RefinementError, match="at least one place"):
        record(net, [], lambda: net(x))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_places_without_features():
    net = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(72, 3)).eval()
    x = image()
    with pytest.raises(
        RefinementError, match=r"no float tensor with four axes.*\(2, 72\)"
    ):
        record(net, ["1"], lambda: net(x))
    tail = record(net, ["0"], lambda: net(x))  # behind it, anything goes
    assert tail(tail.features[0]).shape == (2, 3)


def test_training_mode_is_refused():
    net, x = unet().train(), image()
    before = {n: b.clone() for n, b in net.named_buffers()}
    with pytest.raises(RefinementError, match=r"\.eval\(\)"):
        record(net, ["head:input"], lambda: net(x))
    assert all(torch.equal(b, before[n]) for n, b in net.named_buffers())


def test_chance_is_refused():
    class Restless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.body(x)
            return x * torch.rand_like(x)

    net, x = Restless().eval(), image()
    with pytest.raises(RefinementError, match=r"differently each time.*\.eval\(\)"):
        record(net, ["body"], lambda: net(x))


def test_other_things_are_refused():
    x = image()
    with pytest.raises(RefinementError, match=r"torch\.nn\.Module, not function"):
        record(lambda y: y, ["input"], lambda: x)  # type: ignore[arg-type]
    net = unet()
    with pytest.raises(RefinementError, match="tensor, not dict"):
        record(net, ["head:input"], lambda: {"logits": net(x)})  # type: ignore[arg-type]


def test_calls_with_the_wrong_values():
    net, x = unet(), image()
    tail = record(net, ["head:input"], lambda: net(x))
    with pytest.raises(RefinementError, match=r"1 features .* but 2 values"):
        tail(tail.features[0], tail.features[0])
    with pytest.raises(RefinementError, match=r"has the shape \(2, 4, 16, 24\)"):
        tail(tail.features[0][:1])


# Other kinds of modules ------------------------------------------------------


def scripted(net: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated
        return torch.jit.trace(net, image())


def test_no_layer_inside_torchscript():
    net = scripted(unet())
    x = image()
    with pytest.raises(RefinementError, match=r"TorchScript.*'input'"):
        record(net, ["head"], lambda: net(x))

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * 2

    around = Around().eval()
    with pytest.raises(RefinementError, match="inner is a TorchScript module"):
        record(around, ["inner.head"], lambda: around(x))
    tail = record(around, ["inner"], lambda: around(x))  # behind it: no difficulty
    assert not tail.complete
    assert torch.equal(tail(tail.features[0] * 3), tail.output * 3)


def test_the_input_of_torchscript():
    plain, x = unet(), image()
    net = scripted(plain)
    tail = record(net, ["input"], lambda: net(x))
    assert tail.complete
    layer = make_layer("map", tail.features[0])
    torch.testing.assert_close(tail(layer), tail.output)
    with torch.no_grad():
        layer.map.add_(0.3)
    torch.testing.assert_close(tail(layer), plain(x + 0.3))
    (found,) = torch.autograd.grad(tail(layer).sum(), layer.map)
    y = (x + 0.3).requires_grad_()
    (wanted,) = torch.autograd.grad(plain(y).sum(), y)
    torch.testing.assert_close(found, wanted)


@pytest.fixture(scope="module")
def exported() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(unet(), (image(),))


def test_exported_programs(exported):
    plain, x = unet(), image()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = exported.module()
        parts = torch.export.unflatten(exported)
    with pytest.raises(RefinementError, match=r"exported\.module\(\)"):
        record(exported, ["input"], lambda: whole(x))
    tail = record(whole, ["input"], lambda: whole(x))
    assert not tail.complete, tail.reason
    value = (x + 0.2).requires_grad_()
    torch.testing.assert_close(tail(value), plain(value))
    assert torch.autograd.grad(tail(value).sum(), value)[0].abs().max() > 0
    tail = record(parts, ["down.1"], lambda: parts(x))
    assert not tail.complete, tail.reason
    reference = record(plain, ["down.1"], lambda: plain(x))
    value = (reference.features[0] * 1.3).requires_grad_()
    torch.testing.assert_close(tail(value), reference(value))


def test_weights_get_no_gradient():
    net, x = unet().requires_grad_(True), image()
    script = scripted(net)
    for module, site in ((net, "down.1"), (script, "input")):
        tail = record(module, [site], lambda module=module: module(x))
        layer = make_layer("sb", tail.features[0])
        tail(layer).sum().backward()
        assert layer.bias.grad.abs().max() > 0
        assert all(p.grad is None and p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("reads", [False, True])
def test_inference_mode_is_no_obstacle(device, reads):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3, padding=1)
            self.head = nn.Conv2d(4, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x)
            scale = float(y.amax()) if reads else 2.0
            return self.head(y / scale) + x.mean(1, keepdim=True)

    net = Net().eval().to(device)
    with torch.inference_mode():
        x = image().to(device) * 2  # as features from a cache

    @torch.inference_mode()
    def run() -> Tensor:
        return net(x)

    tail = record(net, ["body"], run)
    assert tail.complete == reads
    layer = make_layer("bmsb", tail.features[0])
    assert torch.equal(tail(layer), tail.output)
    tail(layer).square().sum().backward()
    assert layer.map.grad.abs().max() > 0
    assert layer.map.device.type == device


def test_recording_inside_inference_mode():
    net = unet()
    with torch.inference_mode():
        x = image() * 2
        tail = record(net, ["down.1"], lambda: net(x))
        assert torch.equal(tail(tail.features[0]), tail.output)
    assert not tail.complete, tail.reason
    layer = make_layer("bmconv", tail.features[0])
    tail(layer).square().sum().backward()
    assert layer.map.grad.abs().max() > 0


def test_other_errors_are_passed_on():
    """Neither a wish to stop nor missing memory is the tape's fault."""
    net, x = unet(3), image()
    for error in (Cancelled("stop"), MemoryError()):
        calls = iter([True, False])

        def run(calls: Any = calls, error: Any = error) -> Tensor:
            if not next(calls):
                raise error
            return net(x)

        with pytest.raises(type(error)):
            record(net, ["up.0.convolve.0"], run)


def test_under_autocast():
    net, x = unet(), image()

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return net(x).float()

    tail = record(net, ["down.1"], run)
    assert not tail.complete, tail.reason
    assert tail.features[0].dtype == torch.float32
    answer = tail(tail.features[0])
    assert (answer - tail.output).abs().max() < 0.05 * tail.output.abs().max()
    assert record(net, ["down.1"], run, dtype=None).complete


def test_float64_stays():
    net, x = unet().double(), image().double()
    tail = record(net, ["down.1"], lambda: net(x))
    assert tail.features[0].dtype == torch.float64
    assert torch.equal(tail(tail.features[0]), tail.output)
    single, y = unet(), image()
    tail = record(single, ["down.1"], lambda: single(y), dtype=torch.float64)
    assert tail.features[0].dtype == torch.float64
    assert (tail.output - net(x)).abs().max() < 1e-5
    torch.testing.assert_close(tail(tail.features[0]), net(x), rtol=0, atol=1e-6)


def test_a_tail_serves_for_many_clicks():
    net, x = unet(), image()
    tail = record(net, ["up.0.convolve:input"], lambda: net(x))
    layer = make_layer("bmconv", tail.features[0])
    target = -tail.output.sign()
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = (1 - target * tail(layer(tail.features[0]))).clamp(min=0).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(tail(tail.features[0]), tail.output)
    assert torch.equal(tail.output, net(x))


# Which places ----------------------------------------------------------------


def test_sensible_places_of_a_unet():
    net, x = unet(), image(1)
    points = {p.site: p for p in interactive_points(net, x)}
    assert {"input", "down.0", "down.1", "up.0", "up.0.convolve:input"} <= points.keys()
    assert (points["down.1"].channels, points["down.1"].stride) == (8, 2)
    assert points["up.0.convolve:input"].channels == 8
    assert points["input"].share == pytest.approx(1)
    assert points["down.1"].share > points["up.0"].share > 0
    assert "8 channels, stride 2" in str(points["down.1"])
    for site in points:
        tail = record(net, [site], lambda: net(x))
        assert tuple(tail.features[0].shape) == points[site].shape
        assert (tail.output - tail(tail.features[0] * 1.5)).abs().max() > 0


def test_share_is_the_work_that_depends_on_a_place():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Conv2d(3, 8, 1))
            self.right = nn.Sequential(nn.Conv2d(3, 8, 1))
            self.last = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))

        def forward(self, x: Tensor) -> Tensor:
            left = self.left(x)
            return self.last(left) + self.right(x)

    found = {p.site: p for p in interactive_points(Two().eval(), image(1))}
    # Of 3*8 + 3*8 + 8*8 + 8*8 multiplications the last two follow the left one.
    assert found["left"].share == pytest.approx(128 / 176, abs=0.05)
    assert found["right"].share < 0.05


def test_places_of_a_flat_and_of_a_repeated_network():
    torch.manual_seed(0)
    flat = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 1, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 2, 1),
        nn.Upsample(scale_factor=2),
    ).eval()
    points = interactive_points(flat, image(1))
    assert [p.site for p in points] == ["input", "3", "4"]
    assert points[1].stride == 2
    repeated = nn.ModuleDict({"a": nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())})

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = repeated

        def forward(self, x: Tensor) -> Tensor:
            return self.parts["a"](self.parts["a"](x)) * 2

    (body,) = (p for p in interactive_points(Twice().eval(), image(1)) if "a" in p.site)
    assert body.calls == 2


def test_nothing_to_refine():
    with pytest.raises(RefinementError, match="no place for a refinement layer"):
        interactive_points(nn.Linear(3, 2), torch.rand(4, 3))


def test_the_input_is_the_only_place_of_a_script():
    points = interactive_points(scripted(unet()), image())
    assert [p.site for p in points] == ["input"]
