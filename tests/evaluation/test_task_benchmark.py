"""Networks of classes, alpha and depth over a small data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.prediction.dense_nets import Tiny

from napari_clickseg.errors import Cancelled, DatasetError
from napari_clickseg.evaluation.task_benchmark import (
    RateTrial,
    run_sample,
    run_samples,
    tune_rate,
)
from napari_clickseg.evaluation.task_datasets import open_task_dataset
from napari_clickseg.evaluation.tuning import RATES
from napari_clickseg.prediction.dense import DensePredictor
from napari_clickseg.prediction.dense_settings import DenseSettings
from napari_clickseg.tasks import Classes, Depth, Matting, Semantic

THREE = Classes.named(("a", "b", "c"))


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Two pictures whose colours say everything."""
    rng = np.random.default_rng(0)
    for name in ("x", "y"):
        label = np.zeros((36, 44), np.uint8)
        label[4:20, 5:22] = 1
        label[:, 30:] = 2
        image = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])[label]
        noisy = (image + rng.integers(-20, 20, image.shape)).astype(np.uint8)
        save(tmp_path / f"images/{name}.png", noisy)
        save(tmp_path / f"masks/{name}.png", label)
        save(tmp_path / f"alpha/{name}.png", (label * 127).astype(np.uint8))
        trimap = np.full(label.shape, 128, np.uint8)
        trimap[:, :3] = 0
        save(tmp_path / f"trimap/{name}.png", trimap)
        metres = np.array([1500, 2500, 4000], np.uint16)[label]
        save(tmp_path / f"depth/{name}.png", metres)
    return tmp_path


def test_clicks_improve_classes(pack: Path) -> None:
    data = open_task_dataset(pack)
    options = DenseSettings("g-brs-bmconv", learning_rate=0.05)
    # Random features need to be sure of the clicks, or nothing else follows.
    task = Semantic(THREE, stop_at=0.99)
    predictor = DensePredictor(Tiny(outputs=3, width=16), task, options)
    seen = []
    results = run_samples(predictor, data, max_clicks=4, done=seen.append)
    assert [result.name for result in seen] == ["x", "y"]
    assert {result.method for result in results} == {"g-brs-bmconv"}
    for result in results:
        mious = [scores["miou"] for scores in result.scores]
        assert mious[-1] > mious[0] + 0.2
        assert len(result.disobeyed) == len(result.clicks)
    again = run_sample(predictor, data[0], max_clicks=4)
    assert again.scores == results[0].scores
    # In pieces of no time at all it takes as many steps, and ends the same.
    predictor.settings = DenseSettings(
        "g-brs-bmconv", learning_rate=0.05, time_budget=1e-9
    )
    hasty = run_sample(predictor, data[0], max_clicks=2)
    assert hasty.scores == results[0].scores[:3]


def test_clicks_improve_alpha_and_depth(pack: Path) -> None:
    options = DenseSettings("g-brs-bmconv", learning_rate=0.02)
    matting = DensePredictor(Tiny(inputs=4), Matting(), options)
    result = run_sample(matting, open_task_dataset(pack, task="matting")[0])
    errors = [scores["mse"] for scores in result.scores]
    assert min(errors) < 0.6 * errors[0]
    net = Tiny(largest=10.0)
    depth = DensePredictor(net, Depth(largest=10.0, top_k=None), options)
    sample = open_task_dataset(pack, task="depth")[0]
    result = run_sample(depth, sample, max_clicks=8)
    errors = [scores["rmse"] for scores in result.scores]
    assert min(errors) < 0.6 * errors[0]
    pushing = DensePredictor(net, Depth("push", largest=10.0, push=0.3), options)
    pushed = run_sample(pushing, sample, max_clicks=8)
    assert min(s["rmse"] for s in pushed.scores) < pushed.scores[0]["rmse"]


def test_the_best_step_size_is_found(pack: Path) -> None:
    data = open_task_dataset(pack)
    options = DenseSettings("g-brs-sb", radius=9)
    predictor = DensePredictor(Tiny(outputs=3), Semantic(THREE), options)
    seen: list[RateTrial] = []
    rate, trials = tune_rate(predictor, data[:1], max_clicks=2, done=seen.append)
    assert seen == trials
    assert rate in RATES
    assert rate == max(trials, key=lambda trial: trial.auc).rate
    assert predictor.settings == options
    # Where no rate is chosen, the one found for the network is used.
    tuned = DensePredictor(
        Tiny(outputs=3), Semantic(THREE), options, rates={"g-brs-sb": rate}
    )
    chosen = DensePredictor(
        Tiny(outputs=3),
        Semantic(THREE),
        DenseSettings("g-brs-sb", radius=9, learning_rate=rate),
    )
    runs = [run_sample(each, data[0], max_clicks=2) for each in (tuned, chosen)]
    assert runs[0].scores == runs[1].scores


def test_what_does_not_fit(pack: Path) -> None:
    data = open_task_dataset(pack)
    predictor = DensePredictor(Tiny(outputs=3), Semantic(THREE), DenseSettings("none"))
    with pytest.raises(Cancelled):
        run_samples(predictor, data, cancelled=lambda: True)
    save(pack / "masks/y.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(DatasetError, match="same picture"):
        run_samples(predictor, open_task_dataset(pack), max_clicks=1)
