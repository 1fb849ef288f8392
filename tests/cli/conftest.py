"""Run commands in this process, with a made-up model where one is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.prediction.fakes import FakeModel

from napari_clickseg.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """Return a function that runs ``napari-clickseg`` with some arguments."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")

    def call(*arguments: Any) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        code = ended.value.code
        captured = capsys.readouterr()
        return Ran(int(code or 0), captured.out, captured.err)

    return call


class NamedModel(FakeModel):
    """A made-up model that finds what is as bright as the clicked pixel."""

    name = "made-up"
    dtype = torch.float32
    notices = ()

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        # Resizing may overshoot by the last digit, which the base class refuses.
        return super().encode(image.clamp(0, 1))


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Load a made-up model whatever is asked for; return what was asked for."""
    from napari_clickseg.models import model

    asked: list[Any] = []

    def load_model(name: str, *arguments: Any, **named: Any) -> NamedModel:
        asked.append((name, *arguments))
        return NamedModel(follow_image=True)

    monkeypatch.setattr(model, "load_model", load_model)
    return asked


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A 16-bit TIFF of two squares of different brightness."""
    import tifffile

    pixels = np.full((70, 100), 300, np.uint16)
    pixels[10:30, 10:40] = 4000
    pixels[40:60, 50:90] = 2500
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, pixels)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the starter's network that call everything an object."""
    from napari_clickseg.models.checkpoint import save_checkpoint
    from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2

    torch.manual_seed(0)
    network = RITMMobileNetV2().eval()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(3.0)
    path = tmp_path_factory.mktemp("weights") / "everything.safetensors"
    save_checkpoint(path, network, metadata={"name": "everything"})
    return path
