"""CSV, JSON, Markdown and plots of a run."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest
from tests.evaluation.test_metrics import result

from napari_clickseg.evaluation import report
from napari_clickseg.evaluation.report import markdown_table, write_report

if TYPE_CHECKING:
    from pathlib import Path

RESULTS = {
    "model": [result("a", 0.5, 0.95), result("b", 0.91)],
    "graph-cut": [result("a", *[0.3] * 20), result("b", 0.2, 0.9)],
}


def test_all_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    summary = write_report(
        tmp_path,
        RESULTS,
        title="Discs",
        settings={"goal": 0.9},
        published={"noc@90": 1.68},
        notices=["Made up."],
    )
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written == summary
    wanted = {"n", "noc@80", "noc@85", "noc@90", "over20@90", "iou@1", "iou@5", "spc"}
    assert wanted <= written.keys()
    assert written["method"] == "model"
    assert written["noc@90"] == 1.5
    assert written["baselines"]["graph-cut"]["over20@90"] == 1
    assert written["settings"] == {"goal": 0.9}
    assert written["where"] == ["cpu float32"]
    assert written["notices"] == ["Made up.", "memory is short"]
    with (tmp_path / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["sample"], r["method"]) for r in rows] == [
        ("a", "model"),
        ("b", "model"),
        ("a", "graph-cut"),
        ("b", "graph-cut"),
    ]
    assert rows[0]["noc@90"] == "2"
    assert float(rows[0]["iou@2"]) == 0.95
    assert rows[0]["iou@3"] == ""
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("# Discs\n")
    assert "| model, as published |" in text
    assert "- Made up." in text
    for name in ("iou_per_click.png", "clicks_needed.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in text
    assert not list(tmp_path.glob("*.part*"))


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    write_report(tmp_path, RESULTS, title="Discs", settings={})
    assert not list(tmp_path.glob("*.png"))
    assert ".png" not in (tmp_path / "summary.md").read_text()


def test_table() -> None:
    figures = {
        "m": {"n": 2, "noc@90": 1.234, "over20@90": 0, "spc": 0.5, "pie": 2.5e-7}
    }
    heading, _, row = markdown_table(figures).splitlines()
    assert heading.split(" | ")[4] == "NoC@90"
    assert row == "| m | 2 |  |  | 1.23 | 0 |  |  | 0.500 | 2.50 |"
