"""The training loop: learns, stops, goes on, and leaves a usable model."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="training needs the extra 'train' (OpenCV)")

from napari_clickseg.errors import TrainingError
from napari_clickseg.models.checkpoint import build_network, read_checkpoint
from napari_clickseg.networks.ritm import RITM
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2
from napari_clickseg.training.recipe import Schedule
from napari_clickseg.training.run import Progress, train
from napari_clickseg.training.state import (
    RelativeGain,
    learning_rate_factor,
    load_state,
    plain_weights,
)


def test_run_writes_a_model_that_loads(
    recipe: Path, data_root: Path, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    weights = train(
        recipe, data=data_root, out=tmp_path / "run", workers=0, on_step=seen.append
    )
    assert [progress.step for progress in seen] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(progress.loss) for progress in seen)
    checkpoint = read_checkpoint(weights)
    assert checkpoint.metadata["name"] == "tiny"
    assert checkpoint.metadata["steps"] == 6
    network = build_network(checkpoint)
    points = torch.full((1, 4, 3), -1.0)
    points[0, 0] = torch.tensor([20.0, 30.0, 0.0])
    answer = network(torch.rand(1, 4, 60, 70), points)["instances"]
    assert answer.shape == (1, 1, 60, 70)
    assert torch.isfinite(answer).all()


def test_a_run_that_was_stopped_goes_on(
    recipe: Path, data_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(recipe, data=data_root, out=out, workers=0, max_steps=3)
    first = load_state(out / "checkpoint.pt")
    assert 3 <= first["step"] <= 4
    seen: list[int] = []
    train(
        recipe,
        data=data_root,
        out=out,
        workers=0,
        on_step=lambda progress: seen.append(progress.step),
    )
    assert seen[0] == first["step"] + 1
    assert load_state(out / "checkpoint.pt")["step"] == 6


def test_a_killed_run_keeps_its_last_checkpoint(
    recipe: Path, data_root: Path, tmp_path: Path
) -> None:
    recipe.write_text(recipe.read_text().replace("steps = 6", "steps = 100000"))
    out = tmp_path / "run"
    code = (
        "from napari_clickseg.training.run import train\n"
        f"train({str(recipe)!r}, data={str(data_root)!r}, out={str(out)!r}, "
        "workers=0, save_seconds=0.0)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 120
        while not (out / "ema.safetensors").exists():
            assert process.poll() is None, "training ended by itself"
            assert time.monotonic() < deadline, "no checkpoint within two minutes"
            time.sleep(0.05)
        time.sleep(0.5)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    state = load_state(out / "checkpoint.pt")
    assert state["step"] >= 1
    seen: list[int] = []
    train(
        recipe,
        data=data_root,
        out=out,
        workers=0,
        max_steps=state["step"] + 2,
        on_step=lambda progress: seen.append(progress.step),
    )
    assert seen[0] == state["step"] + 1


def test_same_seed_same_losses(recipe: Path, data_root: Path, tmp_path: Path) -> None:
    losses: list[list[float]] = [[], []]
    for number in range(2):
        train(
            recipe,
            data=data_root,
            out=tmp_path / str(number),
            workers=0,
            max_steps=3,
            on_step=lambda progress, into=losses[number]: into.append(progress.loss),
        )
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_the_same_loop_trains_a_published_network(
    recipe: Path, data_root: Path, tmp_path: Path
) -> None:
    text = recipe.read_text().replace('"ritm-mobilenetv2"', '"ritm"')
    start, end = text.index("[network]"), text.index("[sampling]")
    network = '[network]\nbackbone = "hrnet18s"\n\n'
    recipe.write_text(text[:start] + network + text[end:])
    losses: list[float] = []
    weights = train(
        recipe,
        data=data_root,
        out=tmp_path / "run",
        workers=0,
        max_steps=2,
        on_step=lambda progress: losses.append(progress.loss),
    )
    assert np.isfinite(losses).all()
    network_again = build_network(read_checkpoint(weights))
    before = RITM(backbone="hrnet18s").state_dict()
    assert network_again.state_dict().keys() == before.keys()


def test_missing_data(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--data"):
        train(recipe, data=tmp_path / "none", out=tmp_path / "run")


def test_unknown_architecture(recipe: Path, data_root: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text().replace("ritm-mobilenetv2", "vgg"))
    with pytest.raises(TrainingError, match="unknown architecture"):
        train(recipe, data=data_root, out=tmp_path / "run")


def test_torn_checkpoint(recipe: Path, data_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(TrainingError, match="delete it"):
        train(recipe, data=data_root, out=out, workers=0)


def test_relative_filters_change_nothing() -> None:
    torch.manual_seed(0)
    network = RITMMobileNetV2(16, 16, (16, 8)).eval()
    plain = {key: value.clone() for key, value in network.state_dict().items()}
    for module in network.backbone.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.utils.parametrize.register_parametrization(
                module, "weight", RelativeGain(module.weight)
            )
    again = plain_weights(network.state_dict())
    assert again.keys() == plain.keys()
    for key, value in plain.items():
        torch.testing.assert_close(again[key], value, rtol=1e-5, atol=1e-7)


def test_learning_rate_rises_and_falls() -> None:
    schedule = Schedule(steps=100, warmup_steps=10)
    factors = [learning_rate_factor(i, i / 100, schedule) for i in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) > 0.95
    assert factors[-1] == pytest.approx(0.0, abs=1e-6)
    assert all(b <= a for a, b in itertools.pairwise(factors[10:]))
