"""Measures of classes, alpha and depth, against hand-worked and plain computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.measure import label as connected

from napari_clickseg.errors import MaskError
from napari_clickseg.evaluation.depth_metrics import (
    NYU_RANGE,
    depth_scores,
    scored,
)
from napari_clickseg.evaluation.matting_metrics import matting_scores
from napari_clickseg.evaluation.semantic_metrics import (
    class_ious,
    confusion,
    mean_iou,
    pixel_accuracy,
    semantic_scores,
)

SHAPE = (7, 9)


def test_semantic_by_hand() -> None:
    truth = np.array([[1, 1, 2], [2, 2, 0]])
    answer = np.array([[1, 2, 2], [2, 3, 1]])
    counts = confusion(truth, answer, 4)
    assert counts.shape == (4, 5)
    assert counts[0].tolist() == [1, 1, 0, 0, 0]
    assert counts[1].tolist() == [0, 2, 1, 0, 0]
    ious = class_ious(counts)
    assert ious[:3].tolist() == [0.5, 0.5, 0.0]
    assert math.isnan(ious[3])
    assert mean_iou(counts) == pytest.approx(1 / 3)
    assert pixel_accuracy(counts) == pytest.approx(3 / 5)
    nothing = confusion(truth * 0, answer, 4)
    assert math.isnan(mean_iou(nothing))
    assert math.isnan(pixel_accuracy(nothing))
    # An answer that is no class is wrong.
    assert semantic_scores(truth, answer * 0, 3) == {"miou": 0, "accuracy": 0}
    with pytest.raises(MaskError, match="shape"):
        confusion(truth, answer[:1], 3)


@given(
    hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 4)),
    hnp.arrays(np.uint8, SHAPE, elements=st.integers(1, 4)),
)
def test_semantic_by_sets(truth: np.ndarray, answer: np.ndarray) -> None:
    counted = truth > 0
    ious = []
    for label in range(1, 5):
        wanted, found = counted & (truth == label), counted & (answer == label)
        if (wanted | found).any():
            ious.append((wanted & found).sum() / (wanted | found).sum())
    scores = semantic_scores(truth, answer, 4)
    if not counted.any():
        assert all(math.isnan(value) for value in scores.values())
        return
    assert scores["miou"] == pytest.approx(np.mean(ious))
    right = (truth == answer)[counted].mean()
    assert scores["accuracy"] == pytest.approx(right)


def test_confusions_add_up() -> None:
    rng = np.random.default_rng(0)
    truth, answer = rng.integers(0, 4, (2, 20, 10))
    parts = confusion(truth[:7], answer[:7], 3) + confusion(truth[7:], answer[7:], 3)
    assert np.array_equal(parts, confusion(truth, answer, 3))


def test_matting_sums_by_hand() -> None:
    truth = np.array([[0.0, 0.5, 1.0, 1.0]])
    answer = np.array([[0.2, 0.1, 1.0, 0.0]])
    trimap = np.array([[128, 128, 128, 255]], np.uint8)
    scores = matting_scores(truth, answer, trimap)
    assert scores["sad"] == pytest.approx(0.6 / 1000)
    assert scores["mse"] == pytest.approx((0.04 + 0.16) / 3)
    whole = matting_scores(truth, answer)
    assert whole["sad"] == pytest.approx(1.6 / 1000)
    assert whole["mse"] == pytest.approx(1.2 / 4)
    same = matting_scores(truth, truth, trimap)
    assert same == {"sad": 0, "mse": 0, "grad": 0, "conn": 0}
    known = matting_scores(truth, answer, np.zeros((1, 4), np.uint8))
    assert (known["sad"], known["grad"], known["conn"]) == (0, 0, 0)
    assert math.isnan(known["mse"])
    with pytest.raises(MaskError, match="trimap"):
        matting_scores(truth, answer, trimap[:, :2])


def test_gradient_error_by_the_filters_themselves() -> None:
    rng = np.random.default_rng(1)
    truth, answer = rng.random((2, 24, 31))
    unknown = rng.random((24, 31)) > 0.4
    sigma, half = 1.4, 4
    assert half == math.ceil(
        sigma * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * sigma * 0.01))
    )
    down = np.empty((2 * half + 1, 2 * half + 1))
    for i in range(-half, half + 1):
        for j in range(-half, half + 1):
            bell = math.exp(-j * j / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
            other = math.exp(-i * i / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
            down[i + half, j + half] = -i * other / sigma**2 * bell
    down /= np.sqrt((down**2).sum())
    lengths = [
        np.sqrt(
            ndimage.convolve(alpha, down, mode="nearest") ** 2
            + ndimage.convolve(alpha, down.T, mode="nearest") ** 2
        )
        for alpha in (truth, answer)
    ]
    expected = ((lengths[0] - lengths[1]) ** 2)[unknown].sum() / 1000
    trimap = np.where(unknown, 128, 255)
    found = matting_scores(truth, answer, trimap)["grad"]
    assert found == pytest.approx(expected, rel=1e-9)


def test_connectivity_error_by_hand() -> None:
    truth = np.ones((1, 9))
    answer = np.ones((1, 9))
    answer[0, 5] = 0.0  # cuts off what lies right of it
    # The five pixels on the left are the source of every step from 0.1 on; the gap and
    # the three pixels behind it are connected up to 0 only.
    # truth: 1 - (1 - 0) = 0 for the gap and those behind; answer: gap 1 - 0 = 1.
    scores = matting_scores(truth, answer)
    assert scores["conn"] == pytest.approx(1 / 1000)
    weak = answer.copy()
    weak[0, 5] = 1.0
    weak[0, 6:] = 0.95  # all hangs together up to 0.9
    # truth is 0.1 above its reach behind the step, answer 0.05: both below 0.15.
    assert matting_scores(truth, weak)["conn"] == 0


def plain_connectivity(
    truth: np.ndarray, answer: np.ndarray, unknown: np.ndarray
) -> float:
    """The same in the words of the benchmark, with scikit-image's labels."""
    reach = -np.ones_like(truth)
    for number in range(1, 11):
        both = (truth >= number * 0.1) & (answer >= number * 0.1)
        regions = connected(both, connectivity=1)
        sizes = np.bincount(regions.flat)[1:]
        largest = np.zeros_like(both)
        if len(sizes):
            largest = regions == sizes.argmax() + 1
        reach[(reach == -1) & ~largest] = (number - 1) * 0.1
    reach[reach == -1] = 1
    result = []
    for alpha in (truth, answer):
        distance = alpha - reach
        result.append(1 - distance * (distance >= 0.15))
    return float(abs(result[0] - result[1])[unknown].sum() / 1000)


def test_connectivity_error_by_another_way() -> None:
    rng = np.random.default_rng(2)
    for _ in range(8):
        truth, answer = (
            ndimage.gaussian_filter(rng.standard_normal((30, 40)), 2) * 3 + 0.5
            for _ in range(2)
        )
        truth, answer = np.clip(truth, 0, 1), np.clip((truth + answer) / 2, 0, 1)
        unknown = rng.random(truth.shape) > 0.3
        expected = plain_connectivity(truth, answer, unknown)
        assert expected > 0
        found = matting_scores(truth, answer, np.where(unknown, 128, 0))["conn"]
        assert found == pytest.approx(expected, rel=1e-9)


def test_depth_by_hand() -> None:
    truth = np.array([[2.0, 4.0, 1.0, 0.0, np.nan]])
    answer = np.array([[2.4, 4.0, 0.5, 3.0, 3.0]])
    scores = depth_scores(truth, answer)
    # Ratios 1.2, 1 and 2; 1.25^3 is 1.953.
    assert (scores["delta1"], scores["delta3"]) == (pytest.approx(2 / 3),) * 2
    assert scores["abs_rel"] == pytest.approx((0.2 + 0 + 0.5) / 3)
    assert scores["sq_rel"] == pytest.approx((0.08 + 0 + 0.25) / 3)
    assert scores["rmse"] == pytest.approx(math.sqrt((0.16 + 0.25) / 3))
    logs = math.log(1.2) ** 2 + math.log(2) ** 2
    assert scores["rmse_log"] == pytest.approx(math.sqrt(logs / 3))
    nothing = depth_scores(truth * 0, answer)
    assert all(math.isnan(value) for value in nothing.values())
    with pytest.raises(MaskError, match="shape"):
        depth_scores(truth, answer[:, :2])


def test_depth_limits() -> None:
    truth = np.array([[1.0, 9.0, 11.0]])
    answer = np.array([[-3.0, 20.0, 11.0]])
    scores = depth_scores(truth, answer, depths=NYU_RANGE)
    # 11 m is out of range; answers are limited to it: 0.001 and 10.
    assert scores["rmse"] == pytest.approx(math.sqrt((0.999**2 + 1) / 2))
    assert scores["delta1"] == 0.5
    bad = depth_scores(np.ones((1, 1)), np.full((1, 1), np.nan))
    assert bad["delta3"] == 0
    assert bad["rmse"] == pytest.approx(0.999)


def test_eigen_crop() -> None:
    valid = scored(np.ones((480, 640)), eigen_crop=True)
    assert valid.sum() == (471 - 45) * (601 - 41)
    assert valid[45, 41]
    assert valid[470, 600]
    assert not valid[44, 41]
    assert not valid[45, 601]
    half = scored(np.ones((240, 320)), eigen_crop=True)
    rows, cols = np.nonzero(half)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (22, 235, 20, 299)


@given(
    hnp.arrays(np.float64, SHAPE, elements=st.floats(0.5, 9.5)),
    hnp.arrays(np.float64, SHAPE, elements=st.floats(0.01, 12)),
)
def test_depth_by_loops(truth: np.ndarray, answer: np.ndarray) -> None:
    scores = depth_scores(truth, answer, depths=NYU_RANGE)
    pairs = list(zip(truth.flat, np.minimum(answer, 10).flat, strict=True))
    for power in (1, 2, 3):
        right = [max(t / a, a / t) < 1.25**power for t, a in pairs]
        assert scores[f"delta{power}"] == pytest.approx(sum(right) / len(right))
    n = len(pairs)
    assert scores["abs_rel"] == pytest.approx(sum(abs(t - a) / t for t, a in pairs) / n)
    squares = sum((t - a) ** 2 for t, a in pairs)
    assert scores["rmse"] == pytest.approx(math.sqrt(squares / n))
    logs = sum((math.log(t) - math.log(a)) ** 2 for t, a in pairs)
    assert scores["rmse_log"] == pytest.approx(math.sqrt(logs / n), abs=1e-7)
