"""Composites: the equation holds, trimaps are right, seeds repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cv2", reason="training needs the extra 'train' (OpenCV)")

from napari_clickseg.training.generators.foregrounds import KINDS, moved, soften
from napari_clickseg.training.generators.matting import (
    MattingSample,
    Sources,
    composite,
    make_trimap,
    spread_colours,
)
from napari_clickseg.training.generators.strands import Layer
from napari_clickseg.training.packs import PackSpec, read_pack


def check(sample: MattingSample, shape: tuple[int, int]) -> None:
    assert sample.image.shape == sample.foreground.shape == (*shape, 3)
    assert sample.alpha.shape == sample.trimap.shape == shape
    assert sample.alpha.dtype == np.float32
    assert 0 <= sample.alpha.min() <= sample.alpha.max() <= 1
    share = sample.alpha[..., None].astype(float)
    blend = share * sample.foreground + (1 - share) * sample.background
    assert np.abs(blend - sample.image).max() <= 0.5 + 1e-3
    assert set(np.unique(sample.trimap)) <= {0, 128, 255}
    assert (sample.alpha[sample.trimap == 0] == 0).all()
    assert (sample.alpha[sample.trimap == 255] == 1).all()
    assert (sample.trimap == 128).any()


@given(st.integers(0, 2**32 - 1), st.integers(40, 130), st.integers(40, 130))
@settings(max_examples=40)
def test_the_image_is_what_it_is_made_of(seed: int, height: int, width: int) -> None:
    sample = composite((height, width), np.random.default_rng(seed))
    check(sample, (height, width))


def test_the_same_seed_gives_the_same_sample() -> None:
    one, two, other = (composite((64, 80), np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.alpha, two.alpha)
    np.testing.assert_array_equal(one.trimap, two.trimap)
    assert (one.image != other.image).any()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_has_the_edges_it_is_named_for(kind: str) -> None:
    """Share of pixels that are mixed, over 12 samples: few on a body, all in smoke."""
    shares = []
    for seed in range(12):
        layer = KINDS[kind][0]((128, 128), np.random.default_rng(seed), None)
        assert np.isfinite(layer.colour).all()
        assert 0 <= layer.colour.min() <= layer.colour.max() <= 1
        mixed = (layer.alpha > 0.02) & (layer.alpha < 0.98)
        shares.append(mixed.sum() / max(1, (layer.alpha > 0.02).sum()))
    least = {"body": 0.01, "smoke": 0.8, "veil": 0.6, "glass": 0.5, "lace": 0.15}
    assert np.mean(shares) > least.get(kind, 0.1)
    if kind == "body":
        assert np.mean(shares) < 0.15


@pytest.mark.parametrize("blur", [soften, moved])
def test_blur_keeps_how_much_there_is(blur) -> None:
    alpha = np.zeros((96, 96), np.float32)
    alpha[40:56, 40:56] = 1
    layer = Layer(np.full((96, 96, 3), 0.25, np.float32), alpha)
    for seed in range(6):
        out = blur(layer, np.random.default_rng(seed))
        assert ((out.alpha > 0.01) & (out.alpha < 0.99)).sum() > 20
        assert out.alpha.sum() == pytest.approx(256, rel=0.25)
        # its colour does not darken toward the edge, as careless blurring would
        seen = out.alpha > 0.05
        np.testing.assert_allclose(out.colour[seen], 0.25, atol=0.01)


def test_trimaps_grow_with_the_width() -> None:
    alpha = np.zeros((100, 100), np.float32)
    alpha[30:70, 30:70] = 1
    unknown = [
        np.mean(
            [
                (make_trimap(alpha, np.random.default_rng(s), (w, w + 0.1)) == 128)
                for s in range(5)
            ]
        )
        for w in (1.0, 4.0, 12.0)
    ]
    assert unknown == sorted(unknown)
    assert unknown[0] < 0.07 < 0.25 < unknown[2]
    whole = make_trimap(np.ones((9, 9), np.float32), np.random.default_rng(0))
    assert (whole == 255).all()


def test_colours_come_from_the_nearest_known_pixel() -> None:
    colours = np.zeros((20, 30, 3), np.float32)
    colours[:, :10] = (0.2, 0.4, 0.6)
    colours[:, 20:] = (1.0, 0.0, 0.0)
    known = np.zeros((20, 30), bool)
    known[:, :5] = known[:, 25:] = True
    out = spread_colours(colours, known)
    np.testing.assert_allclose(out[10, 10], (0.2, 0.4, 0.6), atol=1e-6)
    np.testing.assert_allclose(out[10, 20], (1.0, 0.0, 0.0), atol=1e-6)


def test_objects_of_packs_keep_clear_of_their_old_background(data_root: Path) -> None:
    """This pack's objects are brighter than 100; none of the dark shows in F."""
    specs = [PackSpec("blobs", "photo", 1.0), PackSpec("stickers", "cutout", 0.0)]
    sources = Sources([read_pack(data_root / "train", spec) for spec in specs])
    from napari_clickseg.training.generators import matting

    for seed in range(8):
        rng = np.random.default_rng(seed)
        check(composite((72, 88), rng, sources), (72, 88))
        layer = matting._labelled((72, 88), np.random.default_rng(seed), sources)
        mixed = (layer.alpha > 0.1) & (layer.alpha < 0.9)
        if mixed.sum() > 50 and (layer.alpha > 0.99).any():
            dark = layer.colour[mixed].max(axis=1) < 100 / 255
            assert dark.mean() < 0.1
