"""How the starters for classes, alpha and depth fare without a click.

    python benchmarks/dense_starters.py matting WEIGHTS --data ../shared/data
    python benchmarks/dense_starters.py depth WEIGHTS --data ../shared/data
    python benchmarks/dense_starters.py semantic WEIGHTS --data ../shared/data

Matting and depth: the images of ``eval/``. Semantic: the images of DSB2018 and
Usiigaci that the recipe holds out; "objects" is the F1 score of proposed objects at an
IoU of one half. Each table has the answer of knowing nothing beside it: alpha 1/2
where it is unknown, the same depth everywhere, background everywhere. Where
pymatting is installed (no dependency of this project), alpha also stands beside
closed-form matting (Levin et al., 2008), which learns nothing and takes longer.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from napari_clickseg.evaluation.depth_metrics import depth_scores, scored
from napari_clickseg.evaluation.matting_metrics import matting_scores
from napari_clickseg.evaluation.semantic_metrics import confusion, mean_iou
from napari_clickseg.evaluation.task_datasets import open_task_dataset
from napari_clickseg.models.checkpoint import build_network, read_checkpoint
from napari_clickseg.networks.layers import IMAGENET
from napari_clickseg.tasks.proposals import propose_objects

Scores = dict[str, float]
RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "semantic-cells-starter.toml"


def as_tensor(image: np.ndarray) -> torch.Tensor:
    """RGB in [0, 1], (1, 3, H, W), of whatever a file holds."""
    image = np.atleast_3d(np.asarray(image))
    image = np.repeat(image, 3, 2) if image.shape[2] == 1 else image[..., :3]
    top = 65535.0 if image.dtype == np.uint16 else 255.0
    return torch.from_numpy(image.astype(np.float32) / top).permute(2, 0, 1)[None]


def normalised(x: torch.Tensor) -> torch.Tensor:
    """Normalise RGB by ImageNet's mean and deviation."""
    mean, std = (torch.tensor(c).view(1, 3, 1, 1) for c in IMAGENET)
    return (x - mean) / std


def nearest_multiple(side: float, multiple: int = 32) -> int:
    """Round a side to what a network takes."""
    return max(multiple, round(side / multiple) * multiple)


def resized(x: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    """Resize, without aliasing where it shrinks."""
    if tuple(x.shape[-2:]) == size:
        return x
    if mode == "nearest":
        return F.interpolate(x, size, mode=mode)
    shrinks = size[0] < x.shape[-2]
    return F.interpolate(x, size, mode=mode, align_corners=False, antialias=shrinks)


def matte(network: Any, image: torch.Tensor, trimap: np.ndarray) -> np.ndarray:
    """As IndexNet is evaluated: sides to the nearest multiple, known pixels kept."""
    shape = (trimap.shape[0], trimap.shape[1])
    size = (nearest_multiple(shape[0]), nearest_multiple(shape[1]))
    known = torch.from_numpy(trimap.astype(np.float32) / 255)[None, None]
    inputs = [
        normalised(resized(image, size, "bicubic")),
        resized(known, size, "nearest"),
    ]
    with torch.inference_mode():
        answer = network(torch.cat(inputs, 1))
    alpha = resized(answer, shape, "bicubic")[0, 0].clamp(0, 1).numpy()
    return np.where(trimap == 128, alpha, trimap / 255.0)


def closed_form(image: Any, trimap: np.ndarray) -> np.ndarray | None:
    """Return what a method without a network answers, if it is installed."""
    try:
        from pymatting import estimate_alpha_cf
    except ImportError:
        return None
    known = np.where(trimap == 128, 0.5, trimap / 255.0)
    alpha: np.ndarray = estimate_alpha_cf(
        np.asarray(image)[..., :3].astype(np.float64) / 255, known
    )
    return alpha


def matting(network: Any, data: Path, _side: int) -> Iterator[tuple[str, Scores]]:
    """Score alpha, of each image of ``eval/matting``."""
    for sample in open_task_dataset(data / "eval" / "matting", task="matting"):
        reference = sample.read_reference()
        trimap = np.asarray(reference.trimap)
        alpha = matte(network, as_tensor(sample.read_image()), trimap)
        nothing = np.where(trimap == 128, 0.5, trimap / 255.0)
        scores = matting_scores(reference.truth, alpha, trimap)
        blind = matting_scores(reference.truth, nothing, trimap)
        found = {**scores, "sad, blind": blind["sad"], "mse, blind": blind["mse"]}
        classical = closed_form(sample.read_image(), trimap)
        if classical is not None:
            other = matting_scores(reference.truth, classical, trimap)
            found |= {f"{key}, closed form": other[key] for key in ("sad", "mse")}
        yield sample.name.rstrip("0123456789_"), found


def depth(network: Any, data: Path, side: int) -> Iterator[tuple[str, Scores]]:
    """Score depth of each image of ``eval/depth``, at the size it was trained at.

    As it is, and scaled to the right median.
    """
    for sample in open_task_dataset(data / "eval" / "depth", task="depth"):
        truth = np.asarray(sample.read_reference().truth, float)
        shape = (truth.shape[0], truth.shape[1])
        factor = side / max(shape)
        size = (
            nearest_multiple(shape[0] * factor),
            nearest_multiple(shape[1] * factor),
        )
        image = as_tensor(sample.read_image())
        with torch.inference_mode():
            answer = network(normalised(resized(image, size, "bilinear")))
        found = resized(answer, shape, "bilinear")[0, 0].numpy().astype(float)
        counts = scored(truth, depths=(1e-3, 10.0))
        middle = float(np.median(truth[counts]))
        scale = middle / float(np.median(found[counts]))
        keep = ("delta1", "delta2", "abs_rel", "rmse")
        scores = {}
        for name, depths in (
            ("", found),
            (", scaled", found * scale),
            (", flat", np.full(shape, middle)),
        ):
            values = depth_scores(truth, depths, depths=(1e-3, 10.0))
            scores |= {key + name: values[key] for key in keep}
        yield sample.name.rstrip("0123456789").rstrip("_"), scores


def semantic(network: Any, data: Path, _side: int) -> Iterator[tuple[str, Scores]]:
    """Score classes and proposed objects, of each pack that is held out in part."""
    from napari_clickseg.training.classes import cell_classes
    from napari_clickseg.training.packs import read_labels, read_rgb
    from napari_clickseg.training.recipe import read_recipe

    for pack in read_recipe(RECIPE).packs:
        folder = data / "train" / pack.name
        counts = np.zeros((3, 4), np.int64)
        hits = wrong = missed = 0
        for stem in pack.holdout:
            image = next((folder / "images").glob(f"{stem}.*"))
            labels = read_labels(folder / "masks" / f"{stem}.png").astype(np.int16)
            x = as_tensor(read_rgb(image))
            height, width = labels.shape
            padding = (0, -width % 32, 0, -height % 32)
            with torch.inference_mode():
                logits = network(F.pad(x, padding, mode="reflect"))
            chances = logits.softmax(1)[0, :, :height, :width].numpy()
            truth = cell_classes(labels) + 1
            counts += confusion(truth, chances.argmax(0) + 1, 3)
            a, b, c = matches(labels, propose_objects(chances))
            hits, wrong, missed = hits + a, wrong + b, missed + c
        square = counts[:, :3]
        ious = np.diag(square) / (counts.sum(1) + square.sum(0) - np.diag(square))
        blind = np.zeros_like(counts)
        blind[:, 0] = counts.sum(1)
        yield (
            pack.name,
            {
                "miou": mean_iou(counts),
                "background": ious[0],
                "interior": ious[1],
                "border": ious[2],
                "objects": 2 * hits / max(1, 2 * hits + wrong + missed),
                "miou, blind": mean_iou(blind),
            },
        )


def matches(labels: np.ndarray, found: np.ndarray) -> tuple[int, int, int]:
    """Count objects found (IoU above one half), found wrongly, and missed."""
    true, guessed = int(labels.max()), int(found.max())
    pairs = np.bincount(
        labels.ravel().astype(np.int64) * (guessed + 1) + found.ravel(),
        minlength=(true + 1) * (guessed + 1),
    ).reshape(true + 1, guessed + 1)
    union = pairs.sum(1, keepdims=True) + pairs.sum(0, keepdims=True) - pairs
    iou = (pairs / np.maximum(union, 1))[1:, 1:]
    hits = int((iou > 0.5).sum())
    there = int((pairs.sum(1)[1:] > 0).sum())
    return hits, guessed - hits, there - hits


TASKS: dict[str, Callable[[Any, Path, int], Iterator[tuple[str, Scores]]]] = {
    "matting": matting,
    "depth": depth,
    "semantic": semantic,
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--side", type=int, default=320, help="longest side, depth")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = build_network(read_checkpoint(options.weights))
    groups: dict[str, list[Scores]] = defaultdict(list)
    for group, scores in TASKS[options.task](network, options.data, options.side):
        groups[group].append(scores)
    everything = [scores for found in groups.values() for scores in found]
    if len(groups) > 1:
        groups["all"] = everything
    names = list(everything[0])
    print("| images | n | " + " | ".join(names) + " |")
    print("|---|" + "---|" * (len(names) + 1))
    for group, found in groups.items():
        means = [float(np.mean([scores[name] for scores in found])) for name in names]
        cells = " | ".join(f"{mean:.4g}" for mean in means)
        print(f"| {group} | {len(found)} | {cells} |")


if __name__ == "__main__":
    main()
