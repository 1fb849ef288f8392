"""An object carried through a stack in a real window, corrected, carried on, undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.gui.hands import CTRL, SHIFT, Hands
from tests.napari.fakes import FakeModel

pytestmark = pytest.mark.gui
SHAPE = (12, 90, 120)


def column() -> np.ndarray:
    """Return a bright column on planes 2 to 9; on plane 8 all is as bright."""
    image = np.full(SHAPE, 20, np.uint8)
    rows, cols = np.ogrid[: SHAPE[1], : SHAPE[2]]
    image[2:10, np.hypot(rows - 45, cols - 60) < 16] = 200
    image[8, 10:80, 10:110] = 200
    return image


def planes(hands: Hands) -> list[int]:
    labels = np.asarray(hands.ui.objects_layer.data)
    assert set(np.unique(labels)) <= {0, 1}
    return [int(i) for i in np.flatnonzero(labels.any(axis=(1, 2)))]


def test_click_propagate_correct_propagate_and_undo(
    open_dock: Any, model: FakeModel
) -> None:
    del model
    hands = open_dock(column(), contrast_limits=(0, 255), axis_labels=("z", "y", "x"))
    ui, viewer = hands.ui, hands.viewer
    ui.first_look = "published"
    section = hands.widget.sections["propagate"][1]
    fold = hands.widget.folds["propagate"]
    fold.expand(animate=False)
    viewer.dims.set_current_step(0, 5)
    hands.pause(0.2)
    assert fold.isVisible()
    assert section.go.text() == "Propagate (W)"

    hands.click(45, 60)
    hands.settle()
    section.go.click()
    hands.wait(lambda: not ui.propagating.running, 60)
    hands.settle()
    assert planes(hands) == [2, 3, 4, 5, 6, 7]
    assert section.result.isVisible()
    assert "Carried through 5 planes (z=2 to 7)" in section.result.text()
    assert '<a href="8"' in section.result.text()
    assert "jumped: area" in hands.widget.status.text.text()
    assert hands.widget.counter.text() == "1 object, 1.0 clicks each"

    # a click on the link shows the plane, with the answer that was not taken in work
    section.result.linkActivated.emit("8")
    hands.settle()
    assert int(viewer.dims.current_step[0]) == 8
    assert ui.session.opened_label == 1
    assert np.asarray(ui.mask_layer.data)[8, 15, 15]
    hands.press(Qt.Key.Key_Q)
    hands.settle()
    wide = ui.session
    assert not wide.in_work
    ui.set_mask(np.asarray(ui.objects_layer.data)[7] == 1)
    ui.commit(1)
    hands.press(Qt.Key.Key_W)  # what was selected last: object 1
    hands.wait(lambda: not ui.propagating.running, 60)
    hands.settle()
    assert planes(hands) == [2, 3, 4, 5, 6, 7, 8, 9]
    carried = np.asarray(ui.objects_layer.data).copy()

    hands.press(Qt.Key.Key_Z, CTRL)  # from there: one step
    hands.settle()
    assert planes(hands) == [2, 3, 4, 5, 6, 7, 8]
    hands.press(Qt.Key.Key_Z, CTRL | SHIFT)
    hands.settle()
    np.testing.assert_array_equal(np.asarray(ui.objects_layer.data), carried)

    viewer.dims.set_current_step(0, 5)
    hands.settle()
    assert hands.widget.undo.isEnabled()


def test_the_section_is_there_for_stacks_only(hands: Hands) -> None:
    assert not hands.widget.folds["propagate"].isVisible()


def test_stopped_with_the_same_button(open_dock: Any, model: FakeModel) -> None:
    model.delay = 0.15
    hands = open_dock(np.repeat(column()[4:5], 40, axis=0), contrast_limits=(0, 255))
    ui = hands.ui
    ui.first_look = "published"
    section = hands.widget.sections["propagate"][1]
    hands.click(45, 60)
    hands.settle()
    section.go.click()
    assert section.go.text() == "Stop (W)"
    hands.wait(lambda: len(planes(hands)) > 2, 60)
    section.go.click()
    hands.settle()
    assert section.go.text() == "Propagate (W)"
    assert not ui.propagating.running
    assert 2 < len(planes(hands)) < 39
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.settle()
    assert planes(hands) == []
    assert ui.session.in_work
