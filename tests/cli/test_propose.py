"""``propose``: a label image without a click."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tests.prediction.class_nets import bright_model, other_classes, painted

from napari_clickseg.imagefiles import read_image, read_labels
from napari_clickseg.session import ClickSession

IMAGE = painted((90, 120), [(25, 30, 15), (60, 80, 20)])


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A 16-bit TIFF of two discs, and a model that finds them."""
    from napari_clickseg.models import model

    monkeypatch.setattr(model, "load_model", lambda *_, **__: bright_model())
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, IMAGE.astype(np.uint16) * 20)
    return path


def test_labels_overlay_and_session(run: Any, image: Path, tmp_path: Path) -> None:
    labels, overlay = tmp_path / "labels.png", tmp_path / "new" / "overlay.png"
    kept = tmp_path / "kept.clickseg"
    ran = run(
        *("propose", image, "--contrast", "0,5100", "--diameter", 28),
        *("--out", labels, "--overlay", overlay, "--session", kept),
    )
    assert ran.code == 0, ran.err
    assert ran.out.startswith("2 objects in ")
    assert ran.out.rstrip().endswith(f"-> {labels}, {overlay}, {kept}")
    found = read_labels(labels)
    np.testing.assert_array_equal(found > 0, IMAGE > 0)
    assert read_image(overlay).shape == (90, 120, 3)
    np.testing.assert_array_equal(ClickSession.load(kept).labels, found)


def test_json(run: Any, image: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("propose", image, "--contrast", "0,5100", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert sorted(told["objects"]) == ["1", "2"]
    assert told["files"] == ["cells-labels.tif"]
    assert (tmp_path / "cells-labels.tif").is_file()


def test_other_models_are_refused(
    run: Any, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_clickseg.models import model

    other = bright_model(classes=other_classes())
    monkeypatch.setattr(model, "load_model", lambda *_, **__: other)
    ran = run("propose", image)
    assert ran.code == 4
    assert "sky, sea, land" in ran.err
