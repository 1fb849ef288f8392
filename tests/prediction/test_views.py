"""Where the network looks: golden boxes, and what must hold for any image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.golden_files import read_golden

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.prediction.resize import resize_map
from napari_clickseg.prediction.settings import PredictionSettings, PredictorState
from napari_clickseg.prediction.views import (
    MAGNIFY,
    LongestSide,
    View,
    ZoomIn,
    box_iou,
    expand_box,
    fit_size,
    limit_size,
    mask_box,
    mirror,
    project,
)

if TYPE_CHECKING:
    from pathlib import Path

ZOOM = {
    "zoomin_default_skip1": ZoomIn(),
    "zoomin_skipm1": ZoomIn(skip_clicks=-1),
    "zoomin_skipm1_fixed": ZoomIn(skip_clicks=-1, target_size=(400, 400)),
    "zoomin_limit800": LongestSide(800),
}


def inclusive(box: Box | None) -> list[int]:
    """Box in the notation of the golden files."""
    if box is None:
        return [-1, -1, -1, -1]
    return [box.top, box.bottom - 1, box.left, box.right - 1]


def half_open(rmin: float, rmax: float, cmin: float, cmax: float) -> Box:
    return Box(int(rmin), int(cmin), int(rmax) + 1, int(cmax) + 1)


def synthetic(view: View, gauss: np.ndarray) -> np.ndarray:
    """The made-up network answer of the golden files, on the resized window."""
    height, width = view.size
    where = view.paste
    cy, cx, sy, sx, zero = gauss
    rows = np.linspace(where.top, where.bottom - 1, height)[:, None]
    cols = np.linspace(where.left, where.right - 1, width)[None, :]
    probability = np.exp(-(((rows - cy) / sy) ** 2 + ((cols - cx) / sx) ** 2))
    return (probability * (zero != 1)).astype(np.float32)


def check_zoom(folder: Path, name: str) -> None:
    file = folder / f"{name}.npz"
    golden = read_golden(file)
    shape = tuple(int(n) for n in golden["image_hw"])
    zoom = ZOOM[name]
    state = PredictorState()
    clicks: list[Click] = []
    for i, (row, col, positive) in enumerate(golden["clicks_yx_pos"]):
        clicks.append(Click(row, col, bool(positive)))
        if isinstance(zoom, ZoomIn):
            view = zoom.view(state, clicks, shape)
        else:
            view = zoom.view(shape)
        assert inclusive(view.roi) == golden["roi"][i].tolist()
        assert view.changed == golden["changed"][i]
        assert list(view.size) == golden["shape"][i].tolist()
        at = view.project(np.array([(c.row, c.col) for c in clicks]))
        np.testing.assert_array_equal(at, golden["tclicks"][i, : i + 1])

        answer = resize_map(
            synthetic(view, golden["gauss_cy_cx_sy_sx_zero"][i]), view.paste.shape
        )
        state = PredictorState(roi=view.roi, box=view.paste, probability=answer)
        if isinstance(zoom, ZoomIn):
            assert zoom.wants_second_pass(state, shape) == golden["recalc"][i]
        full = state.window(Box.of_shape(shape))
        total = full.astype(np.float64).sum()
        assert total == pytest.approx(golden["full_prob_sum"][i], rel=1e-5)
        area = int((full > 0.5).sum())
        assert abs(area - golden["full_mask_gt_half_area"][i]) <= 1e-3 * area
        samples = golden["full_probs_sub8"][i]
        step = 8 if samples.shape == full[::8, ::8].shape else 32  # 32: excerpt
        np.testing.assert_allclose(full[::step, ::step], samples, atol=2e-5)


@pytest.mark.parametrize("name", ZOOM)
def test_zoom_in_excerpt(excerpt_dir: Path, name: str) -> None:
    check_zoom(excerpt_dir, name)


@pytest.mark.parametrize("name", ZOOM)
def test_zoom_in_golden(golden_dir: Path, name: str) -> None:
    check_zoom(golden_dir, name)


def test_boxes_excerpt(excerpt_dir: Path) -> None:
    golden = read_golden(excerpt_dir / "bbox.npz")
    previous: Box | None = None
    for i, (*edges, ratio, smallest) in enumerate(golden["bbox_ratio_mincrop"]):
        box = half_open(*edges)
        grown = expand_box(box, ratio, None if smallest < 0 else smallest)
        assert inclusive(grown) == golden["expanded"][i].tolist()
        clamped = inclusive(grown.clip((300, 400)))
        assert clamped == golden["clamped_to_300x400"][i].tolist()
        if previous is not None:
            expected = golden["iou_with_previous_bbox"][i]
            assert box_iou(grown.clip((300, 400)), previous) == expected
        previous = box


def state_of(mask: np.ndarray, roi: Box | None = None) -> PredictorState:
    return PredictorState(roi=roi, box=Box.of_shape(mask.shape), probability=mask)


def test_lost_object_published_and_ours() -> None:
    """Published: whole image in, stored window out. Ours: the window goes."""
    roi = Box(100, 100, 300, 300)
    nothing = state_of(np.zeros((480, 640), np.float32), roi)
    clicks = [Click(150, 150), Click(160, 160, positive=False)]
    published = ZoomIn().view(nothing, clicks, (480, 640))
    assert published.box == Box(0, 0, 480, 640)
    assert published.size == (480, 640)
    assert published.paste == published.roi == roi
    ours = ZoomIn(forget_lost=True).view(nothing, clicks, (480, 640))
    assert ours.paste == ours.box == Box(0, 0, 480, 640)
    assert ours.roi is None


def test_only_positive_clicks_outside_move_the_window() -> None:
    mask = np.zeros((500, 500), np.float32)
    mask[200:260, 200:260] = 1
    first = ZoomIn().view(state_of(mask), [Click(230, 230)] * 2, (500, 500))
    assert first.roi == Box(130, 130, 331, 331)
    state = state_of(mask, first.roi)
    for row, positive, moved in [
        (329.9, True, False),
        (330.0, True, True),  # the last row counts as outside
        (129.9, True, True),
        (400.0, False, False),
    ]:
        clicks = [Click(230, 230), Click(row, 230, positive)]
        view = ZoomIn().view(state, clicks, (500, 500))
        assert view.changed == moved, (row, positive)


def test_smaller_windows_after_another_first_look() -> None:
    mask = np.zeros((500, 500), np.float32)
    mask[240:260, 240:260] = 1
    state = PredictorState(box=Box(0, 0, 500, 500), probability=mask, min_crop=64)
    view = ZoomIn().view(state, [Click(250, 250)] * 2, (500, 500))
    assert view.box.shape == (65, 65)


def test_tiny_windows_are_not_blown_up() -> None:
    mask = np.zeros((500, 500), np.float32)
    mask[240:260, 240:260] = 1
    state = PredictorState(box=Box(0, 0, 500, 500), probability=mask, min_crop=64)
    clicks = [Click(250, 250)] * 2
    assert ZoomIn().view(state, clicks, (500, 500)).size == (400, 400)
    view = ZoomIn(magnify=4).view(state, clicks, (500, 500))
    assert view.box.shape == (65, 65)
    assert view.size == (260, 260)
    assert ZoomIn.of(PredictionSettings()).magnify is None
    assert ZoomIn.of(PredictionSettings(first_look="search")).magnify == MAGNIFY


def test_second_pass_only_without_skipped_clicks() -> None:
    mask = np.zeros((480, 640), np.float32)
    mask[200:240, 200:260] = 1
    assert ZoomIn(skip_clicks=0).wants_second_pass(state_of(mask), (480, 640))
    assert not ZoomIn(skip_clicks=1).wants_second_pass(state_of(mask), (480, 640))
    assert not ZoomIn(skip_clicks=0).wants_second_pass(
        state_of(mask, Box(0, 0, 480, 640)), (480, 640)
    )
    assert not ZoomIn(skip_clicks=0).wants_second_pass(
        state_of(np.zeros((480, 640))), (480, 640)
    )
    large = np.ones((480, 640), np.float32)
    assert not ZoomIn(skip_clicks=0).wants_second_pass(state_of(large), (480, 640))


def test_settings_reach_the_zoom() -> None:
    settings = PredictionSettings(
        skip_clicks=-1,
        target_size=(96, 80),
        expansion_ratio=2.0,
        min_crop_size=40,
        recompute_thresh_iou=0.3,
        zoom_prob_threshold=0.6,
    )
    assert ZoomIn.of(settings) == ZoomIn(-1, (96, 80), 2.0, 40, 0.3, 0.6)


sides = st.integers(1, 500)
shapes = st.tuples(sides, sides)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], PredictorState, list[Click]]:
    """Any image shape, any rectangle as last answer, any clicks."""
    height, width = draw(shapes)
    rows = st.floats(-0.5, height - 0.5, exclude_max=True)
    cols = st.floats(-0.5, width - 0.5, exclude_max=True)
    clicks = draw(
        st.lists(st.builds(Click, rows, cols, st.booleans()), min_size=1, max_size=4)
    )
    mask = np.zeros((height, width), np.float32)
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    mask[top : draw(st.integers(0, height)), left : draw(st.integers(0, width))] = 1
    roi = None
    if draw(st.booleans()):
        roi = Box(top, left, draw(st.integers(top + 1, height)), width)
    return (height, width), state_of(mask, roi), clicks


@given(scenes(), st.integers(-1, 2), st.integers(1, 400), st.booleans())
def test_windows_lie_inside_the_image(
    scene: tuple[tuple[int, int], PredictorState, list[Click]],
    skip: int,
    smallest: int,
    forget: bool,
) -> None:
    shape, state, clicks = scene
    zoom = ZoomIn(skip_clicks=skip, min_crop_size=smallest, forget_lost=forget)
    view = zoom.view(state, clicks, shape)
    for box in (view.box, view.paste):
        assert not box.empty
        assert box == box.clip(shape)
    assert min(view.size) >= 1
    if view.changed:
        assert view.roi == view.box == view.paste
        assert max(view.size) == 400
        wanted = zoom.wanted_roi(state, clicks, shape)
        if wanted is not None:
            assert view.box == wanted
            for click in clicks:
                assert not click.positive or view.box.contains(click.row, click.col)
    # the same question has the same answer
    assert zoom.view(state, clicks, shape) == view


@given(shapes, st.data(), st.integers(1, 600))
def test_clicks_go_there_and_back(
    shape: tuple[int, int], data: st.DataObject, target: int
) -> None:
    top, left = data.draw(st.integers(0, shape[0] - 1)), 0
    box = Box(top, left, data.draw(st.integers(top + 1, shape[0])), shape[1])
    view = View(box, fit_size(box.shape, target), box, box, changed=True)
    position = st.floats(-50, 550)
    at = np.array(data.draw(st.lists(st.tuples(position, position), min_size=1)))
    np.testing.assert_allclose(view.unproject(view.project(at)), at, atol=1e-6)
    flipped = mirror(mirror(view.project(at), view.size[1]), view.size[1])
    np.testing.assert_allclose(flipped, view.project(at), atol=1e-6)
    inside = view.project(np.array([[box.top, box.left]]))
    assert (inside == 0).all()


@given(shapes, st.integers(1, 600))
def test_sizes(shape: tuple[int, int], longest: int) -> None:
    size = limit_size(shape, longest)
    assert max(size) == min(max(shape), longest)
    assert limit_size(shape, None) == shape
    view = LongestSide(longest).view(shape)
    assert view.size == size
    assert view.box == Box.of_shape(shape)
    assert view.changed == (max(shape) > longest) == (view.roi is not None)


@given(shapes, st.data())
def test_expanded_box_covers_the_box(
    shape: tuple[int, int], data: st.DataObject
) -> None:
    top, left = data.draw(st.integers(0, shape[0])), data.draw(st.integers(0, 400))
    box = Box(top, left, top + data.draw(sides), left + data.draw(sides))
    grown = expand_box(box, 1.4, data.draw(st.none() | sides))
    assert grown.intersect(box) == box
    assert box_iou(box, box) == 1
    assert box_iou(box, grown) == box_iou(grown, box) <= 1


def test_mask_box() -> None:
    mask = np.zeros((20, 30), bool)
    assert mask_box(mask) is None
    mask[3, 4] = mask[7, 9] = True
    assert mask_box(mask) == Box(3, 4, 8, 10)
    assert mask_box(mask, Box(100, 200, 120, 230)) == Box(103, 204, 108, 210)
    # against the definition
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((13, 17)) > 0.97
        rows, cols = np.nonzero(mask)
        expected = None
        if rows.size:
            expected = Box(rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
        assert mask_box(mask) == expected


def test_published_arithmetic_by_hand() -> None:
    """400 rows wanted of a window of 201 rows, the 98th row of it clicked."""
    at = project(np.array([[178.0, 290.0]]), Box(80, 226, 281, 427), (400, 400))
    assert at.tolist() == [[400 * 98 / 201, 400 * 64 / 201]]
    assert mirror(at, 400)[0, 1] == 400 - 400 * 64 / 201 - 1
