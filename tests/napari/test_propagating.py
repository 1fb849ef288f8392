"""Objects carried through the planes of a viewer without a window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_clickseg.binding.planes import Plane
from napari_clickseg.errors import SessionError
from napari_clickseg.napari_layers import ViewerClicks

SHAPE = (14, 60, 80)


@pytest.fixture
def truth() -> Any:
    """Return two columns: the model of these tests never lets go of a mask."""
    image, objects = np.full(SHAPE, 20, np.uint8), np.zeros(SHAPE, np.int32)
    rows, cols = np.ogrid[: SHAPE[1], : SHAPE[2]]
    for number, (low, high, row, col, radius, bright) in enumerate(
        ((2, 12, 28, 28, 14, 200), (3, 10, 30, 62, 10, 120)), start=1
    ):
        inside = np.hypot(rows - row, cols - col) < radius
        image[low:high, inside] = bright
        objects[low:high, inside] = number
    return image, objects


@pytest.fixture
def ui(truth: Any, attach_to: Callable[..., ViewerClicks], viewer: Any) -> ViewerClicks:
    clicks = attach_to(
        truth[0], name="stack", contrast_limits=(0, 255), axis_labels=("z", "y", "x")
    )
    clicks.first_look = "published"
    viewer.dims.set_current_step(0, 6)
    return clicks


def labels(ui: ViewerClicks) -> Any:
    return np.asarray(ui.objects_layer.data)


def go(viewer: ViewerModel, index: int) -> None:
    viewer.dims.set_current_step(0, index)


def planes_of(array: Any, label: int) -> list[int]:
    return [int(i) for i in np.flatnonzero((array == label).any(axis=(1, 2)))]


def test_one_click_and_all_planes_are_shown(ui, viewer, truth):
    ui.add_click((28, 28))
    done = ui.propagate()
    np.testing.assert_array_equal(labels(ui), truth[1] == 1)
    assert len(done.planes) == len(planes_of(truth[1], 1)) - 1
    assert ui.propagating.text.startswith("Carried through 9 planes (z=2 to 11)")
    assert "z=12: " in ui.propagating.text
    assert ui.hint[0].endswith("J: go there.")
    assert str(ui.stats) == "1 object, 1.0 clicks each"
    assert ui.busy == ("", None)
    assert len(ui.points.layer.data) == 0


def test_undo_takes_all_of_it_back_and_redo_brings_it(ui, viewer):
    ui.add_click((28, 28))
    ui.propagate()
    shown = labels(ui).copy()
    go(viewer, 0)  # it did not come here
    assert ui.can_undo
    ui.act("undo")
    assert not labels(ui).any()
    assert ui.can_redo
    ui.act("redo")
    np.testing.assert_array_equal(labels(ui), shown)
    go(viewer, 6)
    ui.undo()
    assert not labels(ui).any()
    assert len(ui.clicks) == 1
    assert ui.mask[28, 28]
    assert ui.mask_layer.data[6, 28, 28]


def test_a_correction_is_carried_on(ui, viewer):
    ui.add_click((28, 28))
    ui.propagate()
    before = labels(ui).copy()
    go(viewer, 9)
    ui.reopen(1)
    assert len(ui.points.layer.data) == 1, "the click that nobody made is shown"
    ui.add_click((28, 34), positive=False)
    assert ui.commit() == 1
    corrected = labels(ui)[9].copy()
    assert (corrected != before[9]).any()
    done = ui.propagate(1, direction="forward")
    assert done.planes == (10, 11)
    np.testing.assert_array_equal(labels(ui)[9], corrected)
    go(viewer, 6)
    ui.propagate(1)
    np.testing.assert_array_equal(labels(ui)[9], corrected)
    assert "corrected by hand" in [end.reason for end in ui.propagating.carried.ends]
    assert str(ui.stats) == "1 object, 2.0 clicks each"


def test_ids_are_the_same_on_all_planes_and_free(ui, viewer):
    ui.add_click((28, 28))
    ui.propagate()
    go(viewer, 12)
    ui.add_click((30, 62))
    assert ui.commit() == 2
    go(viewer, 6)
    ui.reopen(1)
    go(viewer, 0)
    ui.add_click((5, 5))
    assert ui.commit() == 3, "1 is in work, 2 is there"


def test_going_to_where_it_stopped(ui, viewer, truth):
    image = truth[0].copy()
    image[9, 5:50, 5:75] = 200
    ui.set_image(image, name="jump", contrast_limits=(0, 255))
    ui.first_look = "published"
    go(viewer, 6)
    ui.add_click((28, 28))
    ui.propagate(direction="forward")
    [end] = ui.propagating.ends
    assert end.index == 9
    ui.act("to_stop")
    assert ui.plane == Plane((1, 2), (9, -1, -1))
    assert ui.session.opened_label == 1
    assert ui.mask[10, 60]
    assert "press N" in ui.hint[0]
    ui.discard()
    assert not ui.mask.any()
    ui.set_mask(truth[1][9] == 1)
    assert ui.commit(1) == 1
    ui.propagate(1, direction="forward")
    assert planes_of(labels(ui), 1) == [6, 7, 8, 9, 10, 11]


def test_the_key_takes_what_is_under_the_mouse_or_shown(ui, viewer):
    ui.add_click((28, 28))
    ui.commit()
    ui.add_click((30, 62))
    ui.commit()
    viewer.cursor.position = (6, 30, 62)
    ui.act("propagate")
    ui.update()  # waits for what goes before
    while ui.propagating.running:
        ui._wait_a_little(ui.propagating.job)
    assert len(planes_of(labels(ui), 2)) > 3
    assert planes_of(labels(ui), 1) == [6]


def test_layers_of_others_are_not_touched(ui, viewer, truth):
    mine = np.zeros(SHAPE, np.int32)
    mine[8] = np.where(truth[1][8] == 2, 5, 0)
    layer = viewer.add_labels(mine, name="mine")
    ui.choose_objects(layer)
    ui.add_click((28, 28))
    ui.propagate()
    assert planes_of(layer.data, 6) == planes_of(truth[1], 1), "after the highest id"
    np.testing.assert_array_equal(layer.data[8] == 5, truth[1][8] == 2)


def test_a_single_plane_has_nowhere_to_go(attach_to):
    ui = attach_to(np.full((60, 80), 20, np.uint8))
    ui.add_click((20, 20))
    with pytest.raises(SessionError, match="one plane"):
        ui.propagate()
    assert ui.propagating.axes() == []
    ui.act("propagate")
    assert ui.hint[1] == "error"


def test_nothing_to_carry(ui):
    with pytest.raises(SessionError, match="Which object"):
        ui.propagate()
    assert not ui.propagating.running
    ui.act("to_stop")
    assert ui.hint[1] == "error"


def test_the_rules_go_by_the_scale(ui, viewer):
    layer = ui.image_layer
    layer.scale = (3.0, 0.5, 0.5)
    ui.add_click((28, 28))
    ui.propagate()
    assert ui.propagating._last.propagation.options.spacing == 6.0


def test_two_axes_to_choose_from(truth, attach_to, viewer):
    image = np.stack([truth[0]] * 3)
    ui = attach_to(image, contrast_limits=(0, 255), axis_labels=("t", "z", "y", "x"))
    ui.first_look = "published"
    viewer.dims.set_current_step(1, 6)
    viewer.dims.set_current_step(0, 1)
    assert ui.propagating.axes() == [("t", 0), ("z", 1)]
    ui.add_click((28, 28))
    assert ui.propagate().planes == (0, 2)
    assert ui.propagating.text.startswith("Carried through 2 planes (t=0 to 2)")
    ui.undo()
    ui.propagate(axis=1)
    assert not labels(ui)[0].any()
    np.testing.assert_array_equal(labels(ui)[1], truth[1] == 1)
    with pytest.raises(SessionError, match="axes"):
        ui.propagate(1, axis=3)


def test_what_was_carried_comes_back_after_a_crash(ui, viewer, truth):
    from napari_clickseg import napari_layers

    ui.add_click((28, 28))
    ui.propagate()
    shown = labels(ui).copy()
    # the process is gone: nobody says goodbye to the journals
    context = ui.context
    for session in context.engine._sessions.values():
        if session.journal.path is not None:
            session.journal._file.close()
    image = ui.image_layer.data
    napari_layers._ATTACHED.pop(viewer).clear()
    again = ViewerModel()
    again.add_image(image, name="stack", contrast_limits=(0, 255))
    more = napari_layers.attach(again)
    again.dims.set_current_step(0, 6)
    for _ in range(200):
        if more.resume_text:
            break
        more._wait_a_little(None)
    assert more.resume_text
    more.resume()
    for _ in range(500):
        if more.idle and np.array_equal(more.objects_layer.data, shown):
            break
        more._wait_a_little(None)
    np.testing.assert_array_equal(more.objects_layer.data, shown)
    more.undo()
    assert not more.objects_layer.data.any()
    more.close()


def test_all_planes_are_seen_as_the_first_is(ui, viewer):
    """Also those that were opened while the contrast was another."""
    ui.add_click((28, 28))
    ui.propagate()
    ui.image_layer.contrast_limits = (10, 130)
    ui.image_layer.gamma = 0.7
    ui.add_click((30, 62))
    done = ui.propagate()
    assert len(done.planes) == 6
    engine = ui.context.engine
    for index in (6, *done.planes):
        seen = engine.session(Plane((1, 2), (index, -1, -1))).image
        np.testing.assert_array_equal(seen.contrast, [(10, 130)])
        assert seen.gamma == (0.7,)


def test_a_plane_that_could_not_be_opened_once_is_no_dead_one(ui, viewer, monkeypatch):
    engine, failed = ui.context_of(ui.image_layer).engine, []
    opened = engine.open

    def fails_once(plane, *rest):
        if plane.fixed[0] == 8 and not failed:
            failed.append(plane)
            raise MemoryError("Unable to allocate")
        return opened(plane, *rest)

    monkeypatch.setattr(engine, "open", fails_once)
    ui.add_click((28, 28))
    with pytest.raises(MemoryError):
        ui.propagate()
    assert failed
    go(viewer, 8)
    ui.add_click((30, 62))
    assert ui.mask[30, 62]


def test_planes_that_were_passed_keep_no_pixels(ui):
    ui.add_click((28, 28))
    done = ui.propagate()
    engine = ui.context.engine
    for index in done.planes:
        session = engine.session(Plane((1, 2), (index, -1, -1)))
        assert session.image._shown is None
        assert session.image._last is None


def test_another_object_in_work_is_not_carried_for_it(ui):
    ui.add_click((28, 28))
    ui.commit()
    ui.add_click((30, 62))
    with pytest.raises(SessionError, match="Another object than 1 is in work"):
        ui.propagate(1)
    assert not ui.propagating.running
    assert set(ui.objects) == {1}
    assert len(ui.clicks) == 1
