"""Where simulated annotators click."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="training needs the extra 'train' (OpenCV)")

from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.training.sampling import (
    PointList,
    inner_point,
    negative_point,
    next_click,
    perturb,
)


def _blob(seed: int, size: int = 40) -> np.ndarray:
    """A random union of disks, int8."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size]
    mask = np.zeros((size, size), np.int8)
    for _ in range(rng.integers(1, 4)):
        row, col = rng.uniform(0, size, 2)
        radius = rng.uniform(3, 12)
        mask[(rows - row) ** 2 + (cols - col) ** 2 <= radius**2] = 1
    return mask


@given(st.integers(0, 10_000))
def test_next_click_corrects_an_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = _blob(seed)
    answer = _blob(seed + 1).astype(np.float32)
    click = next_click(answer, mask, rng)
    wrong = (mask == 1) != (answer > 0.49)
    if click is None:
        assert not wrong.any()
        return
    row, col, positive = click
    assert wrong[row, col]
    assert positive == (mask[row, col] == 1)


def test_next_click_takes_the_larger_error() -> None:
    mask = np.zeros((60, 60), np.int8)
    mask[5:15, 5:15] = 1
    answer = np.zeros((60, 60), np.float32)
    answer[30:55, 30:55] = 1
    rng = np.random.default_rng(0)
    clicks = [next_click(answer, mask, rng) for _ in range(50)]
    assert all(click is not None and not click[2] for click in clicks)
    # only the inner half of the error is clicked, all over it
    rows = np.array([click[0] for click in clicks if click is not None])
    assert rows.min() >= 36
    assert rows.max() <= 48
    assert np.ptp(rows) >= 6


def test_ignored_pixels_are_never_clicked() -> None:
    mask = np.full((20, 20), -1, np.int8)
    answer = np.ones((20, 20), np.float32)
    assert next_click(answer, mask, np.random.default_rng(0)) is None


@given(st.integers(0, 10_000), st.floats(0.0, 0.99))
def test_inner_point_is_inside(seed: int, share: float) -> None:
    area = _blob(seed) == 1
    point = inner_point(area, np.random.default_rng(seed), share)
    if area.any():
        assert point is not None
        assert area[point]
    else:
        assert point is None


def test_negative_points_follow_the_stated_shares() -> None:
    """Background 0.1, other objects 0.4, ring 0.5 (RITM's point sampler)."""
    mask = np.zeros((120, 120), np.int8)
    mask[40:60, 40:60] = 1
    others = np.zeros(mask.shape, bool)
    others[90:110, 90:110] = True
    rng = np.random.default_rng(3)
    ring = on_other = 0
    draws = 2000
    for _ in range(draws):
        point = negative_point(mask, others, rng)
        assert point is not None
        assert mask[point] == 0
        on_other += bool(others[point])
        # 0.1 * sqrt(400) = 2 steps of a 3x3 kernel
        ring += 38 <= point[0] < 62 and 38 <= point[1] < 62
    # three standard deviations of a binomial share are below 0.035
    assert on_other / draws == pytest.approx(0.4 + 0.1 * 400 / 14000, abs=0.035)
    assert ring / draws == pytest.approx(0.5 + 0.1 * 176 / 14000, abs=0.035)


@given(st.integers(0, 10_000))
def test_perturbed_masks_stay_in_range(seed: int) -> None:
    mask = _blob(seed)
    if not (mask == 1).any():
        return
    damaged = perturb(mask, np.random.default_rng(seed))
    assert damaged.shape == mask.shape
    assert damaged.dtype == np.float32
    assert damaged.min() >= 0
    assert damaged.max() <= 1.001


def test_point_list_keeps_first_and_newest() -> None:
    points = PointList(3)
    for order in range(5):
        points.add(order, order, positive=True, order=order)
    points.add(9, 9, positive=False, order=5)
    assert points.rows[:3, 2].tolist() == [0, 3, 4]
    assert points.rows[3].tolist() == [9, 9, 5]
    assert (points.rows[4:] == -1).all()
