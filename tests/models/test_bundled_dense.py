"""The bundled models of classes, alpha and depth: better than knowing nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from tests.models.test_bundled import blobs

from napari_clickseg import ClickSession, load_model
from napari_clickseg.image import ImageSource
from napari_clickseg.models.checkpoint import read_checkpoint
from napari_clickseg.models.registry import ModelInfo, list_models
from napari_clickseg.prediction.proposing import propose
from napari_clickseg.session.dense_base import STARTERS
from napari_clickseg.training.generators.matting import UNKNOWN, composite
from napari_clickseg.training.generators.scenes import scene

TASKS = ("semantic", "matting", "depth")
BUNDLED = [info for info in list_models() if info.bundled and info.task in TASKS]


def test_one_for_each_task() -> None:
    assert {info.task: info.name for info in BUNDLED} == STARTERS


@pytest.mark.parametrize("info", BUNDLED, ids=lambda info: info.name)
def test_file_and_card(info: ModelInfo) -> None:
    assert info.path.stat().st_size <= 6e6
    checkpoint = read_checkpoint(info.path)
    assert checkpoint.architecture == info.architecture
    assert checkpoint.metadata["name"] == info.name
    assert checkpoint.metadata["task"] == info.task
    assert checkpoint.metadata["steps"] > 500
    notice = info.path.with_name("NOTICE").read_text(encoding="utf-8")
    assert info.path.name in notice


def test_together_they_are_small() -> None:
    assert sum(info.path.stat().st_size for info in BUNDLED) <= 25e6


# -- classes ---------------------------------------------------------------------


def test_disks_are_objects_and_not_background() -> None:
    image, _ = blobs()
    model = load_model(STARTERS["semantic"], "cpu")
    labels = propose(model, ImageSource(image)).labels
    places = ((40, 50), (96, 128), (150, 210))
    found = [labels[place] for place in places]
    assert all(found)
    assert len(set(found)) == 3
    rows, cols = np.mgrid[:192, :256]
    for (row, col), radius in zip(places, (22, 30, 18), strict=True):
        truth = np.hypot(rows - row, cols - col) < radius
        mine = labels == labels[row, col]
        assert (truth & mine).sum() / (truth | mine).sum() > 0.7


def test_a_click_changes_a_class() -> None:
    image, truth = blobs()
    session = ClickSession(task="semantic", device="cpu")
    session.set_image(image)
    session.start_from_model()
    share = (session.result == 2)[ndimage.binary_erosion(truth, iterations=5)].mean()
    assert share > 0.8
    change = session.add_click((20, 200), label=2, radius=10)
    assert session.result[20, 200] == 2
    assert not change.unsatisfied
    session.undo()
    assert session.result[20, 200] == 1


# -- alpha -----------------------------------------------------------------------


def composites() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return images, trimaps and alpha that nobody has seen."""
    found = []
    for seed in range(5):
        sample = composite((160, 192), np.random.default_rng([99, seed]))
        found.append((sample.image, sample.trimap, sample.alpha))
    return found


def test_alpha_is_better_than_one_half() -> None:
    ours, blind = [], []
    session = ClickSession(task="matting", device="cpu")
    for image, trimap, alpha in composites():
        session.set_image(image)
        session.set_trimap(trimap)
        unknown = trimap == UNKNOWN
        ours.append(np.abs(session.result - alpha)[unknown].mean())
        blind.append(np.abs(0.5 - alpha)[unknown].mean())
        assert (session.result[trimap == 0] == 0).all()
        assert (session.result[trimap == 255] == 1).all()
    assert np.mean(ours) < 0.6 * np.mean(blind)


def test_a_click_changes_alpha() -> None:
    image, trimap, _ = composites()[0]
    session = ClickSession(task="matting", device="cpu")
    session.set_image(image)
    session.set_trimap(trimap)
    before = session.result.copy()
    # where the answer is exactly 0 its last activation passes no gradient on
    between = (before > 0.3) & (before < 0.7) & (trimap == UNKNOWN)
    row, col = np.argwhere(between)[0]
    wanted = 0.9 if before[row, col] < 0.5 else 0.1
    session.add_click((row, col), value=wanted)
    assert abs(session.result[row, col] - wanted) < 0.05
    session.undo()
    assert np.array_equal(session.result, before)


# -- depth -----------------------------------------------------------------------


def test_depth_is_better_than_the_same_everywhere() -> None:
    ours, flat = [], []
    session = ClickSession(task="depth", device="cpu")
    for seed in range(6):
        sample = scene((192, 256), np.random.default_rng([99, seed]))
        session.set_image(sample.image)
        session.start_from_model()
        depth, truth = session.result, sample.depth
        assert depth.shape == truth.shape
        scaled = depth * np.median(truth) / np.median(depth)
        ours.append(np.abs(np.log(scaled / truth)).mean())
        flat.append(np.abs(np.log(np.median(truth) / truth)).mean())
    assert np.mean(ours) < 0.85 * np.mean(flat)


def test_a_click_changes_depth() -> None:
    sample = scene((192, 256), np.random.default_rng([99, 1]))
    session = ClickSession(task="depth", device="cpu")
    session.set_image(sample.image)
    change = session.add_click((120, 100), value=2.5)
    assert abs(session.result[120, 100] / 2.5 - 1) < 0.02
    assert not change.unsatisfied
