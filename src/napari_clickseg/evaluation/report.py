"""What a finished run leaves behind: CSV, JSON, Markdown, and plots."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_clickseg.evaluation.metrics import (
    GOALS,
    MAX_CLICKS,
    SampleResult,
    clicks_needed,
    summarise,
)
from napari_clickseg.evaluation.runlog import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NO_PLOTS = (
    "Plots are left out because matplotlib is not installed: "
    "pip install 'napari-clickseg[evaluate]', then run the same command again."
)


def write_report(
    folder: Path,
    results: Mapping[str, Sequence[SampleResult]],
    *,
    title: str,
    settings: Mapping[str, Any],
    max_clicks: int = MAX_CLICKS,
    published: Mapping[str, float] | None = None,
    notices: Sequence[str] = (),
) -> dict[str, Any]:
    """Write all files of a run and return what ``summary.json`` holds.

    Parameters
    ----------
    folder : Path
        Gets ``samples.csv``, ``summary.json``, ``summary.md``, and with matplotlib
        ``iou_per_click.png`` and ``clicks_needed.png``.
    results : mapping of method name to results
        The evaluated model first.
    title : str
        Heading of table and plots, such as the data set's name.
    settings : mapping
        What the numbers depend on, for the record.
    max_clicks : int
        Clicks after which a sample stopped.
    published : mapping, optional
        Figures of the weights' authors, such as ``{"noc@90": 1.54}``; printed as
        a row of the table.
    notices : sequence of str
        What the reader should know.
    """
    figures = {
        method: summarise(rows, max_clicks) for method, rows in results.items() if rows
    }
    names = list(figures)
    rows_of_model = results[names[0]]
    notices = [
        *notices,
        *dict.fromkeys(
            n for rows in results.values() for row in rows for n in row.notices
        ),
    ]
    summary: dict[str, Any] = {
        "method": names[0],
        **figures[names[0]],
        "baselines": {name: figures[name] for name in names[1:]},
        "published": dict(published or {}),
        "title": title,
        "settings": dict(settings),
        "machine": machine(),
        "where": sorted({row.where for row in rows_of_model}),
        "notices": notices,
    }
    write_text(folder / "samples.csv", samples_csv(results, max_clicks))
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    lines = [f"# {title}", "", markdown_table(figures, published, max_clicks), ""]
    lines.extend(f"- {notice}" for notice in notices)
    if plots_available():
        draw_plots(folder, results, title, max_clicks)
        lines += [
            "",
            "![Mean IoU after each click](iou_per_click.png)",
            "",
            "![Share of objects that reach IoU 0.90](clicks_needed.png)",
        ]
    write_text(folder / "summary.md", "\n".join(lines).rstrip() + "\n")
    return summary


def plots_available() -> bool:
    """Whether plots can be drawn here."""
    return find_spec("matplotlib") is not None


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
    published: Mapping[str, float] | None = None,
    max_clicks: int = MAX_CLICKS,
) -> str:
    """Return the figures as a Markdown table, a row for each method."""
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
    rows = [
        ["method", *(heading for heading, _ in columns.values())],
        ["---", *["--:"] * len(columns)],
    ]
    scaled = [
        (name, {**values, "pie": values["pie"] and values["pie"] * 1e7})
        for name, values in figures.items()
    ]
    if published:
        scaled.append((f"{scaled[0][0]}, as published", dict(published)))
    for name, values in scaled:
        cells = [
            "" if values.get(key) is None else form.format(values[key])
            for key, (_, form) in columns.items()
        ]
        rows.append([name, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw_plots(
    folder: Path,
    results: Mapping[str, Sequence[SampleResult]],
    title: str,
    max_clicks: int = MAX_CLICKS,
) -> None:
    """Draw IoU against clicks, and how many objects are done after how many."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from napari_clickseg.evaluation.metrics import iou_curve, reaches

    clicks = np.arange(1, max_clicks + 1)

    def drawing(name: str, ylabel: str, curves: dict[str, Any]) -> None:
        figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        for label, values in curves.items():
            axes.plot(clicks, values, marker="o", markersize=3, label=label)
        axes.axhline(0.9, color="0.7", linewidth=0.8, linestyle="--")
        axes.set(xlabel="clicks", ylabel=ylabel, title=title, ylim=(0, 1.02))
        axes.set_xticks(clicks[:: max(1, max_clicks // 10)])
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
        part = folder / f"{name}.part.png"
        FigureCanvasAgg(figure).print_png(str(part))
        part.replace(folder / f"{name}.png")

    filled = {method: rows for method, rows in results.items() if rows}
    drawing(
        "iou_per_click",
        "mean IoU",
        {
            m: iou_curve((r.ious for r in rows), max_clicks)
            for m, rows in filled.items()
        },
    )
    goal = GOALS[-1]
    done = {
        method: [np.mean([reaches(row.ious[:k], goal) for row in rows]) for k in clicks]
        for method, rows in filled.items()
    }
    drawing("clicks_needed", f"objects at IoU {goal:.2f} or more", done)
