"""Whole runs of the published refinement by L-BFGS-B, click by click.

Networks with random weights amplify the last digit of every number, and so does
L-BFGS-B. The full runs are therefore compared where this machine gives the published
first answer to the last digit, which takes two threads; then everything else follows
to the last digit too. The excerpts are compared on any machine: each click starts
from what the published run had found until then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.golden_files import read_golden
from tests.prediction.test_golden_predictions import SMALL, model_with

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction import PredictionSettings, Predictor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METHODS = {
    "fbrsa": "f-brs-a",
    "fbrsb": "f-brs-b",
    "fbrsc": "f-brs-c",
    "rgbbrs": "rgb-brs",
    "distmapbrs": "distmap-brs",
}
RUNS = [
    *(f"fbrs_r34_dh128_pred_{name}_zoom_flip" for name in METHODS),
    "ritm_h18s_pred_fbrsb_nozoom_flip",
    "ritm_h18s_pred_fbrsb_zoom_skip1_flip",
    "ritm_h18s_pred_rgbbrs_zoom_skip1_flip",
    "ritm_h18s_pred_distmapbrs_zoom_skip1_flip",
]
#: Clicks at which the published code leaves out a square at the border, and we do not.
MENDED = {("ritm_h18s_pred_fbrsb_zoom_skip1_flip", 4)}


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def predictor_for(weights: Path, run: str) -> Predictor:
    options = {"zoom_in": False} if "_nozoom_" in run else SMALL
    method = METHODS[run.split("_pred_")[1].split("_")[0]]
    return Predictor(model_with(weights), PredictionSettings(**options), method)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("run", RUNS)
def test_golden(golden_dir: Path, run: str) -> None:
    golden = read_golden(golden_dir / f"{run}.npz")
    weights = golden_dir / f"{run.split('_pred_')[0]}_forward.npz"
    predictor = predictor_for(weights, run)
    image = ImageSource(golden["image"])
    made = golden[next(key for key in golden if key.startswith("clicks_yx_pos"))]
    clicks: list[Click] = []
    state = None
    for i, (row, col, positive, *_) in enumerate(made):
        clicks.append(Click(row, col, bool(positive)))
        answer = predictor.predict(image, clicks, state)
        state = answer.state
        assert answer.settled
        assert inclusive(state.roi) == golden["rois"][i].tolist()
        found = state.window(Box.of_shape(image.shape))
        if i == 0 and not np.array_equal(found, golden["probs"][0]):
            pytest.skip("this machine rounds otherwise than that of the golden numbers")
        if (run, i) in MENDED:
            break
        assert np.abs(found - golden["probs"][i]).max() <= 1e-2
        loss = golden["best_loss"][i]
        works = [work.run for work in predictor._last.works.values()]
        assert bool(works) == np.isfinite(loss)
        if not works:
            continue
        assert works[0].loss == pytest.approx(loss, rel=1e-3)
        if "opt_data" in golden:
            np.testing.assert_allclose(
                works[0].change, golden["opt_data"][i], atol=1e-2
            )
        if "functor_calls_loss_gradl1" in golden:
            calls = golden["functor_calls_loss_gradl1"][i]
            calls = calls[np.isfinite(calls[:, 0])]
            np.testing.assert_allclose(works[0].history, calls, rtol=1e-3)


@pytest.mark.usefixtures("two_threads")
def test_the_mended_click_differs_by_its_square_alone(
    golden_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the published squares, that click too is the published one."""
    from napari_clickseg.refinement import wishes

    run, number = next(iter(MENDED))
    golden = read_golden(golden_dir / f"{run}.npz")
    predictor = predictor_for(golden_dir / "ritm_h18s_forward.npz", run)

    def published(middle: int, length: int, published: bool) -> slice:
        return slice(middle - 1, middle + 2)

    monkeypatch.setattr(wishes, "_square", published)
    image = ImageSource(golden["image"])
    made = golden["clicks_yx_pos_idx"]
    clicks = [Click(row, col, bool(positive)) for row, col, positive, _ in made]
    state = None
    for i in range(number + 1):
        state = predictor.predict(image, clicks[: i + 1], state).state
        found = state.window(Box.of_shape(image.shape))
        if i == 0 and not np.array_equal(found, golden["probs"][0]):
            pytest.skip("this machine rounds otherwise than that of the golden numbers")
    assert np.abs(found - golden["probs"][number]).max() <= 1e-2


@pytest.mark.parametrize("name", METHODS)
def test_excerpt(excerpt_dir: Path, name: str) -> None:
    """One click after the other, each from the published state before it."""
    golden = read_golden(excerpt_dir / "fbrs_r34_dh128_pred_brs.npz")
    weights = excerpt_dir / "fbrs_r34_dh128_pred_nobrs_zoom_flip.npz"
    image = ImageSource(read_golden(weights)["image"])
    predictor = predictor_for(weights, f"fbrs_r34_dh128_pred_{name}_zoom_flip")
    clicks: list[Click] = []
    state = None
    for i, (row, col, positive) in enumerate(golden[f"{name}_clicks"].tolist()):
        clicks.append(Click(row, col, bool(positive)))
        if state is not None:
            state = published_state(state, golden, name, i - 1, image.shape)
        answer = predictor.predict(image, clicks, state)
        state = answer.state
        assert inclusive(state.roi) == golden[f"{name}_rois"][i].tolist()
        works = [work.run for work in predictor._last.works.values()]
        assert bool(works) == (i > 0)
        if i == 0:
            continue
        calls = golden[f"{name}_calls"][i]
        calls = calls[np.isfinite(calls[:, 0])]
        if name == "fbrsc" or i == 1:
            # A part of the network that amplifies little; a single evaluation.
            assert len(works[0].history) == len(calls)
            np.testing.assert_allclose(works[0].history, calls, rtol=5e-3, atol=1e-6)
            assert works[0].loss == pytest.approx(
                golden[f"{name}_best_loss"][i], rel=1e-3
            )
            found = state.window(Box.of_shape(image.shape))[::5, ::5]
            assert np.abs(found - golden[f"{name}_probs_sub"][i]).max() <= 1e-2
        elif f"{name}_opt_data" in golden or i == 2:
            # The first evaluation follows from the state, whatever comes after it.
            first = works[0].history[0]
            np.testing.assert_allclose(first, calls[0], rtol=2e-2)


def published_state(state, golden, name, i, shape):
    """The state after click ``i`` of the published run, as far as it is known."""
    mask = np.unpackbits(golden[f"{name}_mask"][i], axis=-1, count=shape[1])
    refined = state.refined
    if f"{name}_opt_data" in golden and refined is not None:
        scale, bias = np.split(golden[f"{name}_opt_data"][i].astype(np.float64), 2)
        refined = replace(refined, arrays=({"scale": scale, "bias": bias},))
    whole = Box.of_shape(shape)
    # The networks of f-BRS take no previous mask; it says where to look.
    return replace(
        state, box=whole, probability=mask.astype(np.float32), refined=refined
    )


def inclusive(roi: Box | None) -> list[int]:
    if roi is None:
        return [-1, -1, -1, -1]
    return [roi.top, roi.bottom - 1, roi.left, roi.right - 1]
