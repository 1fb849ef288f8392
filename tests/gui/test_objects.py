"""The list of objects, and what is done in it, in a real window."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QItemSelectionModel, Qt
from qtpy.QtTest import QTest
from tests.gui.hands import CTRL, LEFT, PLAIN, Hands, move
from tests.napari.conftest import discs

from napari_clickseg.boxes import Box
from napari_clickseg.prediction.proposing import Proposals
from napari_clickseg.widgets.objects import ObjectsWidget

pytestmark = pytest.mark.gui

PLACES = ((30, 35), (30, 120), (85, 40), (85, 115))
CHOOSE = (
    QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
)


@pytest.fixture
def listed(hands: Hands) -> tuple[Hands, ObjectsWidget]:
    """A window with four objects and their list."""
    hands.widget.folds["objects"].expand(animate=False)
    for place in PLACES:
        hands.click(*place)
        hands.settle()
        hands.press(Qt.Key.Key_N)
        hands.settle()
    _dock, widget = hands.viewer.window.add_plugin_dock_widget(
        "napari-clickseg", "Objects"
    )
    hands.pause(0.3)
    hands.settle()
    return hands, widget


def choose(widget: ObjectsWidget, *labels: int) -> None:
    model = widget.table.selectionModel()
    widget.table.clearSelection()
    for label in labels:
        model.select(widget.model.index(widget.model.row_of(label), 0), CHOOSE)


def press(hands: Hands, widget: ObjectsWidget, key: Any) -> None:
    QTest.keyClick(widget.table, key)
    hands.pause(0.02)
    hands.settle()


def labels_of(hands: Hands) -> np.ndarray:
    return np.asarray(hands.ui.objects_layer.data)


def text(widget: ObjectsWidget, label: int, column: int) -> str:
    model = widget.model
    return str(model.data(model.index(model.row_of(label), column)))


def drag_through(hands: Hands, *places: tuple[float, float]) -> None:
    for start, end in itertools.pairwise(places):
        hands.drag(start, end, steps=12)
    hands.pause(0.05)
    hands.settle()


def test_the_list_shows_jumps_and_draws(listed: Any) -> None:
    hands, widget = listed
    assert widget.model.labels == [1, 2, 3, 4]
    assert [text(widget, n, 4) for n in (1, 2, 3, 4)] == ["1"] * 4
    area = int((labels_of(hands) == 3).sum())
    assert text(widget, 3, 3) == str(area)
    hands.wait(lambda: len(widget.model._pictures) == 4, 20)
    picture = widget.model._pictures[2][1].toImage()
    middle = picture.pixelColor(picture.width() // 2, picture.height() // 2)
    assert middle.red() > 180  # the disc is bright
    hands.camera.zoom = 40
    choose(widget, 4)
    hands.pause()
    centre = np.array(hands.camera.center)[-2:]
    np.testing.assert_allclose(centre, (85, 115), atol=2)
    hands.viewer.reset_view()
    whole = hands.camera.center
    choose(widget, 3)
    hands.pause()  # all of it is in sight
    assert hands.camera.center == pytest.approx(whole, abs=1)
    choose(widget, 4)
    hands.pause()
    assert hands.ui.shown_object == 4
    frames = hands.viewer.layers["Chosen objects"]
    np.testing.assert_allclose(frames.data, [(85, 115)], atol=1)
    # the list follows the keys on the canvas
    hands.press(Qt.Key.Key_G)
    hands.pause()
    assert widget.chosen == [1]


def test_merge_delete_class_and_undo(listed: Any) -> None:
    hands, widget = listed
    before = labels_of(hands).copy()
    choose(widget, 1, 2)
    press(hands, widget, Qt.Key.Key_M)
    np.testing.assert_array_equal(labels_of(hands), np.where(before == 2, 1, before))
    assert widget.model.labels == [1, 3, 4]
    hands.ui.classify_objects([3, 4], "cell")
    hands.settle()
    assert text(widget, 3, 2) == "cell"
    widget.search.setText("cell")
    assert widget.model.labels == [3, 4]
    choose(widget, 3, 4)
    press(hands, widget, Qt.Key.Key_Delete)
    assert set(np.unique(labels_of(hands))) == {0, 1}
    widget.search.setText("")
    for _ in range(3):
        hands.press(Qt.Key.Key_Z, CTRL)
        hands.settle()
    np.testing.assert_array_equal(labels_of(hands), before)
    assert widget.model.labels == [1, 2, 3, 4]


def test_split_by_a_line_that_is_drawn(listed: Any) -> None:
    hands, widget = listed
    before = labels_of(hands).copy()
    choose(widget, 2)
    widget.buttons["split"].click()
    hands.pause()
    assert "Draw a line" in hands.widget.status.text.text()
    drag_through(hands, (8, 119), (52, 121))
    now = labels_of(hands)
    assert set(np.unique(now)) == {0, 1, 2, 3, 4, 5}
    np.testing.assert_array_equal(np.isin(now, (2, 5)), before == 2)
    assert hands.ui.tool == "click"
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.settle()
    np.testing.assert_array_equal(labels_of(hands), before)
    # a line that does not go through says so, and nothing changes
    widget.buttons["split"].click()
    hands.pause()
    drag_through(hands, (22, 120), (34, 121))
    assert "does not separate" in hands.widget.status.text.text()
    np.testing.assert_array_equal(labels_of(hands), before)


def test_proposals_are_kept_and_dropped_by_key(hands: Hands) -> None:
    _dock, widget = hands.viewer.window.add_plugin_dock_widget(
        "napari-clickseg", "Objects"
    )
    ui = hands.ui
    ui.make_ready()
    labels = np.zeros(ui.image_layer.data.shape, int)
    for number, (row, col) in enumerate(PLACES, start=1):
        labels[row - 5 : row + 5, col - 5 : col + 5] = number

    def propose(engine: Any, plane: Any, options: Any) -> Any:
        found = Proposals(
            box=Box.of_shape(labels.shape),
            labels=labels.astype(np.int32),
            background=np.zeros(labels.shape, np.uint8),
            model="finder",
            diameter=10.0,
        )
        return engine.add_proposals(plane, options, found)

    ui.edit(propose, answer=False)
    hands.settle()
    assert text(widget, 1, 6) == "?"
    for key in (Qt.Key.Key_K, Qt.Key.Key_K, Qt.Key.Key_D, Qt.Key.Key_K):
        hands.press(key)
    hands.settle()
    # the first key showed the first proposal
    assert set(ui.objects) == {1, 3, 4}
    assert [o.accepted for o in ui.objects.values()] == [True, True, False]
    hands.press(Qt.Key.Key_K)
    hands.settle()
    assert ui.stats.proposed == 0


def test_take_up_from_a_foreign_layer(hands: Hands) -> None:
    ui, viewer = hands.ui, hands.viewer
    image = discs()
    foreign = np.zeros(image.shape, np.uint16)
    foreign[20:40, 25:45] = 700
    foreign[75:95, 105:125] = 9
    layer = viewer.add_labels(foreign.copy(), name="Cellpose")
    section = hands.widget.sections["objects"][1]
    hands.widget.folds["objects"].expand(animate=False)
    ui.activate()
    hands.pause()
    row = section.take_up.findText("Cellpose")
    section.take_up.setCurrentIndex(row)
    section.take_up.activated.emit(row)
    hands.settle()
    assert ui.take_up_layer is layer
    hands.click(30, 35)
    hands.settle()
    assert ui.session.opened_label == 700
    assert not ui.session.clicks
    hands.click(30, 35)
    hands.settle()
    hands.press(Qt.Key.Key_N)
    hands.settle()
    now = np.asarray(layer.data)
    assert now.dtype == np.uint16
    assert (now[image > 100] == 700).sum() > 600  # the whole disc by now
    np.testing.assert_array_equal(now == 9, foreign == 9)
    for _ in range(3):
        hands.press(Qt.Key.Key_Z, CTRL)
        hands.settle()
    np.testing.assert_array_equal(np.asarray(layer.data), foreign)
    assert not ui.can_undo


@pytest.mark.parametrize(
    ("tool", "start", "end"),
    [
        ("scribble", (25, 30), (36, 40)),
        ("box", (10, 15), (50, 55)),
        ("polygon", None, None),
    ],
)
def test_what_is_drawn_becomes_a_wish(
    hands: Hands, tool: str, start: Any, end: Any
) -> None:
    ui = hands.ui
    hands.widget.tools.buttons[tool].click()
    hands.pause(0.2)
    if tool == "polygon":
        ring = [(16, 22), (16, 48), (44, 48), (44, 22), (17, 22)]
        corners = np.array(ring, float)
        QTest.mouseMove(hands.canvas, hands.at(*corners[0]))
        QTest.mousePress(hands.canvas, LEFT, PLAIN, hands.at(*corners[0]))
        for one, other in itertools.pairwise(corners):
            for part in np.linspace(0, 1, 8)[1:]:
                move(hands.canvas, hands.at(*(one * (1 - part) + other * part)))
                hands.pause(0.01)
        QTest.mouseRelease(hands.canvas, LEFT, PLAIN, hands.at(*corners[-1]))
        hands.pause(0.05)
    else:
        hands.drag(start, end, steps=12)
    hands.settle()
    assert len(ui.drawings.data) == 0
    mask = ui.mask
    assert mask[30, 35]
    assert not mask[85, 115]
    assert mask.sum() > 300
    assert ui.can_undo
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.settle()
    assert not ui.mask.any()
    assert not ui.clicks
    assert not ui.can_undo
    hands.widget.tools.buttons["click"].click()
    assert ui.points.layer.mode == "add"
