"""Step sizes found on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from napari_clickseg.models.cache import CACHE_VARIABLE
from napari_clickseg.models.tuned import (
    learning_rate,
    rate_key,
    read_tuned,
    save_tuned,
    tuned_path,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))


def test_kept_by_the_weights() -> None:
    assert read_tuned("abc") == {}
    save_tuned("abc", "mine", "g-brs-sb", 0.05, auc=0.9)
    save_tuned("abc", "mine", rate_key("g-brs-sb", ["head", "fuse"]), 0.025)
    save_tuned("def", "other", "g-brs-sb", 0.1)
    save_tuned("abc", "mine", "g-brs-sb", 0.0125)
    assert read_tuned("abc") == {"g-brs-sb": 0.0125, "g-brs-sb@head,fuse": 0.025}
    assert read_tuned("def") == {"g-brs-sb": 0.1}
    assert read_tuned("") == {}
    entry = json.loads(tuned_path().read_text())["abc"]
    assert entry["model"] == "mine"
    assert entry["rates"]["g-brs-sb"]["learning_rate"] == 0.0125


def test_a_place_of_its_own_goes_first() -> None:
    rates = {"g-brs-sb": 0.1, "g-brs-sb@head": 0.2}
    assert learning_rate(rates, "g-brs-sb") == 0.1
    assert learning_rate(rates, "g-brs-sb", ("head",)) == 0.2
    assert learning_rate(rates, "g-brs-sb", ("fuse",)) == 0.1
    assert learning_rate(rates, "g-brs-bmsb") is None


@pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity", '"much"', "null"])
def test_nonsense_is_left_out(value: str) -> None:
    text = f'{{"abc": {{"rates": {{"g-brs-sb": {{"learning_rate": {value}}}}}}}}}'
    tuned_path().parent.mkdir(parents=True, exist_ok=True)
    tuned_path().write_text(text)
    assert read_tuned("abc") == {}
