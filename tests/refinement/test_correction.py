"""The last resort: every click that is not taken back gets its pixel."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_clickseg.boxes import Box
from napari_clickseg.refinement.correction import (
    REACH,
    Wish,
    contradicted,
    correct,
    disobeyed,
)

SHAPE = (24, 30)

wishes = st.lists(
    st.builds(Wish, st.integers(0, 23), st.integers(0, 29), st.booleans()),
    min_size=1,
    max_size=12,
)
boxes = st.builds(
    lambda top, left, height, width: Box(
        top, left, min(24, top + height), min(30, left + width)
    ),
    st.integers(0, 20),
    st.integers(0, 25),
    st.integers(1, 24),
    st.integers(1, 30),
)


@settings(max_examples=300, deadline=None)
@given(
    asked=wishes,
    box=boxes,
    seed=st.integers(0, 2**16),
    threshold=st.sampled_from([0.0, 0.02, 0.3, 0.49, 0.5, 0.77, 0.999]),
    extreme=st.booleans(),
)
def test_every_click_has_its_label(
    asked: list[Wish], box: Box, seed: int, threshold: float, extreme: bool
) -> None:
    random = np.random.default_rng(seed)
    probability = random.random(box.shape, dtype=np.float32)
    if extreme:  # saturated answers, with exact zeros and ones
        probability = probability.round()
    before = probability.copy()
    found = correct(asked, box, probability, threshold, SHAPE)
    assert np.array_equal(probability, before)
    assert found.probability.dtype == np.float32
    assert found.probability.shape == found.box.shape
    assert found.box.clip(SHAPE) == found.box
    assert 0 <= found.probability.min() <= found.probability.max() <= 1
    still = disobeyed(asked, found.box, found.probability, threshold)
    assert set(still) <= set(contradicted(asked))
    # Nothing changes but close to a click.
    whole = np.zeros(SHAPE, np.float32)
    whole[box.slices] = probability
    after = np.zeros(SHAPE, np.float32)
    after[found.box.slices] = found.probability
    rows, cols = np.nonzero(whole != after)
    for row, col in zip(rows, cols, strict=True):
        assert min(np.hypot(row - w.row, col - w.col) for w in asked) < REACH
    # And again changes nothing.
    twice = correct(asked, found.box, found.probability, threshold, SHAPE)
    assert np.array_equal(twice.probability, found.probability)


def test_the_newest_of_contradicting_clicks_wins() -> None:
    asked = [Wish(5, 5, True), Wish(9, 9, True), Wish(5, 5, False), Wish(5, 5, True)]
    assert contradicted(asked) == (2,)
    assert contradicted(asked[:3]) == (0,)


def test_satisfied_answers_stay_as_they_are() -> None:
    probability = np.full((24, 30), 0.2, np.float32)
    box = Box.of_shape(SHAPE)
    found = correct([Wish(3, 4, False)], box, probability, 0.49, SHAPE)
    assert found.probability is probability


def test_a_spot_and_not_a_single_pixel_follows() -> None:
    probability = np.full((24, 30), 0.01, np.float32)
    box = Box.of_shape(SHAPE)
    found = correct([Wish(12, 12, True)], box, probability, 0.49, SHAPE)
    mask = found.probability > 0.49
    assert 5 <= mask.sum() <= 25
    assert mask[12, 12]
    # Next to a click of the other sign it is that one pixel.
    both = [Wish(12, 12, True), Wish(12, 13, False)]
    mask = correct(both, box, probability, 0.49, SHAPE).probability > 0.49
    assert mask.sum() == 1


def test_no_pixel_is_object_at_a_threshold_of_one() -> None:
    probability = np.ones((24, 30), np.float32)
    box = Box.of_shape(SHAPE)
    found = correct([Wish(1, 1, True)], box, probability, 1.0, SHAPE)
    assert disobeyed([Wish(1, 1, True)], found.box, found.probability, 1.0) == (0,)
