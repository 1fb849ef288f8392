"""Equations 3 to 6 of G-BRS: identity, gradients, bounds, channels, mirror images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from napari_clickseg.boxes import Box
from napari_clickseg.errors import RefinementError
from napari_clickseg.refinement.layers import (
    BETA,
    LAYERS,
    RefinementLayer,
    make_layer,
    resampled,
)

SHAPES = {
    "sb": {"scale": (5,), "bias": (5,)},
    "bmsb": {"map": (2, 1, 3, 4), "map_weight": (5,), "scale": (5,), "bias": (5,)},
    "bmsb-m": {
        "map": (2, 1, 3, 4),
        "map_weight": (5,),
        "scale": (5,),
        "bias": (5,),
        "mix": (),
    },
    "bmconv": {"map": (2, 1, 3, 4), "map_weight": (5,), "conv": (5, 5), "bias": (5,)},
    "map": {"map": (2, 5, 3, 4)},
}


def feature(n: int = 2, c: int = 5, h: int = 3, w: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, c, h, w, generator=torch.Generator().manual_seed(seed))


def shaken(layer: RefinementLayer, seed: int = 1, size: float = 0.3) -> RefinementLayer:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(size * noise.to(parameter))
    layer.project_()
    return layer


@pytest.mark.parametrize("kind", LAYERS)
def test_parameters(kind):
    layer = make_layer(kind, feature())
    assert {n: tuple(p.shape) for n, p in layer.named_parameters()} == SHAPES[kind]
    assert all(p.dtype == torch.float32 for p in layer.parameters())
    assert layer.kind == kind
    assert layer.shape == (2, 5, 3, 4)


def by_the_paper(layer: RefinementLayer, m: np.ndarray) -> np.ndarray:
    """Equations 3 to 6, element by element in float64."""
    p = {n: x.astype(np.float64) for n, x in layer.arrays().items()}
    s = 1 + p.get("scale", np.zeros(m.shape[1]))
    out = np.empty_like(m)
    for n, c, y, x in np.ndindex(*m.shape):
        here = m[n, :, y, x]
        b = p["bias"]
        if layer.kind == "sb":
            out[n, c, y, x] = here[c] * s[c] + b[c]
            continue
        shift = p["map"][n, 0, y, x] * p["map_weight"]
        if layer.kind == "bmsb":
            out[n, c, y, x] = (here[c] + shift[c]) * s[c] + b[c]
        elif layer.kind == "bmsb-m":
            w = p["mix"]
            first, second = here[c] * s[c] + b[c], here[c] + shift[c]
            out[n, c, y, x] = w * first + (1 - w) * second
        else:
            matrix = np.eye(m.shape[1]) + p["conv"]
            out[n, c, y, x] = matrix[c] @ (here + 10 * shift) + b[c]
    return out


@pytest.mark.parametrize("kind", ["sb", "bmsb", "bmsb-m", "bmconv"])
def test_equations(kind):
    m = feature()
    layer = shaken(make_layer(kind, m))
    expected = by_the_paper(layer, m.double().numpy())
    np.testing.assert_allclose(layer(m).detach().numpy(), expected, atol=2e-5)
    assert BETA == 10


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("top_k", [None, 3])
@pytest.mark.parametrize("kind", LAYERS)
def test_gradients(kind, top_k, mirrored):
    m = feature().double()
    layer = shaken(make_layer(kind, m, mirrored=mirrored, top_k=top_k)).double()
    names = [name for name, _ in layer.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def run(m: Tensor, *values: Tensor) -> Tensor:
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(layer, named, (m,))

    assert torch.autograd.gradcheck(run, (m.requires_grad_(), *values))


floats = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=40)
@given(
    hnp.arrays(np.float32, (2, 4, 3, 5), elements=floats),
    st.sampled_from(LAYERS),
    st.booleans(),
    st.sampled_from([None, 2, 9]),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    st.booleans(),
)
def test_identity_at_the_start_bit_for_bit(values, kind, mirrored, top_k, dtype, last):
    m = torch.from_numpy(values).clamp(-6e4, 6e4).to(dtype)
    if last:
        m = m.contiguous(memory_format=torch.channels_last)
    layer = make_layer(kind, m, mirrored=mirrored, top_k=top_k)
    out = layer(m)
    assert out.dtype == dtype
    assert torch.equal(out, m)


@pytest.mark.parametrize("channels", [288, 512])
def test_identity_of_wide_features(channels):
    m = 100 * feature(2, channels, 9, 11)
    for kind in LAYERS:
        assert torch.equal(make_layer(kind, m, mirrored=True)(m), m)


@given(
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5),
)
def test_w_stays_in_its_interval(start, steps):
    layer = make_layer("bmsb-m", feature())
    with torch.no_grad():
        layer.mix.fill_(start)
    layer.project_()
    assert 0 <= layer.mix.item() <= 1
    for step in steps:
        with torch.no_grad():
            layer.mix.add_(step)
        layer.project_()
        assert 0 <= layer.mix.item() <= 1
    mixed = layer(feature())
    assert torch.isfinite(mixed).all()


def test_w_stays_there_under_adam():
    layer = make_layer("bmsb-m", feature())
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.3)
    for _ in range(20):
        optimiser.zero_grad()
        layer(feature()).square().sum().backward()
        optimiser.step()
        layer.project_()
        assert 0 <= layer.mix.item() <= 1


@pytest.mark.parametrize("kind", LAYERS)
def test_a_mirrored_batch_stays_mirrored(kind):
    m = feature(2)
    both = torch.cat([m, m.flip(3)])
    layer = shaken(make_layer(kind, both, mirrored=True))
    out = layer(both)
    torch.testing.assert_close(out[2:], out[:2].flip(3))
    alone = make_layer(kind, m)  # the same parameters serve the plain batch
    alone.load_arrays(layer.arrays())
    torch.testing.assert_close(alone(m), out[:2])
    with pytest.raises(RefinementError, match="even number"):
        make_layer(kind, feature(3), mirrored=True)


@pytest.mark.parametrize("kind", LAYERS)
def test_top_k_leaves_other_channels_alone(kind):
    m = feature(c=9)
    mean = m.mean((0, 2, 3))
    chosen = set(mean.argsort(descending=True)[:4].tolist())
    layer = shaken(make_layer(kind, m, top_k=4))
    out = layer(m)
    for channel in range(9):
        same = torch.equal(out[:, channel], m[:, channel])
        assert same == (channel not in chosen)
    assert make_layer(kind, m, top_k=9).channels is None


@pytest.mark.parametrize("top_k", [None, 3])
@pytest.mark.parametrize("kind", LAYERS)
def test_arrays_go_out_and_in(kind, top_k):
    layer = shaken(make_layer(kind, feature(), top_k=top_k))
    arrays = layer.arrays()
    assert all(arrays[n].dtype == np.float32 for n, _ in layer.named_parameters())
    again = make_layer(kind, feature(seed=7), top_k=top_k)
    again.load_arrays(arrays)
    assert torch.equal(again(feature(seed=3)), layer(feature(seed=3)))
    before = {name: value.copy() for name, value in arrays.items()}
    shaken(again, 5)
    for name, value in arrays.items():  # copies both ways
        np.testing.assert_array_equal(value, before[name])


def test_arrays_of_another_layer_are_refused():
    layer = make_layer("bmsb", feature())
    with pytest.raises(RefinementError, match="not the parameters of this bmsb"):
        layer.load_arrays(make_layer("sb", feature()).arrays())
    with pytest.raises(RefinementError, match=r"has the shape \(5,\), not \(6,\)"):
        layer.load_arrays(make_layer("bmsb", feature(c=6)).arrays())
    wider = make_layer("bmsb", feature(w=6))
    with pytest.raises(RefinementError, match="resampled"):
        layer.load_arrays(shaken(wider).arrays())
    assert torch.equal(layer(feature()), feature())  # nothing was taken over
    with pytest.raises(RefinementError, match="made for features of the shape"):
        layer(feature(h=9))
    with pytest.raises(RefinementError, match="'sb', 'bmsb'"):
        make_layer("sbb", feature())


def test_maps_move_with_the_view():
    arrays = shaken(make_layer("bmsb", feature(1, 5, 4, 6))).arrays()
    old = Box(10, 20, 50, 80)  # cells of 10 pixels
    same = resampled(arrays, old, old, (4, 6))
    for name, value in arrays.items():
        np.testing.assert_array_equal(same[name], value)
        assert same[name] is not value
    # One cell down and two to the right: what is left lies at the corner.
    moved = resampled(arrays, old, Box(20, 40, 60, 100), (4, 6))
    np.testing.assert_allclose(
        moved["map"][..., :3, :4], arrays["map"][..., 1:, 2:], atol=1e-6
    )
    assert not moved["map"][..., 3:, :].any()
    assert not moved["map"][..., 4:].any()
    np.testing.assert_array_equal(moved["scale"], arrays["scale"])
    # Finer cells: a ramp stays a ramp, apart from the borders.
    ramp = {"map": np.arange(6, dtype=np.float32)[None, None, None].repeat(4, 2)}
    fine = RefinementLayer.resampled(ramp, old, old, (8, 12))["map"]
    assert fine.shape == (1, 1, 8, 12)
    np.testing.assert_allclose(np.diff(fine[0, 0, :, 1:-1], axis=1), 0.5, atol=1e-5)
    assert resampled(ramp, old, Box(200, 200, 240, 260), (4, 6))["map"].max() == 0


@settings(max_examples=30)
@given(
    st.tuples(
        st.integers(-30, 30),
        st.integers(-30, 30),
        st.integers(1, 60),
        st.integers(1, 60),
    ),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_resampled_maps_stay_in_bounds(box, size):
    top, left, height, width = box
    arrays = {"map": feature(1, 1, 5, 7).numpy()}
    new = Box(top, left, top + height, left + width)
    found = resampled(arrays, Box(0, 0, 40, 50), new, size)["map"]
    assert found.shape == (1, 1, *size)
    assert found.max() <= max(arrays["map"].max(), 0) + 1e-6
    assert found.min() >= min(arrays["map"].min(), 0) - 1e-6
