"""``tune-refinement``: found, remembered, used."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from tests.evaluation.conftest import make_dataset
from tests.evaluation.test_tuning import OneStep

from napari_clickseg.evaluation import benchmark
from napari_clickseg.models.cache import CACHE_VARIABLE
from napari_clickseg.models.model import load_model
from napari_clickseg.models.tuned import read_tuned, tuned_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_clickseg.evaluation.options import MethodOptions


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[MethodOptions]:
    asked: list[MethodOptions] = []

    def make_methods(options: MethodOptions) -> list[Any]:
        asked.append(options)
        return [OneStep(options)]

    monkeypatch.setattr(benchmark, "make_methods", make_methods)
    return asked


def test_found_and_remembered(
    run: Callable[..., Any], weights: Path, tmp_path: Path, made: list[MethodOptions]
) -> None:
    discs = make_dataset(tmp_path / "discs")
    command = (
        *("tune-refinement", weights, discs, "--limit", "2", "--clicks", "2"),
        *("--jobs", "1"),
    )
    rates = tmp_path / "rates.toml"
    ran = run(*command, "--out", rates)
    assert ran.code == 0, ran.err
    assert "| g-brs-bmconv | **0.025** |" in ran.out
    count = len(made)
    assert count < 40
    assert made[0].max_clicks == 2
    assert made[0].protocol == "curve"
    assert not made[0].refinements[0].correct
    entry = tomllib.loads("[[model]]\n" + rates.read_text())["model"][0]
    four = {"g-brs-sb", "g-brs-bmsb", "g-brs-bmsb-m", "g-brs-bmconv"}
    assert entry["refinement"]["learning_rates"] == dict.fromkeys(four, 0.025)
    # Whoever loads these weights has them, whoever loads others has not.
    model = load_model(weights, "cpu", "float32", optimise=False)
    assert dict(model.learning_rates) == dict.fromkeys(four, 0.025)
    assert read_tuned("other") == read_tuned("") == {}
    stored = json.loads(tuned_path().read_text())[model.sha256]["rates"]
    assert stored["g-brs-sb"]["objects"] == 2
    # The same command does nothing again.
    ran = run(*command, "--json")
    assert ran.code == 0, ran.err
    assert len(made) == count
    found = json.loads(ran.out)
    assert found["learning_rates"] == dict.fromkeys(four, 0.025)
    assert len(found["trials"]) == count


def test_stopped_by_hand(
    run: Callable[..., Any],
    weights: Path,
    tmp_path: Path,
    made: list[MethodOptions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    discs = make_dataset(tmp_path / "discs")
    make_methods = benchmark.make_methods

    def stop(options: MethodOptions) -> list[Any]:
        if options.refinements[0].method == "g-brs-bmconv":
            raise KeyboardInterrupt
        return make_methods(options)

    monkeypatch.setattr(benchmark, "make_methods", stop)
    ran = run(
        *("tune-refinement", weights, discs, "--clicks", "1", "--jobs", "1"),
        *("--layers", "rgb-brs,g-brs-bmconv"),
    )
    assert ran.code == 130
    assert "1 of 2 layers done" in ran.err
    assert "rgb-brs" in ran.out
    assert made[0].refinements[0].optimiser == "adam"
    (entry,) = json.loads(tuned_path().read_text()).values()
    assert list(entry["rates"]) == ["rgb-brs"]


def test_a_place_of_its_own(
    run: Callable[..., Any], weights: Path, tmp_path: Path, made: list[MethodOptions]
) -> None:
    discs = make_dataset(tmp_path / "discs")
    ran = run(
        *("tune-refinement", weights, discs, "--clicks", "1", "--jobs", "1"),
        *("--layers", "g-brs-sb", "--at", "fuse", "--at", "head", "--json"),
    )
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["learning_rates"] == {"g-brs-sb@fuse,head": 0.025}
    assert made[0].refinements[0].at == ("fuse", "head")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere"], 3, "There is no folder"),
        (["discs", "--layers", "f-brs-b"], 2, "f-brs-b has no step size"),
        (["discs", "--layers", "none,g-brs-sb"], 2, "none has no step size"),
        (["discs", "--layers", "magic"], 2, "'magic' is not one of"),
        (["discs", "--layout", "x"], 2, "grabcut, berkeley"),
    ],
)
def test_what_cannot_be_done(
    run: Callable[..., Any],
    weights: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_dataset(tmp_path / "discs")
    monkeypatch.chdir(tmp_path)
    ran = run("tune-refinement", weights, *arguments)
    assert ran.code == code, ran.err
    assert says in " ".join(ran.err.split())


def test_a_broken_file_of_step_sizes_counts_as_empty() -> None:
    for text in ("", "[]", '{"a": 3}', '{"a": {"rates": {"g-brs-sb": {}}}}'):
        tuned_path().parent.mkdir(parents=True, exist_ok=True)
        tuned_path().write_text(text)
        assert read_tuned("a") == {}
