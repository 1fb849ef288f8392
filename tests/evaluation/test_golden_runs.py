"""The benchmark's loop with the published network: clicks and scores of whole runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.golden_files import read_golden
from tests.prediction.test_golden_predictions import RUNS, WEIGHTS, model_with

from napari_clickseg.evaluation.methods import ModelMethod
from napari_clickseg.evaluation.protocol import run_sample

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("run", RUNS)
def test_clicks_and_scores(excerpt_dir: Path, run: str) -> None:
    golden = read_golden(excerpt_dir / f"{run}.npz")
    goal = read_golden(excerpt_dir / "benchmark_runs.npz")
    weights = excerpt_dir / f"{WEIGHTS[run[:4]]}.npz"
    check(run, weights, golden, goal[f"{run}.gt"], goal[f"{run}.ious"])


@pytest.mark.parametrize("run", RUNS)
def test_clicks_and_scores_in_full(golden_dir: Path, run: str) -> None:
    golden = read_golden(golden_dir / f"{run}.npz")
    weights = golden_dir / f"{run.split('_pred_')[0]}_forward.npz"
    check(run, weights, golden, golden["gt"], golden["ious"])


def check(
    run: str,
    weights: Path,
    golden: dict[str, np.ndarray],
    truth: np.ndarray,
    expected: np.ndarray,
) -> None:
    method = ModelMethod(model_with(weights), RUNS[run])
    method.open_image(golden["image"])
    made = golden[next(key for key in golden if key.startswith("clicks_yx_pos"))]
    found = run_sample(method, truth.astype(np.int8), goal=1.0, max_clicks=len(made))
    clicks = [[click.row, click.col, click.positive] for click in found.clicks]
    np.testing.assert_array_equal(clicks, made[:, :3])
    # A probability a hair's breadth from 0.49 may fall on the other side.
    np.testing.assert_allclose(found.ious, expected[: len(found.ious)], atol=2e-3)
    assert found.seconds > 0
    assert found.pixels > 0
