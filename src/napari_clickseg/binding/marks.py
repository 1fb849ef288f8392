"""What a Points layer shows of a click, and the edits that lead from list to list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["AddMark", "Mark", "MarkEdit", "MoveMark", "RemoveMark", "edit_marks"]


class Mark(NamedTuple):
    """One click as it is drawn: where, what it asks for, how far it reaches."""

    row: float
    col: float
    positive: bool = True
    #: Attention radius in image pixels; None where the click has none of its own.
    radius: float | None = None
    #: Label of the class that the pixel should have.
    label: int | None = None
    #: Value that the pixel should have.
    value: float | None = None

    @property
    def wish(self) -> tuple[bool, int | None, float | None]:
        """What it asks for, wherever it is."""
        return self.positive, self.label, self.value

    @property
    def position(self) -> tuple[float, float]:
        """``(row, col)``."""
        return self.row, self.col


class AddMark(NamedTuple):
    """A click was put down."""

    mark: Mark


class RemoveMark(NamedTuple):
    """A click was deleted."""

    mark: Mark


class MoveMark(NamedTuple):
    """A click was dragged to another place, or got another radius."""

    mark: Mark
    to: Mark


MarkEdit = AddMark | RemoveMark | MoveMark


def edit_marks(old: Sequence[Mark], new: Sequence[Mark]) -> list[MarkEdit]:
    """Return what happened to a list of clicks, whichever tool did it.

    Clicks name themselves by where they are, not by their number, since the
    session may have changed in between. A click that asks for something else is
    removed and added. Applied to ``old`` in any faithful way the edits give the clicks
    of ``new``, though perhaps in another order.
    """
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    before, after = list(old[start : len(old) - end]), list(new[start : len(new) - end])
    edits: list[MarkEdit] = []
    if len(before) == len(after):
        for was, now in zip(before, after, strict=True):
            if was == now:
                continue
            if was.wish == now.wish:
                edits.append(MoveMark(was, now))
            else:
                edits += [RemoveMark(was), AddMark(now)]
        return edits
    for mark in list(before):
        if mark in after:
            before.remove(mark)
            after.remove(mark)
    edits += [RemoveMark(mark) for mark in reversed(before)]
    edits += [AddMark(mark) for mark in after]
    return edits
