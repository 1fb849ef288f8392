"""Plots of a run, where matplotlib is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_clickseg.evaluation.curves import worst_started
from napari_clickseg.evaluation.metrics import (
    GOALS,
    MAX_CLICKS,
    SampleResult,
    iou_curve,
    reaches,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NO_PLOTS = (
    "Plots are left out because matplotlib is not installed: "
    "pip install 'napari-clickseg[evaluate]', then run the same command again."
)
#: Line styles, so that curves can be told apart without colours.
STYLES = ("-", "--", "-.", ":")


def plots_available() -> bool:
    """Whether plots can be drawn here."""
    return find_spec("matplotlib") is not None


def draw_plots(
    folder: Path,
    results: Mapping[str, Sequence[SampleResult]],
    title: str,
    max_clicks: int = MAX_CLICKS,
) -> dict[str, str]:
    """Draw IoU against clicks, and how many objects are done after how many.

    Returns
    -------
    dict
        File name to what it shows.
    """
    import numpy as np

    filled = {method: rows for method, rows in results.items() if rows}
    curves = {
        m: iou_curve((r.ious for r in rows), max_clicks) for m, rows in filled.items()
    }
    _draw(folder / "iou_per_click.png", "mean IoU", title, curves, bottom=0.0)
    goal = GOALS[-1]
    done = {
        method: np.array(
            [
                np.mean([reaches(row.ious[:k], goal) for row in rows])
                for k in range(1, max_clicks + 1)
            ]
        )
        for method, rows in filled.items()
    }
    label = f"objects at IoU {goal:.2f} or more"
    _draw(folder / "clicks_needed.png", label, title, done, bottom=0.0)
    return {
        "iou_per_click.png": "Mean IoU after each click",
        "clicks_needed.png": f"Share of objects that reach IoU {goal:.2f}",
    }


def draw_curves(
    folder: Path,
    results: Mapping[str, Sequence[SampleResult]],
    title: str,
    max_clicks: int = MAX_CLICKS,
) -> dict[str, str]:
    """Draw IoU against clicks, for all objects and for those that began worst.

    Returns
    -------
    dict
        File name to what it shows.
    """
    filled = {method: rows for method, rows in results.items() if rows}
    worst = worst_started(next(iter(filled.values())))
    shown = {}
    for name, where, few in (
        ("iou_per_click.png", title, False),
        ("iou_per_click_bottom.png", f"{title}, the tenth that began worst", True),
    ):
        curves = {
            method: iou_curve(
                (r.ious for r in rows if not few or r.name in worst), max_clicks
            )
            for method, rows in filled.items()
        }
        starts = {
            method: [r.start for r in rows if not few or r.name in worst]
            for method, rows in filled.items()
        }
        _draw(folder / name, "mean IoU", where, curves, starts=starts)
        shown[name] = "Mean IoU after each click" + (
            ", the tenth of the objects that began worst" if few else ""
        )
    return shown


def _draw(
    path: Path,
    ylabel: str,
    title: str,
    curves: Mapping[str, Any],
    *,
    bottom: float | None = None,
    starts: Mapping[str, Sequence[float | None]] | None = None,
) -> None:
    """Draw one plot; ``bottom`` None: from a little below the lowest value."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = max(len(values) for values in curves.values())
    figure = Figure(
        figsize=(6.4, 4.0), dpi=120, layout="constrained", facecolor="white"
    )
    axes = figure.add_subplot()
    lowest = 1.0
    for index, (label, values) in enumerate(curves.items()):
        clicks = np.arange(1, count + 1)
        given = list((starts or {}).get(label, ()))
        before = [value for value in given if value is not None]
        if given and len(before) == len(given):
            clicks = np.arange(count + 1)
            values = np.concatenate([[np.mean(before)], values])
        lowest = min(lowest, float(np.min(values)))
        axes.plot(
            clicks,
            values,
            marker="o",
            markersize=2.5,
            linewidth=1.3,
            linestyle=STYLES[index // 10 % len(STYLES)],
            label=label,
        )
    if bottom is None:
        bottom = max(0.0, np.floor(20 * lowest - 0.5) / 20)
    axes.axhline(0.9, color="0.7", linewidth=0.8, linestyle="--")
    axes.set(xlabel="clicks", ylabel=ylabel, title=title, ylim=(bottom, 1.01))
    axes.set_xticks(np.arange(1, count + 1)[:: max(1, count // 10)])
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    part = path.with_suffix(".part.png")
    FigureCanvasAgg(figure).print_png(str(part))
    part.replace(path)
