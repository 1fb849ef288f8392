"""What benchmarks/dense_clicks.py clicks on: networks, tasks and images.

Every subject has images that are reported, and others that step sizes are tuned on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.evaluation.depth_metrics import NYU_RANGE
from napari_clickseg.evaluation.task_datasets import open_task_dataset
from napari_clickseg.evaluation.task_protocol import Reference
from napari_clickseg.prediction.dense import DensePredictor
from napari_clickseg.prediction.dense_settings import DenseSettings
from napari_clickseg.tasks import Depth, Matting, Semantic
from napari_clickseg.tasks.class_lists import CAMVID, CELLS

if TYPE_CHECKING:
    from napari_clickseg.tasks.task import Task

#: Sides of what is cut out of large microscopy images.
WINDOW = 128
#: Clicks on values are close enough from here on (0.004 of alpha and 0.5 % of depth
#: outside of this benchmark, which takes all iterations for nearly every click).
CLOSE = 0.02
#: Longest side at which photos are matted: a step of a refinement goes through all of
#: the decoder, and takes as long as there are pixels.
MATTE = 160
#: The same for depth.
DEEP = 224
#: Step sizes of alpha and depth are tuned on these, which are not reported.
TUNING = ("adobe_4", "comp_09", "slambook_ch5_1", "slambook_ch12_3")


@dataclass(frozen=True)
class Picture:
    """An image and its reference, read when they are asked for."""

    name: str
    read: Callable[[], tuple[Any, Reference]] = field(repr=False)

    def read_image(self) -> Any:
        """Return the image."""
        return self.read()[0]

    def read_reference(self) -> Reference:
        """Return what answers are held against."""
        return self.read()[1]


@dataclass(frozen=True)
class Subject:
    """What is clicked on.

    Parameters
    ----------
    name, title : str
    task : Task
    make : callable
        Returns a predictor with these settings.
    reported, tuning : sequence
        Images, with ``name``, ``read_image`` and ``read_reference``.
    metrics : tuple of str
        Which scores are told; the first is the headline.
    weights : str
        Name and hash of the weights.
    max_side : int or None
        Longest side that the network sees.
    at : tuple of str or None
        Where the layers go; None: where the network says.
    """

    name: str
    title: str
    task: Task
    make: Callable[[DenseSettings], DensePredictor]
    reported: Sequence[Any]
    tuning: Sequence[Any]
    metrics: tuple[str, ...]
    weights: str
    max_side: int | None = None
    at: tuple[str, ...] | None = None


def scattered(things: Sequence[Any]) -> list[Any]:
    """Return things in an order of which every beginning is spread over all."""
    bits = max(1, (len(things) - 1).bit_length())
    places = [int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits)]
    return [things[place] for place in places if place < len(things)]


def streets(data: Path, weights: str) -> Subject:
    """CamVid's test images, by a network of Cityscapes' classes."""
    from dense_clicks_streets import FILE
    from dense_clicks_streets import streets as load

    network = load(data)
    samples = list(
        open_task_dataset(data / "eval" / "camvid" / "test", task="semantic", ignore=11)
    )
    task = Semantic(CAMVID)
    tuning = samples[8::16]
    return Subject(
        "streets",
        "CamVid, a network of Cityscapes",
        task,
        lambda settings: DensePredictor(network, task, settings),
        scattered([sample for sample in samples if sample not in tuning]),
        tuning,
        ("miou", "accuracy"),
        weights or Path(FILE).stem,
    )


def cells(data: Path, weights: str) -> Subject:
    """Microscopy that the starter of classes has not seen."""
    import tomllib

    model, make = _starter("semantic", weights or "semantic-cells-starter")
    task = Semantic(model.classes or CELLS)
    recipes = Path(__file__).resolve().parents[1] / "recipes"
    recipe = tomllib.loads((recipes / "semantic-cells-starter.toml").read_text())
    pictures = [
        Picture(f"{pack['name']}/{stem}", _Cells(data / "train" / pack["name"], stem))
        for pack in recipe["packs"]
        for stem in pack["holdout"]
    ]
    tuning = pictures[5::11]
    return Subject(
        "cells",
        "microscopy, semantic-cells-starter",
        task,
        lambda settings: make(task, settings),
        scattered([picture for picture in pictures if picture not in tuning]),
        tuning,
        ("miou", "accuracy"),
        model.sha256 or weights,
        at=("decode8", "decode4"),
    )


@dataclass(frozen=True)
class _Cells:
    """Reads an image of a pack, or the window of it that has the most in it."""

    pack: Path
    stem: str

    def __call__(self) -> tuple[Any, Reference]:
        from napari_clickseg.training.classes import cell_classes
        from napari_clickseg.training.packs import read_labels, read_rgb

        image = read_rgb(next((self.pack / "images").glob(f"{self.stem}.*")))[..., :3]
        labels = read_labels(self.pack / "masks" / f"{self.stem}.png").astype(np.int16)
        classes = cell_classes(labels).astype(np.int32) + 1
        full = [0, 0]
        for axis in (0, 1):
            found = (classes > 1).sum(1 - axis).astype(float)
            inside = np.convolve(found, np.ones(min(WINDOW, len(found))), "valid")
            full[axis] = int(inside.argmax())
        part = tuple(slice(start, start + WINDOW) for start in full)
        return np.ascontiguousarray(image[part]), Reference(classes[part].copy())


def matting(data: Path, weights: str) -> Subject:
    """Photos with alpha and trimap."""
    model, make = _starter("matting", weights or "matting-indexnet-starter")
    task = Matting(stop_at=CLOSE)
    samples = list(open_task_dataset(data / "eval" / "matting", task="matting"))
    return Subject(
        "matting",
        "photos with alpha, matting-indexnet-starter",
        task,
        lambda settings: make(task, settings),
        scattered([sample for sample in samples if sample.name not in TUNING]),
        [sample for sample in samples if sample.name in TUNING],
        ("mse", "sad"),
        model.sha256 or weights,
        MATTE,
    )


@dataclass(frozen=True)
class _Composite:
    seed: int

    def __call__(self) -> tuple[Any, Reference]:
        from napari_clickseg.training.generators.matting import composite

        sample = composite((256, 320), np.random.default_rng(self.seed))
        return sample.image, Reference(sample.alpha, sample.trimap)


def depth(data: Path, weights: str) -> Subject:
    """Indoor pictures with measured depth."""
    model, make = _starter("depth", weights or "depth-bts-starter")
    task = Depth(largest=model.largest, stop_at=CLOSE)

    def read(sample: Any) -> Callable[[], tuple[Any, Reference]]:
        def both() -> tuple[Any, Reference]:
            reference = sample.read_reference()
            return sample.read_image(), Reference(reference.truth, None, NYU_RANGE)

        return both

    samples = list(open_task_dataset(data / "eval" / "depth", task="depth"))
    pictures = [Picture(sample.name, read(sample)) for sample in samples]
    return Subject(
        "depth",
        "indoor depth, depth-bts-starter",
        task,
        lambda settings: make(task, settings),
        scattered([picture for picture in pictures if picture.name not in TUNING]),
        [picture for picture in pictures if picture.name in TUNING],
        ("delta1", "rmse"),
        model.sha256 or weights,
        DEEP,
    )


@dataclass(frozen=True)
class _Scene:
    seed: int

    def __call__(self) -> tuple[Any, Reference]:
        from napari_clickseg.training.generators.scenes import scene

        sample = scene((240, 320), np.random.default_rng(self.seed))
        return sample.image, Reference(sample.depth, None, NYU_RANGE)


def drawn(name: str, seed: int) -> Picture:
    """Return a picture of our own generators: a composite, or a room."""
    return Picture(
        f"drawn {seed}", _Composite(seed) if name == "matting" else _Scene(seed)
    )


def _starter(
    task: str, name: str
) -> tuple[Any, Callable[[Task, DenseSettings], DensePredictor]]:
    """Return a model of this project, and what makes predictors of it."""
    import napari_clickseg as cs

    model: Any = cs.load_model(name, device="cpu", precision="float32")
    if model.task != task:
        raise SystemExit(f"{name} is a model of {model.task}, not of {task}.")

    def make(of: Task, settings: DenseSettings) -> DensePredictor:
        places = model.places.get("g-brs")
        return DensePredictor(model.network, of, settings, places=places)

    return model, make


SUBJECTS: dict[str, Callable[[Path, str], Subject]] = {
    "streets": streets,
    "cells": cells,
    "matting": matting,
    "depth": depth,
}
