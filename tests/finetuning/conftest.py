"""Small made-up data and a small click network to finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2

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


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 49 pixels: what is learned does not matter here."""
    from napari_clickseg.training.finetuning import work
    from napari_clickseg.training.finetuning.windows import WindowOptions

    options = WindowOptions(canvases=((49, 49),), zoom_side=32, working=64, least=12)
    monkeypatch.setattr(work.Work, "window_options", lambda _: options)
