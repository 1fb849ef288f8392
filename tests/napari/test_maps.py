"""Classes, alpha and depth as layers, without a window; small random networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from tests.napari.conftest import discs
from tests.napari.fakes import FakeModel
from tests.session.test_dense_session import tiny

from napari_clickseg import napari_layers
from napari_clickseg.binding.click_styles import SignStyle, ValueStyle
from napari_clickseg.binding.shelf import ModelShelf
from napari_clickseg.errors import SessionError
from napari_clickseg.napari_layers import attach

TASKS = ("semantic", "matting", "depth")
NAMES = {
    "semantic-cells-starter": "semantic",
    "matting-indexnet-starter": "matting",
    "depth-bts-starter": "depth",
}


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every viewer of the test small models, by the names of the starters."""
    fake = FakeModel()

    def load(name: str, **_options: Any) -> Any:
        return tiny(NAMES[name]) if name in NAMES else fake

    monkeypatch.setattr(napari_layers, "_SHELF", ModelShelf(load=load))


def open_on(viewer: ViewerModel, task: str, image: Any = None) -> Any:
    viewer.add_image(discs() if image is None else image, name="image")
    ui = attach(viewer, task=task)
    ui.settings = type(ui.settings)(iterations=3, learning_rate=0.05)
    return ui


def ready(viewer: ViewerModel, task: str) -> Any:
    """Return a viewer's map with the model's own answer in it."""
    ui = open_on(viewer, task)
    if task == "matting":
        viewer.layers["Clicks for alpha"].add((30, 35))
        ui.act("matte")
    else:
        ui.act("start_from_model")
    return ui


def shown(ui: Any) -> np.ndarray:
    return np.asarray(ui.result_layer.data)


@pytest.mark.parametrize("task", TASKS)
def test_clicks_undo_and_keeping(task: str, viewer: ViewerModel) -> None:
    ui = ready(viewer, task)
    first = ui.result.copy()
    np.testing.assert_array_equal(shown(ui), first)
    assert first.any()
    wish = {"semantic": 3, "matting": 0.4, "depth": 7.0}[task]
    (ui.choose_class if task == "semantic" else ui.choose_value)(wish)
    clicks = viewer.layers[f"Clicks for {ui.noun}"]
    clicks.add((36, 42))
    second = ui.result.copy()
    assert second[36, 42] == pytest.approx(wish, rel=0.06)
    np.testing.assert_array_equal(shown(ui), second)
    assert len(clicks.data) == 1

    assert ui.commit() == 1
    kept = viewer.layers[f"{ui.noun.capitalize()} 1 of image"]
    np.testing.assert_array_equal(kept.data, second)
    assert not shown(ui).any()
    assert len(clicks.data) == 0
    ui.act("undo")
    assert kept not in viewer.layers
    np.testing.assert_array_equal(shown(ui), second)
    assert len(clicks.data) == 1
    ui.act("undo")
    np.testing.assert_array_equal(shown(ui), first)
    for _ in range(2):
        ui.act("redo")
    np.testing.assert_array_equal(
        viewer.layers[f"{ui.noun.capitalize()} 1 of image"].data, second
    )


@pytest.mark.parametrize("task", TASKS)
def test_dragged_and_deleted_clicks_are_answered_anew(
    task: str, viewer: ViewerModel
) -> None:
    ui = ready(viewer, task)
    before = ui.result.copy()
    clicks = viewer.layers[f"Clicks for {ui.noun}"]
    clicks.add((36, 42))
    clicks.data = np.array([(20, 20)])
    wish = 1 if task == "semantic" else ui.wished
    assert ui.clicks[0].position == (20, 20)
    assert ui.result[20, 20] == pytest.approx(wish, rel=0.06)
    clicks.selected_data = {0}
    clicks.remove_selected()
    assert ui.clicks == ()
    np.testing.assert_array_equal(shown(ui), before)


def test_painting_in_the_map_is_a_stroke(viewer: ViewerModel) -> None:
    ui = ready(viewer, "semantic")
    before = ui.result.copy()
    ui.set_mode("stroke")
    layer = ui.result_layer
    assert viewer.layers.selection.active is layer
    assert str(layer.mode) == "paint"
    there = int(before[60, 80])
    wish = there % 4 + 1
    ui.choose_class(wish)
    layer.paint((60, 80), wish)
    assert ui.session.painted is not None
    assert ui.session.painted[60, 80] == wish
    np.testing.assert_array_equal(shown(ui), ui.result)
    layer.paint((10, 10), 0)  # rubbing out wishes nothing
    np.testing.assert_array_equal(shown(ui), ui.result)
    ui.act("undo")
    np.testing.assert_array_equal(shown(ui), before)


def test_classes_have_names_and_colours(viewer: ViewerModel) -> None:
    ui = ready(viewer, "semantic")
    layer, classes = ui.result_layer, ui.classes
    assert len(classes) == 4, "those of the model"
    assert layer.metadata["classes"] == classes.to_dict()
    assert list(layer.features["class"])[1:] == list(classes.names)
    for label, entry in enumerate(classes, 1):
        colour = np.asarray(layer.get_color(label))
        np.testing.assert_allclose(colour[:3], np.array(entry.colour) / 255, atol=0.01)
    ui.choose_class(classes.names[2])
    assert layer.selected_label == 3
    viewer.layers["Clicks for classes"].add((50, 50))
    table = viewer.layers["Clicks for classes"].features
    assert list(table["class"]) == [classes.names[2]]


def test_the_object_is_clicked_and_then_its_alpha(viewer: ViewerModel) -> None:
    ui = open_on(viewer, "matting")
    clicks = viewer.layers["Clicks for alpha"]
    assert ui.outlining
    assert isinstance(ui.points.style, SignStyle)
    with pytest.raises(SessionError, match="click inside one"):
        ui.matte()
    clicks.add((30, 35))
    trimap = ui.trimap_layer.data.copy()
    assert trimap[30, 35] == 3
    assert trimap[100, 80] == 1
    assert trimap[30, 50] == 2, "the edge of the disc is where alpha is asked for"
    assert not shown(ui).any()
    ui.set_band(12)
    wider = ui.trimap_layer.data.copy()
    assert (wider == 2).sum() > (trimap == 2).sum()
    ui.set_band(None)
    np.testing.assert_array_equal(ui.trimap_layer.data, trimap)

    ui.act("matte")
    assert not ui.outlining
    assert len(clicks.data) == 0, "these are clicks on alpha now"
    assert isinstance(ui.points.style, ValueStyle)
    assert shown(ui)[30, 35] == 1
    assert shown(ui)[100, 80] == 0
    ui.choose_value(0.25)
    clicks.add((30, 50))
    assert shown(ui)[30, 50] == pytest.approx(0.25, abs=0.06)
    assert list(clicks.features["value"]) == [0.25]
    for _ in range(2):
        ui.act("undo")
    assert ui.outlining, "back at the object"
    assert len(clicks.data) == 1
    ui.act("undo")
    assert len(clicks.data) == 0
    for _ in range(3):
        ui.act("redo")
    assert shown(ui)[30, 50] == pytest.approx(0.25, abs=0.06)


def test_a_trimap_is_painted_or_taken_from_a_layer(viewer: ViewerModel) -> None:
    ui = open_on(viewer, "matting")
    mask = np.zeros((120, 160), np.int32)
    mask[20:60, 20:60], mask[80:100, 90:130] = 4, 7
    labels = viewer.add_labels(mask, name="mine")
    empty = viewer.add_labels(np.zeros_like(mask), name="empty")
    assert labels in ui.trimap_choices()
    labels.selected_label = 7
    ui.take_layer(labels)
    assert ui.trimap[90, 110] == 255
    assert ui.trimap[40, 40] == 0
    ui.take_layer(labels, 4)
    assert ui.trimap[40, 40] == 255
    layer = ui.trimap_layer
    layer.paint((40, 40), 2)
    assert ui.trimap[40, 40] == 128
    ui.act("undo")
    assert ui.trimap[40, 40] == 255
    assert layer.data[40, 40] == 3
    known = np.full(mask.shape, 128)
    known[:20] = 0
    ui.take_layer(viewer.add_labels(known, name="trimap of another program"))
    assert set(np.unique(ui.trimap)) == {0, 128}
    ui.take_layer(empty)
    assert ui.hint == ("'empty' is empty on this plane.", "error")


def test_pushes_go_up_and_down(viewer: ViewerModel) -> None:
    ui = ready(viewer, "depth")
    before = float(ui.result[60, 80])
    ui.push = 0.2
    ui.set_mode("push")
    clicks = viewer.layers["Clicks for depth"]
    clicks.add((60, 80))
    farther = float(ui.result[60, 80])
    assert farther == pytest.approx(before + 0.2, abs=0.03)
    ui.set_sign(False)
    clicks.add((61, 80))
    assert ui.result[61, 80] < farther
    ui.set_mode("click")
    ui.choose_value(6.0)
    clicks.add((20, 30))
    assert [mark.value for mark in ui.report.marks] == [None, None, 6.0]
    assert ui.result[20, 30] == pytest.approx(6.0, rel=0.06)


def test_what_is_under_the_mouse_can_be_wished_for(viewer: ViewerModel) -> None:
    ui = ready(viewer, "depth")
    viewer.cursor.position = (60, 80)
    assert ui.value_under_cursor() == pytest.approx(float(ui.result[60, 80]))
    ui.act("pick")
    assert ui.wished == pytest.approx(float(ui.result[60, 80]), abs=1e-3)
    viewer.cursor.position = (-5, 80)
    assert ui.value_under_cursor() is None


@pytest.mark.parametrize("task", TASKS)
def test_planes_of_a_stack_have_maps_of_their_own(
    task: str, viewer: ViewerModel
) -> None:
    stack = np.stack([discs(), discs()[::-1], discs()[:, ::-1]])
    ui = open_on(viewer, task, stack)
    viewer.dims.set_point(0, 1)
    clicks = viewer.layers[f"Clicks for {ui.noun}"]
    clicks.add((1, 30, 35))
    if task == "matting":
        ui.act("matte")
    assert shown(ui)[1].any()
    assert not shown(ui)[0].any()
    middle = shown(ui)[1].copy()
    assert ui.commit() == 1
    viewer.dims.set_point(0, 2)
    clicks.add((2, 30, 120))
    if task == "matting":
        ui.act("matte")
    assert ui.commit() == 1
    kept = viewer.layers[f"{ui.noun.capitalize()} 1 of image"]
    np.testing.assert_array_equal(kept.data[1], middle)
    assert kept.data[2].any()
    ui.act("undo")
    assert kept in viewer.layers, "the other plane is still in it"
    assert not kept.data[2].any()


@pytest.mark.parametrize("task", TASKS)
def test_files(task: str, viewer: ViewerModel, tmp_path: Any) -> None:
    ui = ready(viewer, task)
    answer = ui.result.copy()
    path = ui.save(tmp_path / "it.clickseg")
    ui.act("discard")
    assert not shown(ui).any()
    ui.load(path)
    np.testing.assert_array_equal(shown(ui), answer)
    layers = ui.exportable()
    assert layers[0] is ui.result_layer
    ui.export(layers[0], tmp_path / ("map.tif"))
    assert (tmp_path / "map.tif").stat().st_size > 1000
    assert ui.hint[0].startswith("Saved map.tif")
    ui.export(layers[0], tmp_path / "map.jpg")
    assert ui.hint[1] == "error"


def test_a_cut_out_lies_over_another_image(viewer: ViewerModel) -> None:
    ui = ready(viewer, "matting")
    photo = viewer.add_image(np.full((120, 160, 3), 77, np.uint8), name="sea")
    ui.act("cut_out")
    cut = ui.cutout_layer
    np.testing.assert_allclose(cut.data[..., 3] / 255, ui.result, atol=1 / 255)
    assert photo in ui.backgrounds()
    ui.show_over(photo)
    assert photo.visible
    assert cut.visible
    assert not ui.image_layer.visible
    assert viewer.layers.index(photo) < viewer.layers.index(cut)
    ui.add_click((30, 50), value=0.0)
    np.testing.assert_allclose(cut.data[..., 3] / 255, ui.result, atol=1 / 255)


def test_depths_as_a_surface(viewer: ViewerModel) -> None:
    ui = ready(viewer, "depth")
    ui.act("surface")
    surface = viewer.layers["Surface of image"]
    assert viewer.dims.ndisplay == 3
    assert not ui.result_layer.visible
    vertices = np.asarray(surface.data[0])
    assert len(vertices) == 120 * 160
    order = np.argsort(vertices[:, 0])
    depths = np.asarray(ui.result_layer.data).ravel()
    assert (np.diff(depths[order]) >= -1e-5).all(), "farther is farther"
    viewer.dims.ndisplay = 2
    assert ui.result_layer.visible
    assert not surface.visible


def test_two_docks_and_another_image(viewer: ViewerModel) -> None:
    depth = ready(viewer, "depth")
    classes = attach(viewer, task="semantic")
    assert attach(viewer, task="depth") is depth
    assert classes is not depth
    classes.act("start_from_model")
    assert depth.image_layer is classes.image_layer
    assert len(classes.images()) == 1, "maps are no images to click on"
    before = depth.result.copy()
    other = viewer.add_image(discs()[::-1].copy(), name="other")
    depth.set_image_layer(other)
    assert "Clicks for depth" in viewer.layers
    depth.act("start_from_model")
    depth.set_image_layer(viewer.layers["image"])
    np.testing.assert_array_equal(depth.result, before)
    np.testing.assert_array_equal(shown(depth), before)
    viewer.layers.remove(depth.result_layer)
    depth.make_ready()
    np.testing.assert_array_equal(shown(depth), before)
    with pytest.raises(SessionError, match="no task"):
        attach(viewer, task="cooking")


def test_hidden_clicks_may_go(viewer: ViewerModel) -> None:
    ui = ready(viewer, "depth")
    clicks = viewer.layers["Clicks for depth"]
    clicks.add((60, 80))
    clicks.add((20, 30))
    clicks.visible = False
    ui.act("undo")
    viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2
    clicks.visible = True
    assert len(clicks.data) == 1
    assert not clicks.events.visible.blocked()


@pytest.mark.parametrize("task", TASKS)
def test_work_is_offered_again(
    task: str, viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ui = ready(viewer, task)
    first = ui.result.copy()
    ui.commit()
    assert ui.resume_text == ""
    for each in napari_layers._ATTACHED.pop(viewer).values():
        each.close()
    again = ViewerModel()
    try:
        later = open_on(again, task)
        assert later.resume_text.startswith("Take up where you stopped: 1 kept")
        later.resume()
        assert later.hint[1] == "hint"
        kept = again.layers[f"{ui.noun.capitalize()} 1 of image"]
        np.testing.assert_array_equal(kept.data, first)
        later.reopen(1)
        np.testing.assert_array_equal(shown(later), first)
        later.settings = type(ui.settings)(iterations=3, learning_rate=0.05)
        wish = {"semantic": {"label": 2}, "matting": {"value": 0.5}}.get(task)
        later.add_click((36, 42), **(wish or {"value": 4.0}))
        assert len(later.clicks) == 1
    finally:
        for each in napari_layers._ATTACHED.pop(again).values():
            each.close()
    other = ViewerModel()
    try:
        assert open_on(other, task, discs()[::-1].copy()).resume_text == ""
    finally:
        for each in napari_layers._ATTACHED.pop(other).values():
            each.close()


def test_samples_to_try_it_on() -> None:
    from napari_clickseg.samples import portrait, room

    ((image, keywords, _),) = room()
    assert image.shape == (360, 480, 3)
    depth = keywords["metadata"]["depth"]
    assert depth.shape == (360, 480)
    assert 0.05 <= depth.min() < depth.max() <= 10
    ((again, *_),) = room()
    np.testing.assert_array_equal(image, again)
    assert portrait()[0][0].shape == (512, 512, 3)
