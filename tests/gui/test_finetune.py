"""Annotate, finetune, and click with the new model, in a real window."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QMessageBox
from tests.finetuning.conftest import SMALL, tiny  # noqa: F401 - a fixture
from tests.gui.hands import LEFT, Hands, Stopwatch

from napari_clickseg import napari_layers
from napari_clickseg.binding.shelf import ModelShelf
from napari_clickseg.models.added import add_model_file
from napari_clickseg.models.registry import get_info, list_models
from napari_clickseg.preferences import preferences
from napari_clickseg.session import STARTER
from napari_clickseg.training.finetuning.work import Work

pytestmark = [
    pytest.mark.gui,
    pytest.mark.skipif(
        not get_info(STARTER).path.is_file(), reason="the starter model is not there"
    ),
]

#: Middles of the disks of the picture.
PLACES = [(row, col) for row in (30, 80, 130) for col in (30, 85, 140)]


def disks() -> np.ndarray:
    """Nine bright disks on noise."""
    rng = np.random.default_rng(0)
    rows, cols = np.ogrid[:160, :170]
    image = rng.integers(0, 50, (160, 170)).astype(np.uint8)
    for number, (row, col) in enumerate(PLACES):
        image[np.hypot(rows - row, cols - col) < 13 + number % 3] += 150
    return image


@pytest.fixture
def docks(
    make_napari_viewer: Callable[..., Any],
    tiny: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Hands]:
    """A window with both docks; a small network is in the list of models."""
    monkeypatch.setattr(napari_layers, "_SHELF", ModelShelf())
    monkeypatch.setattr(Work, "window_options", lambda _self: SMALL)
    monkeypatch.delenv("CLICKSEG_DATA", raising=False)
    add_model_file(tiny, "tiny")
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1300, 950)
    viewer.add_image(disks(), name="image")
    add = viewer.window.add_plugin_dock_widget
    _dock, segment = add("napari-clickseg", "Click segmentation")
    _dock, finetune = add("napari-clickseg", "Finetune")
    hands = Hands(viewer, segment.clicks)
    hands.widget, hands.finetune = segment, finetune
    finetune.finetuning.more = {"steps": 6, "batch": 2, "reference": False}
    hands.pause(0.3)
    yield hands
    gc.collect()


def press(hands: Hands, widget: Any) -> None:
    """Press a button, as it is on screen."""
    assert widget.isVisible(), widget.text()
    assert widget.isEnabled(), widget.text()
    QTest.mouseClick(widget, LEFT)
    hands.pause(0.05)


def choose(choice: Any, text: str) -> None:
    """Choose from a drop-down list by its text."""
    number = [choice.itemText(i) for i in range(choice.count())].index(text)
    choice.setCurrentIndex(number)
    choice.activated.emit(number)


def annotate(hands: Hands, places: list[tuple[int, int]]) -> None:
    """Click objects and commit them."""
    hands.ui.first_look = "published"
    for row, col in places:
        hands.ui.activate()
        hands.click(row, col)
        hands.settle()
        press(hands, hands.widget.commit)
        hands.settle()


def names(choice: Any) -> list[str]:
    return [choice.itemText(i) for i in range(choice.count())]


def test_annotate_finetune_and_click_with_the_new_model(
    docks: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands, dock = docks, docks.finetune
    finetuning = dock.finetuning
    annotate(hands, PLACES[:6])
    objects = hands.ui.objects_layer
    assert len(np.unique(objects.data)) == 7
    assert finetuning.wishes.pairs == [[hands.ui.image_layer, objects]]
    assert dock.choices.pairs.rows[0][1].currentText() == "Objects of image"

    choose(dock.choices.model, "tiny")
    choose(dock.choices.device, "cpu")
    dock.choices.name.setText("tiny")
    dock.choices.name.editingFinished.emit()
    assert "is there already" in dock.choices.judged.text()
    press(hands, dock.choices.free)
    assert dock.choices.name.text() == "tiny-2"
    dock.choices.name.setText("disks")
    dock.choices.name.editingFinished.emit()
    assert not dock.choices.judged.isVisible()
    assert not dock.start.isEnabled()

    press(hands, dock.check)
    hands.wait(lambda: finetuning.state == "ready", 120)
    assert "1 image with 6 objects" in dock.found.text()
    hands.wait(lambda: finetuning.forecast is not None, 120)
    assert "GiB of memory" in dock.forecast.text()

    # learning does not keep anybody from clicking
    finetuning.more["steps"] = 400
    press(hands, dock.check)
    hands.wait(lambda: finetuning.forecast is not None, 120)
    press(hands, dock.start)
    hands.wait(lambda: len(finetuning.curve.losses) > 1, 120)
    hands.wait(lambda: dock.curve.isVisible() and dock.examples.isVisible(), 60)
    assert dock.curve.isVisible()
    assert dock.examples.isVisible()
    hands.wait(lambda: "Step" in dock.status.text(), 60)
    assert "Step" in dock.status.text()
    with Stopwatch() as watch:
        annotate(hands, PLACES[6:7])
    assert finetuning.state == "running"
    assert len(np.unique(objects.data)) == 8
    assert watch.longest < max(400, watch.limit)
    press(hands, dock.stop)
    hands.wait(lambda: finetuning.state == "stopped", 60)
    assert "Stopped after" in dock.status.text()
    steps = finetuning.earlier
    assert steps > 0
    assert dock.start.text() == "Go on"
    press(hands, dock.start)
    hands.wait(lambda: len(finetuning.curve.losses) > steps + 1, 120)
    press(hands, dock.finish)
    hands.wait(lambda: finetuning.state == "done", 120)
    assert finetuning.result.name == "disks"
    assert len(finetuning.result.history) > steps

    # the new model, in both docks, without a restart
    assert dock.scores.isVisible()
    assert "disks" in names(hands.widget.model)
    assert "disks" in names(dock.choices.model)
    press(hands, dock.use)
    assert hands.ui.model_choice.name == "disks"
    assert hands.widget.model.currentText() == "disks"
    assert preferences().get("model.name") == "disks"
    hands.ui.activate()
    hands.click(*PLACES[8])
    hands.settle()
    assert hands.ui.session.model.name == "disks"

    dock.folds["made"].expand(animate=False)
    assert "Made of: tiny" in dock.facts.text
    dock.folds["own"].expand(animate=False)
    hands.pause(0.1)
    assert dock.own.chosen == "disks"
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    asked: list[str] = []

    def answer(_parent: Any, _title: str, text: str, *_: Any) -> Any:
        asked.append(text)
        return answers.pop(0)

    monkeypatch.setattr(QMessageBox, "question", answer)
    dock.own.delete.click()
    assert "disks" in [info.name for info in list_models()]
    dock.own.delete.click()
    hands.settle()
    assert "Delete disks?" in asked[1]
    assert "disks" not in [info.name for info in list_models()]
    assert "disks" not in names(hands.widget.model)
    assert hands.ui.model_choice.name == STARTER


def test_closing_the_dock_stops_and_says_how_to_go_on(
    docks: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands, dock = docks, docks.finetune
    finetuning = dock.finetuning
    told: list[str] = []
    monkeypatch.setattr("napari_clickseg.widgets.finetune.show_info", told.append)
    labels = np.zeros((160, 170), int)
    rows, cols = np.ogrid[:160, :170]
    for number, (row, col) in enumerate(PLACES, start=1):
        labels[np.hypot(rows - row, cols - col) < 13] = number
    hands.viewer.add_labels(labels, name="mine")
    choose(dock.choices.model, "tiny")
    marks = dock.choices.pairs.rows[0][1]
    choose(marks, "mine")
    finetuning.more["steps"] = 400
    press(hands, dock.check)
    hands.wait(lambda: finetuning.forecast is not None, 120)
    press(hands, dock.start)
    hands.wait(lambda: len(finetuning.curve.losses) > 1, 120)
    hands.viewer.window.remove_dock_widget(dock)
    del dock, hands.finetune
    hands.wait(lambda: bool(told), 10)
    assert "press 'Go on'" in told[0]
    hands.wait(lambda: finetuning.state == "stopped", 60)
    assert (finetuning.job.folder / "checkpoint.pt").exists()
    # the dock opened again knows where it was
    _dock, again = hands.viewer.window.add_plugin_dock_widget(
        "napari-clickseg", "Finetune"
    )
    assert again.start.text() == "Go on"
    assert again.finetuning is finetuning
