"""Simulated annotators of classes and values: cases by hand, and what always holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_clickseg.errors import MaskError
from napari_clickseg.evaluation.annotators import (
    SemanticAnnotator,
    ValueAnnotator,
    otsu,
)
from napari_clickseg.evaluation.simulate import SimulatedAnnotator

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


def test_the_class_with_the_deepest_error_is_clicked() -> None:
    truth = np.ones((20, 30), np.uint8)
    truth[2:7, 2:27] = 2  # 5 wide: depth 3
    truth[9:18, 4:13] = 3  # 9 by 9: depth 5
    answer = np.ones_like(truth)
    annotator = SemanticAnnotator(truth)
    click = annotator.next_click(answer)
    assert click is not None
    assert (click.row, click.col, click.label) == (13, 8, 3)
    # To the corner of the square.
    assert click.radius == pytest.approx(4 * 2**0.5)
    answer[truth == 3] = 3
    click = annotator.next_click(answer)
    assert click is not None
    # The first pixel of the middle line that is 3 away from everything.
    assert (click.row, click.col, click.label) == (4, 4, 2)
    assert click.radius == pytest.approx(np.hypot(2, 22))
    answer[truth == 2] = 2
    assert annotator.next_click(answer) is None
    assert len(annotator.clicks) == 2


def test_pixels_without_a_label_are_left_alone() -> None:
    truth = np.zeros((9, 9), int)
    truth[4, 4] = 2
    annotator = SemanticAnnotator(truth)
    click = annotator.next_click(np.ones((9, 9), int))
    assert click is not None
    assert (click.row, click.col, click.label, click.radius) == (4, 4, 2, 1.0)
    # Nothing else is there to click, even if it stays wrong.
    assert annotator.next_click(np.ones((9, 9), int)) is None


@given(hnp.arrays(bool, SHAPES), st.integers(0, 2**32 - 1))
def test_with_two_classes_it_is_the_published_annotator(
    truth: np.ndarray, seed: int
) -> None:
    """Equation 14 is the known rule, but for ties (the first class, not the second)."""
    answer = np.random.default_rng(seed).random(truth.shape) > 0.5
    known = SimulatedAnnotator(truth.astype(int), radii=True).find(answer)
    # The first class here is the background: ties are negative clicks there.
    found = SemanticAnnotator(truth + 1).find(answer + 1)
    if known is None:
        assert found is None
        return
    assert found is not None
    assert (found.row, found.col, found.radius) == (known.row, known.col, known.radius)
    assert (found.label == 2) == known.positive


@given(hnp.arrays(np.int8, SHAPES, elements=st.integers(0, 4)), st.data())
def test_clicks_correct_something(truth: np.ndarray, data: st.DataObject) -> None:
    strategy = hnp.arrays(np.int8, truth.shape, elements=st.integers(1, 4))
    answer = data.draw(strategy)
    annotator = SemanticAnnotator(truth)
    seen = set()
    for _ in range(5):
        click = annotator.next_click(answer)
        wrong = (truth > 0) & (truth != answer)
        if click is None:
            places = {tuple(place) for place in np.argwhere(wrong).tolist()}
            assert places <= seen
            return
        place = int(click.row), int(click.col)
        assert wrong[place]
        assert place not in seen
        seen.add(place)
        assert click.label == truth[place]
        assert click.radius is not None
        assert 1 <= click.radius <= np.hypot(*truth.shape)


def test_a_value_is_clicked_where_the_error_is_clearest() -> None:
    truth = np.zeros((40, 60))
    truth[10:21, 10:21] = 0.8  # 11 wide, missed by 0.8
    answer = np.full((40, 60), 0.05)  # a little too much everywhere
    answer[25:32, 40:47] = 0.9  # 7 wide, too much by 0.9
    annotator = ValueAnnotator(truth)
    click = annotator.next_click(answer)
    assert click is not None
    assert (click.row, click.col, click.value) == (15, 15, 0.8)
    # The square of 11 grows by 7 on each side: its corner is 12 away each way.
    assert click.radius == pytest.approx(12 * 2**0.5)
    answer[10:21, 10:21] = 0.8
    click = annotator.next_click(answer)
    assert click is not None
    assert (click.row, click.col, click.value) == (28, 43, 0.0)
    pushed = ValueAnnotator(truth, signs=True).find(answer)
    assert pushed is not None
    assert (pushed.positive, pushed.value) == (False, None)
    answer[25:32, 40:47] = 0.05
    # All errors are now the same: the middle of the widest.
    assert annotator.find(answer) is not None
    assert ValueAnnotator(truth, tolerance=0.06).find(answer) is None


def test_values_that_do_not_count() -> None:
    truth = np.full((20, 20), 2.0)
    truth[5:15, 5:15] = np.nan
    answer = np.full((20, 20), 2.0)
    answer[5:15, 5:15] = 9
    assert ValueAnnotator(truth).find(answer) is None
    answer[0:3, 0:3] = np.nan  # an answer that is no number is as wrong as can be
    click = ValueAnnotator(truth).find(answer)
    assert click is not None
    assert (click.row, click.col, click.value) == (1, 1, 2.0)
    valid = np.ones((20, 20), bool)
    valid[:4, :4] = False
    assert ValueAnnotator(truth, valid).find(answer) is None


@given(
    hnp.arrays(np.float64, SHAPES, elements=st.floats(0, 1, width=16)),
    st.data(),
)
def test_clicks_on_values_correct_something(
    truth: np.ndarray, data: st.DataObject
) -> None:
    strategy = hnp.arrays(np.float64, truth.shape, elements=st.floats(0, 1, width=16))
    answer = data.draw(strategy)
    annotator = ValueAnnotator(truth)
    click = annotator.find(answer)
    assert click == annotator.find(answer.copy())
    if np.array_equal(truth, answer):
        assert click is None
        return
    assert click is not None
    place = int(click.row), int(click.col)
    assert truth[place] != answer[place]
    assert click.value == truth[place]
    # The dilated region holds a square of 15 around the click, as far as there is.
    assert click.radius is not None
    rows, cols = np.indices(truth.shape)
    around = (abs(rows - place[0]) <= 7) & (abs(cols - place[1]) <= 7)
    away = np.hypot(rows - place[0], cols - place[1])[around].max()
    assert click.radius >= away


@given(hnp.arrays(np.float64, st.integers(2, 60), elements=st.floats(0, 10, width=16)))
def test_otsu_is_that_of_scikit_image(values: np.ndarray) -> None:
    if np.ptp(values) == 0:
        assert otsu(values) == values[0]
        return
    ours, theirs = otsu(values), float(threshold_otsu(values))
    spread = np.ptp(values) / 256
    if not np.isclose(ours, theirs, atol=1e-9):
        # Equally good thresholds, where rounding chooses one.
        split = [values > limit for limit in (ours, theirs)]
        scores = [
            part.mean()
            * (1 - part.mean())
            * (values[part].mean() - values[~part].mean()) ** 2
            for part in split
        ]
        assert scores[0] == pytest.approx(scores[1], rel=0.05, abs=spread**2)
    assert otsu(np.array([])) == np.inf


def test_shapes_must_be_those_of_the_reference() -> None:
    with pytest.raises(MaskError, match="shape"):
        SemanticAnnotator(np.ones((3, 3), int)).find(np.ones((3, 4), int))
    with pytest.raises(MaskError, match="plane"):
        SemanticAnnotator(np.ones((3, 3)))
    with pytest.raises(MaskError, match="plane"):
        ValueAnnotator(np.ones(3))


def test_the_deepest_pixel_is_that_of_the_whole_transform() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        noise = ndimage.gaussian_filter(rng.standard_normal((40, 50)), 3)
        truth = np.digitize(noise, [-0.05, 0, 0.05]) + 1
        answer = np.full_like(truth, 2)
        click = SemanticAnnotator(truth).find(answer)
        maps = {
            label: ndimage.distance_transform_edt(
                np.pad((truth == label) & (answer != label), 1)
            )[1:-1, 1:-1]
            for label in (1, 3, 4)
        }
        label = max(maps, key=lambda each: maps[each].max())
        assert click is not None
        assert click.label == label
        place = np.unravel_index(maps[label].argmax(), truth.shape)
        assert (click.row, click.col) == place
