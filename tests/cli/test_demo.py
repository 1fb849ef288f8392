"""``demo``: headless in full; why a window would not open."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from napari_clickseg.cli import demo
from napari_clickseg.imagefiles import read_image, read_labels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("sample", demo.SAMPLES)
def test_clicks_lie_on_the_objects_that_were_drawn(sample: str) -> None:
    pixels, keywords = demo.sample_image(sample)
    drawn = keywords.get("metadata", {}).get("objects")
    seen = set()
    for clicks in demo.CLICKS[sample].values():
        for click in clicks:
            row, col = int(click.row), int(click.col)
            assert row < pixels.shape[0]
            assert col < pixels.shape[1]
            if drawn is not None:
                seen.add(int(drawn[row, col]))
    if drawn is not None:
        assert 0 not in seen
        assert len(seen) == len(demo.CLICKS[sample])


def test_without_a_display(
    run: Callable[..., Any],
    fake_model: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    ran = run("demo", "--sample", "fluorescence", "--out", tmp_path / "d")
    assert ran.code == 0, ran.err
    assert ran.err.startswith("There is no display")
    assert ran.out.count("\n") == 1
    assert ran.out.startswith("3 objects, 3 clicks in ")
    assert set(read_labels(tmp_path / "d" / "fluorescence-labels.tif").flat) > {0, 1}
    assert read_image(tmp_path / "d" / "fluorescence-overlay.png").ndim == 3


def test_a_window_is_opened_where_one_can(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(demo, "why_no_window", lambda: "")
    monkeypatch.setattr(demo, "open_window", lambda *a: opened.append(a))
    assert run("demo", "--no-clicks").code == 0
    assert opened[0][:2] == ("astronaut", False)
    assert run("demo", "--sample", "nothing").code == 2


def test_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    assert "QT_QPA_PLATFORM" in demo.why_no_window()
    monkeypatch.delenv("QT_QPA_PLATFORM")
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert "napari-clickseg[all]" in demo.why_no_window()
    monkeypatch.setattr(demo, "find_spec", lambda name: name == "PyQt6")

    def answer(code: int, text: str = "") -> Callable[..., Any]:
        return lambda *_, **__: subprocess.CompletedProcess([], code, "", text)

    monkeypatch.setattr(demo.subprocess, "run", answer(0))
    assert demo.why_no_window() == ""
    monkeypatch.setattr(demo.subprocess, "run", answer(-6, "\nno xcb plugin\nmore"))
    assert demo.why_no_window() == "No window can be opened (no xcb plugin)."

    def hang(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("python", 1)

    monkeypatch.setattr(demo.subprocess, "run", hang)
    assert "does not answer" in demo.why_no_window()


@pytest.mark.gui
def test_the_window(weights: Path) -> None:
    """The command itself: opens napari with the dock, clicks, and closes."""
    pytest.importorskip("qtpy")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "napari_clickseg.cli", "--debug", "demo"),
            *("--model", str(weights), "--close-after", "8"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "without a window" not in done.stderr
