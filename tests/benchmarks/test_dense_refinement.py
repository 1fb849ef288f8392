"""RGB-BRS against G-BRS-bmconv runs, on networks that tests can afford."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import dense_refinement as module

    return module


def test_both_sides_make_all_their_steps(
    benchmark: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    arguments = ["--tasks", "semantic", "--clicks", "2", "--iterations", "2"]
    benchmark.main([*arguments, "--out", str(tmp_path)])
    found = json.loads((tmp_path / "starters.json").read_text())
    rows = {row["side"]: row for row in found["rows"]}
    assert set(rows) == {"rgb-brs", "g-brs-bmconv"}
    for row in rows.values():
        assert row["evaluations"] == 3  # each step, and the answer after the last one
        assert len(row["seconds"]) == 2
        assert row["peak"] > row["before"] > 0
    lines = (tmp_path / "starters.md").read_text().splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| semantic | semantic-cells-starter | ")
    assert capfd.readouterr().out.count("semantic-cells-starter, rgb-brs") == 2


@pytest.mark.parametrize("task", ["semantic", "matting", "depth"])
def test_the_starters_networks_are_built(benchmark: ModuleType, task: str) -> None:
    network, of, size = benchmark.build(task, False)
    assert of.name == task
    assert not network.training
    assert min(size) > 0
    assert set(benchmark.PUBLISHED) == set(benchmark.STARTERS) == set(benchmark.PAPER)
