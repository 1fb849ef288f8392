"""Objects proposed by the bundled model in a real window, and one corrected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.gui.hands import CTRL, SHIFT, Hands

from napari_clickseg.models.registry import get_info
from napari_clickseg.samples import fluorescence
from napari_clickseg.session import PROPOSER

pytestmark = pytest.mark.gui


def found(hands: Hands) -> Any:
    return np.asarray(hands.ui.objects_layer.data)


def test_press_the_button_correct_one_and_take_it_all_back(open_dock: Any) -> None:
    if not get_info(PROPOSER).downloaded:
        pytest.skip("the bundled model is not there")
    image, options, _kind = fluorescence()[0]
    true = options["metadata"]["objects"]
    hands = open_dock(image, contrast_limits=options["contrast_limits"])
    ui, section = hands.ui, hands.widget.sections["objects"][1]
    hands.widget.folds["objects"].expand(animate=False)
    hands.pause(0.2)
    assert section.propose.text() == "Propose objects"
    section.propose.click()
    assert section.propose.text() == "Stop proposing"
    seen: set[str] = set()

    def looks() -> bool:
        seen.add(hands.widget.status.text.text()[:7])
        return "Looking" in seen

    hands.wait(looks, 120)  # after the model is loaded
    assert "Looking" in seen
    hands.wait(lambda: not ui.proposing.running, 240)
    hands.settle()
    assert section.propose.text() == "Propose objects"

    labels = found(hands).copy()
    count = len(ui.session.objects)
    assert count == len(np.unique(labels)) - 1
    assert hands.widget.status.text.text().startswith(f"{count} objects proposed")
    assert hands.widget.counter.text() == f"{count} proposed"
    # most of the nuclei, and little else
    middles = [np.argwhere(true == i).mean(0).astype(int) for i in np.unique(true)[1:]]
    hit = [labels[tuple(place)] for place in middles]
    assert np.mean(np.array(hit) > 0) > 0.9
    assert (labels > 0)[true == 0].mean() < 0.1

    row, col = map(int, middles[len(middles) // 2])
    label = int(labels[row, col])
    hands.hover(row, col)
    hands.press(Qt.Key.Key_R)
    hands.settle()
    assert ui.session.opened_label == label
    assert found(hands)[row, col] == 0
    hands.click(row, col)
    hands.settle()
    hands.press(Qt.Key.Key_N)
    hands.settle()
    assert found(hands)[row, col] == label
    assert hands.widget.counter.text().endswith(f"; {count - 1} proposed")

    for _ in range(3):  # commit, click, reopen
        hands.press(Qt.Key.Key_Z, CTRL)
        hands.settle()
    np.testing.assert_array_equal(found(hands), labels)
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.settle()
    assert not found(hands).any()
    assert not ui.can_undo
    hands.press(Qt.Key.Key_Z, CTRL | SHIFT)
    hands.settle()
    np.testing.assert_array_equal(found(hands), labels)
