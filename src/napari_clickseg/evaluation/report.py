"""What a finished run leaves behind: CSV, JSON, Markdown, and plots."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
from typing import TYPE_CHECKING, Any

from napari_clickseg.evaluation.curves import curve_figures
from napari_clickseg.evaluation.metrics import (
    GOALS,
    MAX_CLICKS,
    SampleResult,
    clicks_needed,
    summarise,
)
from napari_clickseg.evaluation.plots import (
    draw_curves,
    draw_plots,
    plots_available,
)
from napari_clickseg.evaluation.runlog import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def write_report(
    folder: Path,
    results: Mapping[str, Sequence[SampleResult]],
    *,
    title: str,
    settings: Mapping[str, Any],
    protocol: str = "noc",
    max_clicks: int = MAX_CLICKS,
    refinements: Sequence[str] = (),
    published: Mapping[str, Mapping[str, float]] | None = None,
    notices: Sequence[str] = (),
) -> dict[str, Any]:
    """Write all files of a run and return what ``summary.json`` holds.

    Parameters
    ----------
    folder : Path
        Gets ``samples.csv``, ``summary.json``, ``summary.md``, and with matplotlib
        ``iou_per_click.png`` and ``clicks_needed.png``
        (``iou_per_click_bottom.png`` with the protocol ``curve``).
    results : mapping of method name to results
        The evaluated model first, then the same with other refinements, then
        baselines.
    title : str
        Heading of table and plots, such as the data set's name.
    settings : mapping
        What the numbers depend on, for the record.
    protocol : {"noc", "curve"}
        Which figures are printed.
    max_clicks : int
        Clicks after which a sample stopped.
    refinements : sequence of str
        Methods after the first one that are the same model refined; the others are
        baselines.
    published : mapping, optional
        Figures of the weights' authors for a method, such as
        ``{"ritm-hrnet18s-cocolvis": {"noc@90": 1.68}}``; printed as rows of the
        table.
    notices : sequence of str
        What the reader should know.
    """
    curve = protocol == "curve"
    figures = {
        method: summarise(rows, max_clicks) for method, rows in results.items() if rows
    }
    if curve:
        for method, more in curve_figures(results, max_clicks).items():
            figures[method].update(more)
    names = list(figures)
    notices = [
        *notices,
        *dict.fromkeys(
            n for rows in results.values() for row in rows for n in row.notices
        ),
    ]
    others = names[1:]
    summary: dict[str, Any] = {
        "protocol": protocol,
        "method": names[0],
        **figures[names[0]],
        "refinements": {n: figures[n] for n in others if n in refinements},
        "baselines": {n: figures[n] for n in others if n not in refinements},
        "published": dict((published or {}).get(names[0], {})),
        "title": title,
        "settings": dict(settings),
        "machine": machine(),
        "where": sorted({row.where for row in results[names[0]]}),
        "notices": notices,
    }
    write_text(folder / "samples.csv", samples_csv(results, max_clicks))
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    if curve:
        table = curve_table(figures, max_clicks)
    else:
        table = markdown_table(figures, published, max_clicks)
    lines = [f"# {title}", "", table, ""]
    lines.extend(f"- {notice}" for notice in notices)
    if plots_available():
        draw = draw_curves if curve else draw_plots
        for name, shows in draw(folder, results, title, max_clicks).items():
            lines += ["", f"![{shows}]({name})"]
    write_text(folder / "summary.md", "\n".join(lines).rstrip() + "\n")
    return summary


def machine() -> dict[str, Any]:
    """Return what times depend on."""
    found: dict[str, Any] = {
        "system": platform.system(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    try:
        import torch
    except ImportError:  # pragma: no cover - a runtime dependency
        return found
    found["torch"] = torch.__version__
    found["threads"] = torch.get_num_threads()
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def processor_name() -> str:
    """Return the processor's name, as well as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def samples_csv(
    results: Mapping[str, Sequence[SampleResult]], max_clicks: int = MAX_CLICKS
) -> str:
    """Return one line per sample and method, as CSV with a heading."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    goals = [f"noc@{round(goal * 100)}" for goal in GOALS]
    writer.writerow(
        ["sample", "method", *goals, "clicks", "iou_final", "seconds"]
        + ["answer_seconds", "height", "width", "area"]
        + [f"iou@{click}" for click in range(1, max_clicks + 1)]
    )
    for method, rows in results.items():
        for row in rows:
            needed = [clicks_needed(row.ious, goal, max_clicks) for goal in GOALS]
            ious = [f"{value:.6f}" for value in row.ious]
            writer.writerow(
                [row.name, method, *needed, len(row.ious), ious[-1]]
                + [f"{row.seconds:.4f}", f"{row.answer_seconds:.4f}"]
                + [*row.shape, row.area, *ious]
                + [""] * (max_clicks - len(ious))
            )
    return text.getvalue()


def markdown_table(
    figures: Mapping[str, Mapping[str, Any]],
    published: Mapping[str, Mapping[str, float]] | None = None,
    max_clicks: int = MAX_CLICKS,
) -> str:
    """Return clicks needed as a Markdown table, a row for each method."""
    over = f"over{max_clicks}@90"
    columns = {
        "n": ("n", "{:d}"),
        "noc@80": ("NoC@80", "{:.2f}"),
        "noc@85": ("NoC@85", "{:.2f}"),
        "noc@90": ("NoC@90", "{:.2f}"),
        over: (f"≥{max_clicks}@90", "{:d}"),
        "iou@1": ("IoU@1", "{:.3f}"),
        "iou@5": ("IoU@5", "{:.3f}"),
        "spc": ("s/click", "{:.3f}"),
        "pie": ("PIE (1e-7 s)", "{:.2f}"),
    }
    rows = {
        name: {**values, "pie": values["pie"] and values["pie"] * 1e7}
        for name, values in figures.items()
    }
    for name, values in (published or {}).items():
        if name in figures and values:
            rows[f"{name}, as published"] = dict(values)
    return _table(columns, rows)


def curve_table(
    figures: Mapping[str, Mapping[str, Any]], max_clicks: int = MAX_CLICKS
) -> str:
    """Return scores per click as a Markdown table, a row for each method."""
    columns = {
        "n": ("n", "{:d}"),
        "auc": ("AUC", "{:.4f}"),
        "best": ("best mIoU", "{:.4f}"),
        "iou@0": ("mIoU@0", "{:.3f}"),
        "iou@1": ("mIoU@1", "{:.3f}"),
        "iou@5": ("mIoU@5", "{:.3f}"),
        "iou@10": ("mIoU@10", "{:.3f}"),
        "iou@max": (f"mIoU@{max_clicks}", "{:.3f}"),
        "bottom_auc": ("AUC, bottom 10 %", "{:.4f}"),
        "bottom_best": ("best, bottom 10 %", "{:.4f}"),
        "spc_answer": ("s/click", "{:.3f}"),
    }
    if not any("iou@0" in values for values in figures.values()):
        del columns["iou@0"]
    rows = {
        name: {
            **values,
            "bottom_auc": values["bottom"]["auc"],
            "bottom_best": values["bottom"]["best"],
        }
        for name, values in figures.items()
    }
    return _table(columns, rows)


def _table(
    columns: Mapping[str, tuple[str, str]], rows: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return a Markdown table; a cell without a value stays empty."""
    lines = [
        ["method", *(heading for heading, _ in columns.values())],
        ["---", *["--:"] * len(columns)],
    ]
    for name, values in rows.items():
        cells = [
            "" if values.get(key) is None else form.format(values[key])
            for key, (_, form) in columns.items()
        ]
        lines.append([name, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
