"""The dock in a real window, with mouse and keyboard."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.gui.hands import CTRL, RIGHT, SHIFT
from tests.napari.conftest import discs

pytestmark = pytest.mark.gui

DISC = np.hypot(*np.ogrid[-30:90, -35:125]) < 15  # the disc at (30, 35)


def mask_of(hands):
    return np.asarray(hands.ui.mask_layer.data) != 0


def places(hands):
    return [(round(c.row), round(c.col), c.positive) for c in hands.ui.clicks]


def test_mouse_and_keys_from_click_to_commit(hands):
    ui = hands.ui
    hands.click(30, 35)
    hands.settle()
    assert places(hands) == [(30, 35, True)]
    assert (mask_of(hands) & DISC).sum() > 0.9 * DISC.sum()
    hands.click(85, 40, SHIFT)
    hands.settle()
    assert places(hands)[1] == (85, 40, False)
    hands.press(Qt.Key.Key_T)
    hands.click(85, 110)
    hands.press(Qt.Key.Key_T)
    hands.click(30, 120, SHIFT)
    hands.settle()
    assert [c.positive for c in ui.clicks] == [True, False, False, False]
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.settle()
    assert len(ui.clicks) == 2
    hands.press(Qt.Key.Key_Z, CTRL | SHIFT)
    hands.settle()
    assert len(ui.clicks) == 3
    hands.press(Qt.Key.Key_N)
    hands.settle()
    assert ui.objects_layer.data[30, 35] == 1
    assert not mask_of(hands).any()
    assert hands.widget.counter.text() == "1 object, 3.0 clicks each"
    hands.click(30, 120)
    hands.settle()
    hands.press(Qt.Key.Key_Return)
    hands.settle()
    assert ui.objects_layer.data[30, 120] == 2


def test_control_and_the_right_button_take_away(hands):
    hands.click(30, 35)
    hands.click(30, 45, CTRL)
    hands.click(30, 25, button=RIGHT)
    hands.settle()
    assert [c.positive for c in hands.ui.clicks] == [True, False, False]


def test_dragging_a_click_moves_the_wish_not_the_camera(hands):
    hands.click(30, 35)
    hands.settle()
    before = hands.camera.center
    hands.drag((30, 35), (85, 40))
    hands.settle()
    assert hands.camera.center == pytest.approx(before)
    [(row, col, positive)] = places(hands)
    assert (row, col, positive) == (
        pytest.approx(85, abs=1),
        pytest.approx(40, abs=1),
        True,
    )
    assert mask_of(hands)[85, 40]
    assert not mask_of(hands)[30, 35]
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.settle()
    assert places(hands) == [(30, 35, True)]
    assert mask_of(hands)[30, 35]


def test_dragging_beside_a_click_pans(hands):
    hands.click(30, 35)
    hands.settle()
    before = hands.camera.center
    hands.drag((85, 115), (60, 80))
    assert hands.camera.center != pytest.approx(before)
    assert len(hands.ui.clicks) == 1


def test_pressing_a_click_does_not_add_another(hands):
    hands.click(30, 35)
    hands.settle()
    hands.click(30, 35)
    hands.settle()
    assert len(hands.ui.clicks) == 1
    hands.click(85, 40)
    hands.settle()
    assert len(hands.ui.clicks) == 2


def test_naparis_own_select_and_delete(hands):
    hands.click(30, 35)
    hands.click(85, 40)
    hands.settle()
    hands.press(Qt.Key.Key_3)
    hands.drag((85, 40), (85, 115))
    hands.settle()
    assert places(hands)[1][:2] == (pytest.approx(85, abs=1), pytest.approx(115, abs=1))
    hands.press(Qt.Key.Key_Delete)
    hands.settle()
    assert len(hands.ui.clicks) == 1


def test_brush_on_the_mask(hands):
    hands.click(30, 35)
    hands.settle()
    mask = hands.ui.mask_layer
    hands.viewer.layers.selection.active = mask
    hands.press(Qt.Key.Key_2)
    assert mask.mode == "paint"
    hands.drag((60, 60), (60, 90))
    hands.settle()
    assert hands.ui.session.mask[60, 75]
    hands.press(Qt.Key.Key_1)
    hands.drag((30, 28), (30, 42))
    hands.settle()
    assert not hands.ui.session.mask[30, 35]
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.settle()
    assert hands.ui.session.mask[30, 35]
    np.testing.assert_array_equal(mask_of(hands), hands.ui.session.mask)
    hands.press(Qt.Key.Key_4)
    hands.click(100, 80)  # fill
    hands.settle()
    assert hands.ui.session.mask[100, 80]


def test_planes_of_a_stack(open_dock, model):
    stack = np.stack([discs(), np.roll(discs(), 25, axis=1), discs()])
    hands = open_dock(stack, scale=(3, 2, 1.5), translate=(1, 10, -4))
    ui, viewer = hands.ui, hands.viewer
    ui.first_look = "published"
    viewer.dims.set_current_step(0, 0)
    hands.pause()
    hands.click(30, 35)
    hands.settle()
    assert ui.mask_layer.data[0, 30, 35]
    assert not ui.mask_layer.data[1:].any()
    hands.press(Qt.Key.Key_N)
    viewer.dims.set_current_step(0, 1)
    hands.pause()
    assert len(viewer.layers["Clicks"].data) == 0
    hands.click(30, 60)
    hands.settle()
    hands.press(Qt.Key.Key_N)
    hands.settle()
    assert ui.objects_layer.data[0, 30, 35] == 1
    assert ui.objects_layer.data[1, 30, 60] == 2
    assert not ui.objects_layer.data[2].any()
    hands.click(85, 60)
    hands.settle()
    viewer.dims.set_current_step(0, 0)
    hands.pause()
    assert ui.clicks == ()
    viewer.dims.set_current_step(0, 1)
    hands.pause()
    assert len(viewer.layers["Clicks"].data) == 1


def test_buttons_and_status(hands):
    widget, ui = hands.widget, hands.ui
    assert widget.status.text.text() == "Click inside an object."
    assert widget.image.currentText() == "image"
    assert widget.badge.text() == "\N{HORIZONTAL ELLIPSIS}"
    assert not widget.commit.isEnabled()
    assert not widget.undo.isEnabled()
    hands.click(30, 35)
    hands.settle()
    assert widget.badge.text() == "CPU"
    assert widget.commit.isEnabled()
    widget.commit.click()
    hands.settle()
    assert widget.status.text.text() == "Object 1 committed. Click inside the next one."
    widget.undo.click()
    hands.settle()
    assert len(ui.clicks) == 1
    widget.sign.buttons[False].click()
    assert not ui.positive
    assert widget.sign.buttons[False].isChecked()
    widget.discard.click()
    hands.settle()
    assert not mask_of(hands).any()


def test_errors_are_told_in_the_status_line(hands, model):
    def fail(*_args, **_options):
        raise RuntimeError("boom")

    model.decode = fail
    hands.click(30, 35)
    hands.settle()
    text = hands.widget.status.text.text()
    assert "RuntimeError" in text
    assert "Traceback" not in text
    assert "\n" not in text


def test_opening_twice_and_closing(hands):
    from napari_clickseg.widgets import SegmentWidget

    viewer, ui = hands.viewer, hands.ui
    second = SegmentWidget(viewer)
    dock = viewer.window.add_dock_widget(second, name="again")
    hands.click(30, 35)
    hands.settle()
    assert second.commit.isEnabled()
    assert second.clicks is ui
    assert len([la for la in viewer.layers if la.name.startswith("Clicks")]) == 1
    viewer.window.remove_dock_widget(dock)
    hands.pause()
    hands.click(85, 40)
    hands.settle()
    viewer.window.remove_dock_widget("all")
    hands.pause()
    hands.click(85, 115)  # the session goes on without a dock
    hands.settle()
    assert len(ui.clicks) == 3
    _dock, widget = viewer.window.add_plugin_dock_widget(
        "napari-clickseg", "Click segmentation"
    )
    assert widget.clicks is ui
    assert widget.commit.isEnabled()


@pytest.mark.qt_no_exception_capture
def test_two_windows(hands, open_dock, qtbot, caplog):
    other = open_dock(discs()[::-1])
    other.ui.first_look = "published"
    hands.click(30, 35)
    other.click(30, 120)
    hands.settle()
    other.settle()
    assert places(hands) == [(30, 35, True)]
    assert places(other) == [(30, 120, True)]
    assert mask_of(hands)[30, 35]
    assert not mask_of(hands)[30, 120]
    other.pause(0.5)  # a window that is closed while it draws upsets OpenGL
    other.viewer.close()
    # What vispy deletes of a closed window it may delete in the context of another
    # one: a picture there may then fail once. Ours must not.
    with qtbot.capture_exceptions() as raised:
        hands.pause(0.5)
        hands.click(85, 40)
        hands.settle()
    found = {f"{kind.__name__}: {value}" for kind, value, _ in raised}
    # Their tracebacks, which vispy keeps for debuggers, would keep windows alive.
    raised.clear()
    caplog.clear()
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)
    gc.collect()
    assert not {
        text for text in found if "OpenGL" not in text and "GLError" not in text
    }
    assert len(hands.ui.clicks) == 2
    assert places(hands) == [(30, 35, True), (85, 40, True)]


def test_deleting_layers_while_the_model_works(hands, model):
    model.delay = 0.3
    hands.click(30, 35)
    hands.viewer.layers.remove("Mask")
    hands.settle()
    hands.click(85, 40)
    hands.viewer.layers.remove("Clicks")
    hands.settle()
    hands.click(85, 40)
    hands.viewer.layers.clear()
    hands.settle()
    hands.viewer.add_image(discs(), name="new")
    hands.pause()
    hands.click(30, 35)
    hands.settle()
    assert mask_of(hands)[30, 35]


def test_answers_come_from_one_thread_and_stale_ones_are_dropped(hands, model):
    model.delay = 0.5
    for number in range(9):
        hands.click(85 + 4 * (number // 3), 36 + 4 * (number % 3))
    hands.settle()
    assert model.threads == {"napari-clickseg"}
    assert len(hands.ui.clicks) == 9
    # An answer for each click, and a second look, would be ten calls and more.
    assert model.calls < 9
    np.testing.assert_array_equal(mask_of(hands), hands.ui.session.mask)


def test_synchronous_for_tests(open_dock, model, monkeypatch):
    monkeypatch.setenv("NAPARI_CLICKSEG_SYNC", "1")
    hands = open_dock(discs())
    hands.viewer.layers["Clicks"].add([30, 35])
    assert mask_of(hands)[30, 35], "no event loop has turned"
    hands.ui.act("commit")
    assert hands.ui.objects_layer.data[30, 35] == 1


def test_console_calls_block_until_the_answer_is_on_screen(hands):
    import threading

    change = hands.ui.add_click((30, 35))
    assert change.mask is not None
    assert mask_of(hands)[30, 35]
    results = []

    def script():
        hands.ui.add_click((85, 40))
        results.append(bool(mask_of(hands)[85, 40]))
        results.append(hands.ui.commit())

    thread = threading.Thread(target=script)
    thread.start()
    hands.wait(lambda: not thread.is_alive(), limit=60)
    assert results == [True, 1]


def test_commands_of_menus_and_palette(hands):
    from napari._app_model import get_app_model

    app = get_app_model()
    for menu in ("napari/layers/annotate", "napari/layers/segment"):
        ids = [
            item.command.id
            for item in app.menus.get_menu(menu)
            if hasattr(item, "command")
        ]
        assert any("clickseg" in each for each in ids), menu
    hands.click(30, 35)
    hands.settle()
    app.commands.execute_command("napari-clickseg.commit").result()
    hands.settle()
    assert hands.ui.objects_layer.data[30, 35] == 1


@pytest.mark.parametrize(
    "keywords",
    [
        {"rotate": 30, "scale": (2, 0.7), "translate": (50, -20)},
        {"affine": [[0.8, 0.3, 5], [-0.2, 1.1, 7], [0, 0, 1]]},
    ],
)
def test_the_mouse_hits_the_same_pixel_in_a_turned_image(open_dock, model, keywords):
    hands = open_dock(discs(), **keywords)
    hands.ui.first_look = "published"
    hands.viewer.reset_view()
    hands.pause()
    hands.click(30, 35)
    hands.settle()
    [click] = hands.ui.clicks
    assert (click.row, click.col) == (
        pytest.approx(30, abs=1),
        pytest.approx(35, abs=1),
    )
    assert (mask_of(hands) & DISC).sum() > 0.9 * DISC.sum()
    hands.drag((30, 35), (85, 40))
    hands.settle()
    assert mask_of(hands)[85, 40]


def test_nothing_leaks(make_napari_viewer, model):
    import time
    import weakref

    from tests.gui.hands import Hands

    from napari_clickseg.worker import the_worker

    def use() -> list[weakref.ref]:
        viewer = make_napari_viewer(show=True, strict_qt="raise")
        viewer.add_image(discs(), name="discs")
        _dock, widget = viewer.window.add_plugin_dock_widget(
            "napari-clickseg", "Click segmentation"
        )
        hands = Hands(viewer, widget.clicks)
        hands.pause(0.2)
        hands.click(30, 35)
        hands.settle()
        held = [weakref.ref(widget), weakref.ref(widget.clicks)]
        viewer.close()
        hands.pause(0.2)
        return held

    held = use()
    gc.collect()
    gc.collect()
    assert [each() for each in held] == [None, None]
    end = time.monotonic() + 5
    while the_worker().alive and time.monotonic() < end:
        time.sleep(0.02)
    assert not the_worker().alive
