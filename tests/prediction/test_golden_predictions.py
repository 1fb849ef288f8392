"""Whole runs of the published predictor, click by click."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.golden_files import read_golden
from tests.golden_weights import ROUNDING, fill

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.image import ImageSource
from napari_clickseg.models.model import Model
from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.ritm import RITM
from napari_clickseg.prediction import PredictionSettings, Predictor

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {"target_size": 96, "min_crop_size": 40}
RUNS = {
    "ritm_h18s_pred_nobrs_zoom_skip1_flip": PredictionSettings(**SMALL),
    "ritm_h18s_pred_nobrs_zoom_skipm1_flip": PredictionSettings(
        **SMALL, skip_clicks=-1
    ),
    "ritm_h18s_pred_nobrs_nozoom_flip": PredictionSettings(zoom_in=False),
    "fbrs_r34_dh128_pred_nobrs_zoom_flip": PredictionSettings(**SMALL),
}
#: In the excerpts the weights that the recipe does not tell lie with these runs.
WEIGHTS = {
    "ritm": "ritm_h18s_pred_nobrs_zoom_skip1_flip",
    "fbrs": "fbrs_r34_dh128_pred_nobrs_zoom_flip",
}


@cache
def model_with(weights: Path) -> Model:
    """The published network, not optimised in any way."""
    family = weights.name[:4]
    network = RITM() if family == "ritm" else FBRS()
    fill(network, read_golden(weights))
    info = ModelInfo(
        name=family,
        task="segmentation",
        architecture=family,
        file=weights.name,
        licence="none",
        source="golden",
    )
    return Model(network, info, device="cpu", optimise=False)


def check_run(run: Path, weights: Path, *, tolerance: float) -> None:
    golden = read_golden(run)
    predictor = Predictor(model_with(weights), RUNS[run.stem])
    image = ImageSource(golden["image"])
    whole = Box.of_shape(image.shape)
    changed = golden.get("roi_changed")
    state = None
    clicks: list[Click] = []
    made = golden[next(key for key in golden if key.startswith("clicks_yx_pos"))]
    assert len(made) >= 3
    for i, (row, col, positive, *_) in enumerate(made):
        clicks.append(Click(row, col, bool(positive)))
        before = None if state is None else state.roi
        answer = predictor.predict(image, clicks, state)
        state = answer.state
        roi = [-1, -1, -1, -1]
        if state.roi is not None:
            top, left, bottom, right = state.roi
            roi = [top, bottom - 1, left, right - 1]
        assert roi == golden["rois"][i].tolist()
        if changed is not None:
            assert (state.roi != before) == changed[i]
        difference = np.abs(state.window(whole) - golden["probs"][i].astype(np.float32))
        assert difference.max() <= tolerance


@pytest.mark.parametrize("run", RUNS)
def test_excerpt(excerpt_dir: Path, run: str) -> None:
    weights = WEIGHTS[run[:4]]
    # Stored as float16, which is 2.5e-4 off at most.
    check_run(
        excerpt_dir / f"{run}.npz", excerpt_dir / f"{weights}.npz", tolerance=5e-4
    )


@pytest.mark.parametrize("run", RUNS)
def test_golden(golden_dir: Path, run: str) -> None:
    name = f"{run.split('_pred_')[0]}_forward.npz"
    check_run(golden_dir / f"{run}.npz", golden_dir / name, tolerance=2e-4 * ROUNDING)
