"""The simulated annotator against the published ones, and its rules one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from tests.golden_files import read_golden

from napari_clickseg.errors import MaskError
from napari_clickseg.evaluation.simulate import (
    SimulatedAnnotator,
    attention_radius,
    iou,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("key", "dtype"),
    [("clicks_ritm_cv2", np.float32), ("clicks_fbrs_edt", np.float64)],
)
def test_golden_clicks(excerpt_dir: Path, key: str, dtype: type) -> None:
    """The file is small: the excerpt is the whole of it."""
    golden = read_golden(excerpt_dir / "clicker.npz")
    for truth, predictions, expected in zip(
        golden["gt"], golden["preds"], golden[key], strict=True
    ):
        annotator = SimulatedAnnotator(truth, distance_dtype=dtype)
        clicks = [annotator.next_click(mask) for mask in predictions]
        found = [[c.row, c.col, c.positive, i] for i, c in enumerate(clicks)]
        np.testing.assert_array_equal(found, expected)


def test_golden_iou(excerpt_dir: Path) -> None:
    golden = read_golden(excerpt_dir / "clicker.npz")
    found = [
        [iou(truth, mask) for mask in masks]
        for truth, masks in zip(golden["gt"], golden["preds"], strict=True)
    ]
    np.testing.assert_array_equal(found, golden["iou"])


def test_first_click_is_positive_and_innermost() -> None:
    truth = np.zeros((20, 30), np.int8)
    truth[5:16, 4:25] = 1
    click = SimulatedAnnotator(truth).next_click()
    # Several pixels are six away from the edge: the first in row order is taken.
    assert (click.row, click.col, click.positive) == (10, 9, True)


def test_border_of_the_image_counts_as_edge() -> None:
    click = SimulatedAnnotator(np.ones((9, 9), np.int8)).next_click()
    assert (click.row, click.col) == (4, 4)


def test_tie_is_negative() -> None:
    truth = np.zeros((7, 12), np.int8)
    truth[2:5, 1:4] = 1
    surplus = np.zeros(truth.shape, bool)
    surplus[2:5, 7:10] = True
    click = SimulatedAnnotator(truth).next_click(surplus)
    assert (click.row, click.col, click.positive) == (3, 8, False)


def test_pixels_are_not_clicked_twice_and_distances_stay() -> None:
    """Clicked pixels leave after the distances are made, they are no new edge."""
    truth = np.zeros((11, 11), np.int8)
    truth[1:10, 1:10] = 1
    annotator = SimulatedAnnotator(truth)
    nothing = np.zeros(truth.shape, bool)
    first, second = annotator.next_click(nothing), annotator.next_click(nothing)
    assert (first.row, first.col) == (5, 5)
    assert (second.row, second.col) == (4, 4)


def test_ignored_pixels_are_neither_clicked_nor_scored() -> None:
    truth = np.zeros((9, 21), np.int8)
    truth[:, :4] = 1
    truth[:, 4:] = -1
    everything = np.ones(truth.shape, bool)
    assert iou(truth, everything) == 1
    click = SimulatedAnnotator(truth).next_click(~everything)
    assert click.positive
    assert click.col < 4


def test_nothing_left_to_correct() -> None:
    truth = np.zeros((5, 5), np.int8)
    truth[2, 2] = 1
    click = SimulatedAnnotator(truth).next_click(truth == 1)
    assert (click.row, click.col, click.positive) == (0, 0, False)


def test_no_pixel_in_either_mask_has_no_score() -> None:
    assert np.isnan(iou(np.zeros((3, 3), int), np.zeros((3, 3), bool)))


def test_shapes_must_agree() -> None:
    with pytest.raises(MaskError, match="same image"):
        iou(np.zeros((3, 3), int), np.zeros((3, 4), bool))
    with pytest.raises(MaskError, match="one plane"):
        SimulatedAnnotator(np.zeros((3, 3, 3), int))


masks = hnp.arrays(np.int8, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(
    truth=masks.map(lambda values: (values % 3 - 1).astype(np.int8)),
    seed=st.integers(0, 2**16),
)
def test_distances_in_the_box_equal_those_in_the_whole_image(
    truth: np.ndarray, seed: int
) -> None:
    """The annotator measures in a box only: compare with the rule as it is told."""
    prediction = np.random.default_rng(seed).random(truth.shape) < 0.5
    missing = np.pad((truth == 1) & ~prediction, 1)
    surplus = np.pad((truth == 0) & prediction, 1)
    depths = [
        ndimage.distance_transform_edt(error)[1:-1, 1:-1].astype(np.float32)
        for error in (missing, surplus)
    ]
    positive = depths[0].max() > depths[1].max()
    wanted = depths[0] if positive else depths[1]
    row, col = np.unravel_index(wanted.argmax(), wanted.shape)
    click = SimulatedAnnotator(truth).next_click(prediction)
    assert (click.row, click.col, click.positive) == (row, col, positive)


def test_opencv_measures_the_same_distances() -> None:
    """The published annotator uses OpenCV, which this package does not need."""
    cv2 = pytest.importorskip("cv2")
    random = np.random.default_rng(1)
    for scale in (1, 3, 10, 30):
        noise = ndimage.gaussian_filter(random.standard_normal((200, 260)), scale)
        mask = np.pad(noise > 0, 1)
        theirs = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 0)
        ours = ndimage.distance_transform_edt(mask).astype(np.float32)
        np.testing.assert_array_equal(ours, theirs)


# Equation 14 of G-BRS, and the radius of section 3.1.


def test_radius_reaches_to_the_far_end_of_the_error() -> None:
    error = np.zeros((20, 40), bool)
    error[5:8, 3:23] = True
    error[15, 35] = True  # another region
    assert attention_radius(error, 6, 5) == pytest.approx(np.hypot(1, 17))
    assert attention_radius(error, 15, 35) == 1  # a click has a size
    error[8, 23] = True  # diagonals connect
    assert attention_radius(error, 6, 5) == pytest.approx(np.hypot(2, 18))


@given(
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14)),
    st.data(),
)
def test_the_circle_holds_the_whole_region(
    error: np.ndarray, data: st.DataObject
) -> None:
    places = np.argwhere(error)
    if not len(places):
        return
    row, col = data.draw(st.sampled_from(places.tolist()))
    radius = attention_radius(error, row, col)
    # Grow the region pixel by pixel, as a second way to find it.
    region = np.zeros_like(error)
    region[row, col] = True
    while True:
        grown = ndimage.binary_dilation(region, np.ones((3, 3))) & error
        if (grown == region).all():
            break
        region = grown
    distances = np.hypot(*(np.argwhere(region) - (row, col)).T)
    assert (distances <= radius + 1e-9).all()
    assert radius == pytest.approx(max(1, distances.max()))


@given(
    hnp.arrays(np.int8, (9, 11), elements=st.integers(-1, 1)),
    hnp.arrays(np.bool_, (9, 11)),
)
def test_clicks_are_those_of_equation_14(truth: np.ndarray, mask: np.ndarray) -> None:
    """Written out as in the paper: a distance for each class, then the largest."""
    predicted = mask.astype(np.int8)
    depths = []
    for kind in (0, 1):  # background, object
        wrong = (truth == kind) & (predicted != kind)
        depths.append(ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1])
    best = int(np.argmax([depth.max() for depth in depths]))
    click = SimulatedAnnotator(truth, radii=True).find(mask)
    if depths[best].max() == 0:
        assert click is None
        return
    assert click is not None
    row, col = np.unravel_index(depths[best].argmax(), truth.shape)
    assert (click.row, click.col, click.positive) == (row, col, best == 1)
    wrong = (truth == best) & (predicted != best)
    assert click.radius == attention_radius(wrong, int(row), int(col))
