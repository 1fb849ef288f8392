"""Learning classes, alpha and depth: it learns, stops, goes on, and can be loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("cv2", reason="training needs the extra 'train' (OpenCV)")

from napari_clickseg.errors import TrainingError
from napari_clickseg.models.checkpoint import build_network, read_checkpoint
from napari_clickseg.networks.indexnet import IndexNet
from napari_clickseg.training.alpha import (
    PLAIN_NORMS,
    AlphaRun,
    MattingBatches,
    MattingOptions,
    begin_between,
)
from napari_clickseg.training.classes import (
    CellBatches,
    CellOptions,
    ClassesRun,
    cell_classes,
)
from napari_clickseg.training.dense import NORMS_UNTIL, DenseRun
from napari_clickseg.training.depth import DepthOptions, DepthRun, SceneBatches
from napari_clickseg.training.packs import PackSpec, read_pack
from napari_clickseg.training.recipe import read_recipe
from napari_clickseg.training.run import train
from napari_clickseg.training.state import load_state

ROOT = Path(__file__).resolve().parents[2]
RUNS: dict[str, type[DenseRun]] = {
    "classes": ClassesRun,
    "alpha": AlphaRun,
    "depth": DepthRun,
}
NETWORKS = {
    "classes": """
architecture = "semantic-mobilenetv2"
[network]
context = 16
channels = [16, 16, 8, 8]
detail = 8
[sampling]
canvases = [[64, 64, 2]]
""",
    "alpha": """
architecture = "indexnet"
[network]
index = "o2o"
separable = true
kernel = 3
context = 16
[sampling]
canvases = [[64, 64, 2]]
""",
    "depth": """
architecture = "bts"
[network]
encoder = "mobilenetv2"
size = 32
[sampling]
canvases = [[64, 64, 2]]
relief = 0.3
""",
}
REST = """
[schedule]
steps = 6
learning_rate = 3e-3
warmup_steps = 2
ema = 0.5

[[packs]]
name = "blobs"
kind = "photo"
weight = 1
holdout = ["b3"]
"""
INPUTS = {"classes": 3, "alpha": 4, "depth": 3}
OUTPUTS = {"classes": 3, "alpha": 1, "depth": 1}
STARTERS = {
    "classes": "semantic-cells-starter",
    "alpha": "matting-indexnet-starter",
    "depth": "depth-bts-starter",
}


def write(tmp_path: Path, teaches: str, start: str = "") -> Path:
    path = tmp_path / f"{teaches}.toml"
    head = f'name = "tiny-{teaches}"\nteaches = "{teaches}"\n{start}'
    path.write_text(head + NETWORKS[teaches] + REST, encoding="utf-8")
    return path


@pytest.mark.parametrize("teaches", sorted(RUNS))
def test_a_run_is_stopped_goes_on_and_leaves_a_model(
    teaches: str, data_root: Path, tmp_path: Path
) -> None:
    recipe, out = write(tmp_path, teaches), tmp_path / "run"
    train(recipe, data=data_root, out=out, workers=0, max_steps=2)
    assert load_state(out / "checkpoint.pt")["step"] == 2
    seen = []
    weights = train(
        recipe, data=data_root, out=out, workers=0, on_step=lambda p: seen.append(p)
    )
    assert [progress.step for progress in seen] == [3, 4, 5, 6]
    assert all(np.isfinite([p.loss, p.iou]).all() for p in seen)
    checkpoint = read_checkpoint(weights)
    assert (
        checkpoint.metadata["task"]
        == {
            "classes": "semantic",
            "alpha": "matting",
            "depth": "depth",
        }[teaches]
    )
    network = build_network(checkpoint)
    answer = network(torch.rand(1, INPUTS[teaches], 64, 96))
    assert answer.shape == (1, OUTPUTS[teaches], 64, 96)
    assert torch.isfinite(answer).all()


@pytest.mark.parametrize("teaches", sorted(RUNS))
def test_the_loss_falls_on_a_batch_that_is_shown_again(
    teaches: str, data_root: Path, tmp_path: Path
) -> None:
    plan = read_recipe(write(tmp_path, teaches))
    run = RUNS[teaches](plan, data_root, tmp_path, torch.device("cpu"), 45.0)
    run.progress = lambda: 0.0  # type: ignore[method-assign]
    batch = run.data[0]
    losses = [next(iter(run.rounds(batch))).loss for _ in range(30)]
    assert np.mean(losses[-3:]) < 0.75 * np.mean(losses[:3])


def test_instance_labels_become_classes() -> None:
    labels = np.zeros((40, 60), np.int16)
    labels[5:25, 5:25] = 1
    labels[5:25, 25:45] = 2  # touches the first
    labels[30:34, 50:54] = 3  # small
    labels[5:25, 48:60] = 4  # three pixels from the second; cut by the border
    labels[36:, :] = -1
    classes = cell_classes(labels, contour=2.0, gap=3)
    assert (classes[labels < 0] == -1).all()
    # where two touch there is border on both sides, and interior farther in
    assert (classes[10:20, 24] == 2).all()
    assert (classes[10:20, 25] == 2).all()
    assert (classes[9:21, 9:21] == 1).all()
    # the contour is two pixels wide
    assert (classes[10, 5:7] == 2).all()
    assert classes[10, 8] == 1
    # a narrow gap is border, open background is not
    assert (classes[10:20, 45:48] == 2).all()
    assert classes[28, 20] == 0
    # a small object keeps an interior
    assert (classes[30:34, 50:54] == 1).any()
    # and one that goes on beyond the picture has no contour there
    assert (classes[10:20, 59] == 1).all()
    assert (cell_classes(np.zeros((9, 9), np.int16)) == 0).all()


def test_interiors_tell_touching_objects_apart(data_root: Path) -> None:
    from scipy import ndimage

    labels = np.repeat(np.arange(1, 7, dtype=np.int16), 12)[None].repeat(30, 0)
    classes = cell_classes(np.pad(labels, 8))
    _, count = ndimage.label(classes == 1)
    assert count == 6


def test_cell_windows(data_root: Path) -> None:
    pack = read_pack(data_root / "train", PackSpec("blobs", "microscopy", 1.0))
    stream = CellBatches([pack], CellOptions(((64, 96, 5),)), seed=1)
    batch = stream[3]
    assert batch["image"].shape == (5, 3, 64, 96)
    assert batch["classes"].shape == (5, 64, 96)
    assert set(batch["classes"].unique().tolist()) <= {-1, 0, 1, 2}
    assert (batch["classes"] == 2).any()
    assert torch.equal(stream[3]["image"], batch["image"])
    assert not torch.equal(stream[4]["image"], batch["image"])


def test_matting_windows_have_something_unknown(data_root: Path) -> None:
    specs = [PackSpec("blobs", "photo", 1.0), PackSpec("stickers", "cutout", 0.0)]
    packs = [read_pack(data_root / "train", spec) for spec in specs]
    options = MattingOptions(((64, 96, 6),), (1.0, 2.0))
    stream = MattingBatches(packs, options, seed=1)
    batch = stream[0]
    assert batch["trimap"].shape == (6, 1, 64, 96)
    assert (batch["trimap"] == 128).flatten(1).any(1).all()
    alpha, front, back = (batch[k].double() for k in ("alpha", "front", "back"))
    blend = alpha * front + (1 - alpha) * back
    assert (blend - batch["image"]).abs().max() <= 0.501
    again = MattingBatches(packs, options, seed=1)[0]
    assert torch.equal(again["alpha"], batch["alpha"])


def test_scene_windows(data_root: Path) -> None:
    pack = read_pack(data_root / "train", PackSpec("blobs", "photo", 1.0))
    stream = SceneBatches([pack], DepthOptions(((64, 96, 3),), 0.5), seed=1)
    batch = stream[2]
    assert batch["image"].shape == (3, 3, 64, 96)
    assert batch["depth"].shape == (3, 1, 64, 96)
    assert torch.isfinite(batch["depth"]).all()
    assert 0.05 <= batch["depth"].min() <= batch["depth"].max() <= 10
    assert torch.equal(stream[2]["depth"], batch["depth"])


def test_views_of_measured_depth(data_root: Path) -> None:
    pack = read_pack(data_root / "train", PackSpec("blobs", "photo", 1.0))
    options = DepthOptions(((64, 64, 4),), relief=0.0, measured=1.0, recoloured=0.0)
    with pytest.raises(TrainingError, match="measured = 0"):
        SceneBatches([pack], options, seed=1)
    folder = data_root / "train" / "blobs" / "depth"
    folder.mkdir()
    # rows tell the distance, and the first ones are unknown
    millimetres = np.repeat(np.arange(1000, 1640, 10, np.uint16)[:, None], 80, 1)
    millimetres[:10] = 0
    for item in pack.items:
        Image.fromarray(millimetres).save(folder / f"{item.image.stem}.png")
    stream = SceneBatches([pack], options, seed=1)
    depth = torch.cat([stream[index]["depth"] for index in range(4)]).numpy()
    known = depth[depth > 0]
    assert known.min() >= 1.1 - 1e-6
    assert known.max() <= 1.63 + 1e-6
    assert 0.01 < (depth == 0).mean() < 0.3
    down = np.diff(depth, axis=2)[(depth > 0)[:, :, :-1]]
    assert (down >= 0).all()


def test_alpha_begins_between_nothing_and_all() -> None:
    means, least = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        network = IndexNet("o2o", 3, separable=True, context=16).train()
        begin_between(network)
        with torch.no_grad():
            answer = network(torch.randn(2, 4, 64, 64))
        least.append(float(answer.min()))
        means.append(float(answer.mean()))
    assert min(least) >= 0
    assert all(0.3 < mean < 0.8 for mean in means)


def test_batch_norms_are_held_for_the_end(data_root: Path, tmp_path: Path) -> None:
    plan = read_recipe(write(tmp_path, "alpha"))
    run = AlphaRun(plan, data_root, tmp_path, torch.device("cpu"), 45.0)
    norms = [m for m in run.network.modules() if isinstance(m, nn.BatchNorm2d)]
    for share, learns in ((0.0, True), (NORMS_UNTIL + 0.01, False)):
        run.progress = lambda share=share: share  # type: ignore[method-assign]
        run.begin_step()
        assert all(norm.training == learns for norm in norms)


@pytest.mark.parametrize("teaches", sorted(RUNS))
def test_our_recipes_start_from_imagenet(
    teaches: str, data_dir: Path, data_root: Path, tmp_path: Path
) -> None:
    """Pretrained filters arrive, learn more slowly, and come out again as weights."""
    ours = read_recipe(ROOT / "recipes" / f"{STARTERS[teaches]}.toml")
    assert ours.teaches == teaches
    (data_root / "init").symlink_to(data_dir / "init")
    recipe = write(tmp_path, teaches, f'start = "{ours.start}"\n')
    run = RUNS[teaches](
        read_recipe(recipe), data_root, tmp_path, torch.device("cpu"), 45.0
    )
    slow = run.optimiser.param_groups[1]
    assert slow["factor"] == run.plan.schedule.backbone_factor
    assert sum(p.numel() for p in slow["params"]) > 1.7e6
    from napari_clickseg.training.start import read_filters

    filters = read_filters(data_dir / ours.start)
    weights = build_network(read_checkpoint(run.save())).state_dict()
    name = {
        "classes": "backbone.blocks.16.layers.4.weight",
        "alpha": "layer7.0.conv.6.weight",
        "depth": "encoder.base_model.blocks.16.layers.4.weight",
    }[teaches]
    torch.testing.assert_close(weights[name], filters[50][0], rtol=2e-3, atol=1e-4)
    if teaches == "alpha":
        # folded batch norms must not see a batch's own statistics
        run.begin_step()
        held = [
            not module.training
            for key, module in run.network.named_modules()
            if isinstance(module, nn.BatchNorm2d) and key.startswith("layer")
        ]
        assert all(held)
        # nor one channel that is alpha, and dilated filters begin with their middle
        for key, module in run.network.named_modules():
            if isinstance(module, nn.BatchNorm2d) and key.startswith(PLAIN_NORMS):
                assert not module.training
            if isinstance(module, nn.Conv2d) and module.dilation[0] > 1:
                around = module.weight.detach().clone()
                around[..., 1, 1] = 0
                assert not around.any()
                assert (module.weight[..., 1, 1] > 0).all()


def test_starters_use_shippable_data_only(data_dir: Path) -> None:
    allowed = {
        line.split("|")[1].strip()
        for line in (data_dir / "README.md").read_text().splitlines()
        if line.startswith("| train/") and "| yes" in line
    }
    names = {
        name.strip().removeprefix("train/") for r in allowed for name in r.split(",")
    }
    for starter in STARTERS.values():
        plan = read_recipe(ROOT / "recipes" / f"{starter}.toml")
        used = {pack.name for pack in plan.packs}
        assert used <= names
        assert "nasa_materials_mit" not in used


def test_what_the_starters_hold_out_is_what_the_others_do() -> None:
    recipes = ROOT / "recipes"
    clicks = read_recipe(recipes / "ritm-mobilenetv2-starter.toml")
    cells = read_recipe(recipes / "semantic-cells-starter.toml")
    kept = {pack.name: pack.holdout for pack in clicks.packs}
    for pack in cells.packs:
        assert pack.holdout == kept[pack.name]
        assert pack.holdout


def test_a_start_for_a_network_without_a_backbone(
    data_root: Path, tmp_path: Path
) -> None:
    recipe = write(tmp_path, "classes", 'start = "init/any.pt"\n')
    text = recipe.read_text()
    begin, end = text.index("architecture"), text.index("[sampling]")
    unet = 'architecture = "unet"\n[network]\nclasses = 3\n'
    recipe.write_text(text[:begin] + unet + text[end:])
    with pytest.raises(TrainingError, match="no backbone"):
        train(recipe, data=data_root, out=tmp_path / "run", workers=0)


def test_losses_of_one_task_are_none_of_another(tmp_path: Path) -> None:
    recipe = write(tmp_path, "depth")
    recipe.write_text(recipe.read_text() + "\n[losses]\nsoft_iou = 1.0\n")
    with pytest.raises(TrainingError, match=r"soft_iou.*forgiven"):
        read_recipe(recipe)
