"""The session of a viewer has the names of ClickSession and does the same."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
from tests.napari.conftest import discs

from napari_clickseg import ClickSession
from napari_clickseg.clicks import Click
from napari_clickseg.errors import ImageError, SessionError, UnknownModelError
from napari_clickseg.napari_layers import ViewerClicks

#: Parts of a session that have no meaning, or another one, beside layers.
ELSEWHERE = {
    *("begin_propagation", "carry", "continue_object", "drop_carried", "group"),
    *("groups", "look_for", "next_group", "step_number", "step_time", "take_carried"),
    "add_proposals",
    "rest",
    "asking",
    "change",
    "edits",
    "image",
    "in_work",
    "journal",
    "keep_journal",
    "mask_of",
    "model_source",
    "notices",
    "opened_label",
    "options",
    "origin",
    "pending",
    "replay",
    "resume",
    "resume_journal",
    "resume_record",
    "set_contrast",
    "settled",
    "state",
    "stop_journal",
    "take_up",
    "to_record",
    "with_past",
}


def test_same_names():
    names = {name for name in dir(ClickSession) if not name.startswith("_")}
    missing = {name for name in names if not hasattr(ViewerClicks, name)}
    assert missing - {"first_look"} <= ELSEWHERE


@pytest.mark.parametrize("name", ["add_click", "move_click", "remove_click", "commit"])
def test_positional_arguments_are_the_same(name):
    def positional(cls):
        parameters = inspect.signature(getattr(cls, name)).parameters.values()
        return [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD]

    assert positional(ViewerClicks) == positional(ClickSession)


def test_same_answers_as_a_session(ui, model):
    session = ClickSession(model, settings=replace(ui.session.settings))
    session.first_look = "published"
    session.set_image(discs())
    for each in (ui, session):
        each.add_click((30, 35))
        each.add_click((30, 44), False)
        each.add_click(Click(85, 40))
        each.move_click(-1, (85, 115))
        each.remove_click(1)
        each.undo()
        each.commit()
        each.set_mask(discs() > 100)
        each.add_click((30, 120), positive=False)
    np.testing.assert_array_equal(ui.mask, session.mask)
    np.testing.assert_array_equal(ui.labels, session.labels)
    np.testing.assert_allclose(ui.probability, session.probability)
    assert [c.position for c in ui.clicks] == [c.position for c in session.clicks]
    assert list(ui.objects) == list(session.objects)
    assert str(ui.stats) == str(session.stats)
    assert ui.shape == session.shape
    assert ui.can_undo
    assert not ui.can_redo


def test_changes_tell_what_is_new(ui):
    change = ui.add_click((30, 35))
    assert change.settled
    assert change.mask.any()
    change = ui.add_click((85, 40), settle=False)
    ui.settle()
    assert ui.session.settled
    change = ui.add_click((85, 115), predict=False)
    assert change.pending
    assert ui.session.pending
    assert not ui.update(settle=True).pending
    assert ui.settle() is None
    change = ui.set_labels(np.where(discs() > 100, 3, 0))
    assert change.labels is not None
    assert (ui.objects_layer.data == 3).sum() == (discs() > 100).sum()
    assert ui.delete(3).label == 3


def test_choose_images(ui, viewer):
    viewer.add_image(discs()[::-1], name="second")
    ui.set_image("second")
    assert ui.image_layer.name == "second"
    ui.set_image(discs()[:, ::-1], name="third")
    assert ui.image_layer is viewer.layers["third"]
    with pytest.raises(ImageError, match="no image"):
        ui.set_image(viewer.layers["Mask"])


def test_models(ui, model):
    assert ui.model is model
    assert ui.model_name == "ritm-mobilenetv2-starter"
    other = type(model)()
    ui.set_model(other)
    assert ui.model is other
    assert ui.model_facts.device == "cpu"
    ui.add_click((30, 35))
    assert other.calls
    assert not model.calls


def test_settings(ui):
    ui.settings = replace(ui.settings, threshold=0.999999)
    ui.add_click((30, 35))
    assert not ui.mask.any()
    ui.settings = replace(ui.settings, threshold=0.49)
    ui.add_click((30, 36))
    assert ui.mask.any()


def test_files(ui, tmp_path):
    ui.add_click((30, 35))
    ui.commit()
    ui.add_click((85, 40))
    path = ui.save(tmp_path / "work.clickseg")
    ui.discard()
    ui.delete(1)
    ui.load(path)
    assert ui.objects_layer.data[30, 35] == 1
    assert ui.mask[85, 40]
    assert len(ui.points.layer.data) == 1
    with pytest.raises(SessionError):
        ui.load(tmp_path / "nothing.clickseg")
    assert ui.mask[85, 40]


def test_errors_are_raised_and_told(ui, monkeypatch):
    monkeypatch.setattr(ui._shelf, "_load", None)
    ui.set_model("no-such-model")
    with pytest.raises(UnknownModelError):
        ui.add_click((30, 35))
    assert "no-such-model" in ui.hint[0]
