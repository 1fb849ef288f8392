"""Telling the user's images from others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tests.finetuning.conftest import blobs, plan
from tests.finetuning.test_readers import write_folder

from napari_clickseg.clicks import Click
from napari_clickseg.image import ImageSource
from napari_clickseg.models.model import load_model
from napari_clickseg.prediction import Predictor
from napari_clickseg.training.finetuning.gating import gate_between
from napari_clickseg.training.finetuning.reference import known_photos


def kind(count: int, shift: float, seed: int) -> list[torch.Tensor]:
    """Views of images: each image has a look of its own, around that of its kind."""
    rng = torch.Generator().manual_seed(seed)
    looks = [torch.randn(12, generator=rng) for _ in range(count)]
    return [
        look + shift + 0.3 * torch.randn(6, 12, generator=rng) * 0.5 for look in looks
    ]


def test_kinds_that_differ_are_told() -> None:
    gate = gate_between(kind(12, 1.5, 0), kind(20, -1.5, 1))
    assert gate is not None
    for sign, views in ((1, kind(30, 1.5, 2)), (-1, kind(30, -1.5, 3))):
        score = torch.cat(views) @ gate.weights + gate.bias
        assert float((sign * score > 0).float().mean()) > 0.95


def test_few_images_count_as_much_as_many() -> None:
    few, many = kind(4, 0.8, 4), kind(60, -0.8, 5)
    gate = gate_between(few, many)
    assert gate is not None
    unseen = torch.cat(kind(40, 0.8, 6)) @ gate.weights + gate.bias
    assert float((unseen > 0).float().mean()) > 0.8


def test_kinds_that_do_not_differ_get_no_gate() -> None:
    """A gate of many numbers can always tell the images that it was made from."""
    assert gate_between(kind(8, 0, 7), kind(8, 0, 8)) is None


def test_one_image_is_no_kind() -> None:
    assert gate_between(kind(1, 3, 9), kind(20, -3, 10)) is None


def test_the_parent_answers_on_photos(tiny: Path, tmp_path: Path) -> None:
    shown = [photo[:240, :240] for photo in known_photos()]
    root = tmp_path / "data"
    disk = np.zeros((240, 240), np.uint8)
    disk[60:180, 60:180] = 1
    write_folder(root / "train" / "animals_openimages", shown, [disk] * len(shown))
    job = plan(
        blobs(8), tiny, tmp_path / "out", reference=True, rehearsal=root, steps=3
    )
    # What was learned is far from the parent, or nothing could be told of it.
    job.work.options.__dict__["learning_rate"] = 0.05
    result = job.run()
    recipe = result.card["finetuned"]["recipe"]
    assert recipe["gate"] is True
    assert recipe["blend"] == 1.0
    model = load_model(result.path, "cpu", "float32")
    parent = load_model(tiny, "cpu", "float32")
    photos = [ImageSource(photo) for photo in known_photos()]
    same = []
    for photo in photos:
        found, before = (
            Predictor(one).predict(photo, [Click(60, 60)]) for one in (model, parent)
        )
        same.append(np.allclose(found.probability, before.probability, atol=1e-5))
        assert same[-1] == bool(found.notices)
    assert np.mean(same) > 0.7
    # On images like those that were learned from the result answers, not the parent.
    fresh = [ImageSource(image) for image in blobs(6, seed=3)[0]]
    for image in fresh:
        assert Predictor(model).predict(image, [Click(30, 30)]).notices == ()


def test_who_forgets_has_no_gate(tiny: Path, tmp_path: Path) -> None:
    result = plan(blobs(8), tiny, tmp_path, reference=False, steps=2).run()
    assert load_model(result.path, "cpu").gate is None
    assert result.card["finetuned"]["recipe"]["blend"] == 1.0
