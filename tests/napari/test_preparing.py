"""Images prepared in a viewer without a window, where jobs run at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_clickseg import napari_layers
from napari_clickseg.binding.lamp import NOT_KNOWN, NOT_PREPARED, OTHER_MODEL
from napari_clickseg.binding.shelf import ModelShelf
from napari_clickseg.encoding.with_store import WithStore
from napari_clickseg.errors import ClickSegError, ImageError
from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.models.model import Model
from napari_clickseg.napari_layers import attach
from napari_clickseg.networks.interformer_mobilenet import InterFormerMobileNetV2
from napari_clickseg.preferences import preferences


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model that encodes once, as small as it gets."""
    torch.manual_seed(3)
    network = InterFormerMobileNetV2((8, 16, 32, 64), (1, 1, 1, 1), 16, 16).eval()
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(path, network, metadata={})
    return str(path)


@pytest.fixture
def shelf(monkeypatch):
    made = ModelShelf()
    monkeypatch.setattr(napari_layers, "_SHELF", made)
    return made


@pytest.fixture
def encoded(monkeypatch):
    calls = []
    encode = Model.encode

    def counted(self, image, **options):
        calls.append(tuple(image.shape[-2:]))
        return encode(self, image, **options)

    monkeypatch.setattr(Model, "encode", counted)
    # Enlarged windows, which nobody prepares, would count, too.
    preferences().set("preparing.closer", False)
    return calls


@pytest.fixture
def clicks(viewer, shelf, small):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 3000, (500, 600), np.uint16)
    viewer.add_image(pixels, name="grey", contrast_limits=(10, 2500))
    clicks = attach(viewer)
    clicks.set_model(small)
    return clicks


def test_preparing_then_clicking_encodes_once(clicks, encoded):
    preparing = clicks.preparing
    assert preparing.light() == ("off", NOT_KNOWN)
    told = []
    preparing.changed.connect(lambda: told.append(preparing.progress))
    clicks.act("prepare_image")
    assert clicks.hint[0].startswith("'grey' is prepared")
    assert not preparing.running
    assert preparing.light().state == "on"
    parts = [each.part for each in told if each is not None and each.part is not None]
    assert parts == sorted(parts)
    assert len(set(parts)) >= 5
    count = len(encoded)
    clicks.add_click((100, 100))
    clicks.add_click((400, 500), False)
    clicks.commit()
    clicks.add_click((300, 80))
    assert len(encoded) == count
    clicks.act("prepare_image")
    assert len(encoded) == count
    clicks.discard()
    clicks.preparing.look_closer(True)
    clicks.add_click((300, 80))
    assert len(encoded) > count, "enlarged windows are not prepared"


def test_models_look_closer_unless_told_otherwise(clicks):
    assert clicks.preparing.closer
    clicks.act("prepare_image")
    assert not clicks.preparing.suffices
    clicks.preparing.look_closer(False)
    assert clicks.preparing.suffices


def test_clicks_ask_for_the_object_that_was_prepared(clicks, encoded, monkeypatch):
    """The pixels of a window are hashed once, not again at a click."""
    from napari_clickseg.encoding import with_store

    clicks.preparing.prepare_image()
    asked = []
    key_for = with_store.key_for
    monkeypatch.setattr(
        with_store, "key_for", lambda *a: asked.append(a) or key_for(*a)
    )
    clicks.add_click((250, 300))
    assert asked == []
    assert isinstance(clicks.model, WithStore)


def test_a_click_alone_writes_nothing(clicks, shelf):
    clicks.add_click((100, 100))
    assert shelf.store.empty
    assert clicks.preparing.light() == ("off", NOT_PREPARED)
    assert not shelf.store.folder.exists()


def test_contrast_and_models_and_data_tell_apart(clicks, encoded, viewer, tmp_path):
    preparing, layer = clicks.preparing, viewer.layers["grey"]
    preparing.prepare_image()
    count = len(encoded)
    layer.contrast_limits = (0, 1500)
    assert preparing.light().state == "off"
    assert "another contrast" in preparing.light().text
    assert "another contrast" in clicks.hint[0]
    clicks.add_click((250, 300))
    assert len(encoded) > count, "clicks ask for what is shown"
    layer.contrast_limits = (10, 2500)
    assert preparing.light().state == "on"
    layer.data = layer.data[::-1].copy()
    assert preparing.light().state == "off"
    other = InterFormerMobileNetV2((8, 16, 32, 64), (1, 1, 1, 1), 16, 16).eval()
    save_checkpoint(tmp_path / "other.safetensors", other, metadata={})
    preparing.prepare_image()
    assert preparing.light().state == "on"
    clicks.set_model(str(tmp_path / "other.safetensors"))
    assert preparing.light().state == "off"
    clicks.add_click((250, 300))
    assert preparing.light() == ("off", OTHER_MODEL)


def test_channels_are_prepared_as_they_are_clicked_on(clicks, encoded, viewer):
    rng = np.random.default_rng(1)
    viewer.add_image(
        rng.integers(0, 99, (500, 600), np.uint16),
        name="second",
        contrast_limits=(0, 90),
    )
    clicks.choose(viewer.layers["grey"])
    clicks.set_use_channels(True)
    clicks.preparing.prepare_image()
    count = len(encoded)
    clicks.add_click((250, 300))
    assert len(encoded) == count
    assert clicks.preparing.light().state == "on"
    viewer.layers["second"].visible = False
    assert clicks.preparing.light().state == "off"


def test_planes_of_a_stack(viewer, shelf, small, encoded):
    rng = np.random.default_rng(1)
    viewer.add_image(rng.integers(0, 255, (3, 90, 100), np.uint8), name="stack")
    clicks = attach(viewer)
    clicks.set_model(small)
    viewer.dims.set_current_step(0, 1)
    clicks.preparing.prepare_image()
    one = len(encoded)
    clicks.preparing.use_all_planes(True)
    clicks.preparing.prepare_image()
    assert clicks.hint[0].startswith("All 3 images are prepared")
    for plane in range(3):
        viewer.dims.set_current_step(0, plane)
        clicks.preparing.advance()
        assert clicks.preparing.light().state == "on"
    count = len(encoded)
    clicks.add_click((40, 50))
    assert len(encoded) == count
    assert one < count


def test_an_image_that_does_not_fit(clicks, shelf, encoded):
    shelf.store.configure(shelf.store.folder, 3 * 10**6, keep=True)
    clicks.preparing.prepare_image()
    assert "prepared" in clicks.hint[0]
    shelf.store.configure(shelf.store.folder, 10**6, keep=True)
    said = []
    clicks.message.connect(lambda text, _kind: said.append(text))
    clicks.viewer.layers["grey"].contrast_limits = (0, 2000)
    clicks.preparing.prepare_image()
    assert any("more than may be kept" in text for text in said)


def test_what_cannot_be(viewer, shelf, model):
    clicks = attach(viewer)
    with pytest.raises(ImageError):
        clicks.preparing.prepare_image()
    with pytest.raises(ImageError):
        clicks.preparing.prepare_all()
    assert clicks.preparing.light().state == "none"


def test_models_that_look_anew(ui):
    ui.act("prepare_image")
    assert "looks at every window anew" in ui.hint[0]
    assert not ui.preparing.running
    with pytest.raises(ClickSegError, match="looks at every window anew"):
        ui.preparing.prepare_image()


def test_by_script(clicks, encoded, viewer, anew):
    clicks.prepare()
    assert clicks.preparing.light().state == "on"
    viewer.add_image(np.zeros((64, 64), np.uint8), name="black")
    clicks.prepare(all_images=True)
    count = len(encoded)
    clicks.set_image("black")
    clicks.add_click((10, 10))
    assert len(encoded) == count
    clicks.set_model(anew)
    with pytest.raises(ClickSegError, match="looks at every window anew"):
        clicks.prepare()


@pytest.fixture
def anew(tmp_path):
    """A file of a model that looks at every window anew."""
    from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2

    save_checkpoint(tmp_path / "anew.safetensors", RITMMobileNetV2(), metadata={})
    return str(tmp_path / "anew.safetensors")
