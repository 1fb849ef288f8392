"""The benchmark of classes, alpha and depth runs, on pictures that say everything."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.prediction.dense_nets import Tiny

from napari_clickseg.errors import DatasetError
from napari_clickseg.evaluation.task_protocol import Reference
from napari_clickseg.prediction.dense import DensePredictor
from napari_clickseg.tasks import Classes, Depth, Matting, Semantic

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
THREE = Classes.named(("a", "b", "c"))
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import dense_clicks as module

    monkeypatch.setattr(module, "_KEPT", {})
    return module


def picture(seed: int, kind: str) -> tuple[np.ndarray, Reference]:
    rng = np.random.default_rng(seed)
    label = np.zeros((32, 40), np.int32)
    label[4 + seed : 20, 5:22] = 1
    label[:, 30:] = 2
    noisy = COLOURS[label] + rng.integers(-20, 20, (*label.shape, 3))
    if kind == "semantic":
        return noisy.astype(np.uint8), Reference(label + 1)
    if kind == "matting":
        trimap = np.full(label.shape, 128, np.uint8)
        trimap[:, :3] = 0
        return noisy.astype(np.uint8), Reference(label / 2, trimap)
    return noisy.astype(np.uint8), Reference(1.5 + label)


def subject(benchmark: ModuleType, kind: str) -> Any:
    import dense_clicks_subjects as subjects

    tasks: dict[str, Any] = {
        "semantic": (Semantic(THREE), Tiny(outputs=3, width=16), ("miou", "accuracy")),
        "matting": (Matting(), Tiny(inputs=4), ("mse", "sad")),
        "depth": (
            Depth(largest=10.0, top_k=None),
            Tiny(largest=10.0),
            ("delta1", "rmse"),
        ),
    }
    task, network, metrics = tasks[kind]
    pictures = [
        subjects.Picture(f"p{seed}", lambda seed=seed: picture(seed, kind))
        for seed in range(4)
    ]
    return subjects.Subject(
        "cells",
        "squares",
        task,
        lambda settings: DensePredictor(network, task, settings),
        pictures[1:],
        pictures[:1],
        metrics,
        "random",
    )


@pytest.fixture
def clicking(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run the command on a small subject."""

    def run(kind: str, *arguments: str) -> None:
        made = subject(benchmark, kind)
        monkeypatch.setitem(benchmark.SUBJECTS, "cells", lambda *_: made)
        monkeypatch.setattr(benchmark, "CLICKS", 3)
        monkeypatch.setattr(benchmark, "TUNING_CLICKS", 1)
        benchmark.main(["cells", *arguments])

    return run


def test_classes_are_clicked_told_and_drawn(
    clicking: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("matplotlib")
    methods = ["none", "g-brs-bmconv", "g-brs-bmconv, free"]
    found = {"rate": 0.05, "trials": [[0.05, 0.5]]}
    (tmp_path / "rates.json").write_text(json.dumps({methods[1]: found}))
    given = ["--out", str(tmp_path), "--methods", *methods, "--share-rates"]
    clicking("semantic", *given, "--images", "2")
    found = json.loads((tmp_path / "clicks-cells.json").read_text())
    assert list(found) == ["miou", "pooled", "accuracy"]
    assert list(found["miou"]) == methods
    for name in ("miou", "pooled"):
        none, held, free = (found[name][method]["curve"] for method in methods)
        assert len(set(none)) == 1
        assert held[0] == free[0] == none[0]
        assert max(held) > none[0] + 0.1
        assert held != free
    rates = json.loads((tmp_path / "rates.json").read_text())
    assert rates[methods[1]] == rates[methods[2]]
    text = (tmp_path / "clicks-cells.md").read_text()
    lines = text.splitlines()
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert lines[0].count("|") == lines[1].count("|")
    assert lines[3].startswith("| g-brs-bmconv | yes | ")
    assert lines[4].startswith("| g-brs-bmconv | no | ")
    with (tmp_path / "clicks-cells.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Without refinement there is nothing to wait for.
    assert len(rows) == 2 * (1 + 4 + 4)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "clicks-cells-miou.png",
        "clicks-cells-pooled.png",
        "clicks-cells-accuracy.png",
    }

    # It goes on where it was, and nothing is asked twice.
    capsys.readouterr()
    clicking("semantic", *given)
    told = [line for line in capsys.readouterr().out.splitlines() if "p" in line[:1]]
    assert len(told) == 3
    assert len(json.loads((tmp_path / "clicks-cells.json").read_text())) == 3
    (tmp_path / "rates.json").write_text(json.dumps({methods[1]: {"rate": 1.0}}))
    with pytest.raises(DatasetError, match="other settings"):
        clicking("semantic", "--out", str(tmp_path), "--methods", methods[1])


@pytest.mark.parametrize(("kind", "metric"), [("matting", "mse"), ("depth", "rmse")])
def test_values_are_clicked(
    clicking: Callable, tmp_path: Path, kind: str, metric: str
) -> None:
    methods = ["none", "g-brs-sb"]
    given = ["--out", str(tmp_path), "--methods", *methods]
    clicking(kind, *given, "--tune-only")
    assert not (tmp_path / "samples.jsonl").exists()
    trials = json.loads((tmp_path / "rates.json").read_text())["g-brs-sb"]["trials"]
    assert len(trials) >= 3
    clicking(kind, *given)
    found = json.loads((tmp_path / "clicks-cells.json").read_text())
    figures = found[metric]["g-brs-sb"]
    assert figures["best"] < figures["curve"][0]
    assert figures["n"] == 3
    assert figures["bottom"]["n"] == 1
    assert 0 <= figures["disobeyed"] <= 1


def test_every_beginning_of_the_order_is_spread(benchmark: ModuleType) -> None:
    import dense_clicks_subjects as subjects

    for count in (1, 2, 12, 45):
        order = subjects.scattered(list(range(count)))
        assert sorted(order) == list(range(count))
    assert max(np.diff(sorted(subjects.scattered(list(range(45)))[:12]))) <= 8


def test_streets_have_the_classes_of_camvid(
    benchmark: ModuleType, data_dir: Path
) -> None:
    import dense_clicks_streets as module
    import dense_clicks_subjects as subjects

    made = subjects.streets(data_dir, "")
    groups = module.Streets(None).groups
    assert sorted(n for n in groups.flatten().tolist() if n < 19) == list(range(19))
    names = {sample.name for sample in made.reported}
    assert not names & {sample.name for sample in made.tuning}
    assert len(names) + len(made.tuning) == 50
