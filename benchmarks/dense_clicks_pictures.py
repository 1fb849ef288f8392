"""Answers before and after clicks, on pictures of our own generators.

    python benchmarks/dense_clicks_pictures.py --out docs/images

A composite whose alpha is known and a computed room whose depth is known, neither seen
in training, with the starters and the settings of benchmarks/dense_clicks.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dense_clicks import settings_of
from dense_clicks_figures import small_palette
from dense_clicks_subjects import SUBJECTS, Picture, Subject, drawn
from napari_clickseg.evaluation.methods import as_source
from napari_clickseg.evaluation.task_protocol import run_clicks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_clickseg.clicks import Click

METHOD = "g-brs-bmconv"
#: Seeds that nothing else uses.
SEEDS = {"matting": 71_003, "depth": 81_004}
CLICKS = 5


def clicked(
    subject: Subject, picture: Picture, rate: float | None
) -> tuple[list[Any], list[dict[str, float]], list[Click]]:
    """Return answers before and after clicks, their scores, and the clicks."""
    predictor = subject.make(settings_of(METHOD, subject, rate))
    source, reference = as_source(picture.read_image()), picture.read_reference()
    answers: list[Any] = []
    state = None

    def answer(clicks: Sequence[Click]) -> Any:
        nonlocal state
        found = predictor.predict(source, clicks, state, trimap=reference.trimap)
        state = found.state
        answers.append(found.result)
        return found.result

    run = run_clicks(answer, subject.task, reference, max_clicks=CLICKS)
    return answers, list(run.scores), list(run.clicks)


def draw(name: str, subject: Subject, rate: float | None, path: Path) -> None:
    """Draw a picture, its answers and how wrong they are."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = drawn(name, SEEDS[name])
    answers, scores, clicks = clicked(subject, picture, rate)
    truth = picture.read_reference().truth
    metric = "mse" if name == "matting" else "rmse"
    factor, unit = (1000, "e-3") if name == "matting" else (1, " m")
    if name == "matting":
        look = {"cmap": "gray", "vmin": 0, "vmax": 1}
        wrong = {"cmap": "magma", "vmin": 0, "vmax": 0.5}
    else:
        look = {"cmap": "viridis", "vmin": np.nanmin(truth), "vmax": np.nanmax(truth)}
        wrong = {"cmap": "magma", "vmin": 0, "vmax": 1.0}
    figure = Figure(figsize=(10, 4.4), dpi=100, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    axes[0, 0].imshow(picture.read_image())
    axes[0, 0].set_title("the picture, and the clicks")
    for number, click in enumerate(clicks, 1):
        at = (click.col, click.row)
        axes[0, 0].plot(*at, "o", ms=7, mfc="white", mec="black")
        axes[0, 0].annotate(str(number), at, ha="center", va="center", fontsize=6)
    axes[1, 0].imshow(truth, **look)
    axes[1, 0].set_title("as it should be")
    for column, index in ((1, 0), (2, len(answers) - 1)):
        score = factor * scores[index][metric]
        axes[0, column].imshow(answers[index], **look)
        count = f"after {index} clicks" if index else "before any click"
        axes[0, column].set_title(f"{count}: {metric.upper()} {score:.3g}{unit}")
        axes[1, column].imshow(np.abs(answers[index] - truth), **wrong)
        axes[1, column].set_title("how far it is off")
    for each in axes.flat:
        each.set_axis_off()
    canvas.print_png(str(path))
    small_palette(path, 128)


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(SEEDS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", default="")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    for name in options.names:
        subject = SUBJECTS[name](options.data, options.weights)
        rates = options.results / name / "rates.json"
        known = json.loads(rates.read_text()) if rates.is_file() else {}
        rate = known.get(METHOD, {}).get("rate")
        draw(name, subject, rate, options.out / f"tasks-{name}-clicked.png")


if __name__ == "__main__":
    main()
