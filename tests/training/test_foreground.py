"""Training without clicks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="training needs the extra 'train' (OpenCV)")

from napari_clickseg.errors import TrainingError
from napari_clickseg.models.checkpoint import build_network, read_checkpoint
from napari_clickseg.training.foreground import ForegroundBatches, WindowOptions
from napari_clickseg.training.packs import PackSpec, read_pack
from napari_clickseg.training.recipe import read_recipe
from napari_clickseg.training.run import train
from napari_clickseg.training.state import load_state

RECIPE = """
name = "tiny"
teaches = "foreground"
architecture = "unet"

[network]
channels = [4, 8]

[sampling]
canvases = [[48, 48, 4]]
scales = [0.9, 1.2]

[schedule]
steps = 60
learning_rate = 1e-2
warmup_steps = 2
ema = 0.5

[[packs]]
name = "blobs"
kind = "microscopy"
weight = 1
holdout = ["b3"]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_windows_show_objects_as_one_foreground(data_root: Path) -> None:
    pack = read_pack(data_root / "train", PackSpec("blobs", "photo", 1.0))
    options = WindowOptions(((40, 56, 6),), (0.5, 0.9))
    stream = ForegroundBatches([pack], options, seed=3)
    batch = stream[5]
    assert batch["image"].shape == (6, 3, 40, 56)
    assert batch["image"].dtype == torch.uint8
    masks = batch["mask"][:, 0].numpy()
    assert set(np.unique(masks)) <= {-1, 0, 1}
    # shrunk below the image's size, some of a window lies outside of it
    assert (masks == -1).any()
    assert (masks == 1).any()
    again = ForegroundBatches([pack], options, seed=3)[5]
    assert torch.equal(batch["image"], again["image"])
    assert not torch.equal(batch["image"], stream[6]["image"])


def test_the_mask_lies_on_the_objects(data_root: Path) -> None:
    """The objects of this data are brighter: so must the masked pixels be."""
    pack = read_pack(data_root / "train", PackSpec("blobs", "photo", 1.0))
    stream = ForegroundBatches([pack], WindowOptions(((48, 48, 8),)), seed=0)
    batch = stream[0]
    for image, mask in zip(batch["image"].float(), batch["mask"][:, 0], strict=True):
        grey = image.mean(0)
        if (mask == 1).sum() > 30 and (mask == 0).sum() > 30:
            inside, outside = grey[mask == 1].median(), grey[mask == 0].median()
            # recoloured at random, now and then inverted, never mixed up
            assert (inside - outside).abs() > 0.5 * grey.std()


def test_it_learns_stops_and_goes_on(
    recipe: Path, data_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    ious: list[float] = []
    train(recipe, data=data_root, out=out, workers=0, max_steps=20)
    assert load_state(out / "checkpoint.pt")["step"] == 20
    weights = train(
        recipe,
        data=data_root,
        out=out,
        workers=0,
        on_step=lambda progress: ious.append(progress.iou),
    )
    assert len(ious) == 40
    assert np.mean(ious[-10:]) > 0.6
    network = build_network(read_checkpoint(weights))
    assert network(torch.rand(1, 3, 32, 48)).shape == (1, 1, 32, 48)


def test_recipes_teach_one_thing_or_the_other(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace('"foreground"', '"juggling"'))
    with pytest.raises(TrainingError, match=r"juggling.*foreground"):
        read_recipe(recipe)


def test_our_recipe_reads() -> None:
    root = Path(__file__).resolve().parents[2] / "recipes"
    plan = read_recipe(root / "unet-nuclei.toml")
    starter = read_recipe(root / "ritm-mobilenetv2-starter.toml")
    kept = {p.name: p.holdout for p in starter.packs}
    assert plan.teaches == "foreground"
    assert starter.teaches == "clicks"
    # so that the two can be compared
    assert plan.packs[0].holdout == kept["dsb2018_train"]
