"""Compare the bundled models by clicks needed, each on the same objects.

    python benchmarks/starters.py --data ../shared/data --out results/starters --jobs 2

The published simulated annotator clicks until an IoU of 0.90, at most 20 times.
GrabCut is the whole benchmark. The others are images that the recipes hold out: frames
of DAVIS's training videos, nuclei, cells in phase contrast, and ``microscopy``, the
small split of both (``held_out_split.py``). Under ``published`` the first click sees
the whole image, and InterFormer never anything else, as in its evaluation; ``search``
is how the plugin works: both models look closer, InterFormer at windows of its fixed
pyramid.

A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from first_look import ROOT, SOURCES, samples_of
from held_out_split import carve
from napari_clickseg.evaluation.benchmark import evaluate
from napari_clickseg.evaluation.datasets import open_dataset
from napari_clickseg.evaluation.metrics import summarise
from napari_clickseg.evaluation.options import MethodOptions, model_name
from napari_clickseg.evaluation.runlog import ResultLog
from napari_clickseg.prediction import PredictionSettings
from pages import fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_clickseg.evaluation.datasets import Sample
    from napari_clickseg.prediction.settings import FirstLook

MODELS = ("ritm-mobilenetv2-starter", "interformer-mobilenetv2-starter")
SPLIT = "microscopy"
#: What is measured: images, and where the first click looks.
PARTS: tuple[tuple[str, FirstLook], ...] = (
    ("grabcut", "published"),
    ("grabcut", "search"),
    ("davis", "published"),
    ("davis", "search"),
    (SPLIT, "search"),
    ("nuclei", "search"),
    ("phase contrast", "search"),
)
FIGURES = ("noc@85", "noc@90", "iou@1", "spc_answer")


@dataclass(frozen=True)
class Row:
    """One model on one set of objects."""

    images: str
    look: str
    model: str
    summary: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Return it flat, for a table."""
        figures = {name: self.summary[name] for name in ("n", *FIGURES, "over20@90")}
        place = {"images": self.images, "look": self.look, "model": self.model}
        return {**place, **figures}


def objects(name: str, data: Path, out: Path, limit: int) -> list[Sample]:
    """Return the objects of a set."""
    if name != SPLIT:
        return samples_of(data, SOURCES[name], limit)
    folder = out / "splits"
    if not (folder / SPLIT).is_dir():
        carve(data, folder)
    return open_dataset(folder / SPLIT).first()[:limit]


def measure(
    models: Sequence[str],
    parts: Sequence[tuple[str, FirstLook]],
    given: argparse.Namespace,
) -> list[Row]:
    """Measure every model on every part."""
    rows = []
    for images, look in parts:
        samples = objects(images, given.data, given.out, given.limit)
        for model in models:
            options = MethodOptions(
                model,
                settings=PredictionSettings(first_look=look),
                precision=given.precision,
            )
            place = f"{images} {look} {model_name(model)} {len(samples)}"
            log = ResultLog(given.out / place.replace(" ", "-"), options.signature)
            began = time.perf_counter()
            results = evaluate(samples, options, log, jobs=given.jobs)
            (found,) = results.values()
            row = Row(images, look, model_name(model), summarise(found))
            rows.append(row)
            print(
                f"{images}, {look}, {row.model}: NoC@90 {row.summary['noc@90']:.2f} "
                f"({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the models side by side; the last column compares with the first one."""
    models = list(dict.fromkeys(row.model for row in rows))
    head = "| images | n | first look |"
    for name in ("NoC@85", "NoC@90", "IoU@1", "s/click"):
        head += "".join(f" {name}, {model.split('-')[0]} |" for model in models)
    lines = [
        f"{head} NoC@90, more |",
        "|---|--:|---" + "|--:" * (4 * len(models) + 1) + "|",
    ]
    for images, look in dict.fromkeys((row.images, row.look) for row in rows):
        side = {
            row.model: row.summary
            for row in rows
            if (row.images, row.look) == (images, look)
        }
        if set(side) != set(models):
            continue
        cells = [images, str(side[models[0]]["n"]), look]
        for name, digits in zip(FIGURES, (2, 2, 3, 3), strict=True):
            cells += [f"{side[model][name]:.{digits}f}" for model in models]
        more = side[models[-1]]["noc@90"] / side[models[0]]["noc@90"] - 1
        lines.append(f"| {' | '.join([*cells, f'{100 * more:+.0f} %'])} |")
    return "\n".join(lines)


def main() -> None:
    """Run the comparison; write table, CSV and JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("results/starters"))
    parser.add_argument("--models", nargs="*", default=MODELS, help="names or files")
    names = list(dict.fromkeys(name for name, _ in PARTS))
    parser.add_argument("--set", action="append", choices=names, dest="sets")
    parser.add_argument("--limit", type=int, default=60, help="objects of a set")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--page", type=Path, nargs="*", default=[], help="to fill in")
    given = parser.parse_args()
    parts = [part for part in PARTS if part[0] in (given.sets or names)]
    given.out.mkdir(parents=True, exist_ok=True)
    rows = measure(given.models, parts, given)
    text = table(rows)
    print(text)
    records = [row.record() for row in rows]
    with (given.out / "starters.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    (given.out / "starters.json").write_text(json.dumps(records, indent=1))
    (given.out / "starters.md").write_text(text + "\n")
    for page in given.page:
        fill(page, {"starters": text})


if __name__ == "__main__":
    main()
