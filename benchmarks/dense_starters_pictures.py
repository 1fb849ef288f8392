"""Pictures for the model cards of the starters for classes, alpha and depth.

    python benchmarks/dense_starters_pictures.py --out docs/images

Only pictures that come with scikit-image, and some that our generators compute.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from skimage import data
from skimage.segmentation import mark_boundaries

import napari_clickseg as cs
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction.proposing import propose
from napari_clickseg.session.dense_base import STARTERS
from napari_clickseg.training.generators.matting import composite
from napari_clickseg.training.generators.scenes import scene

Row = list[tuple[str, np.ndarray, dict[str, Any]]]
COLOURS = np.array([[30, 30, 34], [86, 180, 233], [230, 159, 0]], np.uint8)
#: Clicks on scikit-image's cat: head and ear, and what lies behind it.
CAT = (
    (150, 220, True),
    (230, 260, True),
    (18, 372, True),
    (225, 405, False),
    (120, 430, False),
    (280, 260, True),
    (30, 40, True),
)
GREY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}


def cells(seed: int = 3) -> np.ndarray:
    """Draw bright nuclei, some of which touch, on a dark and noisy ground."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:256, :256]
    image = np.full((256, 256), 18.0)
    for _ in range(34):
        row, col = rng.uniform(8, 248, 2)
        long, short, turn = rng.uniform(12, 18), rng.uniform(8, 12), rng.uniform(0, 3)
        y, x = rows - row, cols - col
        u, v = y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)
        inside = (u / long) ** 2 + (v / short) ** 2 < 1
        image = np.where(inside, np.maximum(image, rng.uniform(70, 170)), image)
    image = ndimage.gaussian_filter(image, 1.3) + rng.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def stained(image: np.ndarray) -> np.ndarray:
    """Turn bright nuclei on black into purple ones on pale pink."""
    share = np.clip(image / 170.0, 0, 1)[..., None]
    pale, dark = np.array([240, 225, 236.0]), np.array([105, 62, 140.0])
    return (pale + share * (dark - pale)).astype(np.uint8)


def classes() -> list[Row]:
    """Return images, classes and proposed objects."""
    model = cs.load_model(STARTERS["semantic"], "cpu")
    rows = []
    for name, image in (
        ("computed, fluorescence", cells()),
        ("computed, stained", stained(cells(8))),
    ):
        session = cs.ClickSession(task="semantic", device="cpu")
        session.set_image(image)
        session.start_from_model()
        found = propose(model, ImageSource(image)).labels
        rgb = image if image.ndim == 3 else np.dstack([image] * 3)
        outlined = mark_boundaries(rgb, found, color=(1, 0.9, 0), mode="inner")
        rows.append(
            [
                (name, rgb, {}),
                ("classes", COLOURS[session.result.astype(int) - 1], {}),
                (f"{found.max()} proposed objects", outlined, {}),
            ]
        )
    return rows


def alpha() -> list[Row]:
    """Return images, trimaps, alpha and cut-outs."""
    cat = data.chelsea()
    clicks = cs.ClickSession(device="cpu")
    clicks.set_image(cat)
    for row, col, positive in CAT:
        clicks.add_click((row, col), positive)
    rows = []
    drawn = composite((300, 400), np.random.default_rng([5, 1]))
    for name, image, mask, trimap in (
        ("photo, its mask clicked", cat, clicks.mask, None),
        ("computed", drawn.image, None, drawn.trimap),
    ):
        session = cs.ClickSession(task="matting", device="cpu")
        session.set_image(image)
        if trimap is None:
            session.trimap_from_mask(mask, 24)
        else:
            session.set_trimap(trimap)
        found = np.asarray(session.result, float)
        behind = np.array([0.1, 0.5, 0.45])
        over = found[..., None] * image / 255 + (1 - found[..., None]) * behind
        rows.append(
            [
                (name, image, {}),
                ("trimap", np.asarray(session.trimap) / 255, GREY),
                ("alpha, no click", found, GREY),
                ("on another ground", over, {}),
            ]
        )
    return rows


def depth() -> list[Row]:
    """Return images, depth and the truth where it is known."""
    rows = []
    for seed in (2, 4):
        drawn = scene((240, 320), np.random.default_rng([5, seed]))
        session = cs.ClickSession(task="depth", device="cpu")
        session.set_image(drawn.image)
        session.start_from_model()
        top = float(np.percentile(drawn.depth, 98))
        colours = {"cmap": "viridis_r", "vmin": 0, "vmax": top, "bar": "m"}
        rows.append(
            [
                ("computed room", drawn.image, {}),
                ("true depth", drawn.depth, colours),
                ("depth, no click", np.asarray(session.result), colours),
            ]
        )
    return rows


def paint(rows: list[Row], path: Path) -> None:
    """Draw rows of pictures into a file."""
    wide, high = max(len(row) for row in rows), len(rows)
    figure = Figure(figsize=(2.9 * wide, 2.45 * high), layout="constrained")
    axes = figure.subplots(high, wide, squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        for (title, picture, options), place in zip(row, line, strict=True):
            unit = options.get("bar")
            shown = {key: value for key, value in options.items() if key != "bar"}
            drawn = place.imshow(picture, **shown)
            if unit:
                figure.colorbar(drawn, ax=place, label=unit, shrink=0.8)
            place.set_title(title, fontsize=10)
            place.set_axis_off()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Draw all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", nargs="*", default=["semantic", "matting", "depth"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    makers = {"semantic": classes, "matting": alpha, "depth": depth}
    for name in options.only:
        paint(makers[name](), options.out / f"{name}-starter.png")


if __name__ == "__main__":
    main()
