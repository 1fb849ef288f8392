"""Maps of sessions as files, without napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.prediction.dense_nets import Tiny

import napari_clickseg as cs
from napari_clickseg.errors import ExportError
from napari_clickseg.exporting import cut_out, read_legend
from napari_clickseg.image import ImageSource
from napari_clickseg.models.dense_model import DenseModel
from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.prediction.dense_settings import DenseSettings
from napari_clickseg.session.dense_export import colours_of

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (32, 40, 3), np.uint8)
MASK = np.zeros((32, 40), bool)
MASK[8:24, 10:30] = True
QUICK = DenseSettings(iterations=2, learning_rate=0.05)


def session(task: str, image: Any = PHOTO, **options: Any) -> Any:
    network = {
        "semantic": lambda: Tiny(outputs=3),
        "matting": lambda: Tiny(inputs=4),
        "depth": lambda: Tiny(largest=10.0),
    }[task]()
    network.needs_trimap = task == "matting"  # type: ignore[assignment]
    model = DenseModel(
        network, ModelInfo("random", task, "?", "", "CC0", ""), precision="float32"
    )
    made = cs.ClickSession(model, task=task, settings=QUICK, **options)
    made.set_image(image)
    if task == "matting":
        made.trimap_from_mask(MASK, 4)
    else:
        made.start_from_model()
    return made


def test_classes(tmp_path: Path) -> None:
    made = session("semantic", classes=["a", "b", "c"])
    path, legend = made.export(tmp_path / "m.png")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), made.result)
    assert read_legend(legend).to_classes() == made.task.classes
    written = made.export(tmp_path / "n.tif", legend=None, spacing=0.5)
    assert written == [tmp_path / "n.tif"]


def test_depth_that_was_kept(tmp_path: Path) -> None:
    made = session("depth", unit="mm")
    first = made.result.copy()
    made.commit(label=7)
    with pytest.raises(ExportError, match="start_from_model"):
        made.export(tmp_path / "d.tif")
    with pytest.raises(ExportError, match=r"Nothing was kept as 2\. There are: 7"):
        made.export(tmp_path / "d.tif", 2)
    [path] = made.export(tmp_path / "d.tif", 7)
    with tifffile.TiffFile(path) as file:
        np.testing.assert_array_equal(file.asarray(), first)
        assert file.imagej_metadata["vunit"] == "mm"
    [path] = made.export(tmp_path / "e.tif", 7, unit="um")
    with tifffile.TiffFile(path) as file:
        assert file.imagej_metadata["vunit"] == "um"


def test_alpha_and_cutout(tmp_path: Path) -> None:
    made = session("matting")
    [path] = made.export(tmp_path / "a.png")
    np.testing.assert_allclose(iio.imread(path) / 65535, made.result, atol=1e-5)
    [path] = made.export(tmp_path / "c.png", kind="cutout")
    np.testing.assert_array_equal(iio.imread(path), cut_out(PHOTO, made.result))
    [path] = made.export(tmp_path / "c.png", kind="cutout", foreground=False)
    np.testing.assert_array_equal(iio.imread(path)[..., :3], PHOTO)
    with pytest.raises(ExportError, match="'alpha' or 'cutout', not 'depth'"):
        made.export(tmp_path / "d.tif", kind="depth")


def test_16_bit_photos_keep_16_bits(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (32, 40, 3), np.uint16)
    made = session("matting", deep)
    [path] = made.export(tmp_path / "c.png", kind="cutout", foreground=False)
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found[..., 2::-1], deep)


def test_which_colours_are_cut_out() -> None:
    first = np.moveaxis(PHOTO, -1, 0)
    source = ImageSource(first, channel_axis=0)
    np.testing.assert_array_equal(colours_of(source), PHOTO)
    swapped = PHOTO.astype(">u2")
    np.testing.assert_array_equal(colours_of(ImageSource(swapped)), PHOTO)
    rgba = np.dstack([PHOTO, PHOTO[..., 0]])
    np.testing.assert_array_equal(colours_of(ImageSource(rgba)), PHOTO)
    # What is not colour is cut out as it is shown.
    grey = ImageSource(PHOTO[..., 0].astype(np.uint16), contrast=(0, 255))
    found = colours_of(grey)
    assert found.dtype == np.uint16
    np.testing.assert_allclose(found[..., 1] / 257, PHOTO[..., 0], atol=0.01)
    shown = colours_of(ImageSource(PHOTO, contrast=(0, 51)))
    assert shown.dtype == np.uint8
    bright = np.minimum(PHOTO.astype(int) * 5, 255)
    np.testing.assert_allclose(shown, bright, atol=1)
