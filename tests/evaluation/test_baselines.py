"""Classical methods answer clicks."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickSegError
from napari_clickseg.evaluation import baselines
from napari_clickseg.evaluation.baselines import (
    BACKGROUND,
    BASELINES,
    FOREGROUND,
    make_baseline,
    seed_map,
)
from napari_clickseg.evaluation.protocol import run_sample


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A bright disc and a bright square on noise; the disc is the object."""
    rows, cols = np.mgrid[:90, :120]
    image = np.random.default_rng(0).integers(20, 60, (90, 120, 3)).astype(np.uint8)
    disc = (rows - 45) ** 2 + (cols - 40) ** 2 <= 22**2
    square = (abs(rows - 45) < 15) & (abs(cols - 95) < 12)
    image[disc | square] += np.uint8(140)
    return image, disc.astype(np.int8)


@pytest.mark.parametrize("name", BASELINES)
def test_a_plain_disc_is_found(name: str) -> None:
    if name == "grabcut":
        pytest.importorskip("cv2")
    image, truth = scene()
    method = make_baseline(name)
    method.open_image(image)
    run = run_sample(method, truth)
    assert run.ious[-1] >= 0.9
    assert len(run.clicks) <= 8
    assert run.start is None
    # A second object of the same image is answered as if it were the first.
    assert run_sample(method, truth).ious == run.ious


@pytest.mark.parametrize("name", BASELINES)
def test_clicks_are_obeyed(name: str) -> None:
    if name == "grabcut":
        pytest.importorskip("cv2")
    image, _ = scene()
    method = make_baseline(name)
    method.open_image(image)
    clicks = (Click(45, 40), Click(45, 95, positive=False), Click(80, 110))
    mask = method.answer(clicks)
    assert mask.shape == (90, 120)
    assert [bool(mask[int(c.row), int(c.col)]) for c in clicks] == [True, False, True]


@pytest.mark.parametrize("name", BASELINES)
def test_without_seeds_of_one_kind(name: str) -> None:
    if name == "grabcut":
        pytest.importorskip("cv2")
    method = make_baseline(name)
    method.open_image(np.zeros((9, 9), np.uint8))
    assert not method.answer((Click(4, 4, positive=False),)).any()
    assert method.answer((Click(4, 4),))[4, 4]


def test_seeds() -> None:
    seeds = seed_map([Click(20, 20), Click(20, 25, positive=False)], (50, 60))
    assert (seeds[[0, -1]] == BACKGROUND).all()
    assert (seeds == FOREGROUND).sum() < 81 < (seeds == FOREGROUND).sum() * 2
    assert seeds[20, 25] == seeds[20, 21] == BACKGROUND  # the later click is on top
    corner = seed_map([Click(0, 0)], (50, 60))
    assert corner[0, 5] == FOREGROUND
    assert corner[0, 6] == BACKGROUND


def test_the_cheapest_cut() -> None:
    """Three nodes in a row; the thin edge is cut."""
    first, second = np.array([0, 1]), np.array([1, 2])
    side = baselines._cut(
        np.array([9.0, 0, 0]),
        np.array([0.0, 0, 9]),
        first,
        second,
        np.array([5.0, 1.0]),
    )
    assert side.tolist() == [True, True, False]


def test_unknown_and_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClickSegError, match="random-walker, graph-cut, grabcut"):
        make_baseline("magic")
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    assert baselines.available_baselines() == ("random-walker", "graph-cut")
    with pytest.raises(ClickSegError, match="needs OpenCV"):
        make_baseline("grabcut")
