"""Docks of classes, alpha and depth in a real window, by mouse and keyboard."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from skimage import data
from tests.gui.hands import CTRL, LEFT, PLAIN, RIGHT, SHIFT, Hands
from tests.napari.conftest import discs
from tests.napari.test_maps import NAMES
from tests.session.test_dense_session import tiny

from napari_clickseg import napari_layers
from napari_clickseg.binding.shelf import ModelShelf
from napari_clickseg.models.registry import get_info
from napari_clickseg.session import STARTER
from napari_clickseg.widgets.map_sections import QFileDialog

pytestmark = pytest.mark.gui

TITLES = {"semantic": "Semantic classes", "matting": "Matting", "depth": "Depth"}


@pytest.fixture
def open_map(make_napari_viewer: Callable[..., Any]) -> Iterator[Callable[..., Hands]]:
    """Open a window on an image, and a dock from the menu's command."""

    def open_on(task: str, image: np.ndarray) -> Hands:
        viewer = make_napari_viewer(show=True)
        viewer.window._qt_window.resize(1200, 800)
        viewer.add_image(image, name="image")
        _dock, widget = viewer.window.add_plugin_dock_widget(
            "napari-clickseg", TITLES[task]
        )
        hands = Hands(viewer, widget.clicks)
        hands.widget = widget
        hands.pause(0.3)
        return hands

    yield open_on
    gc.collect()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small random networks, by the names of the starters; objects by the real one."""
    from napari_clickseg.models.model import load_model

    def load(name: str, **options: Any) -> Any:
        return tiny(NAMES[name]) if name in NAMES else load_model(name, **options)

    monkeypatch.setattr(napari_layers, "_SHELF", ModelShelf(load=load))


def press(hands: Hands, widget: Any) -> None:
    """Press a button, as it is on screen."""
    assert widget.isVisible(), widget.text()
    assert widget.isEnabled(), widget.text()
    QTest.mouseClick(widget, LEFT)
    hands.pause(0.05)
    hands.settle()


def shown(hands: Hands) -> np.ndarray:
    return np.asarray(hands.ui.result_layer.data)


def test_classes_by_clicks_and_brush(open_map, small):
    hands = open_map("semantic", discs())
    ui, dock = hands.ui, hands.widget
    hands.wait(lambda: ui.model_facts is not None)
    hands.settle()
    assert dock.classes.count() == 4, "the model's classes, without a click"
    press(hands, dock.begin)
    first = shown(hands).copy()
    assert first.all()
    assert not dock.begin.isVisible()

    wish = int(first[60, 80]) % 4
    item = dock.classes.item(wish)
    place = dock.classes.visualItemRect(item).center()
    QTest.mouseClick(dock.classes.viewport(), LEFT, pos=place)
    hands.hover(60, 80)
    assert dock.under.text().endswith(item.text())
    hands.click(60, 80)
    hands.settle()
    assert shown(hands)[60, 80] == wish + 1
    assert "Click where a class is wrong" in dock.status.text.text()
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.settle()
    np.testing.assert_array_equal(shown(hands), first)

    press(hands, dock.mode.buttons["stroke"])
    hands.drag((100, 20), (100, 60))
    hands.settle()
    painted = ui.session.painted
    assert (painted == wish + 1).sum() > 100
    np.testing.assert_array_equal(shown(hands), ui.result)
    hands.press(Qt.Key.Key_N)
    hands.settle()
    assert "Classes 1 of image" in [layer.name for layer in hands.viewer.layers]
    assert not shown(hands).any()


@pytest.mark.skipif(
    not get_info(STARTER).path.is_file(), reason="the starter model is not there"
)
def test_click_matte_and_correct_in_one_flow(open_map, small, tmp_path, monkeypatch):
    hands = open_map("matting", data.chelsea()[:240, 60:300])
    ui, dock = hands.ui, hands.widget
    assert "inside the object" in dock.status.text.text()
    assert not dock.begin.isEnabled()
    hands.click(103, 105)  # an eye
    hands.settle()
    assert (ui.trimap_layer.data == 3).sum() > 200, "the object, by the real starter"
    hands.click(180, 105, SHIFT)
    hands.settle()
    assert [click.positive for click in ui.report.marks] == [True, False]
    press(hands, dock.begin)
    first = shown(hands).copy()
    assert first[103, 105] == 1
    assert ui.result_layer.visible

    rows, cols = np.nonzero(ui.trimap == 128)
    row, col = int(rows[len(rows) // 2]), int(cols[len(rows) // 2])
    dock.value.value = 0.3
    hands.click(row, col)
    hands.settle()
    assert shown(hands)[row, col] == pytest.approx(0.3, abs=0.06)
    assert "alpha" in dock.under.text()
    press(hands, dock.mode.buttons["push"])
    before = float(shown(hands)[row, col])
    hands.click(row, col + 9 if col < 100 else col - 9, button=RIGHT)
    hands.settle()
    assert not ui.report.marks[-1].positive
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.settle()
    assert float(shown(hands)[row, col]) == pytest.approx(before)

    for fold in dock.folds.values():
        fold.expand(animate=False)
    hands.pause(0.1)
    press(hands, dock.view.cut)
    cut = ui.cutout_layer
    np.testing.assert_allclose(cut.data[..., 3] / 255, ui.result, atol=1 / 255)
    target = tmp_path / "cat.png"
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_a, **_k: (str(target), "")
    )
    press(hands, dock.export.save)
    assert target.is_file()
    assert dock.status.text.text() == "Saved cat.png."


def test_depth_by_clicks_and_pushes(open_map, small):
    hands = open_map("depth", discs())
    ui, dock = hands.ui, hands.widget
    press(hands, dock.begin)
    first = shown(hands).copy()
    assert first.min() > 0
    assert ui.result_layer.visible
    low, high = ui.result_layer.contrast_limits
    assert low == pytest.approx(first.min(), rel=0.01)
    assert high == pytest.approx(first.max(), rel=0.01)
    hands.hover(60, 80)
    hands.press(Qt.Key.Key_I)
    assert dock.value.value == pytest.approx(first[60, 80], abs=0.01)
    dock.value.value = 7.5
    hands.click(60, 80)
    hands.settle()
    assert shown(hands)[60, 80] == pytest.approx(7.5, rel=0.06)
    press(hands, dock.mode.buttons["push"])
    assert dock.sign.isVisible()
    assert not dock.value_row.isVisible()
    before = float(shown(hands)[20, 20])
    hands.click(20, 20)
    hands.settle()
    assert shown(hands)[20, 20] > before
    press(hands, dock.view.surface)
    assert hands.viewer.dims.ndisplay == 3
    hands.viewer.dims.ndisplay = 2
    hands.pause(0.1)
    for _ in range(3):
        hands.viewer.layers.selection.active = ui.points.layer
        hands.press(Qt.Key.Key_Z, CTRL)
        hands.settle()
    assert not shown(hands).any(), "back at the very beginning"
    hands.press(Qt.Key.Key_Z, CTRL | Qt.KeyboardModifier.ShiftModifier)
    hands.settle()
    np.testing.assert_array_equal(shown(hands), first)


@pytest.mark.parametrize("task", TITLES)
def test_nothing_is_cut_off_in_a_dock(task, open_map, small):
    hands = open_map(task, discs())
    dock = hands.widget
    for fold in dock.folds.values():
        fold.expand(animate=False)
    hands.pause(0.3)
    edge = dock.width()
    assert edge < 420, "leaves room for the image"
    for child in dock.findChildren(type(dock.under).__mro__[1]):
        if child.isVisible() and child.width() > 1:
            right = child.mapTo(dock, child.rect().topRight()).x()
            assert right <= edge, child


def test_a_dock_closed_at_work_and_another_opened(open_map, small):
    hands = open_map("depth", discs())
    ui, dock = hands.ui, hands.widget
    press(hands, dock.begin)
    hands.click(60, 80)
    hands.viewer.window.remove_dock_widget(dock.parent())
    hands.settle()
    assert shown(hands).any(), "the session goes on"
    _dock, again = hands.viewer.window.add_plugin_dock_widget(
        "napari-clickseg", "Depth"
    )
    assert again.clicks is ui
    hands.press(Qt.Key.Key_Z, PLAIN | CTRL)
    hands.settle()
