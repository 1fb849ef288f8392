"""One answer without a session equals that of a session."""

from __future__ import annotations

import numpy as np
import pytest
from tests.session.fakes import FakePredictor

from napari_clickseg import predict
from napari_clickseg.errors import ClickError, MaskError, SessionError

IMAGE = np.zeros((40, 50), np.uint8)
CLICKS = [(10, 10), (10, 20), (10, 15, False)]


def test_it_answers_as_a_session_does(session):
    for row, col, *sign in CLICKS:
        session.add_click((row, col), *sign)
    mask = predict(IMAGE, CLICKS, predictor=FakePredictor())
    np.testing.assert_array_equal(mask, session.mask)
    assert mask.dtype == np.bool_
    mask[:] = True  # the caller's own
    probability = predict(
        IMAGE, CLICKS, predictor=FakePredictor(), output="probability"
    )
    np.testing.assert_array_equal(probability, session.probability)


def test_all_clicks_at_once(fake):
    predict(IMAGE, CLICKS, predictor=fake, one_by_one=False, settle=False)
    assert [(a["count"], a["settle"]) for a in fake.asked] == [(3, False)]


def test_a_mask_to_start_from(fake):
    mask = np.zeros((40, 50), bool)
    mask[30:35, 30:35] = True
    np.testing.assert_array_equal(predict(IMAGE, [], mask, predictor=fake), mask)
    assert fake.asked == []
    after = predict(IMAGE, [(10, 10)], mask, predictor=fake, output="probability")
    assert after[31, 31] == pytest.approx(0.25)


def test_what_cannot_be_answered(fake):
    with pytest.raises(SessionError, match="neither a click nor a mask"):
        predict(IMAGE, [], predictor=fake)
    with pytest.raises(ClickError, match="outside"):
        predict(IMAGE, [(50, 40)], predictor=fake)
    with pytest.raises(MaskError, match="shape"):
        predict(IMAGE, [(5, 5)], np.zeros((3, 3)), predictor=fake)
    with pytest.raises(SessionError, match="output"):
        predict(IMAGE, [(5, 5)], predictor=fake, output="mask")
