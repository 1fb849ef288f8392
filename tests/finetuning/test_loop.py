"""Killed, shared, cut into pieces: the same losses come out."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.finetuning.conftest import Arrays, blobs, plan

from napari_clickseg.errors import Cancelled, TrainingError
from napari_clickseg.models.checkpoint import read_checkpoint
from napari_clickseg.training.finetuning.loop import rate_factor
from napari_clickseg.training.finetuning.running import learn

PROGRAM = """
import sys
from pathlib import Path
from dataclasses import replace
from tests.finetuning.conftest import blobs, plan
from napari_clickseg.training.finetuning.running import learn

if __name__ == "__main__":
    model, out, devices = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    job = plan(blobs(6), model, out, steps=12, parts="all", devices=devices)
    options = replace(job.work.options, save_seconds=0.0, check_every=5)
    job.work = replace(job.work, options=options)
    out.mkdir(parents=True, exist_ok=True)
    learn(job.work, out, device="cpu", devices=devices,
          on_tick=lambda tick: print(tick.step, flush=True))
    print("done", flush=True)
"""


def start(model: Path, out: Path, devices: int = 1) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    script = out.parent / "program.py"
    script.write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, str(script), str(model), str(out), str(devices)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=root,
    )


def losses(out: Path) -> dict[int, float]:
    """The last loss that was written for each step."""
    lines = (out / "history.jsonl").read_text().splitlines()
    return {told["step"]: told["loss"] for told in map(json.loads, lines)}


@pytest.mark.timeout(900)
def test_killed_and_started_again_it_learns_the_same(
    tiny: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    process = start(tiny, whole)
    told, _ = process.communicate()
    assert told.endswith("done\n")
    assert process.returncode == 0
    killed = tmp_path / "killed"
    process = start(tiny, killed)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "7":
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    first = losses(killed)
    assert 7 in first
    assert 12 not in first
    told, _ = start(tiny, killed).communicate()
    assert told.endswith("done\n")
    assert losses(killed) == losses(whole)  # bit for bit, on a processor
    for name in ("network", "average", "optimiser", "history", "rng"):
        mine, theirs = (
            torch.load(out / "checkpoint.pt", weights_only=True)[name]
            for out in (killed, whole)
        )
        assert same(mine, theirs), name


def same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, torch.Tensor):
        return torch.equal(mine, theirs)
    if isinstance(mine, dict):
        return mine.keys() == theirs.keys() and all(
            same(mine[key], theirs[key]) for key in mine
        )
    if isinstance(mine, list | tuple):
        return len(mine) == len(theirs) and all(map(same, mine, theirs))
    return bool(mine == theirs)


@pytest.mark.timeout(900)
def test_two_processes_learn_what_one_learns(tiny: Path, tmp_path: Path) -> None:
    outs = {number: tmp_path / str(number) / "out" for number in (1, 2)}
    for number, out in outs.items():
        out.parent.mkdir()
        told, _ = start(tiny, out, number).communicate()
        assert told.endswith("done\n")
    one, two = (losses(out) for out in outs.values())
    assert one.keys() == two.keys()
    np.testing.assert_allclose(
        [one[step] for step in sorted(one)],
        [two[step] for step in sorted(one)],
        rtol=2e-3,
    )


def test_pieces_of_a_batch_add_up(data: Arrays, tiny: Path, tmp_path: Path) -> None:
    found = []
    for pieces in (1, 2):
        out = tmp_path / str(pieces)
        job = plan(data, tiny, out, batch=4, accumulate=pieces, steps=3)
        out.mkdir()
        found.append(learn(job.work, out, device="cpu")["history"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_another_work_is_not_taken_up(data: Arrays, tiny: Path, tmp_path: Path) -> None:
    job = plan(data, tiny, tmp_path, steps=1)
    learn(job.work, tmp_path, device="cpu")
    other = plan(data, tiny, tmp_path, steps=1, seed=3)
    with pytest.raises(TrainingError, match="other data or settings"):
        learn(other.work, tmp_path, device="cpu")


def test_cancelled_at_once_and_then_gone_on(
    data: Arrays, tiny: Path, tmp_path: Path
) -> None:
    job = plan(data, tiny, tmp_path, steps=6)
    with pytest.raises(Cancelled, match="Stopped"):
        learn(job.work, tmp_path, device="cpu", cancelled=lambda: True)
    assert not (tmp_path / "checkpoint.pt").exists()
    ticks: list[object] = []
    with pytest.raises(Cancelled, match="goes on from"):
        learn(
            job.work,
            tmp_path,
            device="cpu",
            on_tick=ticks.append,
            cancelled=lambda: bool(ticks),
        )
    assert (tmp_path / "checkpoint.pt").exists()
    learned = learn(job.work, tmp_path, device="cpu")
    assert learned["step"] == 6


def test_finished_early_keeps_what_was_learned(
    data: Arrays, tiny: Path, tmp_path: Path
) -> None:
    job = plan(data, tiny, tmp_path, steps=50)
    learned = learn(job.work, tmp_path, device="cpu", finish=lambda: True)
    assert learned["step"] == 0
    names = read_checkpoint(tiny).state_dict.keys()
    assert learned["weights"].keys() == names


def test_stops_when_it_gets_no_better(
    data: Arrays, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = plan(blobs(8), tiny, tmp_path, steps=40)
    options = replace(job.work.options, check_every=1, patience=2)
    job.work = replace(job.work, options=options)
    from napari_clickseg.training.finetuning.clicks import ClickLesson

    monkeypatch.setattr(
        ClickLesson, "validate", lambda *_: {"loss": 1.0, "score": 0.1, "noc": 9.0}
    )
    learned = learn(job.work, tmp_path, device="cpu")
    assert learned["step"] < 8
    # the first is the best: the parent comes out, as it was
    parent = read_checkpoint(tiny).state_dict
    for name, value in learned["weights"].items():
        torch.testing.assert_close(value, parent[name], msg=name)


def test_rate_rises_and_falls() -> None:
    factors = [rate_factor(step, 100, 20) for step in range(100)]
    assert factors[0] == pytest.approx(0.05)
    assert max(factors) == factors[np.argmax(factors)] <= 1
    assert 15 <= int(np.argmax(factors)) <= 22
    assert factors[-1] < 1e-3
    assert all(a >= b for a, b in itertools.pairwise(factors[20:]))


def test_tensorboard_gets_the_curve(tiny: Path, tmp_path: Path) -> None:
    job = plan(blobs(8), tiny, tmp_path, steps=2)
    learn(job.work, tmp_path, device="cpu")
    assert list((tmp_path / "tensorboard").glob("events*"))
