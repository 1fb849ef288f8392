"""Edits between two lists of clicks."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.binding.marks import (
    AddMark,
    Mark,
    MoveMark,
    RemoveMark,
    edit_marks,
)

marks = st.lists(
    st.builds(
        Mark, st.integers(0, 4).map(float), st.integers(0, 4).map(float), st.booleans()
    ),
    max_size=6,
)


def applied(old, edits):
    held = list(old)
    for edit in edits:
        match edit:
            case AddMark(mark):
                held.append(mark)
            case RemoveMark(mark):
                held.remove(mark)
            case MoveMark(mark, to):
                assert mark.positive == to.positive
                held[held.index(mark)] = to
    return held


@given(marks, marks)
def test_edits_lead_from_one_list_to_the_other(old, new):
    assert Counter(applied(old, edit_marks(old, new))) == Counter(new)


@given(marks)
def test_nothing_happened(old):
    assert edit_marks(old, old) == []


@given(marks, st.builds(Mark, st.just(9.0), st.just(9.0)))
def test_one_more_is_one_edit(old, mark):
    assert edit_marks(old, [*old, mark]) == [AddMark(mark)]


@given(marks.filter(bool), st.data())
def test_one_less_is_one_edit(old, data):
    index = data.draw(st.integers(0, len(old) - 1))
    [edit] = edit_marks(old, old[:index] + old[index + 1 :])
    assert isinstance(edit, RemoveMark)
    assert edit.mark == old[index]


@given(marks.filter(bool), st.data())
def test_a_dragged_click_is_one_move(old, data):
    index = data.draw(st.integers(0, len(old) - 1))
    to = old[index]._replace(row=77.0)
    new = [*old[:index], to, *old[index + 1 :]]
    assert edit_marks(old, new) == [MoveMark(old[index], to)]
