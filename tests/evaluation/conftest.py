"""Small made-up data sets and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


def make_dataset(root: Path, *, layout: tuple[str, str] = ("images", "masks")) -> Path:
    """Write three photos of bright discs: one, two and one object."""
    rows, cols = np.mgrid[:60, :80]
    random = np.random.default_rng(0)
    for stem, discs in {
        "a": [(30, 40, 15)],
        "b": [(20, 20, 9), (40, 60, 12)],
        "c": [(25, 30, 20)],
    }.items():
        image = random.integers(0, 60, (60, 80, 3)).astype(np.uint8)
        labels = np.zeros((60, 80), np.uint8)
        for label, (row, col, radius) in enumerate(discs, start=1):
            inside = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
            image[inside] += np.uint8(120 + 40 * label)
            labels[inside] = label
        for folder, pixels in zip(layout, (image, labels), strict=True):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{stem}.png")
    return root


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    """Folder of a data set of four bright discs in three images."""
    return make_dataset(tmp_path / "discs")
