"""The pictures of docs/any-model.md, from what any_model.py has measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import napari_clickseg as cs
from any_model import load
from napari_clickseg.clicks import Click
from napari_clickseg.evaluation.methods import ModelMethod
from napari_clickseg.evaluation.protocol import run_sample
from napari_clickseg.prediction import PredictionSettings

ROOT = Path(__file__).resolve().parents[1]
COLOURS = {"none": "0.5", "g-brs-bmconv": "#00796b", "g-brs-sb": "#e08214"}
NAMES = {"none": "without clicks", "g-brs-bmconv": "bmconv", "g-brs-sb": "sb"}
#: Two of the images, H&E and fluorescence, neither the best nor the worst.
EXAMPLES = ["4e23ecf65040f864", "139946af9e2c7ef4"]
#: A horse of DAVIS (BSD licence), of which the network sees a part.
FRAME, CLASS = "098", "horse"


def curves(results: dict[str, dict[str, dict]], path: Path) -> None:
    """Draw IoU against the number of clicks: mean, quartiles, every image."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    stems = sorted(set.intersection(*(set(each) for each in results.values())))
    for name, each in results.items():
        ious = np.array([each[stem]["ious"] for stem in stems])
        numbers = np.arange(ious.shape[1])
        colour = COLOURS[name]
        if name == "g-brs-bmconv":
            axes.plot(numbers, ious.T, color=colour, alpha=0.15, lw=0.8)
            low, high = np.percentile(ious, (25, 75), 0)
            axes.fill_between(numbers, low, high, color=colour, alpha=0.2, lw=0)
        style = "--" if name == "none" else "-"
        axes.plot(numbers, ious.mean(0), style, color=colour, lw=2, label=NAMES[name])
    axes.set(xlabel="Clicks", ylabel=f"IoU of all nuclei ({len(stems)} images)")
    axes.set(xlim=(0, numbers[-1]), ylim=(0.4, 1.005))
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def show(
    axes: Any, image: np.ndarray, mask: np.ndarray, truth: np.ndarray, title: str
) -> None:
    """Show a mask on an image, with the outline that it should have."""
    tinted = image.astype(float)
    tinted[mask] = 0.55 * tinted[mask] + 0.45 * np.array([0, 190, 165])
    axes.imshow(tinted.astype(np.uint8))
    axes.contour(truth, levels=[0.5], colors="white", linewidths=0.6)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


class Remembering(ModelMethod):
    """Keeps its last answer."""

    last: np.ndarray

    def answer(self, clicks: Sequence[Click]) -> np.ndarray:
        """Return the mask for all clicks so far."""
        self.last = super().answer(clicks)
        return self.last


def before_and_after(
    model: Any, image: np.ndarray, truth: np.ndarray, outline: np.ndarray, row: Any
) -> None:
    """Show what the model says by itself, and what after some clicks."""
    method = Remembering(model, PredictionSettings(flip=False))
    method.open_image(image)
    start = method.answer_without_clicks()
    assert start is not None
    run = run_sample(method, truth, goal=None, max_clicks=8, radii=True)
    clicks, mask = run.clicks, method.last
    show(row[0], image, start, outline, f"By itself: IoU {run.start:.2f}")
    title = f"After {len(clicks)} clicks: IoU {run.ious[-1]:.2f}"
    show(row[1], image, mask, outline, title)
    for click in clicks:
        marker, colour = ("+", "#7fff5f") if click.positive else ("_", "#ff5f5f")
        row[1].plot(click.col, click.row, marker, color=colour, ms=9, mew=2)


def nuclei(weights: Path, data: Path, stems: list[str], path: Path) -> None:
    """Show nuclei before and after (CC0)."""
    model = cs.load_model(weights, device="cpu")
    figure, axes = plt.subplots(
        len(stems), 2, figsize=(5.4, 2.9 * len(stems)), layout="constrained"
    )
    for stem, row in zip(stems, axes, strict=True):
        image, truth = load(data, stem)
        before_and_after(model, image, truth, truth != 0, row)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def horse(data: Path, path: Path) -> None:
    """Show a published network of 21 classes before and after."""
    os.environ["CLICKSEG_DATA"] = str(data)
    sys.path.insert(0, str(ROOT / "examples"))
    import deeplab

    pack = data / "train" / "davis_trainvideos"
    image = np.asarray(Image.open(pack / "images" / f"{FRAME}.jpg").convert("RGB"))
    truth = np.asarray(Image.open(pack / "masks" / f"{FRAME}.png")) > 0
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
    model = deeplab.for_class(CLASS)
    before_and_after(model, image, truth.astype(np.int8), truth, axes)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def draw(
    results: dict[str, dict[str, dict]], folder: Path, data: Path, weights: Path | None
) -> None:
    """Draw all pictures into a folder; the examples only where weights are given."""
    folder.mkdir(parents=True, exist_ok=True)
    curves(results, folder / "any-model-curve.png")
    if weights is not None:
        nuclei(weights, data, EXAMPLES, folder / "any-model-nuclei.png")
        horse(data, folder / "any-model-deeplab.png")
