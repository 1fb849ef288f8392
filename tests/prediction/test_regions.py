"""Which part of a window InterFormer's refining blocks look at."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.networks.test_golden_networks import load

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction.regions import expanded, region_of
from napari_clickseg.prediction.request import Request
from napari_clickseg.prediction.settings import PredictionSettings, PredictorState
from napari_clickseg.refinement.settings import RefinementSettings

MODEL = SimpleNamespace(refines_region=True, click_radius=5.0)
SEARCH = PredictionSettings(first_look="search")


def asked(clicks, mask, settings=SEARCH) -> Request:
    image = ImageSource(np.zeros((*mask.shape, 3), np.uint8))
    state = PredictorState.from_mask(mask.astype(np.float32))
    return Request(image, tuple(clicks), state, None, settings, RefinementSettings())


def check(golden: dict[str, np.ndarray]) -> None:
    """From the third click on; the first rows of the file have fewer."""
    compared = 0
    for run, answers in enumerate(golden["preds"]):
        clicks = [
            Click(float(row), float(col), positive=bool(sign))
            for row, col, sign in golden["clicks_yx_pos"][run]
        ]
        for number in range(2, len(clicks)):
            request = asked(clicks[: number + 1], answers[number - 1])
            size = answers[0].shape
            region = region_of(request, MODEL, Box.of_shape(size), size)
            assert region == tuple(golden["rois_l_u_r_b"][run, number].astype(int))
            compared += 1
    assert compared == 16


def test_regions_excerpt(excerpt_dir: Path) -> None:
    check(load(excerpt_dir, "interformer_reflabel"))


def test_regions_in_full(golden_dir: Path) -> None:
    check(load(golden_dir, "interformer_reflabel"))


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_region_holds_the_box_and_is_made_of_whole_cells(size, parts):
    (top, bottom), (left, right) = (
        sorted(int(part * (side - 1)) for part in (one, two))
        for side, one, two in zip(size, parts[:2], parts[2:], strict=True)
    )
    region = expanded(Box(top, left, bottom + 1, right + 1), size)
    x0, y0, x1, y1 = region
    assert all(side % 32 == 0 for side in region)
    assert 0 <= x0 <= left <= right < x1 < size[1] + 32
    assert 0 <= y0 <= top <= bottom < y1 < size[0] + 32


def test_when_there_is_none():
    mask = np.zeros((200, 300), bool)
    mask[20:40, 30:50] = True
    clicks = [Click(30, 40), Click(31, 41), Click(32, 42)]
    box, size = Box(0, 0, 200, 300), (200, 300)
    assert region_of(asked(clicks, mask), MODEL, box, size) == (0, 0, 64, 64)
    assert region_of(asked(clicks[:2], mask), MODEL, box, size) is None
    other = SimpleNamespace(refines_region=False)
    assert region_of(asked(clicks, mask), other, box, size) is None
    for changes in ({"first_look": "published"}, {"zoom_in": False}):
        settings = SEARCH.updated(changes)
        assert region_of(asked(clicks, mask, settings), MODEL, box, size) is None
    # Neither the answer nor a click lies in the window.
    away = Box(100, 100, 200, 200)
    assert region_of(asked(clicks, mask), MODEL, away, (100, 100)) is None
    # The window is shown at another size.
    half = region_of(asked(clicks, mask), MODEL, box, (100, 150))
    assert half == (0, 0, 64, 32)


@pytest.mark.parametrize("corner", [(0, 0), (199, 299)])
def test_at_the_border(corner):
    clicks = [Click(*corner)] * 3
    request = asked(clicks, np.zeros((200, 300), bool))
    region = region_of(request, MODEL, Box(0, 0, 200, 300), (200, 300))
    assert region is not None
    left, top, right, bottom = region
    assert top <= corner[0] < bottom
    assert left <= corner[1] < right
