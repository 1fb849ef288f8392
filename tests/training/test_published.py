"""The published recipes, step by step on small data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.finetuning.conftest import blobs
from tests.finetuning.test_readers import write_folder

from napari_clickseg.errors import TrainingError
from napari_clickseg.networks.interformer import InterFormer
from napari_clickseg.networks.ritm import RITM
from napari_clickseg.training.finetuning.checking import examine
from napari_clickseg.training.finetuning.pictures import Pictures
from napari_clickseg.training.published import (
    PublishedBatches,
    PublishedOptions,
    PublishedRun,
    add_clicks,
    layer_rate,
    ritm_rate,
)
from napari_clickseg.training.readers.arrays import Arrays
from napari_clickseg.training.recipe import read_recipe
from napari_clickseg.training.run import train

RECIPE = """
name = "small"
architecture = "{architecture}"
protocol = "{protocol}"
[network]
{network}
[sampling]
canvas = [64, 96]
batch = 2
least_area = 40
[sampling.points]
most = 6
[schedule]
steps = 3
milestones = [2]
learning_rate = 1e-3
weight_decay = 0.01
layer_decay = 0.5
warmup_steps = 2
[[packs]]
name = "blobs"
kind = "photo"
weight = 1
"""


def test_rates_of_ritm() -> None:
    rates = {name: ritm_rate(name) for name, _ in RITM("hrnet18s").named_parameters()}
    found = {
        part: {rate for name, rate in rates.items() if part in name}
        for part in (
            "maps_transform",
            "feature_extractor.conv1",
            "feature_extractor.stage4",
            "feature_extractor.cls_head",
            "feature_extractor.aux_head",
            "feature_extractor.ocr_distri_head",
            "feature_extractor.conv3x3_ocr",
        )
    }
    assert found == {
        "maps_transform": {1.0},
        "feature_extractor.conv1": {0.1},
        "feature_extractor.stage4": {0.1},
        "feature_extractor.cls_head": {0.1},
        "feature_extractor.aux_head": {0.1},
        "feature_extractor.ocr_distri_head": {1.0},
        "feature_extractor.conv3x3_ocr": {1.0},
    }
    deeplab = {n: ritm_rate(n) for n, _ in RITM("resnet34").named_parameters()}
    slow = {n for n, rate in deeplab.items() if rate == 0.1}
    assert slow == {n for n in deeplab if n.startswith("feature_extractor.backbone.")}
    assert slow
    assert slow != set(deeplab)


def test_rates_of_a_vit_fall_layer_by_layer() -> None:
    assert layer_rate("decode_head.conv_seg.weight", 12, 0.65) == 1
    assert layer_rate("backbone.layers.11.ln1.weight", 12, 0.65) == pytest.approx(0.65)
    assert layer_rate("backbone.layers.0.ln1.weight", 12, 0.65) == pytest.approx(
        0.65**12
    )
    assert layer_rate("backbone.pos_embed", 12, 0.65) == pytest.approx(0.65**13)
    with torch.device("meta"):
        names = [n for n, _ in InterFormer(depth=2).named_parameters()]
    assert {n for n in names if n.startswith("backbone.layers.")}


def batches(**options: Any) -> PublishedBatches:
    reader = Arrays(*blobs(4))
    usual: dict[str, Any] = {"canvas": (64, 96), "batch": 4, "least_area": 40}
    return PublishedBatches(
        [(Pictures(reader), None, examine(reader).entries)],
        PublishedOptions(**{**usual, **options}),
        seed=0,
    )


def test_windows_are_those_of_their_number() -> None:
    first, again = batches()[3], batches()[3]
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert first["image"].shape == (4, 3, 64, 96)
    assert first["mask"].shape == (4, 1, 64, 96)
    assert first["points"].shape == (4, 48, 3)
    other = batches()[4]
    assert not torch.equal(first["image"], other["image"])


def test_positive_clicks_lie_on_the_object_after_all_changes() -> None:
    data = batches(flips="any", quarter_turns=True, shift=0.03, angle=3.0, empty=0.0)
    for number in range(6):
        batch = data[number]
        for mask, points in zip(batch["mask"], batch["points"], strict=True):
            half = len(points) // 2
            for row, col, order in points.tolist():
                if order < 0:
                    continue
                assert 0 <= row < 64
                assert 0 <= col < 96
            for row, col, order in points[:half].tolist():
                assert order < 0 or mask[0, int(row), int(col)] == 1
            for row, col, order in points[half:].tolist():
                assert order < 0 or mask[0, int(row), int(col)] == 0


def test_small_objects_are_not_asked_for() -> None:
    data = batches(least_area=10_000, empty=1.0)
    assert float(data[0]["mask"].clamp_min(0).sum()) == 0


def test_a_corrective_click_is_written_from_the_end_of_its_half() -> None:
    points = torch.full((2, 12, 3), -1.0)
    points[:, :6] = torch.tensor([1.0, 1.0, 100.0])
    truth = np.zeros((2, 1, 40, 40), np.int8)
    truth[0, 0, 10:30, 10:30] = 1
    answers = np.zeros((2, 40, 40), np.float32)
    answers[1, 5:35, 5:35] = 1
    rng = np.random.default_rng(0)
    add_clicks(points, answers, truth, 2, 2.0, rng)
    row, col, order = points[0, 4].tolist()
    assert order == 2
    assert 14 <= row <= 25
    assert 14 <= col <= 25  # deeper than half
    assert points[1, 10, 2] == 2  # negative: from the end of the other half
    assert (points[0, 6:] == -1).all()


def test_how_many_clicks_are_made_without_learning(tmp_path: Path) -> None:
    class Plan:
        protocol = "ritm"

    run = PublishedRun.__new__(PublishedRun)
    run.plan = Plan()  # type: ignore[assignment]
    run.data = batches()
    rng = np.random.default_rng(0)
    counts = np.bincount([run.draw_clicks(rng) for _ in range(4000)], minlength=4)
    assert len(counts) == 4
    np.testing.assert_allclose(counts / 4000, 0.25, atol=0.03)
    run.plan.protocol = "interformer"  # type: ignore[misc]
    drawn = np.bincount([run.draw_clicks(rng) for _ in range(4000)], minlength=21)
    np.testing.assert_allclose(drawn[1:4] / drawn[:3], 0.6, atol=0.12)


@pytest.mark.parametrize(
    ("protocol", "architecture", "network"),
    [
        ("ritm", "ritm", 'backbone = "hrnet4s"\nocr_width = 8'),
        ("interformer", "interformer", "dim = 32\ndepth = 1\nheads = 2"),
    ],
)
def test_three_steps(
    tmp_path: Path, protocol: str, architecture: str, network: str
) -> None:
    write_folder(tmp_path / "data" / "blobs", *blobs(3))
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        RECIPE.format(protocol=protocol, architecture=architecture, network=network)
    )
    seen: list[float] = []
    weights = train(
        recipe,
        data=tmp_path / "data",
        out=tmp_path / "out",
        workers=0,
        on_step=lambda step: seen.append(step.learning_rate),
    )
    assert weights.is_file()
    if protocol == "ritm":
        np.testing.assert_allclose(seen, [1e-3, 1e-3, 1e-4])
    else:
        assert seen[0] < seen[1]  # it rises, and falls in a line to nothing


def test_a_protocol_that_there_is_not(tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE.format(protocol="sam", architecture="ritm", network=""))
    with pytest.raises(TrainingError, match="protocol is 'sam'"):
        read_recipe(recipe)
