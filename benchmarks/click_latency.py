"""Time a click the published way and ours, in one run.

    python benchmarks/click_latency.py --out results/click_latency

The published way: float32, contiguous tensors, no folding, image and mirror
image, everything computed anew at each click. Ours: folded,
channels last, half precision where the processor has it and the answers agree,
the image encoded once per view, and the first answer before the mirrored pass.

Both sides answer the same clicks in turn, click by click, so that a busy machine
slows both. HRNets run with random weights (speed does not depend on them), and
their window is pinned to 400 x 400; the starter runs as it is used, and there
the masks of both sides are compared.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_clickseg.clicks import Click
from napari_clickseg.evaluation.datasets import open_dataset
from napari_clickseg.evaluation.simulate import SimulatedAnnotator
from napari_clickseg.image import ImageSource
from napari_clickseg.models.model import Model, load_model
from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.networks.ritm import RITM
from napari_clickseg.prediction import PredictionSettings, Predictor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_clickseg.prediction.settings import PredictorState

STARTER = "ritm-mobilenetv2-starter"
HRNETS = ("hrnet18s", "hrnet18", "hrnet32")
TARGET = 400
SETTINGS = PredictionSettings(target_size=TARGET)
PINNED = replace(SETTINGS, skip_clicks=-1, target_size=(TARGET, TARGET))


@dataclass(frozen=True)
class Scene:
    """An image and the clicks on it in order."""

    image: ImageSource
    clicks: tuple[Click, ...]


@dataclass
class Timing:
    """Seconds per click of both sides, and how well their masks agree."""

    name: str
    precision: str
    published: list[float]
    first: list[float]
    settled: list[float]
    agreement: list[float]

    def row(self) -> dict[str, float | str]:
        """Return medians, ratios of medians, and the mean agreement."""
        published = statistics.median(self.published)
        first = statistics.median(self.first)
        settled = statistics.median(self.settled)
        return {
            "model": self.name,
            "precision": self.precision,
            "clicks": len(self.published),
            "published_ms": 1000 * published,
            "first_ms": 1000 * first,
            "settled_ms": 1000 * settled,
            "first_speedup": published / first,
            "settled_speedup": published / settled,
            "mask_iou": float(np.mean(self.agreement)),
        }


def random_hrnet(backbone: str, *, optimise: bool) -> Model:
    """Return a RITM network with reproducible random weights."""
    torch.manual_seed(0)
    network = RITM(backbone=backbone).eval()
    info = ModelInfo(
        name=f"RITM {backbone}",
        task="segmentation",
        architecture="ritm",
        file="",
        licence="none: random weights",
        source="",
    )
    return Model(network, info, optimise=optimise)


def synthetic_scene(count: int) -> Scene:
    """Return a photo-sized image with clicks spread over its middle."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:480, :640]
    image = np.stack(
        [np.sin(rows / f) * np.cos(cols / g) for f, g in ((9, 13), (17, 11), (29, 31))],
        axis=-1,
    )
    image = (127 * (1 + image)).astype(np.uint8)
    places = rng.uniform(0.3, 0.7, (count, 2)) * image.shape[:2]
    clicks = [Click(float(r), float(c), i % 3 != 2) for i, (r, c) in enumerate(places)]
    return Scene(ImageSource(image), tuple(clicks))


def real_scenes(model: Model, folder: Path, count: int, clicks: int) -> Iterable[Scene]:
    """Yield photos with the clicks that the simulated annotator makes."""
    samples = open_dataset(folder, "folder", ignore=255).first()
    for sample in samples[:: max(1, len(samples) // count)][:count]:
        source, truth = ImageSource(sample.read_image()), sample.read_truth()
        annotator, side = SimulatedAnnotator(truth), Side(model, SETTINGS)
        for _ in range(clicks):
            annotator.next_click(side.mask)
            side.answer(source, annotator.clicks, side.state)
        yield Scene(source, tuple(annotator.clicks))


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Side:
    """A predictor that remembers its last answer."""

    def __init__(self, model: Model, settings: PredictionSettings) -> None:
        self.predictor = Predictor(model, settings)
        self.state: PredictorState | None = None
        self.mask: NDArray[np.bool_] | None = None

    def answer(
        self,
        image: ImageSource,
        clicks: Sequence[Click],
        before: PredictorState | None,
        *,
        settle: bool = True,
    ) -> None:
        """Answer clicks and remember state and mask."""
        found = self.predictor.predict(image, clicks, before, settle=settle)
        self.state = found.state
        self.mask = np.zeros(image.shape, bool)
        self.mask[found.box.slices] = found.probability > SETTINGS.threshold

    def published_click(self, scene: Scene, count: int) -> float:
        """Answer as published, with nothing kept; return the seconds."""
        self.predictor.forget()
        clicks = scene.clicks[:count]
        return timed(lambda: self.answer(scene.image, clicks, self.state))

    def our_click(self, scene: Scene, count: int) -> tuple[float, float]:
        """Answer at once, then settle; return the seconds to each."""
        clicks, before = scene.clicks[:count], self.state
        first = timed(lambda: self.answer(scene.image, clicks, before, settle=False))
        return first, first + timed(lambda: self.answer(scene.image, clicks, before))


def mask_iou(one: NDArray[np.bool_] | None, two: NDArray[np.bool_] | None) -> float:
    """Return intersection over union; two empty masks agree."""
    if one is None or two is None:
        raise ValueError("answer a click first")
    union = np.count_nonzero(one | two)
    return np.count_nonzero(one & two) / union if union else 1.0


def compare(
    name: str,
    published: Model,
    ours: Model,
    scenes: Sequence[Scene],
    settings: PredictionSettings,
    warm: int = 1,
) -> Timing:
    """Answer the clicks of every scene on both sides in turn."""
    timing = Timing(name, str(ours.dtype).removeprefix("torch."), [], [], [], [])
    for number, scene in enumerate([*scenes[:warm], *scenes]):
        theirs, mine = Side(published, settings), Side(ours, settings)
        for count in range(1, len(scene.clicks) + 1):
            seconds = theirs.published_click(scene, count)
            first, settled = mine.our_click(scene, count)
            if number < warm:
                continue
            timing.published.append(seconds)
            timing.first.append(first)
            timing.settled.append(settled)
            timing.agreement.append(mask_iou(theirs.mask, mine.mask))
    return timing


def table(rows: Sequence[dict[str, float | str]]) -> str:
    """Return the rows as a Markdown table."""
    head = "| model | precision | published way | first answer | settled |"
    lines = [
        f"{head} first | settled | mask IoU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['model']} | {row['precision']} | {row['published_ms']:.0f} ms "
        f"| {row['first_ms']:.0f} ms | {row['settled_ms']:.0f} ms "
        f"| {row['first_speedup']:.1f}x | {row['settled_speedup']:.1f}x "
        f"| {row['mask_iou']:.4f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the comparison and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--clicks", type=int, default=5, help="clicks per scene")
    parser.add_argument("--images", type=int, default=12, help="photos")
    parser.add_argument("--models", nargs="*", default=[*HRNETS, STARTER])
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    rows = []
    for name in arguments.models:
        if name in HRNETS:
            published = random_hrnet(name, optimise=False)
            ours = random_hrnet(name, optimise=True)
            scenes = [synthetic_scene(arguments.clicks)] * 3
            settings = PINNED
        else:
            published = load_model(name, precision="float32", optimise=False)
            ours = load_model(name)
            folder = arguments.data / "eval" / "grabcut"
            scenes = list(
                real_scenes(published, folder, arguments.images, arguments.clicks)
            )
            settings = SETTINGS
        rows.append(compare(published.name, published, ours, scenes, settings).row())
        print(table(rows[-1:]), flush=True)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "target": TARGET,
    }
    print(f"\n{machine}\n\n{table(rows)}")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        result = {"machine": machine, "rows": rows}
        (arguments.out / "click_latency.json").write_text(json.dumps(result, indent=1))
        (arguments.out / "click_latency.md").write_text(table(rows) + "\n")


if __name__ == "__main__":
    main()
