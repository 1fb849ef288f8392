"""Clicks come, move and go; each change is answered, now or by ``update()``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import (
    AddClick,
    Click,
    ClickEdit,
    MoveClick,
    RemoveClick,
    ReplaceClicks,
    as_clicks,
    as_position,
    check_index,
    check_inside,
    keep_times,
)
from napari_clickseg.refinement.settings import RADIUS_PART
from napari_clickseg.session.changes import Change
from napari_clickseg.session.committing import CommittingSession
from napari_clickseg.session.draft import Draft
from napari_clickseg.session.edits import Edit


class ClickingSession(CommittingSession):
    """A session whose object in work is made by clicks."""

    # -- clicks ----------------------------------------------------------------

    def add_click(
        self,
        position: Sequence[float] | Click,
        positive: bool = True,
        *,
        label: int | None = None,
        value: float | None = None,
        radius: float | None = None,
        predict: bool = True,
        settle: bool | None = None,
    ) -> Change:
        """Add a click and answer it.

        Parameters
        ----------
        position : (row, col) or Click
            In data coordinates of the image.
        positive : bool
            Whether the pixel belongs to the object.
        label, value
            For tasks whose clicks ask for a class or a value.
        radius : float, optional
            How far the wish reaches, in image pixels: what a refinement leaves as
            it is beyond that (G-BRS). Default: :attr:`refinement`'s.
        predict : bool
            Answer now; otherwise :meth:`update` does it.
        settle : bool, optional
            Include the mirrored pass (default) or leave it for :meth:`settle`.

        Raises
        ------
        ClickError
            If it lies outside the image or asks for what the task does not know.
        """
        if isinstance(position, Click):
            click = position
        else:
            click = Click(*as_position(position), positive, label, value, radius)
        if click.time is None:
            click = replace(click, time=time.time())
        edit = AddClick(len(self.clicks), self._checked(click))
        return self._edit("add", edit, predict, settle)

    def move_click(
        self,
        index: int,
        position: Sequence[float],
        *,
        predict: bool = True,
        settle: bool | None = None,
    ) -> Change:
        """Move a click (negative ``index``: from the end) and answer anew."""
        edit = MoveClick.to(self.clicks, index, position)
        self._checked(edit.new)
        return self._edit("move", edit, predict, settle)

    def remove_click(
        self, index: int, *, predict: bool = True, settle: bool | None = None
    ) -> Change:
        """Remove a click (negative ``index``: from the end) and answer anew."""
        return self._edit("remove", RemoveClick.at(self.clicks, index), predict, settle)

    def set_radius(
        self,
        index: int,
        radius: float | None,
        *,
        predict: bool = True,
        settle: bool | None = None,
    ) -> Change:
        """Change how far a click reaches (image pixels), and answer anew.

        Parameters
        ----------
        index : int
            Number of the click from 0; negative: from the end.
        radius : float or None
            Above 0; None: as the refinement says.
        predict, settle
            As for :meth:`add_click`.
        """
        index = check_index(self.clicks, index)
        old = self.clicks[index]
        edit = MoveClick(index, old, self._checked(replace(old, radius=radius)))
        return self._edit("radius", edit, predict, settle)

    @property
    def usual_radius(self) -> float:
        """How far a click reaches that has no radius of its own, in image pixels.

        That of the refinement, or a part of the view's longer side.
        """
        if (radius := self.refinement_in_use.radius) is not None:
            return radius
        newest = self.state.draft.newest
        shape = self.shape if newest is None else newest.box.shape
        return max(1.0, RADIUS_PART * max(shape))

    def set_clicks(
        self,
        clicks: Iterable[Any],
        *,
        together: bool = False,
        predict: bool = True,
        settle: bool | None = None,
    ) -> Change:
        """Replace all clicks; those at the front that are equal keep their answers.

        Parameters
        ----------
        clicks : iterable of Click, (row, col) or (row, col, positive)
        together : bool
            Ask the model once about all that are new, not click by click.
        predict, settle
            As for :meth:`add_click`.
        """
        new = tuple(self._checked(click) for click in as_clicks(clicks))
        new = keep_times(self.clicks, new, time.time())
        edit = ReplaceClicks(self.clicks, new, together)
        return self._edit("clicks", edit, predict, settle)

    def update(
        self,
        *,
        settle: bool = False,
        again: bool = False,
        visible: Box | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Change:
        """Answer the clicks as they stand, if that is not done yet.

        The answer belongs to the newest edit: it is no moment of its own for
        undo. Clicks added since the last answer are answered together.

        Parameters
        ----------
        settle : bool
            Include the mirrored pass, and refine as far as the time allows.
        again : bool
            Ask for the last answer even where there is one, for example after
            :attr:`settings` or :attr:`refinement` were changed.
        visible : Box, optional
            The field shown on the canvas; default: :attr:`visible`.
        cancelled : callable, optional
            Asked between passes of the model; True stops.

        Raises
        ------
        Cancelled
            If ``cancelled`` said so; the session is as before.
        """
        return self._answer("update", settle, visible, cancelled, again)

    def settle(self, cancelled: Callable[[], bool] | None = None) -> Change | None:
        """Replace a quick answer by the settled one; None where it is settled.

        With a time budget (:attr:`refinement`) it may have to be called again: each
        time goes on from the best answer so far.
        """
        if self.state.draft.settled:
            return None
        return self._answer("settle", True, None, cancelled)

    # -- the common way of edits -----------------------------------------------

    def _checked(self, click: Click) -> Click:
        check_inside(click, self.shape)
        self.task.check_click(click)
        return click

    def _edit(
        self, kind: str, edit: ClickEdit, predict: bool, settle: bool | None
    ) -> Change:
        """Change the clicks; with the answer, or not at all if that fails."""
        state = self.state
        draft = begun(self._ready(state.draft).edited(edit))
        asking = self.asking()
        if predict:
            draft = draft.answered(asking, settle is not False, self.visible)
        return self._moments.record(
            kind,
            replace(state, draft=draft),
            asking=asking,
            edit=Edit(kind, click=edit),
        )

    def _ready(self, draft: Draft) -> Draft:
        """Return a draft that is about to be edited."""
        return draft

    def _answer(
        self,
        kind: str,
        settle: bool,
        visible: Box | None,
        cancelled: Callable[[], bool] | None,
        again: bool = False,
    ) -> Change:
        """Answer the clicks as they stand, within the same moment."""
        state, asking = self.state, self.asking(cancelled)
        draft = state.draft.answered(
            asking,
            settle,
            self.visible if visible is None else visible,
            again=again or (settle and not state.draft.settled),
        )
        return self._moments.replace(kind, replace(state, draft=draft), asking)


def begun(draft: Draft) -> Draft:
    """Start the clock of an object at its first edit."""
    return draft if draft.started else replace(draft, started=time.time())
