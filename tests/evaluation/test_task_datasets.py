"""Layouts of semantic, matting and depth data sets, on tiny trees and on real packs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_clickseg.errors import DatasetError
from napari_clickseg.evaluation.task_datasets import (
    CITYSCAPES_IDS,
    LAYOUTS,
    open_task_dataset,
)
from napari_clickseg.tasks.class_lists import CAMVID


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


PICTURE = np.zeros((4, 6, 3), np.uint8)


def test_cityscapes(tmp_path: Path) -> None:
    ids = np.array([[7, 8, 33, 0, 9, 26]], np.uint8)
    for city, stem in (("b", "b_1"), ("a", "a_2")):
        save(tmp_path / f"leftImg8bit/val/{city}/{stem}_leftImg8bit.png", PICTURE)
        save(tmp_path / f"gtFine/val/{city}/{stem}_gtFine_labelIds.png", ids)
    data = open_task_dataset(tmp_path, "cityscapes")
    assert [sample.name for sample in data] == ["a_2", "b_1"]
    assert data.task == "semantic"
    assert data.classes is not None
    assert data.classes.names[13] == "car"
    assert len(CITYSCAPES_IDS) == 19
    truth = data[0].read_reference().truth
    assert truth.tolist() == [[1, 2, 19, 0, 0, 14]]
    assert data[0].read_image().shape == (4, 6, 3)
    with pytest.raises(DatasetError, match="train"):
        open_task_dataset(tmp_path, "cityscapes", split="train")
    next((tmp_path / "gtFine").rglob("b_1*.png")).unlink()
    with pytest.raises(DatasetError, match=r"b_1.*not complete"):
        open_task_dataset(tmp_path, "cityscapes")


@pytest.mark.parametrize("version", ["", "v1.2/"])
def test_mapillary(tmp_path: Path, version: str) -> None:
    save(tmp_path / "validation/images/x.jpg", PICTURE)
    target = tmp_path / f"validation/{version}labels/x.png"
    target.parent.mkdir(parents=True)
    picture = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8)).convert("P")
    picture.putpalette([n for value in range(256) for n in (value, 9, 9)])
    picture.putdata([0, 1, 2, 3])
    picture.save(target)
    rows = [
        {"readable": name, "color": [n, 0, 0], "evaluate": name != "Unlabeled"}
        for n, name in enumerate(("Bird", "Curb", "Unlabeled", "Lane"))
    ]
    with pytest.raises(DatasetError, match="config"):
        open_task_dataset(tmp_path, "mapillary")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"labels": rows}))
    data = open_task_dataset(tmp_path, "mapillary")
    assert data.classes is not None
    assert data.classes.names == ("Bird", "Curb", "Lane")
    assert data[0].read_reference().truth.tolist() == [[1, 2, 0, 3]]
    config.write_text("{}")
    with pytest.raises(DatasetError, match="Mapillary"):
        open_task_dataset(tmp_path, "mapillary")


@pytest.mark.parametrize("own", [True, False])
def test_composition_1k(tmp_path: Path, own: bool) -> None:
    root = tmp_path / "Test_set"
    alpha = np.array([[0, 51, 255, 255]] * 2, np.uint8)
    trimap = np.array([[0, 128, 128, 255]] * 2, np.uint8)
    for number in (0, 1):
        save(root / f"merged/cat_{number}.png", PICTURE[:2, :4])
        save(root / f"trimaps/cat_{number}.png", trimap)
        if own:
            grey = np.repeat(alpha[..., None], 3, axis=2)
            save(root / f"alpha_copy/cat_{number}.png", grey)
    if not own:
        save(root / "alpha/cat.png", alpha)
    data = open_task_dataset(tmp_path, "composition-1k")
    assert [sample.name for sample in data] == ["cat_0", "cat_1"]
    reference = data[1].read_reference()
    np.testing.assert_allclose(reference.truth, [[0, 0.2, 1, 1]] * 2)
    assert reference.trimap is not None
    assert reference.trimap.tolist() == trimap.tolist()
    save(root / "trimaps/cat_1.png", trimap[:, :3])
    with pytest.raises(DatasetError, match="shape"):
        data[1].read_reference()
    with pytest.raises(DatasetError, match="merged"):
        open_task_dataset(root / "merged", "composition-1k")


def test_nyu(tmp_path: Path) -> None:
    (tmp_path / "nyu_depth_v2_labeled.mat").write_bytes(b"")
    for what in (tmp_path, tmp_path / "nyu_depth_v2_labeled.mat"):
        with pytest.raises(DatasetError, match="Export"):
            open_task_dataset(what, "nyu")
    depth = np.array([[0, 1500, 65535]], np.uint16)
    for scene, end in (("kitchen", "jpg"), ("bath", "png")):
        save(tmp_path / scene / f"rgb_00045.{end}", PICTURE)
        save(tmp_path / scene / "sync_depth_00045.png", depth)
    data = open_task_dataset(tmp_path, "nyu")
    assert [sample.name for sample in data] == ["bath/00045", "kitchen/00045"]
    reference = data[1].read_reference()
    np.testing.assert_allclose(reference.truth, [[np.nan, 1.5, 65.535]])
    assert reference.eigen_crop
    assert reference.depths == (0.001, 10.0)


def test_folder_of_anything(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="images"):
        open_task_dataset(tmp_path)
    for stem in ("b", "a"):
        save(tmp_path / f"images/{stem}.jpg", PICTURE)
    with pytest.raises(DatasetError, match="masks"):
        open_task_dataset(tmp_path)
    save(tmp_path / "masks/a.png", np.array([[0, 1, 11]], np.uint8))
    with pytest.raises(DatasetError, match="b has no"):
        open_task_dataset(tmp_path)
    np.save(tmp_path / "masks/b.npy", np.array([[0, 1, 11]], np.int64))
    for stem in ("a", "b"):
        data = open_task_dataset(tmp_path, ignore=11)
        sample = {each.name: each for each in data}[stem]
        assert sample.read_reference().truth.tolist() == [[1, 2, 0]]
    from_one = open_task_dataset(tmp_path, first=1)[0].read_reference()
    assert from_one.truth.tolist() == [[0, 1, 11]]

    for stem in ("a", "b"):
        save(tmp_path / f"targets/{stem}.png", np.array([[0, 65535]], np.uint16))
    matting = open_task_dataset(tmp_path, task="matting")
    assert matting[0].read_reference().truth.tolist() == [[0, 1]]
    depth = open_task_dataset(tmp_path, task="depth", scale=5000)
    np.testing.assert_allclose(depth[0].read_reference().truth, [[np.nan, 13.107]])
    np.save(tmp_path / "targets/a.npy", np.array([[0.25, 1.5]]))
    (tmp_path / "targets/a.png").unlink()
    metres = open_task_dataset(tmp_path, task="depth")[0].read_reference()
    assert metres.truth.tolist() == [[0.25, 1.5]]
    with pytest.raises(DatasetError, match=r"between 0 and 1"):
        open_task_dataset(tmp_path, task="matting")[0].read_reference()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no folder"):
        open_task_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no layout 'ade20k'"):
        open_task_dataset(tmp_path, "ade20k")
    with pytest.raises(DatasetError, match="no task 'flow'"):
        open_task_dataset(tmp_path, task="flow")
    with pytest.raises(DatasetError, match="for semantic"):
        open_task_dataset(tmp_path, "cityscapes", task="depth")
    for layout in LAYOUTS:
        with pytest.raises(DatasetError):
            open_task_dataset(tmp_path, layout)
    save(tmp_path / "images/a.png", PICTURE)
    save(tmp_path / "masks/a.png", np.arange(6, dtype=np.uint8).reshape(1, 2, 3))
    with pytest.raises(DatasetError, match="Colours"):
        open_task_dataset(tmp_path)[0].read_reference()


def test_camvid(data_dir: Path) -> None:
    data = open_task_dataset(data_dir / "eval" / "camvid" / "test", ignore=11)
    assert (len(data), data.task) == (50, "semantic")
    truth = data[0].read_reference().truth
    assert truth.shape == data[0].read_image().shape[:2] == (360, 480)
    assert set(np.unique(truth)) <= set(range(len(CAMVID) + 1))
    # Sky is at the top, road at the bottom.
    assert truth[0, 240] == CAMVID.label("sky")
    assert truth[300, 240] == CAMVID.label("road")


def test_matting_pack(data_dir: Path) -> None:
    data = open_task_dataset(data_dir / "eval" / "matting")
    assert (len(data), data.task) == (16, "matting")
    reference = data[0].read_reference()
    assert reference.trimap is not None
    # What the trimap knows is true.
    assert (reference.truth[reference.trimap == 0] == 0).all()
    assert (reference.truth[reference.trimap == 255] == 1).all()


def test_depth_pack(data_dir: Path) -> None:
    data = open_task_dataset(data_dir / "eval" / "depth")
    assert (len(data), data.task) == (12, "depth")
    for sample in data:
        truth = sample.read_reference().truth
        assert truth.shape == sample.read_image().shape[:2]
        assert 0.5 < np.nanmedian(truth) < 5
