"""The weights that come with the package: small, described, and of use."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_clickseg import ClickSession
from napari_clickseg.models.checkpoint import read_checkpoint
from napari_clickseg.models.registry import ModelInfo, list_models

BUNDLED = [info for info in list_models("segmentation") if info.bundled]


def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Return an image of bright disks on a noisy ground, and the middle one."""
    rows, cols = np.mgrid[:192, :256]
    image = np.full((192, 256), 60.0)
    for row, col, radius in ((40, 50, 22), (96, 128, 30), (150, 210, 18)):
        image[np.hypot(rows - row, cols - col) < radius] = 190
    image = ndimage.gaussian_filter(image, 1.2)
    image += np.random.default_rng(0).normal(0, 8, image.shape)
    truth = np.hypot(rows - 96, cols - 128) < 30
    return np.clip(image, 0, 255).astype(np.uint8), truth


def test_two_of_them() -> None:
    assert [info.name for info in BUNDLED] == [
        "ritm-mobilenetv2-starter",
        "interformer-mobilenetv2-starter",
    ]


@pytest.mark.parametrize("info", BUNDLED, ids=lambda info: info.name)
def test_file_and_card(info: ModelInfo) -> None:
    assert info.path.stat().st_size <= 10e6
    checkpoint = read_checkpoint(info.path)
    assert checkpoint.architecture == info.architecture
    assert checkpoint.metadata["name"] == info.name
    assert checkpoint.metadata["steps"] > 2000
    notice = info.path.with_name("NOTICE").read_text(encoding="utf-8")
    assert info.path.name in notice


@pytest.mark.parametrize("info", BUNDLED, ids=lambda info: info.name)
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_one_click_finds_a_disk(info: ModelInfo, precision: str) -> None:
    image, truth = blobs()
    session = ClickSession(info.name, "cpu", precision=precision)
    session.set_image(image)
    session.add_click((96, 128))
    both, either = (session.mask & truth).sum(), (session.mask | truth).sum()
    assert both / either > 0.8
    assert not session.mask[40, 50]  # the other disks are other objects
    assert not session.mask[150, 210]
