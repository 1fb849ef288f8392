"""Whole runs of the published predictor, click by click."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.golden_weights import fill
from torch import Tensor, nn

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.image import ImageSource
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


class ExactModel:
    """A network as published: float32, nothing folded."""

    device = torch.device("cpu")

    def __init__(self, network: RITM | FBRS) -> None:
        self.network = network
        self.with_prev_mask = network.with_prev_mask
        self.mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

    def encode(self, image: Tensor) -> object:
        if not self.network.normalises_input:
            image = (image - self.mean) / self.std
        return self.network.encode_image(image)

    def decode(self, features: object, points: Tensor, previous: Tensor | None):
        answer = self.network.decode_clicks(features, points, previous)
        return answer["instances"]

    def to(self, device: object = None, precision: object = None) -> ExactModel:
        return self


@cache
def model_with(weights: Path) -> ExactModel:
    network: RITM | FBRS = RITM() if weights.name.startswith("ritm") else FBRS()
    assert isinstance(network, nn.Module)
    fill(network, np.load(weights))
    return ExactModel(network)


def check_run(run: Path, weights: Path, *, tolerance: float) -> None:
    golden = np.load(run)
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
    check_run(golden_dir / f"{run}.npz", golden_dir / name, tolerance=2e-4)
