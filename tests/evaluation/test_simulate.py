"""The simulated annotator against the published ones, and its rules one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_clickseg.errors import MaskError
from napari_clickseg.evaluation.simulate import SimulatedAnnotator, iou

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("key", "dtype"),
    [("clicks_ritm_cv2", np.float32), ("clicks_fbrs_edt", np.float64)],
)
def test_golden_clicks(excerpt_dir: Path, key: str, dtype: type) -> None:
    """The file is small: the excerpt is the whole of it."""
    golden = np.load(excerpt_dir / "clicker.npz")
    for truth, predictions, expected in zip(
        golden["gt"], golden["preds"], golden[key], strict=True
    ):
        annotator = SimulatedAnnotator(truth, distance_dtype=dtype)
        clicks = [annotator.next_click(mask) for mask in predictions]
        found = [[c.row, c.col, c.positive, i] for i, c in enumerate(clicks)]
        np.testing.assert_array_equal(found, expected)


def test_golden_iou(excerpt_dir: Path) -> None:
    golden = np.load(excerpt_dir / "clicker.npz")
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
