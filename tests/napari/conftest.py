"""Viewers without a window, our layers in them, and a model that can be foretold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from tests.napari.fakes import FakeModel

from napari_clickseg import napari_layers
from napari_clickseg.binding.shelf import ModelShelf
from napari_clickseg.napari_layers import ViewerClicks, attach


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """The model that every viewer of the test gets."""
    fake = FakeModel()
    shelf = ModelShelf(load=lambda *_args, **_options: fake)
    monkeypatch.setattr(napari_layers, "_SHELF", shelf)
    return fake


@pytest.fixture(autouse=True)
def own_settings(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    settings_in: Callable[[Path], bool],
) -> None:
    """Keep napari's settings and our saved sessions out of the user's folders."""
    folder = tmp_path_factory.mktemp("settings")
    settings_in(folder)
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(folder / "cache"))


@pytest.fixture
def viewer() -> Iterator[ViewerModel]:
    """A viewer without a window."""
    viewer = ViewerModel()
    yield viewer
    for clicks in napari_layers._ATTACHED.pop(viewer, {}).values():
        clicks.close()


def discs(shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Four bright discs on a dark field."""
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    image = np.full(shape, 20, np.uint8)
    for row, col in ((30, 35), (30, 120), (85, 40), (85, 115)):
        image[np.hypot(rows - row, cols - col) < 15] = 220
    return image


@pytest.fixture
def ui(viewer: ViewerModel, model: FakeModel) -> ViewerClicks:
    """A session on four bright discs."""
    viewer.add_image(discs(), name="discs")
    ui = attach(viewer)
    ui.first_look = "published"  # one window: quicker
    return ui


@pytest.fixture
def attach_to(viewer: ViewerModel, model: FakeModel) -> Callable[..., ViewerClicks]:
    """Add an image and attach to it."""

    def add(image: Any, **keywords: Any) -> ViewerClicks:
        viewer.add_image(image, **keywords)
        return attach(viewer)

    return add


@pytest.fixture
def plugin_in_settings(
    npe2pm: Any, settings_in: Callable[[Path], bool], tmp_path: Path
) -> Path:
    """Let napari's settings know the plugin; returns the folder they lie in."""
    from npe2 import PluginManifest

    if not settings_in(tmp_path):
        pytest.skip("napari before 0.9 keeps no settings for plugins")
    package = Path(napari_layers.__file__).parent
    npe2pm.register(PluginManifest.from_file(package / "napari.yaml"))
    return tmp_path


def printed_by(code: str, folder: Path) -> str:
    """Return what a fresh process without a screen prints; settings lie in a folder."""
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "NAPARI_CONFIG": str(folder / "settings.yaml"),
        "NAPARI_CLICKSEG_CACHE": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr  # also of what ends with Python
    return done.stdout
