"""The dock as a widget, without a napari window and without torch."""

from __future__ import annotations

import pytest
from tests.napari.conftest import printed_by

pytest.importorskip("qtpy.QtWidgets")

OPEN = """
import gc, sys, time
import numpy as np
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

app = QApplication([])
viewer = ViewerModel()
viewer.add_image(np.zeros((40, 50)), name="image")
from napari_clickseg.widgets import SegmentWidget

started = time.perf_counter()
dock = SegmentWidget(viewer)
dock.show()
for _ in range(20):
    app.processEvents()
    time.sleep(0.02)
assert dock.image.currentText() == "image"
assert dock.model.currentText()
loaded = [name for name in ("torch", "torchvision") if name in sys.modules]
print("loaded:", loaded)
print("seconds:", time.perf_counter() - started)
# PyQt may stumble over widgets that are still there when Python ends.
del dock
gc.collect()
"""


def test_opening_the_dock_imports_no_torch(tmp_path):
    assert "loaded: []" in printed_by(OPEN, tmp_path)


@pytest.fixture
def widget(ui, viewer, qtbot):
    from napari_clickseg.widgets import SegmentWidget

    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget)
    return widget


def test_little_is_shown_and_the_rest_is_folded_and_remembered(
    widget, viewer, qtbot, plugin_in_settings
):
    from napari_clickseg.widgets import SegmentWidget

    assert not any(fold.isExpanded() for fold in widget.folds.values())
    widget.folds["keys"].expand(animate=False)
    again = SegmentWidget(viewer)
    qtbot.addWidget(again)
    assert again.folds["keys"].isExpanded()
    assert not again.folds["view"].isExpanded()


def test_choices_change_the_session_and_the_preferences(widget, ui, plugin_in_settings):
    from napari_clickseg.preferences import preferences

    objects, view, model = (widget.sections[n][1] for n in ("objects", "view", "model"))
    objects.overlap.activated.emit(1)
    assert ui.overlap == "overwrite"
    view.first_look.activated.emit(3)
    assert ui.first_look == "published"
    view.settle.value = False
    assert not ui.settles
    model.device.activated.emit(1)
    assert ui.model_choice.device == "cpu"
    model.precision.activated.emit(1)
    assert ui.model_choice.precision == "float32"
    model.autosave.value = False
    widget.model.activated.emit(1)
    assert ui.model_choice.name == widget.model._values[1]
    kept = preferences()
    assert kept.get("clicks.overlap") == "overwrite"
    assert kept.get("clicks.first_look") == "published"
    assert kept.get("clicks.settle") is False
    assert kept.get("model.device") == "cpu"
    assert kept.get("model.precision") == "float32"
    assert kept.get("model.name") == ui.model_choice.name
    assert kept.get("saving.autosave") is False


def test_layers_come_and_go_in_the_lists(widget, ui, viewer):
    import numpy as np

    layer = viewer.add_labels(np.zeros((120, 160), int), name="mine")
    into = widget.sections["objects"][1].layer
    assert [into.itemText(i) for i in range(into.count())] == [
        "Objects of discs",
        "mine",
        "New layer",
    ]
    into.activated.emit(1)
    assert ui.objects_layer is layer
    layer.name = "renamed"
    assert "renamed" in [into.itemText(i) for i in range(into.count())]
    into.activated.emit(into.count() - 1)
    assert ui.objects_layer is not layer
    assert ui.objects_layer in viewer.layers
    viewer.add_image(np.zeros((8, 8)), name="second")
    assert widget.image.count() == 2
    viewer.layers.remove("second")
    assert widget.image.count() == 1


def test_loading_shows_progress_and_can_be_stopped(widget, ui, monkeypatch):
    seen = []
    monkeypatch.setattr(
        widget.status,
        "show_hint",
        lambda text, kind, busy, part: seen.append((busy, part)),
    )
    ui.add_click((30, 35))
    assert ("Loading ritm-mobilenetv2-starter", None) in seen
    assert seen[-1] == ("", None)
    ui.tell_busy("Downloading x: 1 of 4 MB", 0.25)
    assert seen[-1] == ("Downloading x: 1 of 4 MB", 0.25)
    ui.stop()
    assert ui.context.engine.stop_loading


def test_a_model_that_cannot_be_had_is_one_sentence(widget, ui, monkeypatch):
    from napari_clickseg.errors import FetchError

    def fail(*_args, **_options):
        raise FetchError(
            "x.pth could not be downloaded: no network. Put it into /there."
        )

    monkeypatch.setattr(ui._shelf, "_load", fail)
    ui.points.layer.add([30, 35])
    assert "no network" in widget.status.text.text()
    assert len(ui.points.layer.data) == 1, "the click waits for a model"
    monkeypatch.undo()


def test_unknown_model_is_told_with_what_to_do(widget, ui, monkeypatch):
    fake = ui._shelf._load
    monkeypatch.setattr(ui._shelf, "_load", None)  # the real way
    ui.set_model("no-such-model")
    ui.points.layer.add([30, 35])
    text, kind = ui.hint
    assert kind == "error"
    assert "no-such-model" in text
    monkeypatch.setattr(ui._shelf, "_load", fake)
    ui.set_model("ritm-mobilenetv2-starter")
    ui.points.layer.add([30, 36])
    assert ui.session.mask[30, 35]


def test_weight_file_of_ones_own(widget, ui, monkeypatch, tmp_path):
    from qtpy.QtWidgets import QFileDialog

    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"")
    monkeypatch.setattr(
        QFileDialog, "getOpenFileName", lambda *_args, **_options: (str(path), "")
    )
    widget.sections["model"][1]._file()
    assert ui.model_choice.name == str(path)
    assert widget.model.currentText() == "mine.safetensors"


def test_keys_are_shown(widget):
    from qtpy.QtWidgets import QLabel

    from napari_clickseg.binding.keys import KEYS

    shown = " ".join(label.text() for label in widget.findChildren(QLabel))
    for key in KEYS:
        assert key.text in shown
        first = (*key.keys, *key.points_only)[0]
        assert f"<b>{first}".replace("Control", "Ctrl").replace("-", "+") in shown


def test_a_closed_dock_lets_go(ui, viewer, qtbot):
    from napari_clickseg.widgets import SegmentWidget

    widget = SegmentWidget(viewer)
    before = len(ui.changed)
    widget.deleteLater()
    qtbot.wait(50)
    ui.add_click((30, 35))
    assert len(ui.changed) < before
    assert ui.session.mask[30, 35]
