"""Points, mask and objects as layers, without a window."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from tests.napari.conftest import discs

from napari_clickseg import napari_layers
from napari_clickseg.binding.hooks import camera_of
from napari_clickseg.errors import ClickError, MaskError, SessionError
from napari_clickseg.napari_layers import attach

DISC = np.hypot(*np.ogrid[-30:90, -35:125]) < 15  # the disc at (30, 35)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def mask_of(ui):
    return np.asarray(ui.mask_layer.data) != 0


def test_first_minute(ui, viewer):
    # The image is chosen, the click layer is ready, one line says what to do.
    assert ui.image_layer is viewer.layers["discs"]
    points = viewer.layers["Clicks"]
    assert viewer.layers.selection.active is points
    assert points.mode == "add"
    assert ui.hint == ("Click inside an object.", "hint")
    points.add([30, 35])
    assert iou(mask_of(ui), DISC) > 0.9
    assert ui.hint[0].startswith("Click to add")
    assert ui.commit() == 1
    assert not mask_of(ui).any()
    assert len(points.data) == 0
    assert iou(ui.objects_layer.data == 1, DISC) > 0.9
    assert ui.hint[0] == "Object 1 committed. Click inside the next one."
    assert str(ui.stats) == "1 object, 1.0 clicks each"


def test_what_is_shown_is_what_the_session_has(ui, viewer):
    points = viewer.layers["Clicks"]
    rng = np.random.default_rng(1)
    for step in range(40):
        what = rng.integers(8)
        if what < 4 or not len(points.data):
            ui.points.positive = bool(rng.integers(3))
            points.add(rng.uniform((0, 0), (119, 159)))
        elif what == 4:
            points.selected_data = {int(rng.integers(len(points.data)))}
            points.remove_selected()
        elif what == 5:
            places = points.data.copy()
            places[rng.integers(len(places))] = rng.uniform((0, 0), (119, 159))
            points.data = places
        elif what == 6:
            ui.undo()
        elif mask_of(ui).any():
            try:
                ui.commit()
            except MaskError:  # all of it belongs to others
                ui.discard()
        np.testing.assert_array_equal(mask_of(ui), ui.session.mask, err_msg=str(step))
        np.testing.assert_array_equal(ui.objects_layer.data, ui.session.labels)
        shown = [tuple(place) for place in points.data]
        assert shown == [click.position for click in ui.clicks]
        signs = [sign == "positive" for sign in points.features["sign"]]
        assert signs == [click.positive for click in ui.clicks]


def test_sign_by_mode_key_and_color(ui, viewer):
    points = viewer.layers["Clicks"]
    points.add([30, 35])
    ui.act("toggle_sign")
    assert not ui.positive
    points.add([30, 48])
    assert [c.positive for c in ui.clicks] == [True, False]
    assert list(points.features["sign"]) == ["positive", "negative"]
    assert not np.array_equal(points.face_color[0], points.face_color[1])
    assert not mask_of(ui)[30, 48]
    # Selecting a click of the other sign does not change what the next one does.
    points.selected_data = {0}
    points.add([30, 22])
    assert [c.positive for c in ui.clicks] == [True, False, False]


def test_sign_changed_in_the_features_table(ui, viewer):
    points = viewer.layers["Clicks"]
    points.add([30, 35])
    points.add([85, 40])
    points.features = {"sign": ["positive", "negative"]}
    assert sorted(c.positive for c in ui.clicks) == [False, True]


def test_native_undo_keys_reach_our_history(ui, viewer):
    points = viewer.layers["Clicks"]
    points.add([30, 35])
    points.add([85, 40])
    press(points, "Control-Z")
    assert len(ui.clicks) == 1
    assert len(points.data) == 1
    press(ui.mask_layer, "Control-Z")
    assert len(points.data) == 0
    assert not mask_of(ui).any()
    press(points, "Control-Shift-Z")
    press(ui.objects_layer, "Control-Shift-Z")
    assert len(ui.clicks) == 2


def press(layer, key):
    from app_model.types import KeyBinding

    layer.keymap[KeyBinding.from_str(key.replace("Control", "Ctrl").replace("-", "+"))](
        layer
    )


def test_keys_are_nobody_elses(ui, viewer):
    from napari.layers import Image, Labels, Points
    from napari.utils.shortcuts import default_shortcuts

    taken = {
        kind: {
            str(key)
            for name, keys in default_shortcuts.items()
            if kind in name or name.split(":")[1].startswith("toggle")
            for key in keys
        }
        for kind in ("points", "labels", "select")
    }
    taken_points = taken["points"] | taken["select"]
    ours = {str(key) for key in ui.points.layer.keymap}
    assert ours
    assert not ours & taken_points
    ours = {str(key) for key in ui.mask_layer.keymap}
    polygon = {str(k) for k in default_shortcuts["napari:complete_polygon"]}
    assert not ours & (taken["labels"] | polygon)
    # Nothing was bound on the classes, on the image or on the viewer.
    assert not viewer.layers["discs"].keymap
    for kind in (Image, Labels, Points):
        assert not any("clickseg" in str(f) for f in kind.class_keymap.values())
    assert not any("clickseg" in str(f) for f in viewer.keymap.values())


def test_painting_is_the_next_previous_mask_and_can_be_undone(ui, viewer):
    points, mask = viewer.layers["Clicks"], viewer.layers["Mask"]
    points.add([30, 35])
    before = mask_of(ui).copy()
    mask.brush_size = 9
    mask.paint((60, 80), 1)
    assert ui.session.mask[60, 80]
    points.add([30, 40])
    assert mask_of(ui)[60, 80], "the previous mask did not reach the model"
    ui.undo()
    assert mask_of(ui)[60, 80]
    ui.undo()
    np.testing.assert_array_equal(mask_of(ui), before)
    mask.paint((30, 35), 0)
    assert not ui.session.mask[30, 35]


def test_painting_with_another_label_counts_too(ui, viewer):
    viewer.layers["Mask"].paint((60, 80), 3)
    assert ui.session.mask[60, 80]
    assert ui.commit() == 1


def test_click_outside_is_told_in_one_sentence(ui, viewer):
    points = viewer.layers["Clicks"]
    points.add([30, 35])
    points.add([500, 35])
    text, kind = ui.hint
    assert kind == "error"
    assert "outside" in text
    assert len(points.data) == 1
    with pytest.raises(ClickError, match="outside"):
        ui.add_click((-50, 3))
    with pytest.raises(ClickError, match="position"):
        ui.add_click(3)


def test_users_own_labels_layer(viewer, attach_to):
    labels = np.zeros((120, 160), np.uint16)
    labels[80:90, 100:130] = 7
    ui = attach_to(discs())
    own = viewer.add_labels(labels, name="mine")
    ui.choose_objects(own)
    ui.add_click((30, 35))
    assert ui.commit() == 8
    assert own.data[30, 35] == 8
    assert own.data[85, 115] == 7
    assert own.data.dtype == np.uint16
    # Undo takes back the commit, and nothing that was there before.
    ui.undo()
    assert own.data[30, 35] == 0
    for _ in range(5):
        ui.undo()
    np.testing.assert_array_equal(own.data, labels)
    assert (own.data == 7).sum() == 300


def test_objects_painted_by_hand_are_heeded(ui, viewer):
    ui.add_click((30, 35))
    ui.commit()
    ui.objects_layer.paint((85, 40), 5)
    assert ui.session.labels[85, 40] == 5
    ui.add_click((85, 115))
    assert ui.commit() == 6
    ui.undo()
    ui.undo()  # the commit and its click
    ui.undo()
    assert ui.objects_layer.data[85, 40] == 0


def test_label_that_does_not_fit(viewer, attach_to):
    labels = np.zeros((120, 160), np.uint8)
    labels[0, 0] = 255
    ui = attach_to(discs())
    ui.choose_objects(viewer.add_labels(labels, name="small"))
    ui.add_click((30, 35))
    ui.act("commit")
    text, kind = ui.hint
    assert kind == "error"
    assert "convert" in text


def test_labels_of_another_shape_are_refused(ui, viewer):
    other = viewer.add_labels(np.zeros((5, 5), int), name="other")
    assert other not in ui.objects_choices()
    ui.choose_objects(other)
    assert ui.hint[1] == "error"
    assert ui.objects_layer is not other


def test_reopen_next_previous_delete(ui, viewer):
    for place in ((30, 35), (85, 40), (85, 115)):
        ui.add_click(place)
        ui.commit()
    ui.act("next_object")
    assert ui.shown_object == 1
    assert camera_of(viewer).center[-2:] == pytest.approx((30, 35), abs=1)
    ui.act("previous_object")
    assert ui.shown_object == 3
    ui.act("reopen")
    assert not (ui.objects_layer.data == 3).any()
    assert mask_of(ui)[85, 115]
    assert len(viewer.layers["Clicks"].data) == 1
    assert ui.commit() == 3
    viewer.cursor.position = (85, 40)
    ui.act("reopen")
    assert ui.session.opened_label == 2
    ui.act("discard")
    ui.act("next_object")
    ui.act("delete")
    assert sorted(np.unique(ui.objects_layer.data)) == [0, 2, 3]


def test_actions_that_cannot_be_done_say_so(ui):
    for action in ("commit", "reopen", "delete", "next_object"):
        ui.act(action)
        assert ui.hint[1] == "error", action
        assert "\n" not in ui.hint[0]
    ui.act("undo")
    ui.act("redo")
    ui.act("discard")
    with pytest.raises(MaskError):
        ui.commit()
    with pytest.raises(SessionError):
        ui.reopen(3)
    assert ui.undo() is None


def test_console_and_dock_are_one(ui, viewer):
    assert attach(viewer) is ui
    from napari.utils._proxies import PublicOnlyProxy

    assert attach(PublicOnlyProxy(viewer)) is ui
    change = ui.add_click((30, 35))
    assert change.mask is not None
    assert change.settled
    assert len(viewer.layers["Clicks"].data) == 1
    ui.move_click(0, (85, 40))
    assert mask_of(ui)[85, 40]
    assert not mask_of(ui)[30, 35]
    ui.set_clicks([(30, 35), (85, 40, False)])
    assert list(viewer.layers["Clicks"].features["sign"]) == ["positive", "negative"]
    ui.remove_click(-1)
    assert ui.probability.max() > 0.9
    assert ui.result[30, 35]
    ui.set_mask(np.zeros((120, 160), bool))
    assert not mask_of(ui).any()


def test_two_viewers_do_not_know_each_other(ui, viewer, model):
    other = ViewerModel()
    other.add_image(discs())
    second = attach(other)
    assert second is not ui
    ui.add_click((30, 35))
    assert not mask_of(second).any()
    assert len(other.layers["Clicks"].data) == 0
    second.act("toggle_sign")
    assert ui.positive
    napari_layers._ATTACHED.pop(other)["segmentation"].close()


def test_deleting_layers(ui, viewer):
    ui.add_click((30, 35))
    ui.commit()
    ui.add_click((85, 40))
    viewer.layers.remove("Mask")
    assert ui.mask_layer is None
    assert len(ui.clicks) == 0, "the unfinished object goes with its mask"
    ui.add_click((85, 40))
    assert mask_of(ui)[85, 40]
    viewer.layers.remove("Clicks")
    ui.set_sign(True)
    viewer.layers["Clicks"].add([85, 115])
    assert mask_of(ui)[85, 115]
    ui.commit()
    viewer.layers.remove(ui.objects_layer)
    assert not ui.session.objects
    ui.add_click((30, 120))
    ui.commit()
    assert ui.objects_layer.data[30, 120] == 1


def test_clearing_all_layers_and_starting_again(ui, viewer):
    ui.add_click((30, 35))
    viewer.layers.clear()
    assert ui.image_layer is None
    assert len(viewer.layers) == 0
    viewer.add_image(discs(), name="again")
    assert ui.image_layer is viewer.layers["again"]
    ui.add_click((30, 35))
    assert mask_of(ui)[30, 35]


def test_removing_the_image_takes_the_next_one(ui, viewer):
    viewer.add_image(discs()[::-1], name="second")
    ui.add_click((30, 35))
    ui.commit()
    viewer.layers.remove("discs")
    assert ui.image_layer is viewer.layers["second"]
    assert "Objects of discs" in viewer.layers, "objects are the user's"


def test_switching_images_and_back(ui, viewer):
    first = ui.image_layer
    ui.add_click((30, 35))
    ui.commit()
    ui.add_click((85, 40))
    second = viewer.add_image(discs()[:, ::-1], name="second")
    ui.choose(second)
    assert len(viewer.layers["Clicks"].data) == 0
    ui.add_click((30, 120))
    assert ui.commit() == 1
    ui.choose(first)
    assert ui.objects_layer is viewer.layers["Objects of discs"]
    assert [c.position for c in ui.clicks] == [(85, 40)]
    assert len(viewer.layers["Clicks"].data) == 1
    assert mask_of(ui)[85, 40], "the mask of the unfinished object is shown again"


def test_nothing_keeps_a_viewer_alive(model):
    def use() -> tuple[weakref.ref, weakref.ref]:
        viewer = ViewerModel()
        viewer.add_image(discs(), name="discs")
        ui = attach(viewer)
        ui.add_click((30, 35))
        return weakref.ref(viewer), weakref.ref(ui)

    viewer, ui = use()
    gc.collect()
    gc.collect()
    assert viewer() is None
    assert ui() is None


def test_without_an_image_it_says_what_to_do(viewer, model):
    ui = attach(viewer)
    assert "Open an image" in ui.hint[0]
    ui.act("commit")
    assert ui.hint[1] == "error"
    viewer.add_image(discs())
    assert ui.image_layer is not None
    assert "Clicks" in viewer.layers


def test_a_result_that_comes_late_goes_to_its_own_image(viewer, model):
    """Images of one shape have planes of one name."""
    from collections import deque

    from napari_clickseg.binding.shelf import ModelShelf
    from napari_clickseg.napari_layers import ViewerClicks
    from napari_clickseg.worker import Worker

    waiting = deque()
    worker = Worker(synchronous=True)
    shelf = ModelShelf(load=lambda *_args, **_options: model)
    ui = ViewerClicks(viewer, worker.channel(waiting.append), shelf)

    def turn():
        while waiting:
            waiting.popleft()()

    first = viewer.add_image(discs(), name="first")
    second = viewer.add_image(discs()[::-1], name="second")
    ui.set_image_layer(first)
    ui.first_look = "published"
    ui.points.layer.add([30, 35])
    turn()
    ui.act("commit")
    ui.points.layer.add([85, 40])
    ui.choose(second)  # before the results have come
    turn()
    assert not mask_of(ui).any()
    assert not ui.objects_layer.data.any()
    assert len(viewer.layers["Clicks"].data) == 0
    assert viewer.layers["Objects of first"].data[30, 35] == 1
    ui.choose(first)
    turn()
    assert mask_of(ui)[85, 40]
    assert len(viewer.layers["Clicks"].data) == 1
    ui.close()


def test_nothing_raises_in_the_3d_view(attach_to, viewer):
    ui = attach_to(np.stack([discs()] * 3))
    ui.first_look = "published"
    ui.add_click((30, 35))
    viewer.dims.ndisplay = 3
    viewer.layers["Mask"].paint((1, 60, 80), 1)
    ui.objects_layer.paint((1, 60, 80), 1)
    ui.act("reopen")
    ui.act("next_object")
    ui.set_sign(False)
    viewer.layers.remove("Mask")
    viewer.layers.remove("Clicks")
    viewer.dims.ndisplay = 2
    ui.add_click((30, 120))
    assert mask_of(ui)[1, 30, 120]
