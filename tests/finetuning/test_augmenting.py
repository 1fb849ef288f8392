"""What windows are varied by, and what stays."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clickseg.training.finetuning.augmenting import Kind, change

KINDS: tuple[Kind, ...] = ("microscopy", "photo")


def window() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 120, (96, 112, 3), dtype=np.uint8)
    labels = np.zeros((96, 112), np.int16)
    labels[20:70, 30:80] = 7
    labels[:8] = -1
    image[labels == 7] += 90
    return image, labels


@pytest.mark.parametrize("kind", KINDS)
def test_labels_never_mix_and_follow_the_image(kind: Kind) -> None:
    image, labels = window()
    moved = 0
    for seed in range(40):
        changed, marks = change(image, labels, kind, np.random.default_rng(seed))
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert marks.dtype == np.int16
        assert set(np.unique(marks)) <= {-1, 0, 7}
        inside = changed[marks == 7].mean()
        outside = changed[marks == 0].mean()
        assert inside > outside + 10  # the bright square is still what is labelled
        moved += bool((marks != labels).any())
    assert 0 < moved < 30  # bent now and then


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_chance_makes_the_same_change(kind: Kind) -> None:
    image, labels = window()
    first = change(image, labels, kind, np.random.default_rng(3))
    again = change(image, labels, kind, np.random.default_rng(3))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    # Now and then a window stays as it is.
    drawn = (change(image, labels, kind, np.random.default_rng(n)) for n in range(12))
    assert len({pixels.tobytes() for pixels, _ in drawn}) >= 8


def test_the_global_state_of_torch_is_left_alone() -> None:
    import torch

    image, labels = window()
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    change(image, labels, "photo", np.random.default_rng(0))
    assert torch.equal(torch.rand(3), wanted)


def test_values_keep_what_is_not_known() -> None:
    image, _ = window()
    values = np.full((96, 112), 0.25, np.float32)
    values[:10] = np.nan
    for seed in range(20):
        _, found = change(image, values, "microscopy", np.random.default_rng(seed))
        assert found.dtype == np.float32
        known = found[np.isfinite(found)]
        assert known.size > 0.7 * found.size
        np.testing.assert_allclose(known, 0.25)


def test_grey_microscopy_stays_grey() -> None:
    image, labels = window()
    grey = np.repeat(image[..., :1], 3, axis=2)
    for seed in range(20):
        changed, _ = change(grey, labels, "microscopy", np.random.default_rng(seed))
        spread = np.ptp(changed.astype(int), axis=2)
        # but for noise, which differs by channel, as in a colour camera
        assert np.median(spread) <= 25
