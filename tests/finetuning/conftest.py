"""Small made-up data and a small click network to finetune."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2
from napari_clickseg.training.finetune import FinetuneJob, plan_finetune
from napari_clickseg.training.finetuning.windows import WindowOptions

Arrays = tuple[list[Any], list[Any]]


def blobs(count: int, seed: int = 0, objects: int = 2) -> Arrays:
    """Grey images (64, 80) with bright disks, and their labels."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:64, :80]
    images, labels = [], []
    for _ in range(count):
        marks = np.zeros((64, 80), np.uint8)
        for index in range(1, objects + 1):
            row, col = rng.uniform(12, 52), rng.uniform(12, 68)
            marks[(rows - row) ** 2 + (cols - col) ** 2 < 110] = index
        image = rng.integers(0, 60, (64, 80), dtype=np.uint8)
        image[marks > 0] += 120
        images.append(image)
        labels.append(marks)
    return images, labels


@pytest.fixture
def data() -> Arrays:
    """Six images with two disks each."""
    return blobs(6)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(folder))
    monkeypatch.delenv("CLICKSEG_DATA", raising=False)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small click network, as they are drawn."""
    torch.manual_seed(0)
    network = RITMMobileNetV2(
        context_channels=16, decoder_channels=(16, 8), max_side=64
    )
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    card = {"licence": "BSD-3-Clause", "name": "tiny"}
    save_checkpoint(path, network.eval(), metadata=card)
    return path


#: Windows of 49 pixels, for tests in which what is learned does not matter.
SMALL = WindowOptions(canvases=((49, 49),), zoom_side=32, working=64, least=12)


def plan(data: Arrays, model: Path, out: Path, **choices: Any) -> FinetuneJob:
    """A job of a few small steps."""
    usual: dict[str, Any] = {
        "model": model,
        "out": out,
        "steps": 5,
        "batch": 2,
        "device": "cpu",
        "reference": False,
        "measure": False,
    }
    job = plan_finetune(*data, **{**usual, **choices})
    job.work = replace(job.work, windows=SMALL)
    return job
