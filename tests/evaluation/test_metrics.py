"""Clicks needed, IoU per click and times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.golden_files import read_golden

from napari_clickseg.errors import DatasetError
from napari_clickseg.evaluation.metrics import (
    SampleResult,
    clicks_needed,
    iou_curve,
    summarise,
)

if TYPE_CHECKING:
    from pathlib import Path


def result(name: str, *ious: float, seconds: float = 1.0) -> SampleResult:
    return SampleResult(
        name=name,
        method="model",
        ious=ious,
        clicks=tuple((i, i, True) for i in range(len(ious))),
        seconds=seconds,
        answer_seconds=seconds / 2,
        pixels=100 * len(ious),
        shape=(10, 10),
        area=20,
        where="cpu float32",
        notices=("memory is short",),
    )


def test_golden_clicks_needed(excerpt_dir: Path) -> None:
    golden = read_golden(excerpt_dir / "noc.npz")
    for goal, mean, over in zip(
        golden["thr"], golden["noc"], golden["over_max"], strict=True
    ):
        needed = [clicks_needed(row, goal) for row in golden["ious_nan_padded"]]
        assert np.mean(needed) == pytest.approx(mean, abs=1e-12)
        assert sum(count == 20 for count in needed) == over


def test_scores_are_compared_in_single_precision() -> None:
    barely = 0.9 - 1e-9  # below 0.9 in double precision, equal to it in single
    assert barely < 0.9
    assert clicks_needed([0.5, barely], 0.9) == 2


def test_success_with_the_last_click_counts_among_the_failures() -> None:
    rows = [result("late", *[0.5] * 19, 0.95), result("never", *[0.5] * 20)]
    figures = summarise(rows)
    assert figures["noc@90"] == 20
    assert figures["over20@90"] == 2


def test_curve_keeps_the_last_value() -> None:
    curve = iou_curve([[0.2, 0.9], [0.4, 0.6, 0.8, 1.0]], max_clicks=5)
    np.testing.assert_allclose(curve, [0.3, 0.75, 0.85, 0.95, 0.95])


def test_curve_of_nothing() -> None:
    with pytest.raises(DatasetError, match="no sample"):
        iou_curve([])


def test_summary() -> None:
    figures = summarise(
        [result("a", 0.7, 0.82, 0.91, seconds=3), result("b", 0.9, seconds=1)]
    )
    assert figures["n"] == 2
    assert figures["noc@80"] == 1.5
    assert figures["noc@85"] == figures["noc@90"] == 2
    assert figures["over20@90"] == 0
    assert figures["iou@1"] == pytest.approx(0.8)
    assert figures["iou@5"] == pytest.approx((0.91 + 0.9) / 2)
    assert len(figures["iou_curve"]) == 20
    assert figures["clicks"] == 4
    assert figures["spc"] == 1.0  # 4 s for 4 clicks
    assert figures["spc_answer"] == 0.5
    assert figures["pie"] == pytest.approx(2 / 400)  # 2 s of answers, 400 pixels


def test_result_survives_json() -> None:
    import json

    before = result("a", 0.25, 1 / 3)
    assert SampleResult.from_json(json.loads(json.dumps(before.to_json()))) == before
