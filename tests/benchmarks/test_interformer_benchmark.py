"""The benchmark of InterFormer runs, on networks that tests can afford."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

from napari_clickseg.networks import interformer

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TABLE = "backbone.layers.0.attn.relative_position_bias_table"
TINY = {"dim": 32, "depth": 2, "heads": 2, "depths": (2, 1, 2, 1)}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setitem(interformer.VARIANTS, "light", TINY)
    import interformer as module

    return module


@pytest.mark.parametrize("sides", [(64, 96), (512, 512), (70, 500)])
def test_the_released_way_gives_the_same_features(
    benchmark: ModuleType, sides: tuple[int, int]
) -> None:
    network, _ = benchmark.build("InterFormer Light")
    table = network.get_parameter(TABLE)
    assert float(table.detach().std()) > 0.1  # else there is nothing to rebuild
    image = torch.rand(1, 3, *sides)
    with torch.inference_mode():
        ours = network.encode_image(image)
        released = benchmark.released_encode(network, image)
    for one, two in zip(released, ours, strict=True):
        assert float((one - two).norm() / two.norm()) < 1e-5


def test_everything_is_timed_and_written(benchmark: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    who = ["RITM HRNet18s", "InterFormer starter", "InterFormer Light"]
    found = benchmark.race([64, 96], who, rounds=4, apart=False)
    keys = {one.key for one in found}
    assert ("RITM HRNet18s", "click", 400) in keys
    for name in who[1:]:
        for size in (64, 96):
            assert (name, "decode", size) in keys
            assert (name, "encode", size) in keys
    assert all(one.seconds for one in found)
    decode = next(one for one in found if one.what == "decode")
    parts = sum(sum(each) for each in decode.parts.values())
    assert 0.5 < parts / sum(decode.seconds.values()) <= 1
    ratios = benchmark.figures.ratios(found)
    goals = {row["text"]: row["goal"] for row in ratios if row["goal"]}
    assert sorted(goals.values()) == [3, 4, 8]
    memory = {"who": "x", "size": 64, "dtype": "bfloat16", "weights": 2**20}
    memory |= {"features": 1, "bias": 0, "encode": 2**30, "decode": 5}
    result = {
        "machine": {"processor": "P", "threads": 1, "torch": "2"},
        "rows": [one.row() for one in found],
        "ratios": ratios,
        "fidelity": {"fast": [0.01]},
        "memory": [memory],
    }
    benchmark.write(result, tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".csv",
        ".json",
        ".md",
        ".png",
    ]
    lines = (tmp_path / "interformer.md").read_text().splitlines()
    assert any("0.19" in line and line.startswith("| InterFormer L") for line in lines)
    widths = [line.count("|") for line in lines if line.startswith("|")]
    assert len(widths) > 15
    page = BENCHMARKS.parent / "docs" / "interformer.md"
    copy = tmp_path / "page.md"
    copy.write_text(page.read_text())
    benchmark.fill(copy, benchmark.figures.parts(result))
    assert (tmp_path / "interformer.md").read_text().splitlines()[2] in copy.read_text()
    with pytest.raises(ValueError, match="no place"):
        benchmark.fill(copy, {"nonsense": ""})


def test_published_ways_answer_from_a_process_of_their_own(
    benchmark: ModuleType,
) -> None:
    (one,) = benchmark.race([64], ["RITM HRNet18s"], rounds=2)
    assert one.key == ("RITM HRNet18s", "click", 400)
    assert len(one.seconds) == 2


def test_ratios_are_taken_within_rounds(benchmark: ModuleType) -> None:
    def one(who: str, what: str, seconds: dict[int, float]) -> object:
        return benchmark.Contestant(who, what, 64, lambda: None, seconds=seconds)

    # A machine that gets ten times slower midway changes nothing.
    slow = one("RITM HRNet18s", "click", {0: 4.0, 1: 4.0, 2: 40.0, 3: 40.0})
    fast = one("InterFormer Light", "decode", {0: 1.0, 2: 10.0})
    (row,) = benchmark.figures.ratios([slow, fast])
    assert row["ratio"] == 4.0
    assert row["spread"] == (4.0, 4.0)
