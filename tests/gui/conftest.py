"""Real windows with the dock in them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gui.hands import Hands
from tests.napari.conftest import discs
from tests.napari.fakes import FakeModel

from napari_clickseg import napari_layers
from napari_clickseg.binding.shelf import ModelShelf


@pytest.fixture(autouse=True)
def own_folders(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    settings_in: Callable[[Path], bool],
) -> None:
    """Keep napari's settings and our saved sessions out of the user's folders."""
    folder = tmp_path_factory.mktemp("settings")
    settings_in(folder)
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(folder / "cache"))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """A model that can be foretold, for every viewer of the test."""
    fake = FakeModel()
    shelf = ModelShelf(load=lambda *_args, **_options: fake)
    monkeypatch.setattr(napari_layers, "_SHELF", shelf)
    return fake


@pytest.fixture
def open_dock(make_napari_viewer: Callable[..., Any]) -> Iterator[Callable[..., Hands]]:
    """Open a window on an image, and the dock from the menu's command."""

    def open_on(image: np.ndarray, **keywords: Any) -> Hands:
        viewer = make_napari_viewer(show=True)
        viewer.window._qt_window.resize(1400, 800)
        viewer.add_image(image, name="image", **keywords)
        _dock, widget = viewer.window.add_plugin_dock_widget(
            "napari-clickseg", "Click segmentation"
        )
        hands = Hands(viewer, widget.clicks)
        hands.widget = widget
        hands.pause(0.3)
        return hands

    yield open_on
    gc.collect()


@pytest.fixture
def hands(open_dock: Callable[..., Hands], model: FakeModel) -> Hands:
    """A window on four bright discs, answered by the fake model."""
    hands = open_dock(discs())
    hands.ui.first_look = "published"
    return hands
