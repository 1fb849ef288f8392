"""Models that encode once see tiles of a fixed pyramid, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.prediction.fakes import FakeModel, GiantArray

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError, MaskError, SettingsError
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction import kept
from napari_clickseg.prediction.predictor import Predictor
from napari_clickseg.prediction.settings import PredictionSettings, PredictorState
from napari_clickseg.prediction.tiles import levels, snap, tiles

SIDE = 96
SEARCH = PredictionSettings(first_look="search")


@dataclass
class Once(FakeModel):
    """A made-up model that encodes once; notes which windows it is asked for."""

    tile_side: int = SIDE
    encodes_once: bool = True
    follow_image: bool = True
    asked: list[tuple[Box, tuple[int, int], bool]] = field(default_factory=list)

    def encode_view(self, image: Any, box: Any, size: Any, copies: Any, encode: Any):
        self.asked.extend((box, size, copy) for copy in copies)
        return encode()


def picture(shape=(300, 400), disk=(150, 200, 40)):
    rows, cols = np.indices(shape)
    row, col, radius = disk
    inside = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    return ImageSource((200 * inside + 20).astype(np.uint8))


def in_pyramid(model: Once, shape) -> bool:
    known = {(t.box, t.size) for t in tiles(shape, model.tile_side)}
    return {(box, size) for box, size, _ in model.asked} <= known


@settings(max_examples=25)
@given(
    st.tuples(st.integers(40, 500), st.integers(40, 500)),
    st.integers(5, 150),
    st.sampled_from(["search", "visible"]),
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    st.integers(30, 600),
)
def test_only_tiles_are_ever_asked_for(shape, radius, policy, places, field_side):
    model = Once()
    predictor = Predictor(model, PredictionSettings(first_look=policy))
    image = picture(shape, (shape[0] // 2, shape[1] // 2, radius))
    clicks, state = [], None
    for row, col, positive in places:
        click = Click(
            row * (shape[0] - 1), col * (shape[1] - 1), positive or not clicks
        )
        clicks.append(click)
        shown = Box(0, 0, field_side, field_side)
        answer = predictor.predict(image, clicks, state, visible=shown)
        state = answer.state
        assert answer.settled
        assert (state.roi, state.box) == (answer.box, answer.box)
        assert snap(answer.box, shape, SIDE).box == answer.box
        for each in clicks:
            if each.positive:
                assert answer.box.contains(each.row, each.col)
    assert in_pyramid(model, shape)
    asked = [each for each in model.asked if not each[2]]
    assert asked == model.asked, "no mirror image unless it is wanted"
    assert len(set(asked)) == len(asked), "no tile is encoded twice"


@pytest.mark.parametrize(("radius", "level"), [(10, 2), (25, 1), (140, 0)])
def test_the_first_look_suits_the_object(radius, level):
    model, image = Once(), picture(disk=(150, 200, radius))
    assert levels(image.shape, SIDE) == 3
    answer = Predictor(model, SEARCH).predict(image, [Click(150, 200)])
    found = snap(answer.box, image.shape, SIDE)
    assert found.level == level
    # All levels were looked at; the answer is one of these looks.
    assert len(model.asked) == 3
    assert len(model.decoded) == 3
    whole = np.zeros(image.shape, np.float32)
    whole[answer.box.slices] = answer.probability
    rows, cols = np.indices(image.shape)
    inside = (rows - 150) ** 2 + (cols - 200) ** 2 <= radius**2
    assert ((whole > 0.49) == inside).mean() > 0.98


def test_the_view_follows_the_object():
    image = picture(disk=(150, 200, 12))
    model = Once()
    predictor = Predictor(model, SEARCH)
    shape = image.shape
    state = PredictorState.from_mask(np.ones(shape))
    far = predictor.predict(image, [Click(150, 200)], state)
    assert far.box == Box.of_shape(shape), "the mask fills the image"
    near = predictor.predict(image, [Click(150, 200), Click(150, 201)], far.state)
    assert snap(near.box, shape, SIDE).level == 2, "what was found is small"
    asked = len(model.asked)
    clicks = [Click(150, 200), Click(150, 201), Click(151, 200)]
    stays = predictor.predict(image, clicks, near.state)
    assert stays.box == near.box
    assert len(model.asked) == asked
    # A click beyond the tile widens it.
    there = Click(20.0, 380.0)
    wide = predictor.predict(image, [*clicks, there], stays.state)
    assert wide.box == Box.of_shape(shape)


def test_small_objects_are_enlarged_where_encoding_is_quick():
    image = picture((200, 200), (60, 140, 4))
    model = Once()
    model.magnifies = 4.0
    predictor = Predictor(model, replace(SEARCH, expansion_ratio=1.1))
    first = predictor.predict(image, [Click(60, 140)])
    known = {(t.box, t.size) for t in tiles(image.shape, SIDE, magnify=4)}
    assert {(box, size) for box, size, _ in model.asked} <= known
    assert max(first.box.shape) == SIDE // 4
    second = predictor.predict(image, [Click(60, 140), Click(61, 140)], first.state)
    assert second.box == first.box
    # As far as the settings allow.
    limited = replace(SEARCH, magnify=1)
    first = Predictor(Once(), limited).predict(image, [Click(60, 140)])
    assert max(first.box.shape) == SIDE
    with pytest.raises(SettingsError, match="magnify"):
        PredictionSettings(magnify=0.5)


def test_a_small_image_is_seen_as_large_as_can_be():
    """One box on several levels."""
    image = picture((20, 22), (10, 10, 4))
    model = Once()
    model.magnifies = 4.0
    predictor = Predictor(model, SEARCH)
    state, clicks = None, []
    for _ in range(3):
        clicks.append(Click(10, 10))
        answer = predictor.predict(image, clicks, state)
        state = answer.state
        assert answer.box == Box(0, 0, 20, 22)
        assert predictor.last_size == (80, 88)


def test_a_tile_stays_until_the_object_is_small_in_it():
    """Two tiles hold the object: the coarser one stays, and is not given up lightly."""
    image = picture(disk=(150, 200, 30))
    shape = image.shape
    tile = next(
        t for t in tiles(shape, SIDE) if t.level == 1 and t.box.contains(150, 200)
    )
    mask = np.zeros(shape, np.float32)
    mask[tile.box.slices] = 0.3
    inner = Box(
        tile.box.top + 10, tile.box.left + 10, tile.box.bottom - 10, tile.box.right - 10
    )
    mask[inner.slices] = 1
    state = replace(PredictorState.from_mask(mask), roi=tile.box, external=False)
    settled = PredictionSettings(
        first_look="search", expansion_ratio=1.0, min_crop_size=1
    )
    model = Once()
    answer = Predictor(model, settled).predict(image, [Click(150, 200)], state)
    assert answer.box == tile.box
    # Far smaller: the finer level.
    small = np.zeros(shape, np.float32)
    small[145:155, 195:205] = 1
    state = replace(PredictorState.from_mask(small), roi=tile.box)
    answer = Predictor(model, settled).predict(image, [Click(150, 200)], state)
    assert snap(answer.box, shape, SIDE).level == 2


def test_published_is_the_whole_image_without_zoom():
    image = picture(disk=(150, 200, 10))
    model = Once()
    predictor = Predictor(model)
    clicks, state = [], None
    for _ in range(4):
        clicks.append(Click(150, 200 + len(clicks)))
        answer = predictor.predict(image, clicks, state)
        state = answer.state
        assert answer.box == Box.of_shape(image.shape)
    assert model.asked == [(Box.of_shape(image.shape), image.shape, False)]
    model.reduces_to = 100
    Predictor(model).predict(image, clicks)
    assert model.asked[-1][1] == (75, 100)
    limited = PredictionSettings(max_size=200)
    del model.reduces_to
    Predictor(model, limited).predict(image, clicks)
    assert model.asked[-1][1] == (150, 200)


def test_what_auto_means():
    once, other = Once(), FakeModel()
    assert PredictionSettings().decided_for(once).windows == "tiles"
    assert PredictionSettings().decided_for(once).flip is False
    assert PredictionSettings(flip=True).decided_for(once).flip is True
    assert PredictionSettings().decided_for(other).windows == "free"
    assert PredictionSettings().decided_for(other).flip is True
    for windows in ("free", "tiles"):
        for model in (once, other):
            wanted = PredictionSettings(windows=windows)
            assert wanted.decided_for(model).windows == windows
    with pytest.raises(SettingsError, match="auto, free, tiles"):
        PredictionSettings(windows="some")
    with pytest.raises(SettingsError, match="flip"):
        PredictionSettings(flip="perhaps")
    with pytest.raises(SettingsError, match="tile_side"):
        PredictionSettings(tile_side=0)


def test_free_windows_for_a_model_that_encodes_once():
    model, image = Once(), picture(disk=(150, 200, 10))
    predictor = Predictor(model, replace(SEARCH, windows="free"))
    predictor.predict(image, [Click(150, 200)])
    assert not in_pyramid(model, image.shape)


def test_tiles_for_any_model():
    model, image = FakeModel(follow_image=True), picture(disk=(150, 200, 40))
    wanted = replace(SEARCH, windows="tiles", tile_side=64)
    answer = Predictor(model, wanted).predict(image, [Click(150, 200)])
    assert max(max(shape[2:]) for shape in model.encoded) == 64
    assert snap(answer.box, image.shape, 64).box == answer.box
    # The published average is kept where it costs no more than elsewhere.
    assert len(model.encoded) == levels(image.shape, 64) + 1


def test_mirror_images_where_they_are_wanted():
    model, image = Once(), picture()
    predictor = Predictor(model, replace(SEARCH, flip=True))
    quick = predictor.predict(image, [Click(150, 200)], settle=False)
    assert not quick.settled
    assert not any(copy for *_, copy in model.asked)
    full = predictor.predict(image, [Click(150, 200)])
    assert full.settled
    assert [copy for *_, copy in model.asked].count(True) == 1
    assert in_pyramid(model, image.shape)


def test_only_what_the_canvas_shows_is_searched():
    model, image = Once(), picture(disk=(150, 200, 10))
    shown = Box(100, 150, 240, 290)
    answer = Predictor(model, SEARCH).predict(image, [Click(150, 200)], visible=shown)
    assert max(answer.box.shape) <= 140
    assert len(model.asked) == 1
    tiny = Box(149, 199, 151, 201)
    model = Once()
    answer = Predictor(model, SEARCH).predict(image, [Click(150, 200)], visible=tiny)
    assert answer.box.shape == (SIDE, SIDE), "the finest tile there is"
    visible = PredictionSettings(first_look="visible")
    answer = Predictor(Once(), visible).predict(
        image, [Click(150, 200)], visible=Box(-50, -50, 900, 900)
    )
    assert answer.box == Box.of_shape(image.shape)
    answer = Predictor(Once(), visible).predict(
        image, [Click(150, 200)], visible=Box(140, 190, 170, 220)
    )
    assert answer.box.shape == (SIDE, SIDE)


def test_negative_clicks_alone():
    model, image = Once(), picture()
    answer = Predictor(model, SEARCH).predict(image, [Click(10, 10, positive=False)])
    assert answer.box == Box.of_shape(image.shape)


def test_an_image_too_large_to_be_seen_whole():
    image = ImageSource(GiantArray((30_000, 50_000), (20_000, 30_000, 100)))
    for policy in ("search", "published"):
        model = Once()
        predictor = Predictor(model, PredictionSettings(first_look=policy))
        first = predictor.predict(image, [Click(20_000, 30_000)])
        assert first.probability.max() > 0.9
        assert max(box.area for box, *_ in model.asked) <= 2**24
        assert bool(first.notices) == (policy == "published")
        clicks = [Click(20_000, 30_000), Click(20_010, 30_020)]
        second = predictor.predict(image, clicks, first.state)
        assert second.box == snap(second.box, image.shape, SIDE).box
        with pytest.raises(ClickError, match="more than may be read"):
            predictor.predict(image, [*clicks, Click(5, 5)], second.state)


def test_less_memory_makes_tiles_smaller(monkeypatch):
    def check(self, x):
        if max(x.shape[-2:]) > 250:
            raise torch.OutOfMemoryError("fake memory is full")

    monkeypatch.setattr(Once, "check_memory", check)
    model = Once(tile_side=400)
    image = picture((600, 800), (300, 400, 60))
    answer = Predictor(model, SEARCH).predict(image, [Click(300, 400)])
    assert "at most 200 pixels" in " ".join(answer.notices)
    assert {max(shape[2:]) for shape in model.encoded[-2:]} == {200}
    assert answer.probability.max() > 0.9


# -- features that are kept ---------------------------------------------------------


def test_features_are_kept_by_bytes(monkeypatch):
    model, image = Once(), picture()
    one = 3 * SIDE * SIDE * 4
    monkeypatch.setattr(kept, "KEPT_BYTES", 2 * one)
    predictor = Predictor(model, SEARCH)
    predictor.predict(image, [Click(150, 200)])
    features = predictor._passes._features
    assert 1 <= len(features) <= 2
    assert features.bytes <= 2 * one
    monkeypatch.setattr(kept, "KEPT_BYTES", 1)
    predictor.forget()
    predictor.predict(image, [Click(150, 200)])
    assert len(features) == 1
    predictor.forget()
    assert (len(features), features.bytes) == (0, 0)


def test_bytes_of_features():
    tensor = torch.zeros(2, 3)
    assert kept.bytes_of([tensor, (tensor, {"a": tensor}), None, 3]) == 72
    features = kept.Kept()
    for key in range(6):
        features.put(key, tensor, 10, once=False)
    assert (len(features), features.get(0)) == (kept.KEPT, None)
    assert features.get(5) is tensor
    features.put("large", tensor, 2**21, once=False)
    assert features.get("large") is None
    features.put(5, tensor, 10, once=False)
    assert features.bytes == 24 * kept.KEPT


def test_another_image_drops_what_is_kept():
    model, predictor = Once(), None
    predictor = Predictor(model, SEARCH)
    predictor.predict(picture(), [Click(150, 200)])
    asked = len(model.asked)
    predictor.predict(picture(), [Click(150, 200)])
    assert len(model.asked) == 2 * asked


# -- a memory of more than the last answer --------------------------------------------


@dataclass
class Counting(Once):
    """Remembers how many answers called a pixel object, up to ten, in tenths."""

    remembers: bool = True

    def remember(self, known: np.ndarray, probability: np.ndarray) -> np.ndarray:
        return (known + 0.1 * (probability > 0.5)).clip(max=1).astype(np.float32)


def test_what_is_remembered_is_what_the_model_is_given():
    image = picture()
    model = Counting()
    predictor = Predictor(model)
    clicks, state = [], None
    for count in range(4):
        clicks.append(Click(150, 200 + count))
        answer = predictor.predict(image, clicks, state, settle=False)
        given = model.decoded[-1]["previous"][0, 0].numpy()
        assert given[150, 200] == pytest.approx(0.1 * count, abs=1e-3)
        state = answer.state
        assert state.memory is not None
        assert state.memory[150, 200] == pytest.approx(0.1 * (count + 1), abs=1e-3)
        assert state.memory[0, 0] == 0
        assert not state.memory.flags.writeable


def test_a_mask_from_outside_counts_as_an_answer():
    image, model = picture(), Counting()
    mask = np.zeros((20, 20), np.float32)
    mask[5:, 5:] = 1
    start = PredictorState.from_mask(mask, Box(140, 190, 160, 210))
    first = Predictor(model).predict(image, [Click(150, 200)], start)
    given = model.decoded[-1]["previous"][0, 0].numpy()
    assert given[150, 200] == pytest.approx(0.1, abs=1e-3)
    assert given[141, 191] == 0
    painted = first.state.with_mask(mask, Box(140, 190, 160, 210))
    Predictor(model).predict(image, [Click(150, 200), Click(150, 201)], painted)
    given = model.decoded[-1]["previous"][0, 0].numpy()
    assert given[150, 200] == pytest.approx(0.3, abs=1e-3)
    assert given[150, 230] == pytest.approx(0.1, abs=1e-3), "beyond the mask, too"


def test_memory_moves_with_the_view():
    state = PredictorState(
        memory_box=Box(10, 10, 20, 20), memory=np.full((10, 10), 0.25, np.float16)
    )
    seen = state.remembered(Box(5, 5, 15, 15))
    assert (seen[5:, 5:] == 0.25).all()
    assert (seen[:5] == 0.5).all()
    assert (PredictorState().remembered(Box(0, 0, 3, 3)) == 0).all()
    with pytest.raises(MaskError, match="memory"):
        PredictorState(memory_box=Box(0, 0, 2, 2))
    with pytest.raises(MaskError, match="memory"):
        PredictorState(memory_box=Box(0, 0, 2, 2), memory=np.zeros((3, 3)))
