"""A box that the user drew restricts where the model looks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.napari.fakes import FakeModel

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction import PredictionSettings, Predictor, PredictorState
from napari_clickseg.prediction.views import expand_box
from napari_clickseg.session import ClickSession

SHAPE = (300, 400)


def bright() -> np.ndarray:
    """One large object: without a box all of it is found."""
    image = np.full(SHAPE, 10, np.uint8)
    image[20:280, 20:380] = 220
    return image


@pytest.mark.parametrize("first_look", ["published", "search", "visible"])
def test_the_window_is_that_of_an_object_of_this_size(first_look: str) -> None:
    chosen = PredictionSettings(first_look=first_look)
    predictor = Predictor(FakeModel(), chosen)
    box = Box(100, 120, 160, 200)
    image = ImageSource(bright())
    state = PredictorState(within=box)
    found = predictor.predict(
        image, [Click(130, 160)], state, visible=Box(0, 0, 99, 99)
    )
    assert found.box == expand_box(box, 1.4).clip(SHAPE)
    assert found.state.within == box
    # later clicks look no farther either, though the object goes on
    clicks = [Click(130, 160), Click(135, 165)]
    later = predictor.predict(image, clicks, found.state)
    field = expand_box(box, 1.4)
    assert later.box.intersect(field) == later.box
    # a click beyond it says more
    beyond = [*clicks, Click(250, 350)]
    wide = predictor.predict(image, beyond, later.state)
    assert wide.box.contains(250, 350)


@given(
    top=st.integers(0, 280),
    left=st.integers(0, 380),
    height=st.integers(1, 300),
    width=st.integers(1, 400),
    places=st.lists(
        st.tuples(st.integers(0, 299), st.integers(0, 399), st.booleans()), max_size=4
    ),
)
@settings(max_examples=60, deadline=None)
def test_every_positive_click_is_seen(
    top: int, left: int, height: int, width: int, places: list[tuple[int, int, bool]]
) -> None:
    box = Box(top, left, top + height, left + width).clip(SHAPE)
    predictor = Predictor(FakeModel(), PredictionSettings(first_look="search"))
    image = ImageSource(bright())
    middle = (box.top + box.bottom - 1) / 2, (box.left + box.right - 1) / 2
    clicks, state = [Click(*middle)], PredictorState(within=box)
    for place in [None, *places]:
        if place is not None:
            clicks.append(Click(*place))
        found = predictor.predict(image, clicks, state)
        state = found.state
        for click in clicks:
            assert not click.positive or found.box.contains(*click.position)
        assert found.box.clip(SHAPE) == found.box


def test_a_session_looks_there_and_replays_the_same() -> None:
    s = ClickSession(FakeModel())
    s.set_image(bright())
    s.add_box((100, 120, 160, 200))
    assert [c.position for c in s.clicks] == [(129.5, 159.5)]
    field = expand_box(Box(100, 120, 160, 200), 1.4)
    assert Box.around(s.mask) == field
    s.remove_click(0)
    s.add_click((110, 130))
    assert Box.around(s.mask) == field  # the box still stands
    s.commit()
    np.testing.assert_array_equal(s.replay().labels, s.labels)
    s.undo()
    s.undo()
    s.undo()
    s.undo()
    assert not s.can_undo
    # with clicks before: they are asked again, and no further one is needed
    s.add_click((130, 160))
    assert s.mask.sum() > 50000
    s.add_box((100, 120, 160, 200))
    assert len(s.clicks) == 1
    assert s.mask.sum() == field.area


def test_models_with_fixed_windows_take_the_tile_around_it() -> None:
    chosen = PredictionSettings(windows="tiles", first_look="search", tile_side=64)
    predictor = Predictor(FakeModel(), chosen)
    box = Box(100, 120, 130, 150)
    state = PredictorState(within=box)
    found = predictor.predict(ImageSource(bright()), [Click(115, 135)], state)
    assert found.box.intersect(box) == box
    assert found.box.area < 300 * 400 / 4
