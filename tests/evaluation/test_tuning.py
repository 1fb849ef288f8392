"""The search for a step size, and what it leaves behind."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.evaluation import benchmark
from napari_clickseg.evaluation.datasets import open_dataset
from napari_clickseg.evaluation.options import MethodOptions, display_name
from napari_clickseg.evaluation.runlog import ResultLog
from napari_clickseg.evaluation.tuning import (
    RATES,
    Trial,
    registry_snippet,
    search,
    spread,
    tune,
    tuning_signature,
    tuning_table,
)
from napari_clickseg.refinement.settings import RefinementSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_clickseg.clicks import Click


def test_step_sizes_are_those_of_the_paper() -> None:
    assert tuple(0.1 * 0.5**k for k in range(10)) == RATES


@given(st.integers(0, 9), st.floats(0.1, 3), st.floats(0.1, 3))
def test_a_single_peak_is_found_without_trying_all(
    peak: int, left: float, right: float
) -> None:
    asked: list[int] = []

    def score(index: int) -> float:
        asked.append(index)
        return -left * (peak - index) if index < peak else -right * (index - peak)

    assert search(score) == peak
    assert len(set(asked)) == len(asked)
    if 3 <= peak <= 6:
        assert len(asked) < 10


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_trying_all_finds_the_best_of_any_shape(scores: list[float]) -> None:
    best = search(scores.__getitem__, len(scores), full=True)
    assert scores[best] == max(scores)


def test_one_dent_does_not_end_the_search() -> None:
    scores = [0.1, 0.2, 0.9, 0.4, 0.5, 0.3, 0.2, 0.1, 0, 0]
    assert search(scores.__getitem__) == 2


class OneStep:
    """Better the nearer its step size is to 0.025; a bit better for bmconv."""

    pixels = 1
    where = "nowhere"
    wants_radii = True

    def __init__(self, options: MethodOptions) -> None:
        (self.refinement,) = options.refinements
        self.name = display_name(options.model, self.refinement)
        self.notices: list[str] = []

    def open_image(self, image: Any) -> None:
        self.shape = image.shape[:2]

    def start_object(self, field: Any = None) -> None:
        pass

    def answer_without_clicks(self) -> None:
        return None

    def answer(self, clicks: Sequence[Click]) -> np.ndarray:
        assert self.refinement.learning_rate is not None
        assert clicks[-1].radius is not None
        off = abs(np.log2(self.refinement.learning_rate / 0.025))
        rows, cols = np.ogrid[: self.shape[0], : self.shape[1]]
        reach = 9 - 2 * off
        near = (rows - clicks[0].row) ** 2 + (cols - clicks[0].col) ** 2
        return np.asarray(near <= max(0, reach) ** 2)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Put a made-up method in the model's place; return the step sizes made."""
    rates: list[float | None] = []

    def make_methods(options: MethodOptions) -> list[Any]:
        rates.append(options.refinements[0].learning_rate)
        return [OneStep(options)]

    monkeypatch.setattr(benchmark, "make_methods", make_methods)
    return rates


OPTIONS = MethodOptions(
    "starter",
    refinements=tuple(map(RefinementSettings, ("g-brs-sb", "g-brs-bmconv"))),
    protocol="curve",
    max_clicks=2,
)


def test_tuning_and_going_on(
    discs: Path, tmp_path: Path, made: list[float | None]
) -> None:
    samples = open_dataset(discs).first(2)
    signature = tuning_signature(OPTIONS.signature)
    tried: list[Trial] = []

    def stop(trial: Trial) -> None:
        tried.append(trial)
        if len(tried) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(tune(samples, OPTIONS, ResultLog(tmp_path, signature), tried=stop))
    assert made == [0.1 * 0.5**4, 0.1 * 0.5**3, 0.1 * 0.5**2]
    tried.clear()
    log = ResultLog(tmp_path, signature)
    best = list(tune(samples, OPTIONS, log, tried=tried.append))
    assert [t.refinement.method for t in best] == ["g-brs-sb", "g-brs-bmconv"]
    assert [t.rate for t in best] == [0.025, 0.025]
    # What was finished before is not done again, what is far from the best not at all.
    assert len(made) == len(tried) == 14
    assert made[3] == 0.1 * 0.5**1
    text = tuning_table(tried)
    assert text.count("**0.025**") == 2
    assert text.index("g-brs-sb") < text.index("g-brs-bmconv")
    snippet = tomllib.loads("[[model]]\n" + registry_snippet(best))
    (entry,) = snippet["model"]
    assert entry["refinement"] == {
        "learning_rates": {"g-brs-sb": 0.025, "g-brs-bmconv": 0.025}
    }


def test_all_ten(discs: Path, tmp_path: Path, made: list[float | None]) -> None:
    log = ResultLog(tmp_path, tuning_signature(OPTIONS.signature))
    best = list(tune(open_dataset(discs).first(1), OPTIONS, log, full=True))
    assert made == [*RATES, *RATES]
    assert best[0].rate == 0.025


def test_snippet_with_a_place() -> None:
    sb = RefinementSettings("g-brs-sb", at=("decode4.fuse:input",))
    text = registry_snippet([Trial(sb, 0.05, 0.9, 0.95, 0.1)])
    entry = tomllib.loads("[[model]]\n" + text)["model"][0]["refinement"]
    assert entry["at"] == ["decode4.fuse:input"]
    assert entry["learning_rates"] == {"g-brs-sb": 0.05}


def test_samples_are_spread() -> None:
    samples: Any = list(range(10))
    assert spread(samples, 3) == [0, 3, 6]
    assert spread(samples, None) == spread(samples, 20) == samples
