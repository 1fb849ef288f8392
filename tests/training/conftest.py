"""A small made-up data root that a training run can live on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = """
name = "tiny"
architecture = "ritm-mobilenetv2"

[network]
context_channels = 16
decoder_channels = [16, 8]
max_side = 64

[sampling]
canvases = [[49, 49, 2]]
paste_target = 0.3
min_pixels = 10

[schedule]
steps = 6
clicks = [1, 2]
warmup_steps = 2

[[packs]]
name = "blobs"
kind = "photo"
weight = 1
holdout = ["b3"]

[[packs]]
name = "stickers"
kind = "cutout"
weight = 0
"""


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """``train/blobs`` with four labelled images, ``train/stickers`` with one."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    for part in ("images", "masks"):
        (root / "train" / "blobs" / part).mkdir(parents=True)
    rows, cols = np.mgrid[:64, :80]
    for number in range(4):
        labels = np.zeros((64, 80), np.uint8)
        for index in (1, 2):
            row, col = rng.uniform(15, 50), rng.uniform(15, 65)
            labels[(rows - row) ** 2 + (cols - col) ** 2 < 150] = index
        image = rng.integers(0, 60, (64, 80, 3), dtype=np.uint8)
        image[labels > 0] += 120
        folder = root / "train" / "blobs"
        Image.fromarray(image).save(folder / "images" / f"b{number}.png")
        Image.fromarray(labels).save(folder / "masks" / f"b{number}.png")
    (root / "train" / "stickers" / "images").mkdir(parents=True)
    sticker = np.zeros((40, 40, 4), np.uint8)
    sticker[8:32, 8:32] = (200, 40, 40, 255)
    Image.fromarray(sticker).save(root / "train" / "stickers" / "images" / "s.png")
    return root


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of six steps on that data."""
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path
