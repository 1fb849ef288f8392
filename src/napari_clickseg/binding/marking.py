"""What was done to the points is done to the clicks of a session."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from napari_clickseg.binding.marks import AddMark, Mark, MarkEdit, MoveMark, RemoveMark
from napari_clickseg.clicks import Click

if TYPE_CHECKING:
    from napari_clickseg.session import Change, ClickSession

__all__ = ["apply_edits", "mark_of"]


def mark_of(click: Click) -> Mark:
    """Return what the Points layer shows of a click."""
    return Mark(
        click.row, click.col, click.positive, click.radius, click.label, click.value
    )


def apply_edits(session: ClickSession, edits: Iterable[MarkEdit]) -> Change | None:
    """Edit the clicks without asking the model; returns the last change.

    A click that is gone already, for its removal was on the way, is left alone.
    """
    change = None
    for edit in edits:
        if isinstance(edit, AddMark):
            mark = edit.mark
            change = session.add_click(
                mark.position,
                mark.positive,
                radius=mark.radius,
                label=mark.label,
                value=mark.value,
                predict=False,
            )
        elif (index := _find(session, edit.mark)) is not None:
            change = _changed(session, index, edit)
    return change


def _changed(
    session: ClickSession, index: int, edit: RemoveMark | MoveMark
) -> Change | None:
    if isinstance(edit, RemoveMark):
        return session.remove_click(index, predict=False)
    if edit.mark.position == edit.to.position:
        return session.set_radius(index, edit.to.radius, predict=False)
    return session.move_click(index, edit.to.position, predict=False)


def _find(session: ClickSession, mark: Mark) -> int | None:
    """Return the newest click that is this mark, perhaps with another radius now."""
    marks, bare = [mark_of(c) for c in session.clicks], mark._replace(radius=None)
    for same in (mark.__eq__, lambda other: other._replace(radius=None) == bare):
        for index in reversed(range(len(marks))):
            if same(marks[index]):
                return index
    return None
