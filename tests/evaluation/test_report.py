"""CSV, JSON, Markdown and plots of a run."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest
from tests.evaluation.test_metrics import result

from napari_clickseg.evaluation import plots
from napari_clickseg.evaluation.report import curve_table, markdown_table, write_report

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
        published={"model": {"noc@90": 1.68}},
        notices=["Made up."],
    )
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written == summary
    wanted = {"n", "noc@80", "noc@85", "noc@90", "over20@90", "iou@1", "iou@5", "spc"}
    assert wanted <= written.keys()
    assert written["method"] == "model"
    assert written["noc@90"] == 1.5
    assert written["protocol"] == "noc"
    assert written["refinements"] == {}
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
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
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


def test_curves_of_refinements(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = {
        "model": [result("a", 0.5, 0.75), result("b", *[0.9] * 2)],
        "model+g-brs-sb": [result("a", 0.5, 1.0), result("b", *[0.9] * 2)],
        "graph-cut": [result("a", 0.1, 0.2), result("b", 0.3, 0.1)],
    }
    summary = write_report(
        tmp_path,
        rows,
        title="Discs",
        settings={},
        protocol="curve",
        max_clicks=2,
        refinements=["model", "model+g-brs-sb"],
    )
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["protocol"] == "curve"
    assert summary["auc"] == pytest.approx((0.7 + 0.825) / 2)
    refined = summary["refinements"]["model+g-brs-sb"]
    assert (refined["best"], refined["best_click"]) == (pytest.approx(0.95), 2)
    assert refined["bottom"]["n"] == 1
    assert refined["bottom"]["auc"] == pytest.approx(0.75)
    assert refined["bottom"]["iou_curve"] == [0.5, 1.0]
    # The sample that began worst for the model alone, not for the baseline.
    assert summary["baselines"]["graph-cut"]["bottom"]["auc"] == pytest.approx(0.15)
    text = (tmp_path / "summary.md").read_text()
    assert "| model+g-brs-sb | 2 | 0.8250 | 0.9500 | 0.700 |" in text
    for name in ("iou_per_click.png", "iou_per_click_bottom.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in text
    assert not (tmp_path / "clicks_needed.png").exists()


def test_curve_table_of_automatic_models() -> None:
    figures = {
        "m": {"n": 2, "auc": 0.5, "iou@0": 0.25, "bottom": {"auc": 0, "best": 0}}
    }
    heading, _, row = curve_table(figures, 7).splitlines()
    assert heading.split(" | ")[4] == "mIoU@0"
    assert "mIoU@7" in heading
    assert row.startswith("| m | 2 | 0.5000 |  | 0.250 |")
