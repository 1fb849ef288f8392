"""Memory ends at encoding, decoding or refining: the session goes on, and says so."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from tests.napari.conftest import discs
from tests.session.test_dense_session import tiny

import napari_clickseg as cs
from napari_clickseg import napari_layers
from napari_clickseg.binding.shelf import ModelShelf
from napari_clickseg.binding.telling import OUT_OF_MEMORY
from napari_clickseg.errors import ClickSegError
from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.napari_layers import attach
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2
from napari_clickseg.prediction import PredictionSettings
from napari_clickseg.prediction.dense import DensePredictor

#: As the allocators of each device say it.
ERRORS = {
    "cuda": lambda: torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2 GiB"
    ),
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 17.94 GB)"),
    "cpu": lambda: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "numpy": lambda: MemoryError("Unable to allocate 64.0 GiB for an array"),
}


class Failing:
    """Raises in the place of a function, so many times."""

    def __init__(self, function: Any, error: Any, times: int) -> None:
        self.function, self.error, self.left = function, error, times
        self.raised = 0

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if self.left > 0:
            self.left -= 1
            self.raised += 1
            raise self.error()
        return self.function(*args, **keywords)


@pytest.mark.parametrize("place", ["encode", "decode"])
@pytest.mark.parametrize("kind", ERRORS)
def test_once(attach_to, model, kind, place):
    """A smaller window does it; the session says why edges may be less sharp."""
    ui = attach_to(discs((600, 800)), name="large")
    ui.first_look = "published"
    failing = Failing(getattr(model, place), ERRORS[kind], 1)
    setattr(model, place, failing)
    ui.points.layer.add([30, 35])
    assert failing.raised == 1
    assert ui.mask_layer.data[30, 35]
    assert any("Memory ran out" in each for each in ui.session.notices)
    assert len(ui.clicks) == 1
    ui.act("commit")
    assert ui.objects_layer.data[30, 35] == 1


@pytest.mark.parametrize("place", ["encode", "decode"])
@pytest.mark.parametrize("kind", ERRORS)
def test_again_and_again(ui, model, kind, place):
    """The clicks are kept, and answered as soon as there is memory."""
    ui.add_click((85, 40))
    ui.commit()
    failing = Failing(getattr(model, place), ERRORS[kind], 10**6)
    setattr(model, place, failing)
    ui.points.layer.add([30, 35])
    ui.points.layer.add([30, 120])
    text, tone = ui.hint
    assert tone == "error"
    assert "Memory ran out" in text
    assert "Traceback" not in text
    assert len(ui.points.layer.data) == 2
    assert ui.objects_layer.data[85, 40] == 1
    failing.left = 0
    ui.points.layer.add([30, 33])
    assert ui.hint[1] == "hint"
    assert ui.mask_layer.data[30, 35]
    assert ui.mask_layer.data[30, 120]
    assert len(ui.clicks) == 3
    ui.undo()
    ui.undo()
    assert len(ui.clicks) == 1


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("kind", ERRORS)
def test_where_a_plane_is_opened(viewer, model, kind, times, monkeypatch):
    """It is tried again at once for the click, then with the next one."""
    viewer.add_image(discs(), name="discs")
    ui = attach(viewer)
    ui.first_look = "published"
    context = ui.context_of(ui.image_layer)
    failing = Failing(context.engine.open, ERRORS[kind], times)
    monkeypatch.setattr(context.engine, "open", failing)
    ui.points.layer.add([30, 35])
    assert failing.raised == times
    if times == 2:
        assert ui.hint == (OUT_OF_MEMORY, "error")
        assert not len(ui.points.layer.data), "what was not done is not shown"
        ui.points.layer.add([30, 35])
    assert ui.hint[1] == "hint"
    assert len(ui.clicks) == 1
    assert ui.mask_layer.data[30, 35]


@pytest.mark.parametrize("kind", ERRORS)
def test_maps(viewer: ViewerModel, monkeypatch, kind):
    """Depth has no smaller window to try: it is told, and the map stays."""
    made = tiny("depth")
    shelf = ModelShelf(load=lambda *_args, **_options: made)
    monkeypatch.setattr(napari_layers, "_SHELF", shelf)
    viewer.add_image(discs(), name="image")
    ui = attach(viewer, task="depth")
    ui.settings = type(ui.settings)(iterations=2, learning_rate=0.05)
    ui.act("start_from_model")
    before = np.array(ui.result_layer.data)
    ui.choose_value(7.0)
    failing = Failing(DensePredictor._advance, ERRORS[kind], 10**6)
    monkeypatch.setattr(DensePredictor, "_advance", lambda *a: failing(*a))
    viewer.layers["Clicks for depth"].add((36, 42))
    assert failing.raised
    assert ui.hint == (OUT_OF_MEMORY, "error")
    np.testing.assert_array_equal(ui.result_layer.data, before)
    failing.left = 0
    viewer.layers["Clicks for depth"].add((36, 44))
    assert ui.hint[1] == "hint"
    assert ui.result_layer.data[36, 44] == pytest.approx(7.0, rel=0.1)


@pytest.mark.parametrize("refinement", ["f-brs-b", "g-brs-sb", "rgb-brs"])
def test_refining_a_real_network(tmp_path, refinement):
    """Memory ends where gradients are kept, which takes the most of it."""
    torch.manual_seed(0)
    path = tmp_path / "random.safetensors"
    save_checkpoint(path, RITMMobileNetV2().eval(), metadata={"name": "random"})
    model = cs.load_model(path, device="cpu", precision="float32")
    settings = PredictionSettings(first_look="published", target_size=96)
    session = cs.ClickSession(model, settings=settings, refinement=refinement)
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    session.set_image(pixels)
    raised = []

    def full(_module: Any, _inputs: Any, output: Any) -> None:
        grown = output if isinstance(output, torch.Tensor) else None
        if grown is not None and grown.requires_grad and not raised:
            raised.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = torch.nn.modules.module.register_module_forward_hook(full)
    with contextlib.suppress(ClickSegError):  # such as: no smaller window is left
        session.add_click((48, 60))
        session.add_click((20, 30), positive=False)
    hook.remove()
    assert raised, "nothing was refined"
    session.add_click((50, 62))
    assert session.settled
    assert np.isfinite(session.probability).all()
