"""Area under the curve of scores, best score, and the tenth that began worst."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.test_metrics import result

from napari_clickseg.evaluation.curves import (
    area_under,
    curve_figures,
    worst_started,
)


def test_figures_by_hand() -> None:
    rows = [result("a", 0.2, 0.4, 0.9), result("b", 0.8, 0.6)]
    figures = curve_figures({"m": rows}, max_clicks=4)["m"]
    # Means 0.5, 0.5, 0.75, 0.75: runs that ended keep their last value.
    assert figures["auc"] == pytest.approx(0.625)
    assert figures["best"] == pytest.approx(0.75)
    assert figures["best_click"] == 3
    assert figures["bottom"]["n"] == 1
    assert figures["bottom"]["auc"] == pytest.approx((0.2 + 0.4 + 0.9 + 0.9) / 4)
    assert "iou@0" not in figures


def test_the_best_click_may_be_in_the_middle() -> None:
    figures = curve_figures({"m": [result("a", 0.2, 0.9, 0.4)]}, max_clicks=3)["m"]
    assert (figures["best"], figures["best_click"]) == (0.9, 2)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (10, 1), (11, 2), (50, 5)])
def test_a_tenth_is_rounded_up(count: int, expected: int) -> None:
    rows = [result(f"{i}", 1 - i / 100) for i in range(count)]
    worst = worst_started(rows)
    assert worst == {f"{i}" for i in range(count - expected, count)}


def test_the_first_method_says_what_is_the_bottom() -> None:
    one = [result(f"{i}", 0.1 + i / 20) for i in range(10)]
    two = [result(f"{i}", 0.9 - i / 20) for i in range(10)]
    figures = curve_figures({"one": one, "two": two}, max_clicks=1)
    assert figures["one"]["bottom"]["auc"] == pytest.approx(0.1)
    assert figures["two"]["bottom"]["auc"] == pytest.approx(0.9)


def test_automatic_models_begin_before_the_first_click() -> None:
    rows = [
        replace(result("a", 0.1), start=0.6),
        replace(result("b", 0.9), start=0.2),
    ]
    assert worst_started(rows) == {"b"}
    figures = curve_figures({"m": rows, "n": [result("a", 1), result("b", 1)]})
    assert figures["m"]["iou@0"] == pytest.approx(0.4)
    assert "iou@0" not in figures["n"]


@given(
    st.lists(
        st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=6),
        min_size=1,
        max_size=30,
    )
)
def test_figures_lie_where_they_must(runs: list[list[float]]) -> None:
    rows = [result(str(i), *ious) for i, ious in enumerate(runs)]
    figures = curve_figures({"m": rows}, max_clicks=6)["m"]
    assert 0 <= figures["auc"] <= figures["best"] + 1e-12 <= 1 + 1e-9
    few = figures["bottom"]
    assert few["n"] == max(1, -(-len(rows) // 10))
    first = np.mean([ious[0] for ious in runs])
    assert few["iou@1"] <= first + 1e-12


def test_nothing_to_draw() -> None:
    assert curve_figures({"m": []}) == {}
    assert area_under([0.25, 0.75]) == 0.5
