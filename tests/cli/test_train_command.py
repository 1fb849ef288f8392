"""``train``: hands its arguments on, and says how to go on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for the training loop; record what it was asked."""
    from napari_clickseg.training import run as module

    asked: list[Any] = []

    def train(recipe: Path, **named: Any) -> Path:
        asked.append((recipe, named))
        named["on_step"](module.Progress(10, 0.25, 0.5, 0.7, 1e-3))
        if named["max_steps"] == 3:
            raise KeyboardInterrupt
        return Path("runs/x/ema.safetensors")

    monkeypatch.setattr(module, "train", train)
    return asked


def test_arguments(run: Callable[..., Any], trained: list[Any]) -> None:
    ran = run("train", "r.toml", "--data", "d", "--restart", "--device", "cpu")
    assert ran.code == 0, ran.err
    assert ran.out.strip() == str(Path("runs/x/ema.safetensors"))
    assert "Stopped at step 10 (25%)" in ran.err
    recipe, named = trained[0]
    assert recipe == Path("r.toml")
    assert named["data"] == Path("d")
    assert named["resume"] is False
    assert named["device"] == "cpu"


def test_stopped_by_hand(run: Callable[..., Any], trained: list[Any]) -> None:
    ran = run("train", "r.toml", "--steps", "3", "--device", "cpu")
    assert ran.code == 130
    assert "again to go on" in ran.err


def test_no_such_recipe(run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run("train", tmp_path / "none.toml", "--device", "cpu")
    assert ran.code in (3, 6)
    assert "none.toml" in ran.err
    assert run("train", "r.toml", "--device", "abacus").code == 5
