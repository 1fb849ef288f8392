"""Small networks of random weights in files, and images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_clickseg.encoding.store import FeatureStore
from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.models.features import Features
from napari_clickseg.networks.interformer_mobilenet import InterFormerMobileNetV2

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


@pytest.fixture(scope="session")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An InterFormer on MobileNetV2 with a decoder as small as it gets."""
    torch.manual_seed(3)
    network = InterFormerMobileNetV2(
        channels=(8, 16, 32, 64), depths=(1, 1, 1, 1), width=16, head_channels=16
    ).eval()
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(path, network, metadata={"name": "small", "licence": "none"})
    return path


@pytest.fixture
def pyramid() -> Callable[..., Features]:
    """A function that makes features: four maps, as an InterFormer does."""

    def make(seed: int = 0, side: int = 64, dtype: torch.dtype = torch.float32):
        generator = torch.Generator().manual_seed(seed)
        maps = [
            torch.randn(1, 4 * 2**i, side >> i, side >> i, generator=generator)
            for i in range(4)
        ]
        return Features([each.to(dtype) for each in maps], (4 * side, 4 * side), 1)

    return make


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of six small images of different kinds."""
    import tifffile
    from PIL import Image

    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number in range(3):
        pixels = rng.integers(0, 255, (70 + number, 90, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"photo{number}.png")
    grey = rng.integers(100, 4000, (64, 100), np.uint16)
    tifffile.imwrite(folder / "grey.tif", grey)
    tifffile.imwrite(
        folder / "more" / "stack.tif", np.stack([grey[:, ::-1], grey[::-1]])
    )
    np.save(folder / "more" / "floats.npy", rng.random((50, 60), np.float32))
    (folder / "notes.txt").write_text("no image")
    return folder
