"""Refinement in a session: chosen, changed, kept, and what it could not do."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tests.session.fakes import FakePredictor, RefiningPredictor

import napari_clickseg as cs
from napari_clickseg.errors import Cancelled, ClickError, SettingsError
from napari_clickseg.refinement.settings import METHODS, RefinementSettings
from napari_clickseg.session import ClickSession
from napari_clickseg.session.refining import as_plain, as_refinement, in_use

IMAGE = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50)
SLOW = RefinementSettings("g-brs-sb", iterations=7, radius=12.5, time_budget=1.0)


QUICK = RefinementSettings("g-brs-bmconv", time_budget=0.1)


def session_with(refinement="g-brs-bmconv", **predictor):
    fake = RefiningPredictor(**predictor)
    session = ClickSession(predictor=fake, refinement=refinement)
    session.set_image(IMAGE)
    return session


# -- which refinement ----------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_by_name(name):
    session = session_with(name)
    assert session.refinement == RefinementSettings(name)
    assert session.options["refinement"] == name
    assert session._answering.predictor.refinement == session.refinement


def test_by_settings_and_as_json():
    session = session_with(SLOW)
    assert session.refinement == SLOW
    plain = json.loads(json.dumps(session.options["refinement"]))
    assert as_refinement(plain) == SLOW
    assert as_refinement(as_plain(SLOW)) == SLOW


def test_default_is_none_or_what_the_predictor_does():
    assert not ClickSession().refinement.active
    assert ClickSession().options["refinement"] == "none"
    fake = RefiningPredictor(refinement=SLOW)
    assert ClickSession(predictor=fake).refinement == SLOW
    assert not ClickSession(predictor=fake, refinement="none").refinement.active


def test_unknown_names_say_which_there_are():
    session = session_with()
    with pytest.raises(SettingsError, match="g-brs-bmconv"):
        session.refinement = "magic"
    assert session.refinement.method == "g-brs-bmconv"


def test_a_change_counts_from_the_next_answer_and_undo_brings_the_old_one_back():
    session = session_with("none")
    session.add_click((10, 10))
    first = session.mask
    session.refinement = "g-brs-sb"
    assert session.mask is first
    session.add_click((25, 30))
    assert session.mask.sum() > 2 * first.sum()
    session.undo()
    np.testing.assert_array_equal(session.mask, first)
    session.refinement = "none"
    session.redo()
    assert session.mask.sum() > 2 * first.sum()


def test_asking_again_answers_the_object_in_work_with_the_new_one():
    session = session_with("none")
    session.add_click((10, 10))
    first = session.mask.copy()
    session.refinement = "g-brs-sb"
    change = session.update(settle=True, again=True)
    assert change.bbox is not None
    assert session.mask.sum() > first.sum()
    session.undo()
    assert not session.in_work, "it is the same step of the history"


def test_a_model_that_brings_its_own():
    own = RefinementSettings("g-brs-bmsb", at=("decoder",), iterations=5)
    model = SimpleNamespace(refinement=own)
    none = RefinementSettings()
    assert in_use(none, model) == own
    assert in_use(none, SimpleNamespace(refinement=None)) == none
    assert in_use(none, SimpleNamespace()) == none
    assert in_use(none, None) == none
    said = RefinementSettings(time_budget=1.0, radius=9, correct=False)
    assert in_use(said, model) == own.updated(
        {"time_budget": 1.0, "radius": 9, "correct": False}
    )
    assert in_use(SLOW, model) == SLOW, "what the session says wins"


def test_the_own_one_of_a_model_reaches_the_predictor():
    own = RefinementSettings("g-brs-sb")
    fake = RefiningPredictor(model=SimpleNamespace(refinement=own))
    session = ClickSession(predictor=fake, refinement="none")
    session.set_image(IMAGE)
    assert session.refinement.method == "none"
    assert session.refinement_in_use == own
    assert fake.refinement == own
    session.refinement = SLOW
    assert fake.refinement == session.refinement_in_use == SLOW


# -- clicks that were not obeyed ------------------------------------------------


def test_a_click_that_was_corrected_is_told_with_its_place():
    session = session_with()
    session.add_click((10, 10))
    assert session.change.unsatisfied == ()
    change = session.add_click((12, 11), positive=False)
    assert change.unsatisfied == change.corrected == (1,)
    assert not session.mask[12, 11]
    assert "(12, 11)" in change.notices[-1]
    assert "small spot" in change.notices[-1]
    assert session.undo().unsatisfied == ()
    assert session.redo().unsatisfied == (1,)


def test_a_click_that_could_not_be_obeyed_is_told():
    session = session_with(RefinementSettings("g-brs-sb", correct=False))
    session.add_click((10, 10))
    change = session.add_click((12, 11), positive=False)
    assert change.unsatisfied == (1,)
    assert change.corrected == ()
    assert session.mask[12, 11]
    assert "cannot be brought to follow the click at (12, 11)" in change.notices[-1]


def test_improving_an_answer_does_not_repeat_its_notice():
    session = session_with(QUICK, rounds=4)
    session.add_click((10, 10))
    session.add_click((12, 11), positive=False)
    while not session.settled:
        assert session.settle().corrected == (1,)
    assert len(session.notices) == 1


# -- improved while there is time -----------------------------------------------


def test_settling_goes_on_until_it_is_done_in_one_step_of_the_history():
    session = session_with(QUICK, rounds=4)
    session.add_click((20, 20), settle=False)
    areas = [int(session.mask.sum())]
    while not session.settled:
        session.settle()
        areas.append(int(session.mask.sum()))
    assert len(areas) == 5
    assert areas == sorted(set(areas))
    assert session.settle() is None
    session.undo()
    assert not session.can_undo
    assert not session.mask.any()
    session.redo()
    assert session.mask.sum() == areas[-1]


def test_improving_can_be_stopped_and_leaves_what_stands():
    session = session_with(QUICK, rounds=4)
    session.add_click((20, 20))
    before = session.mask
    with pytest.raises(Cancelled):
        session.settle(cancelled=lambda: True)
    assert session.mask is before
    assert not session.settled


# -- radius ----------------------------------------------------------------------


def test_radius_is_kept_moved_and_undone():
    session = session_with()
    session.add_click((10, 10), radius=7)
    session.add_click((20, 20))
    assert [c.radius for c in session.clicks] == [7, None]
    session.move_click(0, (11, 12))
    assert session.clicks[0].radius == 7
    change = session.set_radius(-1, 4.5)
    assert change.kind == "radius"
    assert [c.radius for c in session.clicks] == [7, 4.5]
    session.undo()
    assert [c.radius for c in session.clicks] == [7, None]
    session.redo()
    session.set_radius(0, None)
    assert [c.radius for c in session.clicks] == [None, 4.5]
    with pytest.raises(ClickError, match="greater than 0"):
        session.set_radius(0, -1)
    with pytest.raises(ClickError, match="no click 5"):
        session.set_radius(5, 3)


def test_changing_a_radius_asks_about_that_click_and_the_later_ones():
    session = session_with()
    for place in ((10, 10), (20, 20), (30, 30)):
        session.add_click(place)
    fake = session._answering.predictor
    fake.asked.clear()
    session.set_radius(1, 8)
    assert [each["count"] for each in fake.asked] == [2, 3]


def test_file_keeps_refinement_and_radius(tmp_path):
    session = session_with(SLOW)
    session.add_click((10, 10), radius=7)
    session.commit()
    session.add_click((30, 30), radius=3.5)
    path = session.save(tmp_path / "kept.clickseg")
    again = ClickSession.load(path)
    assert again.refinement == SLOW
    assert [c.radius for c in again.clicks] == [3.5]
    [kept] = again.objects.values()
    assert kept.drafts[0].clicks[0].radius == 7
    np.testing.assert_array_equal(again.labels, session.labels)


def test_replay_refines_as_the_session_did():
    session = session_with("g-brs-sb")
    session.add_click((10, 10), radius=7)
    session.commit()
    session.add_click((30, 30))
    again = session.replay()
    assert again.refinement == session.refinement
    np.testing.assert_array_equal(again.labels, session.labels)
    np.testing.assert_array_equal(again.mask, session.mask)


def test_replay_takes_the_time_it_needs():
    session = session_with(QUICK, rounds=4)
    session.add_click((10, 10))
    while not session.settled:
        session.settle()
    again = session.replay()
    np.testing.assert_array_equal(again.mask, session.mask)
    assert again.refinement == QUICK
    assert again._answering.predictor.refinement == QUICK


def test_one_answer_without_a_session():
    plain = cs.predict(IMAGE, [(10, 10)], predictor=RefiningPredictor())
    refined = cs.predict(
        IMAGE, [(10, 10)], predictor=RefiningPredictor(), refinement="g-brs-sb"
    )
    assert refined.sum() > plain.sum()
    assert not ClickSession(predictor=FakePredictor()).refinement.active
