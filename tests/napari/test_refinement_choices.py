"""Refinement in a viewer without a window: options, improvement, radii."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from tests.session.fakes import RefiningPredictor

from napari_clickseg.binding.choices import CHOICES, Choices
from napari_clickseg.binding.image_jobs import MOST_ANSWERS
from napari_clickseg.binding.marks import Mark
from napari_clickseg.errors import ClickError, SettingsError
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.preferences import preferences
from napari_clickseg.refinement.settings import RefinementSettings


@pytest.fixture
def refining(monkeypatch):
    """Predictors that improve their answer in four rounds, where time is short."""
    made = SimpleNamespace(rounds=4, all=[])

    def make(model, settings):
        predictor = RefiningPredictor(
            radius=3.0, settings=settings, rounds=made.rounds, model=model
        )
        made.all.append(predictor)
        return predictor

    monkeypatch.setattr("napari_clickseg.prediction.predictor.Predictor", make)
    return made


def shown(ui):
    return np.asarray(ui.mask_layer.data) != 0


def asked(refining):
    return [each for predictor in refining.all for each in predictor.asked]


# -- options ----------------------------------------------------------------------


def test_options_reach_the_session_with_the_next_answer(ui, refining):
    ui.choose_option("refinement.method", "g-brs-bmconv")
    ui.choose_option("refinement.radius", 20.0)
    ui.choose_option("refinement.iterations", 7)
    ui.choose_option("refinement.network_clicks", 3)
    ui.choose_option("refinement.correct", False)
    ui.choose_option("looking.zoom_in", False)
    ui.choose_option("looking.threshold", 0.3)
    ui.points.layer.add((30, 35))
    session = ui.session
    assert session.refinement == RefinementSettings(
        "g-brs-bmconv",
        radius=20.0,
        iterations=7,
        net_clicks_limit=3,
        correct=False,
        time_budget=1.0,
    )
    assert session.settings == PredictionSettings(
        zoom_in=False, threshold=0.3, first_look="published"
    )
    assert refining.all[-1].refinement == session.refinement


def test_nothing_is_refined_by_default(ui, refining):
    ui.points.layer.add((30, 35))
    assert ui.refinement.method == "none"
    assert not any(predictor.refinement.active for predictor in refining.all)


def test_choices_are_kept_and_come_back(ui, plugin_in_settings):
    ui.choose_option("refinement.method", "g-brs-sb")
    ui.choose_option("looking.target_size", 600)
    ui.choose_option("display.click_size", 20.0)
    kept = preferences()
    assert kept.get("refinement.method") == "g-brs-sb"
    again = Choices.by(kept.get)
    assert again.refinement.method == "g-brs-sb"
    assert again.settings.target_size == 600
    assert again.shown.click_size == 20
    ui.reset_choices()
    assert ui.choices == Choices.usual()
    for key in CHOICES:
        assert kept.get(key) == ui.choices.value(key), key


def test_a_change_in_naparis_preferences_is_followed(ui, plugin_in_settings, viewer):
    from napari.components import ViewerModel

    from napari_clickseg import attach, napari_layers

    other = ViewerModel()
    second = attach(other)  # made when the settings know the plugin
    preferences().set("refinement.method", "f-brs-b")
    assert second.refinement.method == "f-brs-b"
    preferences().set("refinement.radius", 17.0)
    assert second.refinement.radius == 17
    napari_layers._ATTACHED.pop(other)["segmentation"].close()


def test_what_makes_no_sense_is_told_and_left_out(ui):
    ui.choose_option("refinement.iterations", 0)
    text, kind = ui.hint
    assert kind == "error"
    assert "iterations" in text
    assert ui.refinement.iterations == 20


def test_the_object_in_work_is_answered_anew(ui, refining):
    ui.points.layer.add((30, 35))
    plain = shown(ui).sum()
    ui.choose_option("refinement.method", "g-brs-bmconv")
    assert shown(ui).sum() > 1.5 * plain, "to the end of the refinement"
    ui.choose_option("refinement.method", "none")
    assert shown(ui).sum() == plain
    ui.act("undo")
    assert not shown(ui).any(), "options are no step of the history"
    assert not ui.can_undo


def test_a_threshold_shows_at_once(ui, refining):
    ui.points.layer.add((30, 35))
    assert shown(ui).any()
    ui.choose_option("looking.threshold", 0.95)
    assert not shown(ui).any()
    ui.choose_option("looking.threshold", 0.49)
    assert shown(ui).any()


def test_options_that_change_no_answer_ask_nothing(ui, refining):
    ui.points.layer.add((30, 35))
    before = len(asked(refining))
    ui.choose_option("refinement.iterations", 50)  # nothing is refined
    ui.choose_option("refinement.time_budget", 3.0)
    ui.choose_option("display.mask_opacity", 0.8)
    assert len(asked(refining)) == before
    ui.choose_option("refinement.method", "g-brs-sb")
    before = len(asked(refining))
    ui.choose_option("refinement.time_budget", 1.0)
    assert len(asked(refining)) == before
    ui.choose_option("refinement.iterations", 20)
    assert len(asked(refining)) > before


def test_opacity_and_size(ui, viewer):
    ui.choose_option("display.mask_opacity", 0.9)
    assert ui.mask_layer.opacity == 0.9
    viewer.layers.remove("Mask")
    ui.make_ready()
    assert ui.mask_layer.opacity == 0.9, "also of a layer that is made anew"
    ui.mask_layer.opacity = 0.2  # napari's own slider
    assert ui.choices.shown.mask_opacity == 0.2
    ui.choose_option("display.click_size", 22.0)
    zoom = float(ui.points.layer.current_size)
    ui.choose_option("display.click_size", 11.0)
    assert float(ui.points.layer.current_size) == pytest.approx(zoom / 2)


def test_switching_on_and_off(ui):
    ui.act("toggle_refinement")
    assert ui.refinement.method == "g-brs-bmconv"
    ui.act("toggle_refinement")
    assert ui.refinement.method == "none"
    ui.choose_option("refinement.method", "f-brs-b")
    ui.act("toggle_refinement")
    ui.act("toggle_refinement")
    assert ui.refinement.method == "f-brs-b"


def test_console_has_the_names_of_the_session(ui, refining):
    ui.refinement = "g-brs-sb"
    assert ui.refinement == RefinementSettings("g-brs-sb", time_budget=1.0)
    ui.refinement = RefinementSettings("g-brs-bmsb", iterations=3)
    assert ui.refinement == RefinementSettings("g-brs-bmsb", iterations=3)
    with pytest.raises(SettingsError, match="g-brs"):
        ui.refinement = "magic"
    change = ui.add_click((30, 35), radius=9.0)
    assert change.clicks[0].radius == 9
    assert ui.session.refinement_in_use.method == "g-brs-bmsb"
    ui.settings = PredictionSettings(first_look="published", target_size=(300, 500))
    assert ui.choices.settings.target_size == (300, 500)
    ui.set_radius(0, 4.0)
    assert ui.clicks[0].radius == 4
    assert ui.points.marks[0].radius == 4
    with pytest.raises(ClickError):
        ui.set_radius(0, -4.0)


def test_a_session_from_a_file_brings_its_options(ui, refining, tmp_path):
    ui.refinement = "g-brs-sb"
    ui.choose_option("looking.target_size", 320)
    ui.add_click((30, 35), radius=8)
    path = ui.save(tmp_path / "kept.clickseg")
    ui.reset_choices()
    ui.discard()
    ui.load(path)
    assert ui.refinement.method == "g-brs-sb"
    assert ui.choices.settings.target_size == 320
    assert ui.points.marks[0].radius == 8
    assert preferences().get("refinement.method") == "none"


def test_a_model_that_brings_its_own_refinement(ui, refining, model):
    own = RefinementSettings("g-brs-bmconv")
    model.refinement = own
    ui.points.layer.add((30, 35))
    assert ui.refinement.method == "none"
    assert ui.refinement_in_use == replace(own, time_budget=1.0)
    assert ui.uses_radius
    assert refining.all[-1].refinement == ui.refinement_in_use


# -- improving while idle ------------------------------------------------------------


def test_an_answer_improves_by_itself_in_one_step_of_the_history(ui, refining):
    ui.choose_option("refinement.method", "g-brs-bmconv")
    sizes = []

    def note():
        size = int(shown(ui).sum())
        if not sizes or sizes[-1] != size:
            sizes.append(size)

    ui.changed.connect(note)
    ui.points.layer.add((30, 35))
    ui.changed.disconnect(note)
    assert len(sizes) == 6, "nothing, the quick answer, and four better ones"
    assert sizes == sorted(sizes)
    assert ui.session.settled
    assert ui.hint[0].startswith("Click to add")
    ui.points.layer.add((85, 40))
    both = shown(ui)
    ui.act("undo")
    assert int(shown(ui).sum()) == sizes[-1]
    ui.act("redo")
    np.testing.assert_array_equal(shown(ui), both)
    ui.act("undo")
    ui.act("undo")
    assert not ui.can_undo


def test_improving_goes_on_without_the_second_look(ui, refining):
    ui.settles = False
    ui.choose_option("refinement.method", "g-brs-bmconv")
    ui.points.layer.add((30, 35))
    assert ui.session.settled


def test_it_ends_where_nothing_changes(ui, refining, monkeypatch):
    refining.rounds = 10**6
    monkeypatch.setattr(RefiningPredictor, "radius", 3.0)
    ui.choose_option("refinement.method", "g-brs-bmconv")
    session_asked = []
    predict = RefiningPredictor.predict

    def stuck(self, *args, **options):
        self.rounds = 1  # the same answer each time
        session_asked.append(options["settle"])
        return replace(predict(self, *args, **options), settled=False)

    monkeypatch.setattr(RefiningPredictor, "predict", stuck)
    ui.points.layer.add((30, 35))
    # The quick one, one that changes something, and two that do not.
    assert session_asked == [False, True, True, True]
    assert not ui.session.settled
    assert ui.hint[0].startswith("Click to add")


def test_it_goes_on_while_a_click_is_not_obeyed(ui, refining, monkeypatch):
    ui.choose_option("refinement.method", "g-brs-bmconv")
    predict, settled = RefiningPredictor.predict, []

    def still(self, *args, settle=True, **options):
        self.rounds = 1
        answer = predict(self, *args, settle=settle, **options)
        settled.append(len(settled) == 9)
        return replace(answer, settled=settled[-1], unsatisfied=(0,))

    monkeypatch.setattr(RefiningPredictor, "predict", still)
    ui.points.layer.add((30, 35))
    assert len(settled) == 10
    assert ui.session.settled
    assert "cannot be brought to follow the click at (30, 35)" in ui.hint[0]


def test_it_ends_at_last_in_any_case(ui, refining, monkeypatch):
    ui.choose_option("refinement.method", "g-brs-bmconv")
    predict, turns = RefiningPredictor.predict, []

    def restless(self, *args, **options):
        turns.append(1)
        self.radius = 3.0 + len(turns) % 2
        return replace(predict(self, *args, **options), settled=False)

    monkeypatch.setattr(RefiningPredictor, "predict", restless)
    ui.points.layer.add((30, 35))
    assert len(turns) == MOST_ANSWERS + 1


def test_a_click_that_was_not_obeyed_is_told(ui, refining):
    ui.choose_option("refinement.method", "g-brs-bmconv")
    ui.points.layer.add((30, 35))
    ui.set_sign(False)
    ui.points.layer.add((31, 36))
    assert "small spot" in ui.hint[0]
    assert "(31, 36)" in ui.hint[0]
    assert not shown(ui)[31, 36]
    assert ui.session.change.corrected == (1,)


# -- radii ---------------------------------------------------------------------------


class Mouse:
    """A mouse over a canvas that shows one screen pixel for a pixel of the image."""

    def __init__(self, ui):
        self.ui, self.layer = ui, ui.points.layer

    def event(self, kind: str, place, **more: Any):
        event = SimpleNamespace(
            type=kind,
            pos=np.array(place[::-1], dtype=float),
            position=tuple(map(float, place)),
            modifiers=more.pop("modifiers", ()),
            button=more.pop("button", 1),
            is_dragging=kind == "mouse_move",
            handled=False,
            camera_zoom=1.0,
            view_direction=None,
            up_direction=None,
            dims_displayed=[0, 1],
        )
        return event, ReadOnlyWrapper(event, exceptions=("handled",))

    def press(self, place, **more):
        mouse_press_callbacks(self.layer, self.event("mouse_press", place, **more)[1])

    def move(self, place, **more):
        event, wrapped = self.event("mouse_move", place, **more)
        mouse_move_callbacks(self.layer, wrapped)
        return event

    def release(self, place, **more):
        event = self.event("mouse_release", place, **more)[1]
        mouse_release_callbacks(self.layer, event)

    def drag(self, start, *stations, **more):
        self.press(start, **more)
        for place in stations:
            self.move(place, **more)
        self.release(stations[-1], **more)


@pytest.fixture
def mouse(ui, refining):
    ui.choose_option("refinement.method", "g-brs-bmconv")
    return Mouse(ui)


def test_dragging_out_from_the_click_draws_its_radius(ui, mouse):
    mouse.press((60, 80))
    assert ui.points.reach.mark is None
    assert mouse.move((60, 83)).handled
    assert ui.points.reach.mark is None, "not yet more than a shaking hand"
    assert mouse.move((60, 90)).handled
    assert ui.points.reach.mark == Mark(60, 80, True, 10)
    assert not mouse.layer.mouse_pan, "the view stays where it is"
    mouse.move((72, 96))
    assert ui.points.reach.mark.radius == pytest.approx(20)
    assert len(mouse.layer.data) == 0
    mouse.release((72, 96))
    assert mouse.layer.mouse_pan
    [click] = ui.clicks
    assert (click.row, click.col, click.positive) == (60, 80, True)
    assert click.radius == pytest.approx(20)
    assert ui.points.reach.mark == Mark(60, 80, True, click.radius), "still shown"
    assert list(mouse.layer.features["radius"]) == [pytest.approx(20)]
    ui.act("undo")
    assert ui.clicks == ()
    assert ui.points.reach.mark is None
    ui.act("redo")
    assert ui.clicks[0].radius == pytest.approx(20)


def test_a_plain_click_is_as_it_was(ui, mouse):
    mouse.drag((60, 80), (60, 81), (61, 82))
    [click] = ui.clicks
    assert click.radius is None
    assert (click.row, click.col) == (61, 82), "where napari puts it"
    assert ui.points.reach.mark is None
    assert np.isnan(mouse.layer.features["radius"][0])


def test_coming_back_to_the_start_is_a_plain_click(ui, mouse):
    mouse.drag((60, 80), (60, 110), (60, 81), modifiers=("Shift",))
    [click] = ui.clicks
    assert click.radius is None
    assert not click.positive
    assert ui.points.reach.mark is None


def test_a_radius_for_a_negative_click(ui, mouse):
    mouse.drag((60, 80), (60, 100), modifiers=("Shift",))
    [click] = ui.clicks
    assert not click.positive
    assert click.radius == 20
    mouse.drag((20, 20), (20, 50))
    assert ui.clicks[1].positive, "the sign turns for one click only"
    assert ui.points.reach.mark.radius == 30


def test_dragging_a_click_still_moves_it_and_its_circle(ui, mouse):
    mouse.drag((60, 80), (60, 100))
    mouse.press((60, 80))
    mouse.move((70, 80))
    assert ui.points.reach.mark == Mark(70, 80, True, 20)
    assert not mouse.layer.mouse_pan
    mouse.release((70, 80))
    assert mouse.layer.mouse_pan
    [click] = ui.clicks
    assert (click.row, click.col, click.radius) == (70, 80, 20)
    ui.act("undo")
    assert ui.clicks[0].position == (60, 80)
    assert ui.points.reach.mark == Mark(60, 80, True, 20)


@pytest.mark.parametrize("method", ["none", "f-brs-b", "rgb-brs"])
def test_without_radii_dragging_moves_the_view(ui, mouse, method):
    ui.choose_option("refinement.method", method)
    mouse.press((60, 80))
    assert mouse.layer.mouse_pan
    assert not mouse.move((60, 100)).handled
    mouse.release((60, 100))
    assert ui.clicks == ()


def test_other_buttons_and_modes_draw_no_radius(ui, mouse):
    mouse.drag((60, 80), (60, 100), button=2)
    assert ui.clicks == ()
    mouse.layer.mode = "pan_zoom"
    mouse.drag((60, 80), (60, 100))
    assert ui.clicks == ()


def test_the_circle_goes_with_the_refinement(ui, mouse):
    mouse.drag((60, 80), (60, 100))
    ui.choose_option("refinement.method", "f-brs-b")
    assert ui.points.reach.mark is None
    ui.choose_option("refinement.method", "g-brs-sb")
    assert ui.points.reach.mark.radius == 20
    ui.act("commit")
    assert ui.points.reach.mark is None


def test_keys_change_how_far_the_newest_click_reaches(ui, mouse):
    ui.act("grow_radius")
    assert "no click yet" in ui.hint[0]
    mouse.drag((60, 80), (60, 100))
    ui.act("grow_radius")
    assert ui.clicks[0].radius == pytest.approx(25)
    assert ui.points.reach.mark.radius == pytest.approx(25)
    ui.act("shrink_radius")
    ui.act("shrink_radius")
    assert ui.clicks[0].radius == pytest.approx(16)
    ui.act("undo")
    assert ui.clicks[0].radius == pytest.approx(20)
    ui.points.layer.add((20, 20))
    usual = ui.usual_radius
    ui.act("grow_radius")
    assert ui.clicks[1].radius == pytest.approx(1.25 * usual)
    ui.choose_option("refinement.radius", 40.0)
    ui.points.layer.add((25, 20))
    ui.act("shrink_radius")
    assert ui.clicks[2].radius == pytest.approx(32)
    ui.choose_option("refinement.method", "f-brs-b")
    ui.act("grow_radius")
    assert "G-BRS" in ui.hint[0]


def test_a_radius_in_the_features_table(ui, mouse):
    ui.points.layer.add((60, 80))
    features = ui.points.layer.features.copy()
    features["radius"] = [33.0]
    ui.points.layer.features = features
    assert ui.clicks[0].radius == 33
    assert len(ui.clicks) == 1
    ui.act("undo")
    assert ui.clicks[0].radius is None


def test_radius_in_a_scaled_image_is_in_pixels_of_the_image(attach_to, refining):
    ui = attach_to(np.zeros((120, 160), np.uint8), scale=(2.0, 2.0))
    ui.first_look = "published"
    ui.choose_option("refinement.method", "g-brs-bmconv")
    Mouse(ui).drag((60, 80), (60, 120))
    [click] = ui.clicks
    assert (click.row, click.col, click.radius) == (30, 40, 20)


def test_planes_of_a_stack_have_their_own_circle(attach_to, refining, viewer):
    ui = attach_to(np.zeros((3, 120, 160), np.uint8))
    ui.first_look = "published"
    ui.choose_option("refinement.method", "g-brs-bmconv")
    viewer.dims.set_current_step(0, 1)
    ui.points.layer.add((1, 60, 80))
    ui.set_radius(0, 12)
    assert ui.points.reach.mark.radius == 12
    viewer.dims.set_current_step(0, 2)
    assert ui.points.reach.mark is None
    viewer.dims.set_current_step(0, 1)
    assert ui.points.reach.mark.radius == 12
