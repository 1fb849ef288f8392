"""Where the first click looks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.prediction.fakes import FakeModel, GiantArray

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import Cancelled
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction import PredictionSettings, Predictor, PredictorState
from napari_clickseg.prediction.first_look import (
    AROUND,
    LARGEST,
    LOOK_AT,
    judge,
    ladder,
    search,
    visible,
    window_around,
)
from napari_clickseg.prediction.views import fit_size

SEARCH = PredictionSettings(first_look="search")
VISIBLE = PredictionSettings(first_look="visible")


def disk_image(shape: tuple[int, int], row: int, col: int, radius: int) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside = (y - row) ** 2 + (x - col) ** 2 <= radius**2
    return (200 * inside + 20).astype(np.uint8)


positions = st.tuples(st.integers(0, 499), st.integers(0, 499))
shapes = st.tuples(st.integers(1, 500), st.integers(1, 500))


@given(shapes, st.data(), st.none() | st.integers(1, 600))
def test_ladder(
    shape: tuple[int, int], data: st.DataObject, within: int | None
) -> None:
    row = data.draw(st.integers(0, shape[0] - 1))
    col = data.draw(st.integers(0, shape[1] - 1))
    inside = Box(row, col, row + 1, col + 1)
    boxes = ladder(inside, shape, within=within)
    assert boxes
    assert len(set(boxes)) == len(boxes)
    for small, large in pairwise(boxes):
        assert small.intersect(large) == small
    for box in boxes:
        assert box == box.clip(shape)
        assert box.intersect(inside) == inside
    if within is None:
        assert boxes[-1] == Box.of_shape(shape)
    else:
        assert max(boxes[-1].shape) <= max(within, 64)


def test_ladder_of_a_large_image_is_capped() -> None:
    boxes = ladder(Box(10, 90_000, 11, 90_001), (100_000, 100_000))
    assert max(boxes[-1].shape) == LARGEST
    assert boxes[0] == Box(0, 89_968, 64, 90_032)
    assert 4 <= len(boxes) <= 9


def test_ladder_holds_all_clicks() -> None:
    inside = Box(100, 100, 220, 140)
    for box in ladder(inside, (1000, 1000)):
        assert box.intersect(inside) == inside


def test_window_around() -> None:
    assert window_around(Box(50, 50, 51, 51), 20, (100, 100)) == Box(40, 40, 60, 60)
    assert window_around(Box(0, 99, 1, 100), 20, (100, 100)) == Box(0, 80, 20, 100)
    assert window_around(Box(5, 5, 6, 6), 50, (10, 100)) == Box(0, 0, 10, 50)


@pytest.mark.parametrize("radius", [8, 20, 60, 150])
def test_search_fits_the_object(radius: int) -> None:
    """On clean disks the window is neither cut nor far too large."""
    image = ImageSource(disk_image((700, 900), 400, 500, radius))
    model = FakeModel(follow_image=True)
    answer = Predictor(model, SEARCH).predict(image, [Click(400, 500)])
    assert answer.box == answer.state.roi
    assert (
        answer.box.intersect(
            Box(400 - radius, 500 - radius, 401 + radius, 501 + radius)
        ).area
        == (2 * radius + 1) ** 2
    )
    assert max(answer.box.shape) <= max(64, 20 * radius)
    area = (answer.probability > 0.5).sum()
    assert area == pytest.approx(np.pi * radius**2, rel=0.1)
    assert answer.settled


def test_windows_are_compared_in_one_batch() -> None:
    image = ImageSource(disk_image((640, 640), 300, 300, 20))
    model = FakeModel(follow_image=True)
    predictor = Predictor(model, SEARCH)
    quick = predictor.predict(image, [Click(300, 300)], settle=False)
    assert len(model.encoded) == 2  # the batch, then the chosen window
    assert model.encoded[0][0] == len(ladder(Box(300, 300, 301, 301), (640, 640)))
    settled = predictor.predict(image, [Click(300, 300)], settle=True)
    assert len(model.encoded) == 3  # no second search
    assert settled.state.roi == quick.state.roi


def test_later_clicks_zoom_on_from_the_chosen_window() -> None:
    image = ImageSource(disk_image((700, 900), 400, 500, 10))
    model = FakeModel(follow_image=True)
    predictor = Predictor(model, SEARCH)
    first = predictor.predict(image, [Click(400, 500)])
    assert max(first.box.shape) < 200
    model.encoded.clear()
    clicks = [Click(400, 500), Click(402, 503)]
    second = predictor.predict(image, clicks, first.state)
    # Neither the whole image nor the published 200 pixels.
    assert second.state.min_crop == first.state.min_crop
    assert max(second.box.shape) <= max(first.box.shape)
    # A click far outside takes the window along, as the zoom-in does.
    clicks.append(Click(100, 100))
    third = predictor.predict(image, clicks, second.state)
    assert third.box.contains(100, 100)
    assert third.box.contains(400, 500)


def test_search_starts_again_when_the_object_is_lost() -> None:
    image = ImageSource(disk_image((300, 300), 150, 150, 15))
    predictor = Predictor(FakeModel(follow_image=True), SEARCH)
    lost = PredictorState(
        roi=Box(0, 0, 100, 100),
        box=Box(0, 0, 100, 100),
        probability=np.zeros((100, 100)),
    )
    clicks = [Click(50, 50, positive=False), Click(150, 150)]
    answer = predictor.predict(image, clicks, lost)
    assert answer.box.contains(150, 150)
    assert answer.box == answer.state.roi
    assert (answer.probability > 0.5).any()


def test_only_negative_clicks() -> None:
    image = ImageSource(disk_image((300, 300), 150, 150, 15))
    predictor = Predictor(FakeModel(), SEARCH)
    answer = predictor.predict(image, [Click(150, 150, positive=False)])
    assert (answer.probability < 0.5).all()


def test_visible_field() -> None:
    image = ImageSource(disk_image((1000, 1000), 400, 500, 15))
    model = FakeModel(follow_image=True)
    predictor = Predictor(model, VISIBLE)
    field = Box(350, 430, 480, 600)
    answer = predictor.predict(image, [Click(400, 500)], visible=field)
    assert answer.box == answer.state.roi == field
    assert model.encoded == [(1, 3, *fit_size(field.shape, LOOK_AT))] * 2
    # The user may move on before the answer settles.
    again = predictor.predict(image, [Click(400, 500)])
    assert again.box == field
    # A field that reaches beyond the image is cut at its border.
    over = Box(-50, 430, 480, 1200)
    answer = predictor.predict(image, [Click(400, 500)], visible=over)
    assert answer.box == Box(0, 430, 480, 1000)


def test_visible_field_that_is_of_no_use() -> None:
    outside = Box(-50, -50, -10, -10)
    clicks = [Click(400, 500)]
    assert visible(clicks, outside, (1000, 1000)) is None
    assert visible(clicks, Box(0, 0, 50_000, 50_000), (100_000, 100_000)) is None
    widened = visible(clicks, Box(0, 0, 50, 60), (1000, 1000))
    assert widened is not None
    assert widened.box == Box(0, 0, 401, 501)
    # Then a window is searched, no larger than the field.
    image = ImageSource(disk_image((1000, 1000), 400, 500, 15))
    predictor = Predictor(FakeModel(follow_image=True), VISIBLE)
    answer = predictor.predict(image, clicks, visible=outside)
    assert answer.box.contains(400, 500)
    answer = predictor.predict(image, clicks)
    assert answer.box.contains(400, 500)


@pytest.mark.parametrize("settings", [SEARCH, VISIBLE])
def test_giant_image(settings: PredictionSettings) -> None:
    array = GiantArray((100_000, 100_000), disk=(70_000, 31_000, 90))
    source = ImageSource(array)
    predictor = Predictor(FakeModel(follow_image=True), settings)
    everything = Box(0, 0, 100_000, 100_000)
    answer = predictor.predict(source, [Click(70_000, 31_000)], visible=everything)
    area = (answer.probability > 0.5).sum()
    assert area == pytest.approx(np.pi * 90**2, rel=0.05)
    assert array.most_pixels <= LARGEST**2
    (notice,) = answer.notices
    assert "100,000 x 100,000" in notice
    assert "2,048 x 2,048" in notice
    near = Box(69_500, 30_500, 70_500, 31_500)
    answer = predictor.predict(source, [Click(70_000, 31_000)], visible=near)
    assert answer.notices == ()


def test_starting_mask_is_its_own_first_look() -> None:
    image = ImageSource(disk_image((1000, 1000), 400, 500, 15))
    model = FakeModel(follow_image=True)
    state = PredictorState.from_mask(np.ones((30, 30), bool), Box(385, 485, 415, 515))
    answer = Predictor(model, SEARCH).predict(image, [Click(400, 500)], state)
    assert len(model.encoded) == 2  # no search
    assert answer.box.intersect(Box(385, 485, 415, 515)).area == 900
    assert max(answer.box.shape) <= 201


def test_cancelled_before_the_search() -> None:
    image = ImageSource(disk_image((300, 300), 150, 150, 15))
    model = FakeModel()
    with pytest.raises(Cancelled):
        Predictor(model, SEARCH).predict(image, [Click(5, 5)], cancelled=lambda: True)
    assert model.encoded == []


def test_memory_runs_out_while_searching() -> None:
    image = ImageSource(disk_image((640, 640), 300, 300, 20))
    model = FakeModel(device=torch.device("meta"), follow_image=True, memory=300 * 300)
    predictor = Predictor(model, SEARCH)
    predictor._passes._send = lambda tensor: tensor  # type: ignore[method-assign]
    answer = predictor.predict(image, [Click(300, 300)])
    assert len(answer.notices) == 1
    assert answer.box.contains(300, 300)
    assert predictor.model.device.type == "meta"  # one window at a time still fits
    assert predictor.longest_side == LOOK_AT // 2
    again = predictor.predict(image, [Click(301, 300)])
    assert again.notices == ()


def block(shape: tuple[int, int], where: Box, box: Box, size: int) -> np.ndarray:
    """Logits on ``box`` resized to ``size`` of an answer that fills ``where``."""
    answer = np.full(shape, -9.0)
    answer[where.slices] = 9.0
    return np.kron(answer[box.slices], np.ones((size // box.shape[0],) * 2))


def test_judgement_by_hand() -> None:
    """An object of 20 x 20 pixels seen at three scales; small windows cut it."""
    shape = (160, 160)
    thing = Box(70, 70, 90, 90)
    boxes = [Box(75, 75, 85, 85), Box(60, 60, 100, 100), Box(0, 0, 160, 160)]
    logits = [block(shape, thing, box, 160) for box in boxes]
    part, fitting, wide = judge(boxes, logits, [Click(80, 80)], shape)
    assert part.object_box == boxes[0]
    assert part.cut
    assert not fitting.cut
    assert fitting.object_box == wide.object_box == thing
    assert (part.extent, fitting.extent, wide.extent) == (1.0, 0.5, 0.125)
    assert wide.field == 1.0
    assert fitting.field == 0.25
    # 100 of 400 pixels lie in the smallest window.
    assert part.larger == part.smaller == fitting.smaller == pytest.approx(0.25)
    assert fitting.larger == wide.smaller == wide.larger == pytest.approx(1.0)
    assert part.consensus == pytest.approx(0.25)
    assert fitting.consensus == pytest.approx(0.625)
    assert fitting.stability == 1.0
    assert fitting.confidence == pytest.approx(1.0, abs=1e-3)
    assert max(part, fitting, wide, key=lambda j: j.score) is not part


def test_an_answer_without_the_click_is_the_worst() -> None:
    shape = (160, 160)
    boxes = [Box(60, 60, 100, 100), Box(0, 0, 160, 160)]
    logits = [block(shape, Box(70, 70, 90, 90), box, 160) for box in boxes]
    elsewhere = judge(boxes, logits, [Click(65, 65)], shape)
    assert [j.object_box for j in elsewhere] == [None, None]
    assert elsewhere[0].score < -1
    # The faint answer of the large window is touched by the click.
    logits[1] = np.full((160, 160), 0.5)
    judged = judge(boxes, logits, [Click(65, 65)], shape)
    assert judged[1].object_box == Box(0, 0, 160, 160)
    assert judged[1].score > judged[0].score
    assert judged[1].stability == 0.0


def test_search_fits_the_window_to_the_object() -> None:
    shape = (640, 640)
    asked: list[int] = []

    def look(boxes: list[Box], size: tuple[int, int]) -> np.ndarray:
        asked.append(len(boxes))
        y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
        # An object of radius 30 pixels in the middle of the image.
        halves = [box.shape[0] / 2 for box in boxes]
        return np.array([(30 - np.hypot(y, x) * half) / 2 for half in halves])

    chosen = search([Click(320, 320)], shape, look)
    assert asked == [len(ladder(Box(320, 320, 321, 321), shape))]
    assert max(chosen.box.shape) == pytest.approx(AROUND * 60, abs=9)
    assert chosen.box.intersect(Box(290, 290, 350, 350)).area == 3600
