"""Compare what the first click may look at: three policies, photos and microscopy.

    python benchmarks/first_look.py --data ../shared/data --out results/first_look

Every object is clicked by the published simulated annotator. ``published`` sees
the whole image at the first click, ``visible`` a window four objects wide, as a
user sees it who zoomed in before clicking, ``search`` chooses for itself among
windows around the click. Sets that are split for training are cut down to the
images the starter was not trained on where the recipe names them.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.evaluation.datasets import Dataset, Sample, open_dataset
from napari_clickseg.evaluation.metrics import clicks_needed
from napari_clickseg.evaluation.simulate import OBJECT, SimulatedAnnotator, iou
from napari_clickseg.image import ImageSource
from napari_clickseg.models.model import load_model
from napari_clickseg.prediction import PredictionSettings, Predictor
from napari_clickseg.prediction.first_look import window_around
from napari_clickseg.prediction.views import mask_box

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from napari_clickseg.prediction.settings import FirstLook

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "ritm-mobilenetv2-starter.toml"
POLICIES: tuple[FirstLook, ...] = ("published", "visible", "search")
GOAL = 0.85


@dataclass(frozen=True)
class Source:
    """A pack of images and how its objects are taken.

    Parameters
    ----------
    kind : str
        Photo or microscopy.
    folder : str
        Below the data folder.
    ignore : int or None
        Label of pixels that do not count.
    per_image : int
        Objects taken of an image.
    min_area : int
        Smaller objects are left out.
    pack : str or None
        Name in the training recipe: only what it holds out is used, if it
        holds out anything.
    """

    kind: str
    folder: str
    ignore: int | None = None
    per_image: int = 1
    min_area: int = 50
    pack: str | None = None


SOURCES = {
    "grabcut": Source("photo", "eval/grabcut", ignore=255),
    "davis": Source("photo", "train/davis_trainvideos", pack="davis_trainvideos"),
    "coco": Source("photo", "train/coco_mval_train", pack="coco_mval_train"),
    "nuclei": Source(
        "microscopy", "train/dsb2018_train", per_image=2, pack="dsb2018_train"
    ),
    "phase contrast": Source(
        "microscopy", "train/usiigaci_train", per_image=15, pack="usiigaci_train"
    ),
}


@dataclass(frozen=True)
class Row:
    """One object clicked under one policy."""

    source: str
    name: str
    policy: str
    share: float  #: object's area over the image's
    iou_quick: float  #: after the first click, without the mirrored pass
    iou_first: float  #: after the first click, settled
    window: int  #: longer side of the first window, image pixels
    clicks_85: int
    clicks_90: int
    seconds_quick: float
    seconds_settled: float
    seconds_next: float  #: mean of a later click, settled


def held_out(pack: str | None) -> set[str] | None:
    """Return the image names that the recipe keeps out of training, if any."""
    if pack is None or not RECIPE.is_file():
        return None
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    for entry in recipe.get("packs", []):
        if entry["name"] == pack and entry.get("holdout"):
            return set(entry["holdout"])
    return None


def samples_of(data: Path, source: Source, limit: int) -> list[Sample]:
    """Return at most ``limit`` objects, spread over the pack's images."""
    dataset: Dataset = open_dataset(
        data / source.folder,
        ignore=source.ignore,
        per_image=source.per_image,
        min_area=source.min_area,
    )
    kept = held_out(source.pack)
    if kept is not None:
        files = [pair for pair in dataset._files if pair[0].stem in kept]  # noqa: SLF001
        dataset._files[:] = files  # noqa: SLF001
    found = list(dataset)
    if len(found) <= limit:
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, limit).round().astype(int)]


def field_around(truth: NDArray[np.int8]) -> Box:
    """Return the field of a user who zoomed in: four objects wide."""
    box = mask_box(truth == OBJECT)
    assert box is not None
    return window_around(box, 4 * max(box.shape), truth.shape)


def click_through(
    predictor: Predictor, image: ImageSource, truth: NDArray[np.int8], clicks: int
) -> tuple[list[float], float, int, list[float]]:
    """Click until 0.90; return IoUs, quick IoU, first window, and seconds.

    Seconds: quick first answer, settled first answer, then settled answers.
    """
    annotator = SimulatedAnnotator(truth)
    mask: NDArray[np.bool_] | None = None
    state = None
    visible = field_around(truth)
    ious: list[float] = []
    seconds: list[float] = []
    quick_iou, window = 0.0, 0

    def masked(probability: np.ndarray, box: Box) -> NDArray[np.bool_]:
        out = np.zeros(truth.shape, bool)
        out[box.slices] = probability > predictor.settings.threshold
        return out

    for i in range(clicks):
        annotator.next_click(mask)
        started = time.perf_counter()
        if i == 0:
            quick = predictor.predict(
                image, annotator.clicks, state, visible=visible, settle=False
            )
            seconds.append(time.perf_counter() - started)
            quick_iou = iou(truth, masked(quick.probability, quick.box))
            window = max(quick.box.shape)
        answer = predictor.predict(image, annotator.clicks, state, visible=visible)
        seconds.append(time.perf_counter() - started)
        state, mask = answer.state, masked(answer.probability, answer.box)
        ious.append(iou(truth, mask))
        if ious[-1] >= 0.90:
            break
    return ious, quick_iou, window, seconds


def measure(
    predictor: Predictor, sources: Iterable[str], data: Path, limit: int, clicks: int
) -> Iterator[Row]:
    """Yield a row for every object and policy."""
    published = predictor.settings
    for name in sources:
        for sample in samples_of(data, SOURCES[name], limit):
            image = ImageSource(np.ascontiguousarray(sample.read_image()))
            truth = sample.read_truth()
            for policy in POLICIES:
                predictor.settings = replace(published, first_look=policy)
                ious, quick, window, seconds = click_through(
                    predictor, image, truth, clicks
                )
                yield Row(
                    source=name,
                    name=sample.name,
                    policy=policy,
                    share=float((truth == OBJECT).mean()),
                    iou_quick=quick,
                    iou_first=ious[0],
                    window=window,
                    clicks_85=clicks_needed(ious, GOAL, clicks),
                    clicks_90=clicks_needed(ious, 0.90, clicks),
                    seconds_quick=seconds[0],
                    seconds_settled=seconds[1],
                    seconds_next=float(np.mean(seconds[2:] or [np.nan])),
                )
            predictor.settings = published


def table(rows: list[Row]) -> list[str]:
    """Return a Markdown table: one line for each set and policy."""
    columns = [
        "images",
        "n",
        "policy",
        "IoU@1 quick",
        "IoU@1",
        "NoC@85",
        "NoC@90",
        "first answer, s",
        "settled, s",
        "later clicks, s",
    ]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for source in dict.fromkeys(row.source for row in rows):
        for policy in POLICIES:
            part = [r for r in rows if (r.source, r.policy) == (source, policy)]
            if not part:
                continue
            mean = {
                key: float(np.nanmean([getattr(row, key) for row in part]))
                for key in (
                    "iou_quick",
                    "iou_first",
                    "clicks_85",
                    "clicks_90",
                    "seconds_quick",
                    "seconds_settled",
                    "seconds_next",
                )
            }
            lines.append(
                f"| {source} | {len(part)} | {policy} | {mean['iou_quick']:.3f} "
                f"| {mean['iou_first']:.3f} | {mean['clicks_85']:.2f} "
                f"| {mean['clicks_90']:.2f} | {mean['seconds_quick']:.3f} "
                f"| {mean['seconds_settled']:.3f} | {mean['seconds_next']:.3f} |"
            )
    return lines


def main() -> None:
    """Run the comparison and write table, CSV and JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ritm-mobilenetv2-starter")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--set", action="append", choices=SOURCES, dest="sets")
    parser.add_argument("--limit", type=int, default=60, help="objects of a set")
    parser.add_argument("--clicks", type=int, default=20, help="at most so many")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--out", type=Path, help="folder for CSV, JSON and table")
    options = parser.parse_args()

    model = load_model(options.model, precision=options.precision)
    predictor = Predictor(model, PredictionSettings())
    rows = list(
        measure(
            predictor,
            options.sets or SOURCES,
            options.data,
            options.limit,
            options.clicks,
        )
    )
    lines = table(rows)
    print("\n".join(lines))
    if options.out is None:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    records = [asdict(row) for row in rows]
    with (options.out / "first_look.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    (options.out / "first_look.md").write_text("\n".join(lines) + "\n")
    (options.out / "first_look.json").write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
