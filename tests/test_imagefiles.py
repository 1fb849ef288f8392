"""Files come back as they were written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_clickseg.errors import DatasetError, ImageError
from napari_clickseg.imagefiles import read_image, read_labels, write_labels

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy"])
@pytest.mark.parametrize(
    ("largest", "dtype"), [(0, "u1"), (255, "u1"), (256, "u2"), (65535, "u2")]
)
def test_labels(tmp_path: Path, suffix: str, largest: int, dtype: str) -> None:
    labels = np.zeros((6, 7), np.int32)
    labels[2, 3] = largest
    path = write_labels(tmp_path / "new" / f"labels{suffix}", labels)
    found = read_labels(path)
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == np.dtype(dtype)


def test_large_labels(tmp_path: Path) -> None:
    labels = np.full((3, 3), 70000)
    np.testing.assert_array_equal(
        read_labels(write_labels(tmp_path / "a.tif", labels)), labels
    )
    with pytest.raises(ImageError, match="70000 does not fit a 16-bit PNG"):
        write_labels(tmp_path / "a.png", labels)
    with pytest.raises(ImageError, match=r"end the name in \.tif"):
        write_labels(tmp_path / "a.jpg", labels)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8", "?"])
def test_tiff(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, (5, 6)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values)
    found = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("pixels", "suffix"),
    [
        (np.arange(12, dtype=np.uint8).reshape(3, 4), ".png"),
        (np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000, ".png"),
        (np.arange(36, dtype=np.uint8).reshape(3, 4, 3), ".png"),
        (np.arange(48, dtype=np.uint8).reshape(3, 4, 4), ".png"),
        (np.arange(36, dtype=np.uint8).reshape(3, 4, 3), ".bmp"),
        (np.arange(12).reshape(3, 4) % 2 == 0, ".png"),
    ],
)
def test_pictures(tmp_path: Path, pixels: Any, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path)
    found = read_image(path)
    np.testing.assert_array_equal(found, pixels)
    assert found.dtype == pixels.dtype


def test_palette_as_picture_and_as_labels(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, 1].tolist() == [128, 0, 0]
    assert read_labels(tmp_path / "a.png").tolist() == [[0, 1], [1, 2]]


def test_stacks(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    stack = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
    tifffile.imwrite(path, stack)
    np.testing.assert_array_equal(read_image(path, page=2), stack[2])
    np.testing.assert_array_equal(read_image(path, whole=True), stack)
    for page, says in ((None, "--page"), (5, "planes 0 to 4"), (-1, "outside")):
        with pytest.raises(ImageError, match=says):
            read_image(path, page=page)
    tifffile.imwrite(path, stack[:1])
    np.testing.assert_array_equal(read_image(path), stack[0])
    with pytest.raises(ImageError, match="single plane"):
        read_image(path, page=1)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "a.tif"
    broken.write_bytes(b"II*\0")
    with pytest.raises(ImageError, match="cannot be read as an image"):
        read_image(broken)
    with pytest.raises(DatasetError, match="cannot be read as a mask"):
        read_labels(broken)
    with pytest.raises(ImageError, match="no image file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DatasetError, match="no mask file"):
        read_labels(tmp_path / "none.png")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path / "objects.npy")
