"""An object of another plane carried into a session's plane, or gone on with there."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import AddClick, Click, as_position, check_inside
from napari_clickseg.errors import MaskError, SessionError
from napari_clickseg.prediction.settings import PredictorState
from napari_clickseg.session.answering import Asking
from napari_clickseg.session.changes import Change
from napari_clickseg.session.draft import Draft, Step
from napari_clickseg.session.edits import Edit
from napari_clickseg.session.following import innermost
from napari_clickseg.session.history import Moment
from napari_clickseg.session.masks import as_mask
from napari_clickseg.session.moments import State
from napari_clickseg.session.objects import (
    Objects,
    Overlap,
    SegmentedObject,
    certainty,
    check_label,
    check_overlap,
)
from napari_clickseg.session.patches import Patch
from napari_clickseg.session.proposing import ProposingSession

__all__ = ["CarryingSession", "Look", "carried_draft", "carried_into", "new_group"]


#: The smallest window, as so many times the longer side of the mask; and in pixels.
AROUND, LEAST_SIDE = 2.5, 32


@dataclass(frozen=True, eq=False)
class Look:
    """What the model answers where an object is carried to; nothing is changed yet.

    Parameters
    ----------
    draft : Draft
        The mask it started from, the click that nobody made, and the answer.
    start : Patch
        That mask, boolean.
    mask : Patch
        The answer's, boolean.
    asking : Asking
        What it took.
    """

    draft: Draft
    start: Patch
    mask: Patch
    asking: Asking

    @property
    def click(self) -> Click:
        """The click that nobody made."""
        return self.draft.clicks[0]


def new_group() -> str:
    """Return a name for a propagation that no other has."""
    return uuid.uuid4().hex


class CarryingSession(ProposingSession):
    """A session of one plane of several, into which objects are carried."""

    @property
    def step_number(self) -> int:
        """Number of the step where the history stands."""
        return self._moments.history.now.number

    @property
    def step_time(self) -> float:
        """When that step was made, in seconds since 1970; 0 where none was."""
        edit = self._moments.history.now.edit
        return edit.time if isinstance(edit, Edit) else 0.0

    @property
    def group(self) -> str:
        """The propagation that this step is a part of; "" for none."""
        return _group_of(self._moments.history.now)

    @property
    def groups(self) -> set[str]:
        """All propagations that led to where the history stands."""
        found = {_group_of(moment) for moment in self._moments.history.path}
        return found - {""}

    @property
    def next_group(self) -> str:
        """The propagation that the step is a part of that redo leads to."""
        now = self._moments.history.now
        return _group_of(now.branches[now.newest]) if now.branches else ""

    def look_for(
        self,
        mask: Any,
        position: Sequence[float] | None = None,
        *,
        box: Box | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Look:
        """Ask the model for the object that has this mask on a neighbouring plane.

        Parameters
        ----------
        mask : array-like
            As for :meth:`set_mask`: the previous mask that the model is given.
        position : (row, col), optional
            Of the positive click; default: the innermost point of the mask.
        box : Box, optional
            Where ``mask`` lies.
        cancelled : callable, optional
            Asked between passes of the model; True stops.

        Raises
        ------
        MaskError, ClickError
            If there is no mask, or the click lies outside.
        Cancelled
            If ``cancelled`` said so.
        """
        patch = as_mask(mask, self.shape, box).tight()
        if patch.box.empty:
            raise MaskError(
                "There is no pixel in the mask. Give that of a neighbouring plane."
            )
        place = innermost(patch)[0] if position is None else as_position(position)
        click = Click(*place)
        check_inside(click, self.shape)
        asking = self.asking(cancelled)
        draft = carried_draft(patch, click).answered(asking, True, None)
        return Look(draft, patch, self.mask_of(draft), asking)

    def carry(
        self,
        mask: Any,
        label: int,
        position: Sequence[float] | None = None,
        *,
        box: Box | None = None,
        overlap: Overlap | None = None,
    ) -> Change:
        """Find an object of a neighbouring plane here, and commit it at once.

        An object of the same id is replaced; the one in work stays in work.

        Parameters
        ----------
        mask, position, box
            As for :meth:`look_for`.
        label : int
            Its id, the same as there.
        overlap : {"keep", "overwrite", "probability"}, optional
            Whose pixels are those of older objects; default: :attr:`overlap`.

        Raises
        ------
        MaskError
            If nothing is found, or only pixels of other objects.
        """
        look = self.look_for(mask, position, box=box)
        return self.take_carried(look, label, overlap=overlap)

    def take_carried(
        self,
        look: Look,
        label: int,
        *,
        group: str = "",
        overlap: Overlap | None = None,
    ) -> Change:
        """Commit what :meth:`look_for` found, as a part of a propagation.

        Parameters
        ----------
        look : Look
        label : int
        group : str
            Name of the propagation, see :func:`new_group`.
        overlap
            As for :meth:`carry`.
        """
        policy = check_overlap(self.overlap if overlap is None else overlap)
        label, state = check_label(label), self.state
        now = time.time()
        objects = carried_into(
            state.objects, look.draft, look.mask, label, policy, now, group or "one"
        )
        edit = Edit(
            "carry",
            now,
            click=AddClick(0, look.click),
            label=label,
            overlap=policy,
            patch=look.start,
            steps=_asked(look.draft),
            group=group,
        )
        new = replace(state, objects=objects)
        return self._moments.record(
            "carry", new, label=label, asking=look.asking, edit=edit
        )

    def drop_carried(self, label: int, group: str) -> Change:
        """Delete an object that an earlier propagation carried too far."""
        new = replace(self.state, objects=self.state.objects.without(label))
        edit = Edit("delete", label=label, group=group)
        return self._moments.record("carry", new, label=label, edit=edit)

    def begin_propagation(
        self, group: str, label: int, *, overlap: Overlap | None = None
    ) -> int:
        """Commit the object in work as the first step of a propagation.

        Without one, nothing changes but that there is a step which undo takes back
        together with those of the other planes.

        Parameters
        ----------
        group : str
            Name of the propagation.
        label : int
            Of the object in work, or of a committed one.

        Raises
        ------
        SessionError
            If there is no such object, or another one is in work.
        """
        state = self.state
        mine = state.draft.label
        if not state.draft.blank and label != mine and (mine or label in state.objects):
            raise SessionError(
                f"Another object than {label} is in work. Commit it with commit(), or "
                f"drop it with discard(), before you carry object {label}."
            )
        if state.draft.blank:
            if label not in state.objects:
                raise SessionError(
                    f"There is no object {label} on this plane. Click it, then carry "
                    "it on."
                )
            # Where it was carried before: whoever starts from here takes it as right.
            objects = state.objects.confirmed(label)
            edit = Edit("propagate", label=label, group=group)
            new = replace(state, objects=objects)
            self._moments.record("propagate", new, label=label, edit=edit)
            return label
        return self.commit(label, overlap=overlap, group=group)

    def continue_object(self, label: int, look: Look | None = None) -> Change:
        """Work on an object of other planes here: the next commit has its id.

        Parameters
        ----------
        label : int
        look : Look, optional
            An answer to begin with, with its click.

        Raises
        ------
        SessionError
            If an object is in work, or that one is here already.
        """
        label, state = check_label(label), self.state
        if not state.draft.blank:
            raise SessionError(
                "Another object is in work. Commit it with commit(), or drop it with "
                f"discard(), before you go on with object {label}."
            )
        if label in state.objects:
            raise SessionError(
                f"Object {label} is on this plane already: open it with reopen()."
            )
        if look is None:
            draft, edit = Draft(label=label), Edit("continue", label=label)
        else:
            draft = replace(look.draft, label=label, started=time.time())
            edit = Edit(
                "continue",
                label=label,
                click=AddClick(0, look.click),
                patch=look.start,
            )
        asking = None if look is None else look.asking
        new = replace(state, draft=draft)
        return self._moments.record(
            "continue", new, label=label, asking=asking, edit=edit
        )


def carried_draft(mask: Patch, click: Click) -> Draft:
    """Return a draft, not answered yet, of a mask of a neighbouring plane.

    Parameters
    ----------
    mask : Patch of bool
        Tight.
    click : Click
        That nobody made.
    """
    values = mask.values.astype(np.float32)
    base = PredictorState.from_mask(values, mask.box)
    # Near the object, however small it is: nobody knows of a first look here.
    side = max(LEAST_SIDE, round(AROUND * max(mask.box.shape)))
    base = replace(base, min_crop=side)
    return Draft(clicks=(click,), base=base, steps=(Step(1),), given=1)


def carried_into(
    objects: Objects,
    draft: Draft,
    mask: Patch,
    label: int,
    overlap: Overlap,
    time_: float,
    carried: str,
) -> Objects:
    """Return objects with one that was carried here, in the place of its older self.

    Raises
    ------
    MaskError
        If it is empty, or all its pixels are those of others.
    """
    if mask.box.empty:
        raise MaskError("The model finds nothing there: the object has ended.")
    new = SegmentedObject(
        label,
        certainty(draft.answer, mask),
        (draft,),
        time=time_,
        overlap=overlap,
        intact=True,
        carried=carried,
    )
    return objects.without(label).committed(new)


def _group_of(moment: Moment[Any]) -> str:
    return moment.edit.group if isinstance(moment.edit, Edit) else ""


def _asked(draft: Draft) -> tuple[Step, ...]:
    return tuple(replace(step, prediction=None) for step in draft.steps)


def redo_carry(
    edit: Edit, state: State, asking: Asking, mask_of: Callable[[Draft], Patch]
) -> State:
    """Make a "carry" again, by asking the model; for replays."""
    assert edit.patch is not None
    assert edit.label is not None
    assert isinstance(edit.click, AddClick)
    draft = carried_draft(edit.patch, edit.click.click)
    draft = replace(draft, steps=edit.steps or draft.steps)
    draft = draft.answered(asking, None, None)
    objects = carried_into(
        state.objects,
        draft,
        mask_of(draft),
        edit.label,
        edit.overlap or "keep",
        edit.time,
        edit.group or "one",
    )
    return replace(state, objects=objects)


def redo_continue(edit: Edit, state: State) -> State:
    """Make a "continue" again; what it begins with is asked for afterwards."""
    draft = Draft(label=edit.label)
    if edit.patch is not None:
        assert isinstance(edit.click, AddClick)
        draft = carried_draft(edit.patch, edit.click.click)
        draft = replace(draft, label=edit.label, started=edit.time)
    return replace(state, draft=draft)
