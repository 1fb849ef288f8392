"""Runs of the tasks with classes or values: clicks, scores, figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from napari_clickseg.clicks import Click
from napari_clickseg.errors import Cancelled, DatasetError, SettingsError
from napari_clickseg.evaluation.semantic_metrics import mean_iou
from napari_clickseg.evaluation.task_curves import (
    HEADLINE,
    TaskResult,
    pooled_curve,
    score_curves,
    task_figures,
    worst_begun,
)
from napari_clickseg.evaluation.task_protocol import Reference, run_clicks
from napari_clickseg.tasks import Classes, Depth, Matting, Segmentation, Semantic

THREE = Classes.named(("a", "b", "c"))


def draw(base: np.ndarray, clicks: Sequence[Click], field: str) -> np.ndarray:
    """A perfect pupil: the circle of every click gets what it asks for."""
    result = base.copy()
    rows, cols = np.indices(base.shape)
    for click in clicks:
        assert click.radius is not None
        away = np.hypot(rows - click.row, cols - click.col)
        result[away <= 0.6 * click.radius] = getattr(click, field)
    return result


def test_a_run_with_classes() -> None:
    truth = np.ones((30, 40), int)
    truth[5:15, 5:15], truth[:, 30:] = 2, 3
    truth[29] = 7  # a number that is no class of the network
    result = run_clicks(
        lambda clicks: draw(np.ones_like(truth), clicks, "label"),
        Semantic(THREE),
        Reference(truth),
        name="x",
        max_clicks=6,
        failed=lambda: 0,
    )
    mious = [scores["miou"] for scores in result.scores]
    assert mious[-1] > mious[1] > mious[0]
    assert len(result.clicks) == len(result.seconds) == len(result.disobeyed) == 6
    assert {click.label for click in result.clicks} <= {1, 2, 3}
    # What was counted after every click gives the scores again.
    counted = [mean_iou(np.array(table)) for table in result.counts]
    assert counted == pytest.approx(mious)
    assert task_figures([result], "miou", 6)["pooled"]["curve"] == pytest.approx(mious)
    assert task_figures([result], "miou", 6)["disobeyed"] == 0
    assert TaskResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_a_run_with_values_ends_where_nothing_is_wrong() -> None:
    truth = np.zeros((30, 40), np.float32)
    truth[10:20, 10:20] = 0.7
    trimap = np.zeros(truth.shape, np.uint8)
    trimap[8:22, 8:22] = 128
    found: list[Click] = []

    def answer(clicks: Sequence[Click]) -> np.ndarray:
        found[:] = clicks
        return truth if clicks else np.zeros_like(truth)

    reference = Reference(truth, trimap)
    result = run_clicks(answer, Matting(), reference, max_clicks=9)
    assert len(result.clicks) == 1
    assert result.clicks[0].value == pytest.approx(0.7)
    assert [scores["mse"] for scores in result.scores][1] == 0
    pushed = run_clicks(answer, Matting("push"), reference, max_clicks=9)
    assert (pushed.clicks[0].positive, pushed.clicks[0].value) == (True, None)


def test_depths_that_do_not_count_are_not_clicked() -> None:
    truth = np.full((20, 20), 3.0)
    truth[:10, :10] = 12.0
    zero = np.full((20, 20), 3.0)
    bounded = Reference(truth).annotator(Depth(largest=10))
    assert bounded.find(zero) is None
    free = Reference(truth).annotator(Depth()).find(zero)
    assert free is not None
    assert free.value == 12.0
    assert Reference(truth, depths=(0.001, 10)).annotator(Depth()).find(zero) is None
    scores = Reference(truth, depths=(0.001, 10)).scores(Depth(), zero)
    assert scores["delta1"] == 1


def test_other_tasks_and_stops() -> None:
    reference = Reference(np.ones((3, 3), int))
    with pytest.raises(SettingsError, match="simulate"):
        reference.annotator(Segmentation())
    with pytest.raises(SettingsError, match="metrics"):
        reference.scores(Segmentation(), np.ones((3, 3)))
    with pytest.raises(Cancelled):
        run_clicks(
            lambda clicks: np.full((3, 3), 2),
            Semantic(THREE),
            reference,
            cancelled=lambda: True,
        )


def made(name: str, values: list[float], metric: str) -> TaskResult:
    scores = tuple({metric: value, "other": 0.0} for value in values)
    clicks = tuple(Click(0, 0, label=1) for _ in values[1:])
    seconds = tuple(float(n + 1) for n in range(len(values) - 1))
    return TaskResult(name, "m", scores, clicks, seconds, (3, 3))


def test_figures_by_hand() -> None:
    results = [made("low", [0.2, 0.4, 0.9], "miou"), made("high", [0.6, 0.8], "miou")]
    curves = score_curves(results, "miou", 3)
    # Runs that end keep their last score.
    assert curves.tolist() == [[0.2, 0.4, 0.9, 0.9], [0.6, 0.8, 0.8, 0.8]]
    figures = task_figures(results, "miou", 3)
    assert figures["curve"] == pytest.approx([0.4, 0.6, 0.85, 0.85])
    assert figures["auc"] == pytest.approx((0.6 + 0.85 + 0.85) / 3)
    assert (figures["best"], figures["best_click"]) == (pytest.approx(0.85), 2)
    assert figures["at"] == {0: pytest.approx(0.4), 1: pytest.approx(0.6)}
    # A tenth of two is one: the one that began lower.
    assert figures["bottom"]["n"] == 1
    assert figures["bottom"]["curve"] == pytest.approx([0.2, 0.4, 0.9, 0.9])
    assert (figures["spc"], figures["first_click"]) == (pytest.approx(4 / 3), 1)
    assert figures["clicks"] == 3


def test_pixels_of_all_images_taken_together() -> None:
    # The second image has a single pixel of class 2; the first one has none.
    tables = [
        [((6, 2, 0), (0, 0, 0)), ((8, 0, 0), (0, 0, 0))],
        [((1, 0, 0), (1, 0, 0)), ((1, 0, 0), (0, 1, 0))],
    ]
    results = []
    for name, steps in zip("xy", tables, strict=True):
        mious = [mean_iou(np.array(table)) for table in steps]
        results.append(replace(made(name, mious, "miou"), counts=tuple(steps)))
    # Together: 7 / 10 of class 1, then all; none of three, then the only one.
    pooled = pooled_curve(results, 2)
    assert pooled.tolist() == pytest.approx([(7 / 10 + 0) / 2, 1, 1])
    figures = task_figures(results, "miou", 2)
    assert figures["curve"][0] == pytest.approx((3 / 8 + 1 / 4) / 2)
    assert figures["pooled"]["curve"] == pooled.tolist()
    assert figures["pooled"]["auc"] == 1
    # The worst is the second one, by its own score.
    assert figures["pooled"]["bottom"]["curve"][0] == pytest.approx(1 / 4)
    assert "pooled" not in task_figures([made("x", [0.2], "miou")], "miou", 1)
    with pytest.raises(DatasetError, match="no counts"):
        pooled_curve([made("x", [0.2], "miou")])


def test_clicks_that_are_not_obeyed_in_the_end() -> None:
    one = replace(made("x", [0.1] * 5, "miou"), disobeyed=(1, 0, 2, 1))
    other = replace(made("y", [0.1] * 3, "miou"), disobeyed=(1, 2))
    figures = task_figures([one, other], "miou", 4)
    assert figures["disobeyed"] == pytest.approx(3 / 6)
    assert np.isnan(task_figures([made("x", [0.1], "miou")], "miou")["disobeyed"])


def test_of_errors_the_largest_are_the_worst() -> None:
    values = [[0.1, 0.3], [0.5, 0.2], [float("nan")] * 2]
    results = [made(str(n), row, "mse") for n, row in enumerate(values)]
    curves = score_curves(results, "mse", 1)
    assert worst_begun(curves, "mse").tolist() == [False, True, False]
    figures = task_figures(results, "mse", 1)
    # Images without a number are left out.
    assert figures["n"] == 2
    assert figures["best"] == pytest.approx(0.25)
    assert figures["best_click"] == 1
    other = np.array([True, False, False])
    assert task_figures(results, "mse", 1, other)["bottom"]["best"] == 0.1
    with pytest.raises(DatasetError, match="mse, other"):
        score_curves(results, "sad")
    with pytest.raises(DatasetError, match="no sample"):
        score_curves([], "sad")
    assert set(HEADLINE) == {"segmentation", "semantic", "matting", "depth"}
