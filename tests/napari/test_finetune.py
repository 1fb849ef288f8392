"""Finetuning from layers of a viewer, without a window."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from tests.finetuning.conftest import SMALL, blobs, tiny  # noqa: F401 - a fixture
from tests.finetuning.test_readers import write_folder
from tests.napari.conftest import printed_by

import napari_clickseg as cs
from napari_clickseg import attach
from napari_clickseg.binding.annotated import likely_pairs
from napari_clickseg.binding.finetuning import Finetuning
from napari_clickseg.binding.own_models import MODELS, made_of, own_models, read_card
from napari_clickseg.errors import ModelError, TrainingError
from napari_clickseg.models.added import add_model_file
from napari_clickseg.preferences import preferences
from napari_clickseg.training.finetuning.work import Work

#: A run of a few seconds.
SHORT = {"steps": 4, "batch": 2, "reference": False}


@pytest.fixture
def finetuning(viewer: ViewerModel, tiny: Path) -> Finetuning:  # noqa: F811
    """Five annotated images, and a small model that can learn from them."""
    for number, (image, labels) in enumerate(zip(*blobs(5), strict=True)):
        viewer.add_image(image, name=f"field {number}")
        viewer.add_labels(labels, name=f"Objects of field {number}")
    add_model_file(tiny, "tiny")
    finetuning = attach(viewer, task="finetuning")
    finetuning.choose(model="tiny", device="cpu")
    finetuning.more = dict(SHORT)
    return finetuning


def one_image(viewer: ViewerModel, image: Any, labels: Any) -> Finetuning:
    """The finetuning of one pair of layers."""
    viewer.add_image(image, name="field")
    viewer.add_labels(labels, name="Objects of field")
    add_model_file(Path(os.environ["CLICKSEG_TINY"]), "tiny")
    finetuning = attach(viewer, task="finetuning")
    finetuning.choose(model="tiny", device="cpu")
    finetuning.more = dict(SHORT)
    return finetuning


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 49 pixels: what is learned does not matter here."""
    monkeypatch.setattr(Work, "window_options", lambda _self: SMALL)


@pytest.fixture(autouse=True)
def where_tiny_is(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("CLICKSEG_TINY", str(tiny))
    monkeypatch.delenv("CLICKSEG_DATA", raising=False)


def test_from_layers_to_a_model_in_the_list(
    finetuning: Finetuning, viewer: ViewerModel
) -> None:
    told: list[int] = []
    MODELS.changed.connect(lambda: told.append(1))
    finetuning.choose(name="my cells")
    finetuning.check()
    assert finetuning.state == "ready", finetuning.hint
    assert finetuning.data.images == 5
    assert finetuning.data.objects == 10
    assert "5 images with 10 objects" in finetuning.data.text
    assert finetuning.forecast.seconds > 0
    assert finetuning.forecast.memory > 0
    assert finetuning.forecast.steps == 4
    assert finetuning.what_learns == "Trained: the head of tiny, as my-cells."
    assert own_models()[-1].name == "tiny"

    seen: list[tuple[str, int, int]] = []
    finetuning.changed.connect(
        lambda: seen.append(
            (finetuning.state, len(finetuning.curve.losses), len(finetuning.examples))
        )
    )
    finetuning.start()
    assert finetuning.state == "done", finetuning.hint
    assert told == [1]
    assert ("running", 2, 2) in seen, "a live curve, with examples"
    result = finetuning.result
    assert result.name == "my-cells"
    assert [step for step, _ in finetuning.curve.losses] == [1, 2, 3, 4]
    assert finetuning.curve.validations[0].step == 0
    assert result.before.objects == finetuning.data.held
    assert finetuning.hint == (result.headline, "hint")
    assert [info.name for info in own_models()] == ["tiny", "my-cells"]
    assert "my-cells" in [info.name for info in finetuning.models()]
    # what it is made of, without reading weights
    card = read_card(result.path)
    assert card == json.loads(json.dumps(result.card))
    facts = dict(made_of(card))
    assert facts["Made of"].startswith("tiny (sha256 ")
    assert finetuning.job.work.inventory.digest[:12] in facts["Data"]
    assert "quick, 4 steps; head" in facts["Recipe"]
    # clicks are answered by it
    finetuning.use()
    ui = attach(viewer, "field 0")
    assert ui.model_choice.name == "my-cells"
    assert preferences().get("model.name") == "my-cells"
    ui.first_look = "published"
    ui.add_click((30, 30))
    assert ui.session.model.name == "my-cells"
    assert ui.probability.shape == (64, 80)


def test_stopped_and_gone_on_with(finetuning: Finetuning) -> None:
    finetuning.more["steps"] = 8
    finetuning.check()
    stop: Callable[[], Any] = lambda: (  # noqa: E731
        finetuning.stop()
        if finetuning.state == "running" and len(finetuning.curve.losses) == 2
        else None
    )
    finetuning.changed.connect(stop)
    finetuning.start()
    finetuning.changed.disconnect(stop)
    assert finetuning.state == "stopped"
    assert finetuning.result is None
    done = finetuning.earlier
    assert 2 <= done < 8
    assert f"Stopped after {done} of 8 steps" in finetuning.hint[0]
    assert (finetuning.job.folder / "checkpoint.pt").exists()
    before = list(finetuning.curve.losses)

    # another day: the same is chosen and checked again
    finetuning.choose(name="")
    assert finetuning.state == "idle"
    finetuning.check()
    assert finetuning.earlier == done
    assert f"stopped after {done} steps" in finetuning.hint[0]
    finetuning.start()
    assert finetuning.state == "done"
    assert finetuning.curve.losses[:done] == before[:done], "gone on, not begun again"
    assert len(finetuning.curve.losses) == 8


def test_finished_early_keeps_what_was_learned(finetuning: Finetuning) -> None:
    finetuning.more["steps"] = 50
    finetuning.check()
    finetuning.changed.connect(
        lambda: finetuning.finish() if finetuning.curve.losses else None
    )
    finetuning.start()
    assert finetuning.state == "done"
    assert finetuning.result.name == "tiny-finetuned"
    assert 1 <= finetuning.result.history[-1][0] < 10


def test_no_model_is_overwritten_and_only_own_ones_are_deleted(
    finetuning: Finetuning, viewer: ViewerModel
) -> None:
    finetuning.choose(name="tiny")
    finetuning.check()
    assert finetuning.state == "idle"
    assert "tiny is there already" in finetuning.hint[0]
    assert "tiny-2 is free" in finetuning.hint[0]
    finetuning.choose(name="???")
    finetuning.check()
    assert "letters or digits" in finetuning.hint[0]

    ui = attach(viewer)
    finetuning.use("tiny")
    assert ui.model_choice.name == "tiny"
    ui.add_click((30, 30))
    with pytest.raises(ModelError, match="not a model of your own"):
        finetuning.remove("ritm-mobilenetv2-starter")
    assert finetuning.wishes.model == "tiny"
    finetuning.remove("tiny")
    assert own_models() == []
    assert ui.model_choice.name == "ritm-mobilenetv2-starter"
    assert preferences().get("model.name") == "ritm-mobilenetv2-starter"
    assert finetuning.wishes.model == "ritm-mobilenetv2-starter"
    finetuning.try_to(lambda: finetuning.remove("tiny"))
    assert finetuning.hint[1] == "error"


def test_planes_of_a_stack_that_have_labels(viewer: ViewerModel) -> None:
    images, labels = blobs(3)
    stack = np.stack([images[0], images[1], images[2], images[0]])
    marks = np.stack([labels[0], np.zeros_like(labels[0]), labels[2], labels[0] * 0])
    finetuning = one_image(viewer, stack, marks)
    viewer.layers["field"].contrast_limits = (10, 90)
    finetuning.check()
    assert finetuning.data.images == 2
    reader = finetuning.job.work.reader
    assert reader.names == ("field [0]", "field [2]")
    np.testing.assert_array_equal(reader.labels(1), labels[2])
    np.testing.assert_array_equal(reader.image(1), images[2])
    assert reader.contrast(0) == (10, 90), "as on screen"
    from napari_clickseg.training.finetuning.pictures import Pictures

    shown = Pictures(reader).image_of(finetuning.job.work.inventory.entries[0])
    assert shown.max() == 255
    assert shown[images[0] <= 10].max() == 0
    # what is painted meanwhile changes nothing of what is learned from
    marks[2] = 7
    np.testing.assert_array_equal(reader.labels(1), labels[2])


def test_layers_find_each_other(viewer: ViewerModel) -> None:
    images, labels = blobs(2)
    finetuning = attach(viewer, task="finetuning")
    assert finetuning.wishes.pairs == [[None, None]]
    first = viewer.add_image(images[0], name="first")
    second = viewer.add_image(images[1], name="second")
    viewer.add_image(np.zeros((9, 9)), name="other")
    marks = viewer.add_labels(labels[1], name="Objects of second")
    assert finetuning.wishes.pairs == [[second, marks]]
    more = viewer.add_labels(labels[0], name="Labels")
    assert finetuning.wishes.pairs == [[second, marks], [first, more]]
    assert likely_pairs(viewer, "depth") == []
    finetuning.choose(pairs=[[first, more]])
    viewer.add_labels(labels[0], name="even more")
    assert finetuning.wishes.pairs == [[first, more]], "as the user has chosen"
    finetuning.choose(model="interformer-mobilenetv2-starter")
    assert finetuning.wishes.pairs == [[first, more]], "of the same task"
    finetuning.choose(model="depth-bts-starter")
    assert finetuning.wishes.pairs == [[None, None]]
    finetuning.choose(model="ritm-mobilenetv2-starter", pairs=[[first, more]])
    viewer.layers.remove(more)
    assert finetuning.wishes.pairs == [[first, None]]
    finetuning.check()
    assert "'first' has no labels yet" in finetuning.hint[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda image, labels: (image, labels * 0), "no object is labelled"),
        (lambda image, labels: (image[:50], labels), "must be the same size"),
        (
            lambda image, labels: (np.full(image.shape, np.nan, np.float32), labels),
            "only NaN",
        ),
    ],
)
def test_bad_layers(viewer: ViewerModel, change: Any, says: str) -> None:
    images, labels = blobs(1)
    image, marks = change(images[0], labels[0])
    finetuning = one_image(viewer, image, marks)
    layers = list(viewer.layers)
    finetuning.choose(pairs=[layers])
    finetuning.check()
    text, kind = finetuning.hint
    assert kind == "error"
    assert says in text
    assert finetuning.state == "idle"
    assert list(viewer.layers) == layers
    with pytest.raises(TrainingError, match="Check the data first"):
        finetuning.start()


def test_no_image_and_no_labels(viewer: ViewerModel) -> None:
    finetuning = attach(viewer, task="finetuning")
    finetuning.check()
    assert "Open an image" in finetuning.hint[0]
    finetuning = one_image(viewer, np.zeros((3, 20, 20)), np.zeros((3, 20, 20), int))
    finetuning.check()
    assert "No plane of 'Objects of field' has labels yet" in finetuning.hint[0]


def test_one_object_is_enough(viewer: ViewerModel) -> None:
    images, labels = blobs(1, objects=1)
    finetuning = one_image(viewer, images[0], labels[0])
    finetuning.more["steps"] = 1
    finetuning.check()
    assert "too few to hold any aside" in finetuning.data.text
    finetuning.start()
    assert finetuning.state == "done"
    assert finetuning.examples == ()
    assert "Nothing was held aside" in finetuning.hint[0]


def test_a_folder_with_a_file_that_cannot_be_read(
    finetuning: Finetuning, tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "cells", *blobs(4))
    broken = sorted((root / "images").iterdir())[1]
    broken.write_bytes(b"no image")
    finetuning.choose(folder=str(root))
    finetuning.check()
    assert finetuning.state == "ready"
    assert finetuning.data.images == 3
    assert [problem.name for problem in finetuning.data.problems] == [broken.name]
    finetuning.choose(folder=str(tmp_path / "nowhere"))
    finetuning.check()
    assert "Check the path" in finetuning.hint[0]


def test_without_the_extra(
    finetuning: Finetuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    finetuning.check()
    assert finetuning.hint[1] == "error"
    assert "pip install 'napari-clickseg[train]'" in finetuning.hint[0]
    assert finetuning.state == "idle"
    assert finetuning.wishes.model == "tiny", "nothing that was chosen is lost"


def test_choices_are_remembered(
    finetuning: Finetuning, plugin_in_settings: Path
) -> None:
    finetuning.choose(effort="thorough", device="cpu")
    other = ViewerModel()
    again = attach(other, task="finetuning")
    assert again.wishes.effort == "thorough"
    assert again.wishes.device == "cpu"
    again.close()
    with pytest.raises(TrainingError, match="'speed'"):
        finetuning.choose(speed=1)


def test_classes_of_our_own_layers_begin_at_one(viewer: ViewerModel) -> None:
    from napari_clickseg.binding.annotated import Planes, sources_of

    image = viewer.add_image(np.zeros((6, 5)), name="field")
    marks = viewer.add_labels(
        np.array([[0, 1, 3, 0, 2]] * 6, np.uint8),
        name="Classes of field",
        metadata={"napari-clickseg": "Classes"},
    )
    plain = viewer.add_labels(np.ones((6, 5), int), name="mine")
    for layer, values in ((marks, {-1, 0, 1, 2}), (plain, {1})):
        planes = Planes()
        [source] = sources_of(viewer, [(image, layer)], "semantic")
        source.read(planes, lambda: False)
        assert set(np.unique(planes.labels[0])) == values


OPEN = """
import gc, sys, time
import numpy as np
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

app = QApplication([])
viewer = ViewerModel()
viewer.add_image(np.zeros((40, 50)), name="image")
viewer.add_labels(np.ones((40, 50), int), name="labels")
from napari_clickseg.widgets import FinetuneWidget

dock = FinetuneWidget(viewer)
dock.show()
for _ in range(20):
    app.processEvents()
    time.sleep(0.02)
assert dock.choices.model.currentText() == "ritm-mobilenetv2-starter"
assert dock.choices.pairs.rows[0][1].currentText() == "labels"
heavy = ("torch", "torchvision", "kornia", "lightning_fabric", "cv2")
print("loaded:", [name for name in heavy if name in sys.modules])
del dock
gc.collect()
"""


def test_opening_the_dock_imports_no_torch(tmp_path: Path) -> None:
    assert "loaded: []" in printed_by(OPEN, tmp_path)


def test_the_public_list_agrees(finetuning: Finetuning) -> None:
    assert {info.name for info in finetuning.models()} <= {
        info.name for info in cs.list_models()
    }
