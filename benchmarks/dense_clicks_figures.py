"""Tables and plots of benchmarks/dense_clicks.py."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.evaluation.runlog import write_text
from napari_clickseg.evaluation.task_curves import (
    LARGER,
    TOLD,
    TaskResult,
    score_curves,
    task_figures,
    worst_begun,
)

if TYPE_CHECKING:
    from dense_clicks_subjects import Subject

FREE = ", free"
COLOURS = {
    "none": "0.55",
    "g-brs-sb": "#4c72b0",
    "g-brs-bmsb": "#55a868",
    "g-brs-bmsb-m": "#8172b3",
    "g-brs-bmconv": "#c44e52",
}
#: Scores as tables and plots show them: name, factor, digits.
SHOWN = {
    "miou": ("mean IoU of an image", 1, 3),
    "pooled": ("mean IoU, all pixels together", 1, 3),
    "accuracy": ("pixel accuracy", 1, 3),
    "mse": ("MSE (1e-3)", 1000, 2),
    "sad": ("SAD (1e3)", 1, 2),
    "delta1": ("delta 1", 1, 3),
    "rmse": ("RMSE (m)", 1, 3),
}
#: Clicks after which the error of the worst begun is compared with that before.
COMPARED = 10

Figures = dict[str, dict[str, Any]]


def complete(results: Sequence[TaskResult]) -> dict[str, list[TaskResult]]:
    """Return results by method, of those images alone that all methods have."""
    by_method: dict[str, dict[str, TaskResult]] = {}
    for result in results:
        by_method.setdefault(result.method, {})[result.name] = result
    names = sorted(set.intersection(*(set(found) for found in by_method.values())))
    order = sorted(by_method, key=lambda m: (list(COLOURS).index(plain(m)), FREE in m))
    return {method: [by_method[method][name] for name in names] for method in order}


def plain(method: str) -> str:
    """Return a method's name without what is said of its consistency."""
    return method.removesuffix(FREE)


def figures_of(
    results: Mapping[str, Sequence[TaskResult]], metrics: Sequence[str], clicks: int
) -> Figures:
    """Return figures by score and method; "pooled" where classes were counted.

    The worst begun are those of the first score, for all.
    """
    any_of = next(iter(results.values()))
    bottom = worst_begun(score_curves(any_of, metrics[0], clicks), metrics[0])
    found: Figures = {}
    for metric in metrics:
        for method, rows in results.items():
            figures = task_figures(rows, metric, clicks, bottom)
            found.setdefault(metric, {})[method] = figures
            if "pooled" in figures:
                pooled = {**figures, **figures["pooled"]}
                found.setdefault("pooled", {})[method] = pooled
    return found


def error(score: float, metric: str) -> float:
    """Return a score as an error: smaller is better."""
    return 1 - score if metric in LARGER or metric == "pooled" else score


def table(
    figures: Mapping[str, dict[str, Any]], rates: Mapping[str, float], metric: str
) -> str:
    """Return a score's table, for all images and for those that began worst."""
    title, factor, digits = SHOWN[metric]
    first = next(iter(figures.values()))
    told = [n for n in TOLD if n < len(first["curve"])]
    heads = [f"{n}" if n else title for n in told]
    few = first["bottom"]["n"]
    head = [
        *("method", "consistency", *heads, "AUC", "best"),
        *(f"worst {few}: 0", f"{COMPARED}", "AUC", f"error after {COMPARED}"),
        *("s/click", "not obeyed", "step"),
    ]
    marks = ["---", "---", *["--:"] * (len(head) - 2)]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(marks)}|"]

    def shown(value: float) -> str:
        return f"{factor * value:.{digits}f}"

    for method, row in figures.items():
        low = row["bottom"]
        at = low["curve"]
        ten = at[min(COMPARED, len(at) - 1)]
        change = error(ten, metric) / error(at[0], metric) - 1
        none = method == "none"
        cells = [
            plain(method),
            "" if none else "no" if FREE in method else "yes",
            *(shown(row["curve"][n]) for n in told),
            shown(row["auc"]),
            shown(row["best"]),
            shown(at[0]),
            shown(ten),
            shown(low["auc"]),
            "" if none else f"{100 * change:+.0f} %",
            "" if none else f"{row['spc']:.2f}",
            "" if none else f"{100 * row['disobeyed']:.0f} %",
            "" if none else f"{rates.get(method, float('nan')):.2g}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def brief(figures: Mapping[str, dict[str, Any]], metric: str) -> str:
    """Return one more score, after few numbers of clicks."""
    title, factor, digits = SHOWN[metric]
    told = [n for n in TOLD if n < len(next(iter(figures.values()))["curve"])]
    lines = [
        f"| {title} | consistency | {' | '.join(map(str, told))} | AUC |",
        "|---|---|" + "--:|" * (len(told) + 1),
    ]
    for method, row in figures.items():
        values = [*(row["curve"][n] for n in told), row["auc"]]
        kept = "" if method == "none" else "no" if FREE in method else "yes"
        shown = " | ".join(f"{factor * value:.{digits}f}" for value in values)
        lines.append(f"| {plain(method)} | {kept} | {shown} |")
    return "\n".join(lines)


def plot(figures: Mapping[str, dict[str, Any]], metric: str, path: Path) -> None:
    """Draw a score against clicks: all images, and those that began worst."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    title, factor, _ = SHOWN[metric]
    figure = Figure(figsize=(9, 4.1), dpi=100, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    sides = figure.subplots(1, 2)
    few = next(iter(figures.values()))["bottom"]["n"]
    count = next(iter(figures.values()))["n"]
    names = f"all {count} images", f"the {few} that began worst"
    for axes, name, part in zip(sides, names, (None, "bottom"), strict=True):
        for method, row in figures.items():
            curve = np.array((row if part is None else row[part])["curve"]) * factor
            axes.plot(
                curve,
                color=COLOURS[plain(method)],
                linestyle="--" if FREE in method else "-",
                linewidth=2.2 if plain(method) == "g-brs-bmconv" else 1.4,
                label=None if FREE in method else plain(method),
            )
        axes.set(xlabel="clicks", title=name, xlim=(0, len(curve) - 1))
        axes.set_xticks([n for n in (0, 5, 10, 15, 20) if n < len(curve)])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    sides[0].set_ylabel(title)
    handles, labels = sides[0].get_legend_handles_labels()
    dashes = sides[0].plot([], [], color="0.2", linestyle="--")
    figure.legend(
        [*handles, *dashes],
        [*labels, "without consistency loss"],
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize="small",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_png(str(path))
    small_palette(path)


def small_palette(path: Path, colours: int = 64) -> None:
    """Store a picture with few colours."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)


def parts(
    subject: Subject,
    results: Sequence[TaskResult],
    rates: Mapping[str, float],
    clicks: int,
) -> tuple[str, Figures]:
    """Return all tables as one text, and the figures."""
    rows = complete(results)
    figures = figures_of(rows, subject.metrics, clicks)
    head = subject.metrics[0]
    texts = [table(figures[head], rates, head)]
    texts += [brief(figures[name], name) for name in figures if name != head]
    return "\n\n".join(texts), figures


def write(
    subject: Subject,
    results: Sequence[TaskResult],
    rates: Mapping[str, float],
    out: Path,
    clicks: int = 20,
) -> None:
    """Write tables, figures, curves and, where it can be drawn, a plot."""
    from napari_clickseg.evaluation.plots import plots_available

    text, figures = parts(subject, results, rates, clicks)
    stem = out / f"clicks-{subject.name}"
    write_text(stem.with_suffix(".md"), text + "\n")
    write_text(stem.with_suffix(".json"), json.dumps(figures, indent=1) + "\n")
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(["image", "method", "click", *next(iter(results)).scores[0]])
    for result in results:
        for number, scores in enumerate(result.scores):
            writer.writerow([result.name, result.method, number, *scores.values()])
    write_text(stem.with_suffix(".csv"), lines.getvalue())
    if plots_available():
        for name in ("pooled", *subject.metrics):
            if name in figures:
                plot(figures[name], name, out / f"clicks-{subject.name}-{name}.png")
    print(text)


#: Scores whose plots are shown in the docs.
PLOTTED = {"streets": "pooled", "cells": "pooled", "matting": "mse", "depth": "delta1"}


def fill_page(results: Path, page: Path) -> None:
    """Put tables and plots of finished runs into a page of the docs."""
    import shutil

    from pages import fill

    for name, text in (("baseline", "baseline.md"), ("refinement", "starters.md")):
        if (results / name / text).is_file():
            fill(page, {name: (results / name / text).read_text()})
    for name, score in PLOTTED.items():
        table = results / name / f"clicks-{name}.md"
        if not table.is_file():
            continue
        picture = f"tasks-{name}.png"
        shutil.copyfile(
            results / name / f"clicks-{name}-{score}.png",
            page.parent / "images" / picture,
        )
        alt = f"{SHOWN[score][0]} against clicks"
        image = f"![{alt}](images/{picture}){{ width=760 }}"
        fill(page, {name: f"{image}\n\n{table.read_text()}"})


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=fill_page.__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--page", type=Path, default=Path("docs/tasks-measured.md"))
    options = parser.parse_args()
    fill_page(options.results, options.page)
