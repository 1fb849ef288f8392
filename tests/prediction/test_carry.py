"""Whether a refinement's parameters stay from click to click."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.prediction.test_refining import SMALL, Automatic, noise, tiny

from napari_clickseg.clicks import Click
from napari_clickseg.prediction import Predictor
from napari_clickseg.refinement.settings import RefinementSettings

CLICKS = (
    Click(20, 20, radius=4),
    Click(30, 40, positive=False, radius=4),
    Click(10, 12, radius=4),
)
BMCONV = RefinementSettings("g-brs-bmconv", learning_rate=0.02, correct=False)


def last(settings: RefinementSettings, *, forget: bool = False) -> np.ndarray:
    """Answer all clicks; return the last answer."""
    predictor = Predictor(tiny(3), SMALL, settings)
    state = None
    for count in range(1, len(CLICKS) + 1):
        found = predictor.predict(noise_image, CLICKS[:count], state)
        state = found.state
        assert state.refined is not None
        if forget:
            state = replace(state, refined=None)
    return np.asarray(found.probability)


noise_image = noise(5)


def test_networks_with_a_previous_mask_begin_anew() -> None:
    """Their previous mask carries what was corrected."""
    anew = last(replace(BMCONV, carry=False))
    np.testing.assert_array_equal(last(BMCONV), anew)
    np.testing.assert_array_equal(last(BMCONV, forget=True), anew)
    carried = last(replace(BMCONV, carry=True))
    assert np.abs(carried - anew).max() > 1e-3


def test_models_that_know_no_clicks_carry_on() -> None:
    """Their parameters are all they know of the clicks before."""
    answers = []
    for carry in (None, True, False):
        predictor = Predictor(
            tiny(3, Automatic), SMALL, replace(BMCONV, carry=carry, iterations=5)
        )
        state = None
        for count in (1, 2):
            found = predictor.predict(noise_image, CLICKS[:count], state)
            state = found.state
        answers.append(np.asarray(found.probability))
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[0] - answers[2]).max() > 1e-4


def test_what_is_published_is_carried_anyway() -> None:
    """The setting is about Adam; L-BFGS-B keeps its state as f-BRS does."""
    f_brs = RefinementSettings("f-brs-b", correct=False)
    predictors = [
        Predictor(tiny(3), SMALL, replace(f_brs, carry=c)) for c in (None, False)
    ]
    answers = []
    for predictor in predictors:
        state = None
        for count in (1, 2, 3):
            found = predictor.predict(noise_image, CLICKS[:count], state)
            state = found.state
        answers.append(found.probability)
    np.testing.assert_array_equal(*answers)


def test_a_paused_click_goes_on_where_it_stopped() -> None:
    """Beginning anew is for new clicks, not for the same ones asked again."""
    predictor = Predictor(tiny(3), SMALL, replace(BMCONV, carry=False))
    predictor.early_stop = False
    state = predictor.predict(noise_image, CLICKS[:1]).state
    whole = predictor.predict(noise_image, CLICKS[:2], state)
    predictor = Predictor(
        tiny(3), SMALL, replace(BMCONV, carry=False, time_budget=1e-6)
    )
    predictor.early_stop = False
    for _ in range(100):
        found = predictor.predict(noise_image, CLICKS[:2], state)
        if found.settled:
            break
    assert found.settled
    np.testing.assert_array_equal(found.probability, whole.probability)


@pytest.mark.parametrize("carry", [None, True, False])
def test_the_answer_at_once_is_what_the_parameters_give(carry: bool | None) -> None:
    """Without a new optimisation: the network's own where nothing is carried."""
    predictor = Predictor(tiny(3), SMALL, replace(BMCONV, carry=carry))
    predictor.early_stop = False
    state = predictor.predict(noise_image, CLICKS[:1]).state
    quick = predictor.predict(noise_image, CLICKS[:2], state, settle=False)
    plain = Predictor(tiny(3), SMALL)
    alone = plain.predict(
        noise_image, CLICKS[:2], replace(state, refined=None), settle=False
    )
    same = np.allclose(quick.probability, alone.probability, atol=1e-5)
    assert same == (carry is not True)
