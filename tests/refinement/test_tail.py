"""Tails of all sorts of modules: the same as running everything, with less work."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_clickseg.errors import RefinementError
from napari_clickseg.refinement.insertion import record
from napari_clickseg.refinement.layers import make_layer
from napari_clickseg.refinement.tail import Tail

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(
            not torch.cuda.is_available(), reason="no CUDA device here"
        ),
    ),
]


class Toy(nn.Module):
    """Two convolutions and a head; what happens in between is the test's."""

    def __init__(self, between: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(6, 1, 1)
        self.between = between

    def forward(self, image: Tensor) -> Tensor:
        early = self.first(image).sigmoid()
        return self.head(self.between(self, early, self.second(early)))


def toy(between: Callable[[Any, Tensor, Tensor], Tensor]) -> Toy:
    torch.manual_seed(0)
    return Toy(between).eval().requires_grad_(False)


def image(n: int = 2, device: str = "cpu") -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, 8, 10, generator=generator).to(device)


def hooked(
    module: nn.Module, values: dict[str, Tensor], run: Callable[[], Tensor]
) -> Tensor:
    """Run everything, each named submodule returning the given value."""
    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda _, args, out, value=value: value.to(out.dtype).clone()
        )
        for name, value in values.items()
    ]
    try:
        return run()
    finally:
        for handle in handles:
            handle.remove()


def other(feature: Tensor, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(feature.shape, generator=generator).to(feature)
    return (feature + 0.5 * noise).requires_grad_()


def assert_follows(
    tail: Tail,
    module: nn.Module,
    name: str,
    run: Callable[[], Tensor],
    tolerance: float = 1e-5,
) -> None:
    """Other features give the answer and the gradient of a full forward pass."""
    for seed in (2, 3):  # twice: a call must leave nothing behind
        value = other(tail.features[0], seed)
        before = value.detach().clone()
        answer = tail(value)
        expected = hooked(module, {name: value}, run)
        scale = expected.abs().max().item()
        assert (answer - expected).abs().max() <= tolerance * scale
        assert (expected - tail.output).abs().max() > 1e-3 * scale
        weights = torch.linspace(-1, 1, answer.numel()).view_as(answer).to(answer)
        (found,) = torch.autograd.grad((answer * weights).sum(), value)
        (wanted,) = torch.autograd.grad((expected * weights).sum(), value)
        assert (found - wanted).abs().max() <= 10 * tolerance * wanted.abs().max()
        assert wanted.abs().max() > 0
        assert torch.equal(value, before)


class Counted(TorchFunctionMode):
    """Counts calls of torch functions by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


def _residual(net: Any, early: Tensor, x: Tensor) -> Tensor:
    return net.relu(net.norm(x) + early)


def _functional(net: Any, early: Tensor, x: Tensor) -> Tensor:
    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
    x = F.avg_pool2d(F.leaky_relu(x, 0.1), 2)
    mean = x.flatten(2).softmax(2).mean(1, keepdim=True).view(*x.shape[:1], 1, 8, 10)
    parts = torch.chunk(torch.cat([x, early * mean], 1), 2, dim=1)
    return parts[0] * torch.sigmoid(parts[1]) + x.amax((2, 3), keepdim=True)


def _in_place(net: Any, early: Tensor, x: Tensor) -> Tensor:
    x += early
    F.relu(x, inplace=True)
    x.mul_(1.5).add_(early, alpha=0.5)
    x[:, 1] = early[:, 1] * x[:, 2].clone()
    return x


def _gently_in_place(net: Any, early: Tensor, x: Tensor) -> Tensor:
    x += early
    x.mul_(1.5).add_(early, alpha=0.5)
    return net.relu(x)


def _needed_for_the_gradient(net: Any, early: Tensor, x: Tensor) -> Tensor:
    y = x.sigmoid()  # autograd needs this value, which is then overwritten
    y.mul_(2)
    return net.relu(y + x.mul_(2).exp())


def _into_a_buffer(net: Any, early: Tensor, x: Tensor) -> Tensor:
    buffer = torch.zeros_like(early)
    buffer[:, ::2] = early[:, ::2]
    buffer[:, 1::2] = x[:, 1::2]
    total = torch.empty_like(buffer)
    return torch.add(buffer, buffer.square(), out=total)


def _twice(net: Any, early: Tensor, x: Tensor) -> Tensor:
    return net.norm(net.head.weight * net.norm(x).sin()) * early


def _own_views(net: Any, early: Tensor, x: Tensor) -> Tensor:
    left, right = x[..., :5], x[..., 5:]
    left.mul_(2)
    right.copy_(early[..., 5:] * left)
    return x.cos()


def _einsum(net: Any, early: Tensor, x: Tensor) -> Tensor:
    mixed = torch.einsum("nchw,ndhw->ncd", x, early).softmax(-1)
    return torch.einsum("ncd,nchw->ndhw", mixed, x) @ torch.eye(10)


def _no_grad_inside(net: Any, early: Tensor, x: Tensor) -> Tensor:
    with torch.no_grad():
        x = net.norm(x).tanh()
    return x + early


def _operators(net: Any, early: Tensor, x: Tensor) -> Tensor:
    x = torch.ops.aten.mul.Tensor(x, early)
    x = torch.ops.aten.add_.Tensor(x, early)
    return torch.ops.aten.clamp_min.default(x, 0.1)


def _mapped(net: Any, early: Tensor, x: Tensor) -> Tensor:
    rows = [row.tanh() for row in x]
    return torch.stack(rows) * torch.stack(list(early.unbind()))


def _top(net: Any, early: Tensor, x: Tensor) -> Tensor:
    found = x.max(1, keepdim=True)
    values, order = x.sort(dim=3)
    return values + found.values * found.indices + order


def _shapes(net: Any, early: Tensor, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    grid = torch.arange(w, dtype=x.dtype, device=x.device).expand(n, c, h, w)
    return (x * grid / x.size(1)).reshape(x.numel() // (h * w), h, w).view(n, c, h, w)


def _transposed(net: Any, early: Tensor, x: Tensor) -> Tensor:
    x = x.permute(0, 2, 3, 1).contiguous()
    x = F.layer_norm(x, x.shape[-1:])
    return F.gelu(x).permute(0, 3, 1, 2) + x.mT.mean() + early


WAYS = {
    way.__name__.strip("_"): way
    for way in (
        _residual,
        _functional,
        _in_place,
        _gently_in_place,
        _needed_for_the_gradient,
        _into_a_buffer,
        _twice,
        _own_views,
        _einsum,
        _no_grad_inside,
        _operators,
        _mapped,
        _top,
        _shapes,
        _transposed,
    )
}


@pytest.mark.parametrize("name", WAYS)
def test_recorded_calls_do_what_the_module_does(name):
    net = toy(WAYS[name])
    x = image()

    def run() -> Tensor:
        return net(x)

    tail = record(net, ["second"], run)
    assert not tail.complete, tail.reason
    assert torch.equal(tail.output, net(x))
    with torch.enable_grad():
        if name == "no_grad_inside":  # the tail looks through it, on purpose
            value = other(tail.features[0])
            with torch.no_grad():
                expected = hooked(net, {"second": value}, run)
            torch.testing.assert_close(tail(value).detach(), expected)
            assert tail(value).requires_grad
        elif name in ("needed_for_the_gradient", "into_a_buffer", "in_place"):
            # PyTorch itself has no gradient for these.
            value = other(tail.features[0])
            expected = hooked(net, {"second": value.detach()}, run)
            torch.testing.assert_close(tail(value).detach(), expected)
            (found,) = torch.autograd.grad(tail(value).sum(), value)
            step = torch.zeros_like(value)
            step[0, 3, 3, 4] = 1e-2
            up, down = (
                hooked(net, {"second": value.detach() + s}, run).double().sum()
                for s in (step, -step)
            )
            slope = float(up - down) / 2e-2
            assert found[0, 3, 3, 4].item() == pytest.approx(slope, rel=0.02)
        else:
            assert_follows(tail, net, "second", run)


@pytest.mark.parametrize("name", ["needed_for_the_gradient", "residual"])
def test_recording_again_is_checked_only_where_it_must_be(name):
    net = toy(WAYS[name])
    counts = []
    for size in (8, 8, 12):  # another size is the same tape
        x = torch.rand(1, 3, size, 10)
        runs = []

        def run(x: Tensor = x, runs: list[int] = runs) -> Tensor:
            runs.append(1)
            return net(x)

        tail = record(net, ["second"], run)
        assert not tail.complete
        value = other(tail.features[0])
        torch.autograd.grad(tail(value).sum(), value)
        counts.append(len(runs))
    # Where autograd cannot go through the module, its answer is asked for once more.
    assert counts == [2 if name == "residual" else 3, 1, 1]


def test_only_what_depends_on_the_site_is_computed():
    net = toy(_residual)
    x = image()
    tail = record(net, ["second"], lambda: net(x))
    with Counted() as everything:
        net(x)
    with Counted() as again:
        tail(tail.features[0])
    assert everything.names.count("conv2d") == 3
    assert again.names.count("conv2d") == 1
    assert tail.calls == 4  # norm, sum, relu, head


def test_other_heads_are_left_out():
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 1)
            self.head = nn.Conv2d(4, 1, 1)
            self.other = nn.Sequential(
                nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 9, 3)
            )

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            x = self.body(x)
            return {"other": self.other(x), "answer": self.head(x)}

    net, x = TwoHeads().eval(), image()
    tail = record(net, ["body"], lambda: net(x)["answer"])
    assert tail.calls == 1
    value = other(tail.features[0])
    torch.testing.assert_close(tail(value), net.head(value))


def test_a_module_called_twice_has_two_features():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
            self.head = nn.Conv2d(6, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            small = F.interpolate(self.body(F.avg_pool2d(x, 2)), x.shape[-2:])
            return self.head(torch.cat([self.body(x), small], 1))

    torch.manual_seed(0)
    net, x = Shared().eval(), image()
    tail = record(net, ["body"], lambda: net(x))
    assert tail.labels == ("body#0[0]", "body#1[0]")
    assert [f.shape[-1] for f in tail.features] == [5, 10]
    values = [other(f, seed) for seed, f in enumerate(tail.features)]
    joined = torch.cat([values[1], F.interpolate(values[0], x.shape[-2:])], 1)
    torch.testing.assert_close(tail(*values), net.head(joined))
    second = record(net, ["body#1"], lambda: net(x))
    assert second.labels == ("body#1[0]",)
    assert second.calls < tail.calls
    with pytest.raises(RefinementError, match="body#2"):
        record(net, ["body#2"], lambda: net(x))


def test_recurrence_through_the_same_module():
    """The second call reads what the first has made of its feature."""
    body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh()).eval()
    x = image()
    tail = record(body, ["0"], lambda: body(body(x)))
    layers = [make_layer("sb", feature) for feature in tail.features]
    assert torch.equal(tail(*layers), tail.output)
    with torch.no_grad():
        layers[0].bias.add_(0.3)
        layers[1].scale.add_(0.2)
    expected = torch.tanh(layers[1](body[0](torch.tanh(layers[0](body[0](x))))))
    torch.testing.assert_close(tail(*layers), expected)
    # A tensor stops what comes from before.
    fixed = other(tail.features[1])
    torch.testing.assert_close(tail(layers[0], fixed), torch.tanh(fixed))


def test_several_sites_in_a_row_and_side_by_side():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 3),
        nn.Conv2d(5, 1, 1),
    ).eval()
    x = image()
    tail = record(net, ["2", "0", "input"], lambda: net(x))
    assert tail.labels == ("input#0[0]", "0#0[0]", "2#0[0]")
    layers = [
        make_layer(kind, f)
        for kind, f in zip(("map", "bmsb", "bmconv"), tail.features, strict=True)
    ]
    assert torch.equal(tail(*layers), tail.output)
    with torch.no_grad():
        for i, parameter in enumerate(
            p for layer in layers for p in layer.parameters()
        ):
            generator = torch.Generator().manual_seed(i)
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    y = net[2](F.relu(layers[1](net[0](layers[0](x)))))
    expected = net[3](layers[2](y))
    torch.testing.assert_close(tail(*layers), expected)
    found = torch.autograd.grad(tail(*layers).sum(), layers[0].map)
    wanted = torch.autograd.grad(expected.sum(), layers[0].map)
    torch.testing.assert_close(found, wanted)


def test_lists_named_tuples_and_dicts():
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x * 2, F.max_pool2d(x, 2), torch.arange(3)]

    class Join(nn.Module):
        def forward(self, *, parts: list[Tensor]) -> dict[str, Tensor]:
            big = F.interpolate(parts[1], parts[0].shape[-2:])
            return {"logits": parts[0] * big}

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches, self.join = Branches(), Join()

        def forward(self, x: Tensor) -> Tensor:
            return self.join(parts=self.branches(x))["logits"]

    net, x = Net().eval(), image()
    tail = record(net, ["branches"], lambda: net(x))
    assert tail.labels == ("branches#0[0]", "branches#0[1]")
    one = record(net, ["join:input[1]"], lambda: net(x))
    assert one.labels == ("join:input#0[1]",)
    value = other(one.features[0])
    torch.testing.assert_close(one(value), x * 2 * F.interpolate(value, x.shape[-2:]))
    with pytest.raises(RefinementError, match=r"no float tensor with four axes"):
        record(net, ["branches[2]"], lambda: net(x))


# Where a tape cannot follow ------------------------------------------------------


def _reads_values(net: Any, early: Tensor, x: Tensor) -> Tensor:
    return x / float(x.detach().abs().max()) + early


def _branches_on_values(net: Any, early: Tensor, x: Tensor) -> Tensor:
    return net.relu(x + early) if x.mean() > -100 else early


def _leaves_torch(net: Any, early: Tensor, x: Tensor) -> Tensor:
    return x + torch.from_numpy(np.cumsum(x.numpy(), axis=1))


def _shared_memory(net: Any, early: Tensor, x: Tensor) -> Tensor:
    buffer = torch.zeros_like(early)
    view = buffer[:, :3]
    view.copy_(x[:, :3])
    return buffer.cos()


class _Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * slope


def _own_gradient(net: Any, early: Tensor, x: Tensor) -> Tensor:
    return _Square.apply(x) + early


with warnings.catch_warnings():
    warnings.simplefilter("ignore")

    @torch.jit.script
    def _scripted(x: Tensor) -> Tensor:
        return torch.tanh(x) * 2


def _script_inside(net: Any, early: Tensor, x: Tensor) -> Tensor:
    return _scripted(x) + x * early


COMPLETE = {
    "reads values": (_reads_values, "reads values"),
    "branches": (_branches_on_values, "reads values"),
    "numpy": (_leaves_torch, "reads values"),
    "shared memory": (_shared_memory, "shares memory"),
    "script": (_script_inside, ""),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_what_cannot_be_recorded_is_run_as_a_whole(name):
    way, reason = COMPLETE[name]
    net = toy(way)
    x = image()

    def run() -> Tensor:
        return net(x)

    tail = record(net, ["second"], run)
    assert tail.complete
    assert reason in tail.reason
    assert torch.equal(tail.output, net(x))
    if name not in ("numpy", "shared memory"):
        assert_follows(tail, net, "second", run)
    value = other(tail.features[0]).detach()
    torch.testing.assert_close(tail(value), hooked(net, {"second": value}, run))
    assert not any(module._forward_hooks for module in net.modules())


def test_own_gradients():
    net = toy(_own_gradient)
    x = image()
    tail = record(net, ["second"], lambda: net(x))
    assert_follows(tail, net, "second", lambda: net(x))


class _Rounded(torch.autograd.Function):
    """Rounds, and lets gradients through as if it did not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x * 8).round() / 8

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope


def test_gradients_that_are_not_those_of_the_calls():
    net = toy(lambda net, early, x: _Rounded.apply(x) * early)
    x = image()
    tail = record(net, ["second"], lambda: net(x))
    assert tail.complete
    assert_follows(tail, net, "second", lambda: net(x))


def test_a_site_behind_something_that_cannot_be_seen():
    """The second feature depends on the first, although no call says so."""

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.second = nn.Conv2d(4, 4, 1)
            self.head = nn.Conv2d(8, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.head(torch.cat([self.second(_scripted(x)), x], 1))

    torch.manual_seed(0)
    net, x = Hidden().eval(), image()
    tail = record(net, ["first", "second"], lambda: net(x))
    layers = [make_layer("sb", feature) for feature in tail.features]
    with torch.no_grad():
        layers[0].bias.add_(0.5)
        layers[1].scale.add_(0.5)
    y = layers[0](net.first(x))
    z = layers[1](net.second(_scripted(y)))
    torch.testing.assert_close(tail(*layers), net.head(torch.cat([z, y], 1)))
