"""A network without clicks, corrected by clicks: IoU against number of clicks.

The U-Net of recipes/unet-nuclei.toml finds nuclei by itself. Here a simulated
annotator corrects it on 30 images that its training has not seen, each by the
protocol of G-BRS (Lin et al., 2022, section 3.1): the click goes to the innermost
pixel of the largest error, with the attention radius of that error's extent. What is
segmented is the foreground, all nuclei at once. Two pixels on either side of every
outline are not scored and not clicked, as in the GrabCut benchmark: there the people
who drew them do not agree either, and nobody would click a rim of one pixel.

    napari-clickseg train recipes/unet-nuclei.toml --data DATA
    python benchmarks/any_model.py runs/unet-nuclei/ema.safetensors --data DATA
    python benchmarks/any_model.py --figure docs/images

It may be stopped at any time; the same command goes on. The second one draws what
was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[1]
#: Refinements by name, with the step sizes that did best on the other ten images.
METHODS = {"none": None, "g-brs-bmconv": 6e-4, "g-brs-sb": 8e-4}
#: Of larger images a window is used: the one nearest to the middle in which nuclei
#: fill the given part.
SIDE, FILLED = 192, 0.01
#: Pixels on either side of an outline that do not count.
BAND = 2
CLICKS = 20


def held_out() -> tuple[list[str], list[str]]:
    """Return the stems of 10 images for tuning and of 30 for this."""
    recipe = tomllib.loads((ROOT / "recipes" / "unet-nuclei.toml").read_text())
    stems = recipe["packs"][0]["holdout"]
    return stems[::4], [stem for i, stem in enumerate(stems) if i % 4]


def load(data: Path, stem: str) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (H, W, 3) and its foreground (H, W) as int8.

    1 is foreground, 0 is not, -1 is not scored.
    """
    pack = data / "train" / "dsb2018_train"
    image = np.asarray(Image.open(pack / "images" / f"{stem}.png").convert("RGB"))
    inside = np.asarray(Image.open(pack / "masks" / f"{stem}.png")) > 0
    truth = ndimage.binary_erosion(inside, iterations=BAND).astype(np.int8)
    truth[ndimage.binary_dilation(inside, iterations=BAND) & (truth == 0)] = -1
    corners = [
        (top, left)
        for top in range(0, max(1, truth.shape[0] - SIDE + 1), 16)
        for left in range(0, max(1, truth.shape[1] - SIDE + 1), 16)
    ]
    middle = [max(0, (size - SIDE) // 2) for size in truth.shape]
    corners.sort(key=lambda corner: np.abs(np.subtract(corner, middle)).sum())
    parts = [
        np.s_[top : top + SIDE, left : left + SIDE] for top, left in [middle, *corners]
    ]
    shares = [np.mean(truth[part] == 1) for part in parts]
    full = [part for part, share in zip(parts, shares, strict=True) if share >= FILLED]
    part = full[0] if full else parts[int(np.argmax(shares))]
    return np.ascontiguousarray(image[part]), np.ascontiguousarray(truth[part])


def measure(
    weights: Path, data: Path, out: Path, methods: list[str], every: int, first: int
) -> None:
    """Click on every image with every method; write what came of it to a file."""
    import napari_clickseg as cs
    from napari_clickseg.evaluation.methods import ModelMethod
    from napari_clickseg.evaluation.protocol import run_sample
    from napari_clickseg.evaluation.simulate import iou
    from napari_clickseg.prediction import PredictionSettings
    from napari_clickseg.refinement.settings import RefinementSettings

    model = cs.load_model(weights, device="cpu")
    results = json.loads(out.read_text()) if out.exists() else {}
    # One pass instead of two: every method without its mirror image.
    settings = PredictionSettings(flip=False)
    for stem in held_out()[1][first::every]:
        image, truth = load(data, stem)
        for name in methods:
            done = results.setdefault(name, {})
            if stem in done:
                continue
            refinement = None
            if name != "none":
                refinement = RefinementSettings(name, learning_rate=METHODS[name])
            method = ModelMethod(model, settings, name, refinement, own=False)
            method.open_image(image)
            if name == "none":  # clicks that nobody hears
                score = iou(truth, method.answer_without_clicks())
                done[stem] = {"ious": [score] * (CLICKS + 1), "seconds": 0.0}
                continue
            run = run_sample(method, truth, goal=None, max_clicks=CLICKS, radii=True)
            ious = [run.start, *run.ious]
            ious += ious[-1:] * (CLICKS + 1 - len(ious))
            done[stem] = {
                "ious": ious,
                "seconds": run.seconds / max(1, len(run.clicks)),
                "clicks": [(c.row, c.col, c.positive, c.radius) for c in run.clicks],
            }
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(results))
            print(f"{name} {stem}: {ious[0]:.3f} -> {ious[5]:.3f} -> {ious[-1]:.3f}")
    out.write_text(json.dumps(results))


def report(results: dict[str, dict[str, dict]]) -> None:
    """Print a table of what was measured on the images that all methods have."""
    stems = set.intersection(*(set(each) for each in results.values()))
    print(f"{len(stems)} images, mean IoU (standard deviation) of the foreground")
    for name, each in results.items():
        ious = np.array([each[stem]["ious"] for stem in sorted(stems)])
        shown = [f"{ious[:, k].mean():.3f} ({ious[:, k].std():.3f})" for k in POINTS]
        seconds = np.mean([each[stem]["seconds"] for stem in stems])
        up = int((ious[:, -1] > ious[:, 0]).sum())
        print(
            f"{name:14s} " + "  ".join(shown) + f"  AUC {ious[:, 1:].mean():.3f}, "
            f"better on {up} of {len(stems)}, {seconds:.2f} s per click"
        )


#: Numbers of clicks in the table.
POINTS = (0, 1, 3, 5, 10, 20)


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="?")
    default = os.environ.get("CLICKSEG_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--out", type=Path, default=Path("runs/any-model.json"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--every", type=int, default=1, help="of the images ...")
    parser.add_argument("--first", type=int, default=0, help="... from this one on")
    parser.add_argument("--figure", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    if options.weights is not None:
        which = options.methods, options.every, options.first
        measure(options.weights, options.data, options.out, *which)
    results = json.loads(options.out.read_text())
    report(results)
    if options.figure is not None:
        from any_model_figures import draw

        draw(results, options.figure, options.data, options.weights)


if __name__ == "__main__":
    main()
