"""Finetune the bundled model on 20 images of a domain that it never saw.

    python benchmarks/finetune.py --data ../shared/data --out results/finetune

Of the materials micrographs (``train/nasa_materials_mit``), 20 images are drawn by each
seed; the model learns from them as a user would have it, by
``napari_clickseg.finetune`` with the effort "quick". Then the published simulated
annotator clicks on objects of the other images, and on the GrabCut benchmark, with the
parent and with each new model. The table says how many clicks they need, over all
objects, and without specks: of 16 x 16 pixels nearly a quarter lie along the outline.

A run that was stopped goes on where it was, seed by seed and object by object.
``--rehearsal`` has the starters' own training packs rehearsed; by default the model has
only the pictures that come with the package.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_clickseg.evaluation.datasets import Sample

PACK = "nasa_materials_mit"
PARENT = "ritm-mobilenetv2-starter"
#: Images that are learned from.
LEARNED = 20
#: Objects of fewer pixels are specks.
SPECK = 256


@dataclass(frozen=True)
class Row:
    """One model on both sets of objects."""

    model: str
    seed: int | None
    minutes: float
    objects: int
    noc85: float
    noc85_without_specks: float
    iou1: float
    grabcut90: float


def draw_images(folder: Path, seed: int, count: int = LEARNED) -> list[str]:
    """Return the names of the images that a seed draws."""
    names = sorted(path.stem for path in (folder / "images").iterdir())
    rng = np.random.default_rng(100 + seed)
    return sorted(rng.choice(names, count, replace=False).tolist())


def lay_out(folder: Path, names: Sequence[str], target: Path) -> Path:
    """Link some images and their labels into a folder of their own."""
    for part in ("images", "masks"):
        (target / part).mkdir(parents=True, exist_ok=True)
        for path in (folder / part).iterdir():
            link = target / part / path.name
            if path.stem in names and not link.exists():
                link.symlink_to(path.resolve())
    return target


def objects_of(
    folder: Path, without: Sequence[str], per_image: int, min_area: int
) -> list[Sample]:
    """Return objects of the images that were not learned from, spread over them."""
    from napari_clickseg.evaluation.datasets import open_dataset

    found = open_dataset(folder, per_image=per_image, min_area=min_area).first()
    return [sample for sample in found if sample.image.stem not in without]


def clicks(
    model: str, samples: Sequence[Sample], goal: float, log: Path
) -> dict[str, Any]:
    """Return the usual figures of a model on some objects."""
    from napari_clickseg.evaluation.benchmark import evaluate
    from napari_clickseg.evaluation.metrics import clicks_needed
    from napari_clickseg.evaluation.options import MethodOptions
    from napari_clickseg.evaluation.runlog import ResultLog

    options = MethodOptions(model=model, goal=goal)
    results = ResultLog(log, options.signature)
    (found,) = evaluate(samples, options, results).values()
    areas = {one.name: int((one.read_truth() == 1).sum()) for one in samples}
    large = [one for one in found if areas[one.name] >= SPECK]
    return {
        "n": len(found),
        "noc85": float(np.mean([clicks_needed(one.ious, 0.85) for one in found])),
        "noc85_without_specks": float(
            np.mean([clicks_needed(one.ious, 0.85) for one in large])
        ),
        "noc90": float(np.mean([clicks_needed(one.ious, 0.90) for one in found])),
        "iou1": float(np.mean([one.ious[0] for one in found])),
    }


def learn(folder: Path, seed: int, out: Path, choices: argparse.Namespace) -> Path:
    """Finetune on one seed's images, unless that was done; return the weights."""
    done = out / f"seed-{seed}.json"
    if done.is_file():
        return Path(json.loads(done.read_text())["weights"])
    from napari_clickseg import finetune

    began = time.monotonic()
    cpu = os.times()
    result = finetune(
        folder,
        name=f"materials-seed-{seed}",
        effort=choices.effort,
        seed=seed,
        rehearsal=choices.rehearsal or "none",
        device=choices.device,
        out=out / f"checkpoints-{seed}",
        on_progress=lambda p: p.step % 20 or print(f"  {p.text}", flush=True),
    )
    now = os.times()
    weights = out / f"seed-{seed}.safetensors"
    weights.write_bytes(result.path.read_bytes())
    elapsed = (time.monotonic() - began) / 60
    facts = {
        "weights": str(weights),
        # A run that was stopped and went on has learned for longer than this one took.
        "minutes": max(elapsed, result.card["finetuned"]["minutes"]),
        "cpu_minutes": (now.user + now.system - cpu.user - cpu.system) / 60,
        "text": result.text,
        "card": result.card,
    }
    done.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return weights


def table(rows: Sequence[Row]) -> str:
    """Return both sets of figures in one table, with mean and spread over seeds."""
    parents = [row for row in rows if row.seed is None or row.model == PARENT]
    tuned = [row for row in rows if row.model != PARENT]
    own = "NoC@85 before | after | change | IoU@1 before | after"
    larger = "without specks: before | after | change"
    photos = "GrabCut NoC@90 before | after | change"
    lines = [f"| seed | objects | {own} | {larger} | {photos} |", "|---" * 13 + "|"]
    falls, larger_falls, rises = [], [], []
    for before, after in zip(parents, tuned, strict=True):
        fall = after.noc85 / before.noc85 - 1
        rise = after.grabcut90 / before.grabcut90 - 1
        larger_fall = after.noc85_without_specks / before.noc85_without_specks - 1
        falls.append(fall)
        larger_falls.append(larger_fall)
        rises.append(rise)
        lines.append(
            f"| {after.seed} | {after.objects} "
            f"| {before.noc85:.2f} | {after.noc85:.2f} | {fall:+.0%} "
            f"| {before.iou1:.3f} | {after.iou1:.3f} "
            f"| {before.noc85_without_specks:.2f} | {after.noc85_without_specks:.2f} "
            f"| {larger_fall:+.0%} "
            f"| {before.grabcut90:.2f} | {after.grabcut90:.2f} | {rise:+.1%} |"
        )
    if len(falls) > 1:
        lines.append(
            "| mean ± s.d. | | | "
            f"| {np.mean(falls):+.0%} ± {np.std(falls, ddof=1):.0%} "
            "| | | | "
            f"| {np.mean(larger_falls):+.0%} ± {np.std(larger_falls, ddof=1):.0%} "
            f"| | | {np.mean(rises):+.1%} ± {np.std(rises, ddof=1):.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and write ``finetune.json`` and ``finetune.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("results/finetune"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rehearsal", type=Path)
    parser.add_argument("--per-image", type=int, default=1)
    parser.add_argument("--min-area", type=int, default=100)
    choices = parser.parse_args()
    choices.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("NAPARI_CLICKSEG_CACHE", str(choices.out / "cache"))

    from napari_clickseg.evaluation.datasets import open_dataset

    pack = choices.data / "train" / PACK
    grabcut = open_dataset(choices.data / "eval" / "grabcut", ignore=255).first()
    photos = clicks(PARENT, grabcut, 0.90, choices.out / "grabcut-parent")
    rows: list[Row] = []
    for seed in choices.seeds:
        print(f"seed {seed}", flush=True)
        names = draw_images(pack, seed)
        folder = lay_out(pack, names, choices.out / f"images-{seed}")
        weights = learn(folder, seed, choices.out, choices)
        facts = json.loads((choices.out / f"seed-{seed}.json").read_text())
        others = objects_of(pack, names, choices.per_image, choices.min_area)
        for model in (PARENT, str(weights)):
            tag = "parent" if model == PARENT else "tuned"
            own = clicks(model, others, 0.85, choices.out / f"objects-{tag}-{seed}")
            if model == PARENT:
                kept = photos
            else:
                log = choices.out / f"grabcut-{seed}"
                kept = clicks(model, grabcut, 0.90, log)
            rows.append(
                Row(
                    model=PARENT if model == PARENT else f"seed {seed}",
                    seed=seed,
                    minutes=0.0 if model == PARENT else facts["minutes"],
                    objects=own["n"],
                    noc85=own["noc85"],
                    noc85_without_specks=own["noc85_without_specks"],
                    iou1=own["iou1"],
                    grabcut90=kept["noc90"],
                )
            )
        (choices.out / "finetune.json").write_text(
            json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8"
        )
        (choices.out / "finetune.md").write_text(table(rows) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
