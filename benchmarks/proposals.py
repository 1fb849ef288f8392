"""How well objects are proposed without a click, on images that were held out.

Objects that are found and true are paired one to one where they overlap by more than
half (IoU above 0.5): F1 is the part of both that has a partner.

    python benchmarks/proposals.py --data DATA --out proposals.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import napari_clickseg as cs
from napari_clickseg.image import ImageSource
from napari_clickseg.imagefiles import read_image, read_labels
from napari_clickseg.prediction.object_size import BEST
from napari_clickseg.prediction.proposing import propose

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "semantic-cells-starter.toml"
#: How the size of objects is known.
WAYS = ("found out", "as it is", "told")


def held_out(data: Path) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield pack, name, image and true labels."""
    recipe = tomllib.loads(RECIPE.read_text("utf-8"))
    for pack in recipe["packs"]:
        folder = data / "train" / pack["name"]
        for name in pack["holdout"]:
            image = next((folder / "images").glob(f"{name}.*"))
            mask = next((folder / "masks").glob(f"{name}.*"))
            yield pack["name"], name, read_image(image), read_labels(mask)


def pairs(found: Any, true: Any, least: float = 0.5) -> tuple[int, int, int]:
    """Return how many objects are paired, found and true."""
    found, true = (np.unique(x, return_inverse=True)[1] for x in (found, true))
    count, there = int(found.max()), int(true.max())
    both = np.zeros((count + 1, there + 1), np.int64)
    np.add.at(both, (found.ravel(), true.ravel()), 1)
    either = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    iou = both[1:, 1:] / either[1:, 1:]
    return int((iou > least).sum()), count, there


def f1(paired: int, found: int, true: int) -> float:
    """Return the harmonic mean of precision and recall."""
    return 2 * paired / max(1, found + true)


def usual(true: Any) -> float:
    """Return the median diameter of the true objects."""
    areas = np.bincount(np.unique(true, return_inverse=True)[1].ravel())[1:]
    return float(np.sqrt(4 / np.pi * np.median(areas)))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("proposals.json"))
    parser.add_argument("--model", default="semantic-cells-starter")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    given = parser.parse_args()
    model = cs.load_model(given.model)
    rows = []
    for pack, name, image, true in held_out(given.data):
        source, size = ImageSource(image), usual(true)
        for way in given.ways:
            diameter = {"found out": None, "as it is": BEST, "told": size}[way]
            begin = time.perf_counter()
            found = propose(model, source, diameter=diameter)
            rows.append(
                {
                    "pack": pack,
                    "image": name,
                    "kind": "colour" if _coloured(image) else "grey",
                    "way": way,
                    "pairs": pairs(found.labels, true),
                    "true diameter": size,
                    "diameter": found.diameter,
                    "megapixels": true.size / 1e6,
                    "seconds": time.perf_counter() - begin,
                }
            )
            print(pack, name, way, *rows[-1]["pairs"], f"{found.diameter:.0f}")
        given.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(
        "\n| images | size | objects | found | right | F1 | median F1 | s/megapixel |"
    )
    print("|---|---|---|---|---|---|---|---|")
    groups = {(r["pack"], r["kind"]): r for r in rows}
    for pack, kind in groups:
        for way in given.ways:
            these = [
                r for r in rows if (r["pack"], r["kind"], r["way"]) == (pack, kind, way)
            ]
            paired, found_, true_ = (
                sum(r["pairs"][i] for r in these) for i in range(3)
            )
            each = statistics.median(f1(*r["pairs"]) for r in these)
            speed = sum(r["seconds"] for r in these) / sum(
                r["megapixels"] for r in these
            )
            score = f1(paired, found_, true_)
            print(
                f"| {len(these)} {pack}, {kind} | {way} | {true_} | {found_} "
                f"| {paired} | {score:.3f} | {each:.3f} | {speed:.1f} |"
            )


def _coloured(image: Any) -> bool:
    image = np.asarray(image)
    return image.ndim == 3 and bool((image[..., 0] != image[..., 1]).any())


if __name__ == "__main__":
    main()
