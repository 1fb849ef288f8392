"""What people and machines do while the model works: nothing breaks, nothing is lost.

A gate holds the model in the middle of an answer, so that "meanwhile" is no matter of
luck. Each test ends with a click that is answered as ever.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from tests.napari.conftest import discs
from tests.napari.test_maps import NAMES
from tests.session.test_dense_session import tiny

from napari_clickseg import napari_layers
from napari_clickseg.errors import ClickSegError
from napari_clickseg.models.cache import cache_folder
from napari_clickseg.session import frames
from napari_clickseg.session.recovering import read_journal

pytestmark = pytest.mark.gui

FIRST, SECOND, THIRD = (30, 35), (85, 40), (85, 115)


class Gate:
    """Holds a model's answers while it is shut."""

    def __init__(self, model: Any) -> None:
        self._decode, self._open = model.decode, threading.Event()
        self.inside = threading.Event()
        self.fails: BaseException | None = None
        self._open.set()
        model.decode = self

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        self.inside.set()
        assert self._open.wait(240), "the gate was never opened"
        if self.fails is not None:
            error, self.fails = self.fails, None
            raise error
        return self._decode(*args, **keywords)

    def shut(self) -> None:
        self.inside.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(model, caplog):
    """A gate in front of the model; at the end nothing unexpected was logged."""
    caplog.set_level(logging.ERROR, logger="napari_clickseg")
    gate = Gate(model)
    yield gate
    gate.open()
    told = [r for r in caplog.records if r.levelno >= logging.ERROR and r.exc_info]
    allowed = (SystemExit,)
    assert not [r for r in told if not issubclass(r.exc_info[0], allowed)]


def at_work(hands, gate, place=FIRST):
    """Click, and return once the model is in the middle of its answer."""
    QTest.mouseMove(hands.canvas, hands.at(*place))
    hands.settle()  # the model is tried out once when the mouse comes
    gate.shut()
    hands.click(*place)
    hands.wait(gate.inside.is_set, 120)
    assert gate.inside.is_set()


def line(hands) -> str:
    """Return what the status line says: one line, no traceback."""
    text = hands.widget.status.text.text()
    assert "Traceback" not in text
    assert "should not" not in text
    assert "\n" not in text
    return text


def answers(hands, place=THIRD):
    """A further click is answered as ever."""
    before = len(hands.ui.clicks)
    hands.click(*place)
    hands.settle()
    assert len(hands.ui.clicks) == before + 1
    assert hands.ui.mask_layer.data[place] > 0
    assert line(hands)


@pytest.mark.parametrize(
    ("name", "early"), [("Mask", True), ("Mask", False), ("Clicks", False)]
)
def test_layers_deleted_meanwhile(hands, gate, name, early):
    """What is in work goes with its layer, and comes back with it by undo.

    Early: while the click itself waits for the model to be warm, so that the window
    knows of no object in work yet.
    """
    hands.ui.add_click(SECOND)
    hands.ui.commit()
    if not early:
        hands.hover(*FIRST)
        hands.settle()
    at_work(hands, gate)
    hands.viewer.layers.remove(name)
    hands.pause()
    gate.open()
    hands.settle()
    assert "layer is gone" in line(hands)
    assert not hands.ui.clicks
    assert hands.ui.objects_layer.data[SECOND] == 1, "what was committed stays"
    hands.ui.undo()
    hands.settle()
    if name == "Clicks":
        hands.ui.set_sign(True)  # as 'Add' does
    assert len(hands.viewer.layers["Clicks"].data) == 1
    assert hands.ui.mask_layer in hands.viewer.layers
    assert hands.ui.mask_layer.data[FIRST] > 0
    answers(hands)


def test_the_objects_layer_is_drawn_again_meanwhile(hands, gate):
    """It does not hold what is on its way into it: that must not be taken away."""
    at_work(hands, gate)
    hands.press(Qt.Key.Key_N)
    hands.click(*SECOND)
    hands.ui.objects_layer.refresh()  # as napari does when the view changes
    hands.press(Qt.Key.Key_N)
    hands.pause()
    gate.open()
    hands.settle()
    assert set(hands.ui.objects) == {1, 2}
    assert hands.ui.objects_layer.data[FIRST] == 1
    assert hands.ui.objects_layer.data[SECOND] == 2
    answers(hands)


def test_layers_renamed_meanwhile(hands, gate):
    hands.ui.add_click(SECOND)
    hands.ui.commit()
    at_work(hands, gate)
    for number, layer in enumerate(list(hands.viewer.layers)):
        layer.name = f"renamed {number}"
    gate.open()
    hands.settle()
    assert hands.ui.mask_layer.data[FIRST] > 0
    assert hands.ui.objects_layer.data[SECOND] == 1
    assert sum(layer.name.startswith("renamed") for layer in hands.viewer.layers) > 3
    hands.ui.act("commit")
    hands.settle()
    assert hands.ui.objects_layer.data[FIRST] == 2
    answers(hands)


def test_other_pixels_meanwhile(hands, gate):
    """The answer was about the old image: it is not shown on the new one."""
    at_work(hands, gate)
    hands.ui.image_layer.data = discs()[::-1].copy()
    hands.pause()
    gate.open()
    hands.settle()
    line(hands)
    assert not hands.ui.clicks
    answers(hands)


def test_the_image_removed_meanwhile(hands, gate):
    at_work(hands, gate)
    hands.viewer.layers.remove("image")
    hands.pause()
    gate.open()
    hands.settle()
    assert "image" in line(hands)
    # napari 0.9 with a software renderer crashes in glDrawArrays, without any plugin,
    # where an image is added after one was removed below other layers.
    hands.viewer.layers.clear()
    hands.pause()
    hands.viewer.add_image(discs(), name="another")
    hands.pause(0.2)
    answers(hands)


def test_two_docks_of_two_tasks_on_one_image(hands, gate, monkeypatch):
    """Both work on the same image, in one thread; neither waits for ever."""
    load = napari_layers._SHELF._load
    monkeypatch.setattr(
        napari_layers._SHELF,
        "_load",
        lambda name, **o: tiny(NAMES[name]) if name in NAMES else load(name, **o),
    )
    _dock, depth = hands.viewer.window.add_plugin_dock_widget(
        "napari-clickseg", "Depth"
    )
    maps = depth.clicks
    maps.settings = type(maps.settings)(iterations=2, learning_rate=0.05)
    hands.viewer.layers.selection.active = hands.ui.points.layer
    at_work(hands, gate)
    maps.act("start_from_model")
    hands.pause(0.2)
    gate.open()
    hands.settle()
    hands.wait(lambda: not maps._channel.pending, 60)
    assert hands.ui.mask_layer.data[FIRST] > 0
    assert np.asarray(maps.result_layer.data).any()
    hands.viewer.layers.selection.active = hands.ui.points.layer
    answers(hands)
    assert not maps.clicks, "a click belongs to one of the docks"


def test_two_viewers_meanwhile(hands, gate, open_dock):
    """They share the model and its thread; each gets its own answer."""
    other = open_dock(discs()[::-1])
    other.ui.first_look = "published"
    at_work(hands, gate)
    other.click(30, 120)
    other.pause(0.1)
    gate.open()
    hands.settle()
    other.settle()
    assert len(hands.ui.clicks) == len(other.ui.clicks) == 1
    assert hands.ui.mask_layer.data[FIRST] > 0
    assert other.ui.mask_layer.data[30, 120] > 0
    assert not hands.ui.mask_layer.data[30, 120]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_the_disk_fails_meanwhile(hands, gate, monkeypatch, number):
    """It is said as long as it lasts; then what is missing is written."""
    hands.ui.add_click(SECOND)
    hands.ui.commit()
    real = frames.FrameFile._write

    def full(self, content):
        raise OSError(number, "no room")

    at_work(hands, gate)
    monkeypatch.setattr(frames.FrameFile, "_write", full)
    hands.click(85, 115)
    gate.open()
    hands.settle()
    hands.pause(0.2)
    assert "not on disk" in line(hands)
    assert hands.ui.mask_layer.data[FIRST] > 0
    assert len(hands.ui.clicks) == 2
    monkeypatch.setattr(frames.FrameFile, "_write", real)
    hands.ui.add_click((30, 120))
    hands.pause(0.2)
    assert "not on disk" not in line(hands)
    (path,) = cache_folder().glob("sessions/*.journal")
    found = read_journal(path)
    assert len(found.state.draft.clicks) == 3
    assert list(found.state.objects) == [1]


def test_a_clock_set_back_meanwhile(hands, gate, monkeypatch):
    import time

    at_work(hands, gate)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 10 * 365 * 86400)
    hands.click(*SECOND)
    gate.open()
    hands.settle()
    hands.ui.act("commit")
    hands.settle()
    assert hands.ui.objects_layer.data[FIRST] == 1
    assert all(each.seconds >= 0 for each in hands.ui.stats.objects)
    answers(hands)


def test_memory_runs_out_meanwhile(hands, gate):
    at_work(hands, gate)
    gate.fails = MemoryError("Unable to allocate 64 GiB")
    gate.open()
    hands.settle()
    assert "Memory ran out" in line(hands)
    assert len(hands.ui.clicks) == 1
    answers(hands)
    assert hands.ui.mask_layer.data[FIRST] > 0


def test_a_crash_is_taken_up_in_a_window(hands, open_dock, gate, tmp_path):
    """The dock of the next window offers it, and one click takes it up."""
    hands.ui.add_click(FIRST)
    hands.ui.commit()
    hands.ui.add_click(SECOND)
    labels, mask = hands.ui.objects_layer.data.copy(), hands.ui.mask_layer.data.copy()
    # As a crash leaves it: the file as it is, and nobody who holds it.
    (path,) = cache_folder().glob("sessions/*.journal")
    left = path.read_bytes()
    hands.viewer.window.remove_dock_widget("all")
    for each in napari_layers._ATTACHED.pop(hands.viewer, {}).values():
        each.close()
    Path(path).write_bytes(left)
    other = open_dock(discs())
    other.ui.first_look = "published"
    other.wait(lambda: bool(other.ui.resume_text), 30)
    button = next(
        b
        for b in other.widget.findChildren(type(other.widget.commit))
        if b.text().startswith("Take up")
    )
    assert button.isVisible()
    button.click()
    other.settle()
    np.testing.assert_array_equal(other.ui.objects_layer.data, labels)
    np.testing.assert_array_equal(other.ui.mask_layer.data > 0, mask > 0)
    answers(other)


@pytest.mark.qt_no_exception_capture
def test_the_window_closed_meanwhile(hands, gate):
    """What was committed and a click that waits for the model are on disk."""
    answers(hands, SECOND)
    hands.ui.commit()
    at_work(hands, gate)
    hands.click(*THIRD)
    hands.pause(0.3)
    hands.viewer.close()
    hands.ui.close()  # as when nobody holds the viewer any more
    gate.open()
    until = time.monotonic() + 120
    kept: list[tuple[int, int]] = []
    while kept != [(1, 2)] and time.monotonic() < until:
        time.sleep(0.1)
        found = [read_journal(p) for p in cache_folder().glob("sessions/*.journal")]
        states = [each.state for each in found]
        kept = [(len(s.objects), len(s.draft.clicks)) for s in states]
    assert kept == [(1, 2)]


@pytest.mark.qt_no_exception_capture
def test_a_closed_window_leaves_its_work_to_the_next(hands, open_dock, gate):
    """Also while somebody holds the closed viewer, as a notebook does."""
    hands.click(*FIRST)
    hands.settle()
    hands.ui.commit()
    answers(hands, SECOND)
    held, ui = hands.viewer, hands.ui
    held.close()
    hands.pause(0.3)
    other = open_dock(discs())
    other.ui.first_look = "published"
    other.wait(lambda: bool(other.ui.resume_text), 30)
    assert "1 object" in other.ui.resume_text
    other.ui.resume()
    other.settle()
    assert other.ui.objects_layer.data[FIRST] == 1
    assert other.ui.mask_layer.data[SECOND] > 0
    answers(other)
    with pytest.raises(ClickSegError, match="closed"):
        ui.add_click(THIRD)
    assert len(held.layers) == 0, "held to the end"
