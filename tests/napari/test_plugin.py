"""The manifest, what it names, the preferences and the samples."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManager, PluginManifest

from napari_clickseg import preferences as preferences_module
from napari_clickseg.errors import ClickSegError
from napari_clickseg.preferences import Preferences, declared, preferences

PACKAGE = Path(preferences_module.__file__).parent
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def manifest():
    return PluginManifest.from_file(PACKAGE / "napari.yaml")


def test_the_root_has_the_same_manifest():
    if not (ROOT / "napari.yaml").exists():
        pytest.skip("not a clone of the repository")
    assert (ROOT / "napari.yaml").read_bytes() == (PACKAGE / "napari.yaml").read_bytes()


def test_every_command_exists(manifest):
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(import_module(module), name)), command.id


def test_menus(manifest):
    menus = manifest.contributions.menus
    assert set(menus) == {"napari/layers/annotate", "napari/layers/segment"}
    for items in menus.values():
        assert items[0].command == "napari-clickseg.segment"


def test_every_preference_says_what_it_does(manifest):
    configurations = manifest.contributions.configurations
    properties = {
        f"{section}.{name}": entry
        for section, body in configurations.items()
        for name, entry in body.properties.items()
    }
    for wanted in ("device", "precision", "cache", "settle", "autosave", "first_look"):
        assert any(key.endswith(f".{wanted}") for key in properties), wanted
    for key, entry in properties.items():
        assert entry.description, key
        if entry.enum:
            assert entry.default in entry.enum


def test_preferences_are_kept_by_napari(plugin_in_settings, tmp_path):
    kept = preferences()
    assert kept.get("clicks.settle") is True
    told = []
    stop = kept.connect("clicks.settle", lambda: told.append(1))
    kept.set("clicks.settle", False)
    assert told == [1]
    stop()
    kept.set("clicks.settle", True)
    assert told == [1]
    kept.set("model.device", "cpu")
    files = list(plugin_in_settings.rglob("napari-clickseg.yaml"))
    assert files
    assert "cpu" in files[0].read_text()
    with pytest.raises(ValueError, match="enum"):
        kept.set("model.precision", "float3")


def test_unknown_preference():
    with pytest.raises(ClickSegError, match=r"clicks\.settle"):
        preferences().get("clicks.nothing")


def test_without_naparis_settings_the_defaults_hold(monkeypatch):
    import napari.settings

    monkeypatch.delattr(napari.settings, "get_plugin_settings", raising=False)
    kept = preferences()
    for section, names in declared().items():
        for name, default in names.items():
            assert kept.get(f"{section}.{name}") == default
    kept.connect("clicks.settle", lambda: None)()


def test_cache_folder_of_the_preferences(monkeypatch, tmp_path):
    from types import SimpleNamespace

    from napari_clickseg.models.cache import cache_folder

    chosen = Preferences(
        SimpleNamespace(model=SimpleNamespace(cache=str(tmp_path / "chosen")))
    )
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path / "environment"))
    chosen.apply_cache_folder()
    assert cache_folder() == tmp_path / "environment"
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", "")
    chosen.apply_cache_folder()
    assert cache_folder() == tmp_path / "chosen"


def test_preferences_reach_a_new_viewer(plugin_in_settings, viewer, model):
    from tests.napari.conftest import discs

    from napari_clickseg import attach

    kept = preferences()
    kept.set("clicks.settle", False)
    kept.set("clicks.first_look", "published")
    kept.set("model.device", "cpu")
    viewer.add_image(discs(), name="discs")
    ui = attach(viewer)
    assert not ui.settles
    assert ui.first_look == "published"
    assert ui.model_choice.device == "cpu"
    viewer.layers["Clicks"].add([30, 35])
    assert not ui.session.settled
    kept.set("clicks.settle", True)
    assert ui.settles, "changes in the Preferences reach open viewers"
    viewer.layers["Clicks"].add([30, 36])
    assert ui.session.settled


@pytest.mark.parametrize(
    ("key", "dtype", "ndim"),
    [
        ("photo", np.uint8, 3),
        ("fluorescence", np.uint16, 2),
        ("phase_contrast", np.uint8, 2),
        ("nuclei_stack", np.uint16, 3),
        ("moving_cells", np.uint16, 3),
    ],
)
def test_samples_open_without_network(manifest, viewer, monkeypatch, key, dtype, ndim):
    import socket

    def refuse(*_args, **_options):
        raise AssertionError("a sample asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    [sample] = [s for s in manifest.contributions.sample_data if s.key == key]
    [command] = [c for c in manifest.contributions.commands if c.id == sample.command]
    module, name = command.python_name.split(":")
    [(data, keywords, kind)] = getattr(import_module(module), name)()
    assert kind == "image"
    assert data.dtype == dtype
    assert data.ndim == ndim
    layer = viewer.add_image(data, **keywords)
    assert layer.rgb == (key == "photo")


def test_drawn_samples_know_their_objects():
    from napari_clickseg.samples import draw_fluorescence, draw_phase_contrast

    for draw in (draw_fluorescence, draw_phase_contrast):
        image, objects = draw()
        again, _ = draw()
        np.testing.assert_array_equal(image, again)
        other, _ = draw(seed=11)
        assert (image != other).any()
        assert image.shape == objects.shape
        assert objects.max() > 30
        assert set(np.unique(objects)) == set(range(objects.max() + 1))
    image, objects = draw_fluorescence()
    assert image.max() > 255, "needs more than 8 bits"
    inside, outside = image[objects > 0].mean(), image[objects == 0].mean()
    assert inside > 2 * outside


def test_plugin_manager_finds_it():
    manager = PluginManager()
    manager.discover(include_npe1=False)
    assert manager.get_manifest("napari-clickseg").display_name == "Clickseg"
