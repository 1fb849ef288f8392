"""Clicks are checked when they are made, and every edit can be taken back."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.clicks import (
    AddClick,
    Click,
    MoveClick,
    RemoveClick,
    ReplaceClicks,
    as_clicks,
    check_inside,
    keep_times,
)
from napari_clickseg.errors import ClickError

places = st.floats(-1e6, 1e6)
maybe_time = st.none() | st.floats(0, 4e9)
clicks = st.builds(Click, places, places, st.booleans(), time=maybe_time)
click_lists = st.lists(clicks, max_size=6).map(tuple)


@st.composite
def edits(draw, kinds=("add", "remove", "move", "replace")):
    """A click list and an edit that fits it."""
    before = draw(click_lists)
    fitting = [k for k in kinds if before or k in ("add", "replace")]
    kind = draw(st.sampled_from(fitting))
    if kind == "add":
        return before, AddClick(draw(st.integers(0, len(before))), draw(clicks))
    if kind == "replace":
        return before, ReplaceClicks(before, draw(click_lists))
    index = draw(st.integers(-len(before), len(before) - 1))
    if kind == "remove":
        return before, RemoveClick.at(before, index)
    return before, MoveClick.to(before, index, (draw(places), draw(places)))


@given(edits())
def test_an_edit_and_its_inverse_change_nothing(case):
    before, edit = case
    after = edit.apply(before)
    assert edit.inverse().apply(after) == before
    assert edit.inverse().inverse() == edit


@given(edits(kinds=("remove", "move", "replace")))
def test_an_edit_refuses_a_list_that_it_was_not_made_for(case):
    before, edit = case
    other = (Click(-7, -7), *before) if isinstance(edit, ReplaceClicks) else ()
    with pytest.raises(ClickError, match="changed since"):
        edit.apply(other)


def test_edits_do_what_they_say():
    a, b, c = Click(1, 2), Click(3, 4, False), Click(5, 6)
    assert AddClick(1, c).apply((a, b)) == (a, c, b)
    assert RemoveClick.at((a, b, c), -1).apply((a, b, c)) == (a, b)
    moved = MoveClick.to((a, b), 1, (9, 8)).apply((a, b))
    assert moved == (a, Click(9, 8, False))
    assert ReplaceClicks((a,), (b, c)).apply((a,)) == (b, c)


@given(
    st.builds(
        Click,
        places,
        places,
        st.booleans(),
        label=st.none() | st.integers(1, 9),
        value=st.none() | st.floats(0, 1),
        radius=st.none() | st.floats(0.1, 99),
        time=maybe_time,
    )
)
def test_a_click_survives_json(click):
    assert Click.from_dict(json.loads(json.dumps(click.to_dict()))) == click


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"row": math.nan, "col": 0}, "row"),
        ({"row": 0, "col": math.inf}, "col"),
        ({"row": "north", "col": 0}, "row"),
        ({"row": 0, "col": 0, "label": 0}, "label"),
        ({"row": 0, "col": 0, "radius": 0}, "radius"),
        ({"row": 0, "col": 0, "value": math.nan}, "value"),
        ({"row": 0, "col": 0, "positive": -1}, "positive"),
    ],
)
def test_a_senseless_click_is_refused(arguments, part):
    with pytest.raises(ClickError, match=part):
        Click(**arguments)


def test_clicks_as_scripts_write_them():
    expected = (Click(1, 2), Click(3, 4, False), Click(5, 6))
    assert as_clicks([(1, 2), [3, 4, False], Click(5, 6)]) == expected
    for wrong in ([(1,)], [(1, 2, True, 4)], [7], ["ab"]):
        with pytest.raises(ClickError):
            as_clicks(wrong)


@pytest.mark.parametrize(
    ("position", "inside"),
    [
        ((0, 0), True),
        ((-0.5, -0.5), True),
        ((9.49, 19.49), True),
        ((9.5, 0), False),
        ((0, 19.5), False),
        ((-0.51, 0), False),
        ((15, 5), False),  # (column, row) by mistake
    ],
)
def test_inside_is_where_a_pixel_is(position, inside):
    click = Click(*position)
    if inside:
        check_inside(click, (10, 20))
    else:
        with pytest.raises(ClickError, match="rows 0 to 9, columns 0 to 19"):
            check_inside(click, (10, 20))


def test_there_is_no_click_beyond_the_last():
    with pytest.raises(ClickError, match="clicks 0 to 0"):
        RemoveClick.at((Click(1, 1),), 1)
    with pytest.raises(ClickError, match="no clicks yet"):
        MoveClick.to((), 0, (1, 1))


def test_equal_clicks_keep_their_times():
    old = (Click(1, 1, time=5.0), Click(2, 2, time=6.0))
    new = (Click(1, 1), Click(2, 3), Click(9, 9, time=1.0))
    assert [c.time for c in keep_times(old, new, 100.0)] == [5.0, 100.0, 1.0]
