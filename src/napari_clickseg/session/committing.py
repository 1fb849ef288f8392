"""Committed objects: made, opened again, dropped, painted."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError, SessionError
from napari_clickseg.session.base import SessionBase
from napari_clickseg.session.changes import Change
from napari_clickseg.session.draft import Draft
from napari_clickseg.session.edits import Edit
from napari_clickseg.session.in_blocks import check_small
from napari_clickseg.session.masks import as_labels
from napari_clickseg.session.moments import State
from napari_clickseg.session.objects import (
    Overlap,
    SegmentedObject,
    certainty,
    check_label,
    check_overlap,
    inherited,
)


class CommittingSession(SessionBase):
    """A session whose masks become objects of a label image."""

    def commit(
        self,
        label: int | None = None,
        *,
        overlap: Overlap | None = None,
        group: str = "",
    ) -> int:
        """Make the mask an object of :attr:`labels`; the next click starts another.

        Parameters
        ----------
        label : int, optional
            Its id; default: the one it had before it was opened again, else the
            next free one. If it is in use, the pixels join that object.
        overlap : {"keep", "overwrite", "probability"}, optional
            Whose pixels are those that older objects have; default:
            :attr:`overlap`.
        group : str
            Name of the propagation that begins with it, if one does.

        Returns
        -------
        int
            The id. What changed is :attr:`change`.

        Raises
        ------
        MaskError
            If there is no pixel to commit.
        SessionError
            If the label or policy does not exist.
        """
        policy = check_overlap(self.overlap if overlap is None else overlap)
        chosen = None if label is None else check_label(label)
        state, draft = self.state, self.state.draft
        asking = self.asking() if draft.pending else None
        if asking is not None:
            draft = draft.answered(asking, True, self.visible)
        mask = self.mask_of(draft)
        if mask.box.empty:
            raise MaskError(
                "There is nothing to commit: the mask is empty. Click inside an "
                "object first, or start from a mask with set_mask."
            )
        label = check_label(chosen or draft.label or state.objects.next_label)
        now = time.time()
        began = now if draft.started is None else draft.started
        new = SegmentedObject(
            label,
            certainty(draft.answer, mask),
            (replace(draft, label=None, opened=None),),
            seconds=draft.spent + max(0.0, now - began),
            time=now,
            overlap=policy,
            intact=True,
            **inherited(draft),
        )
        self._moments.record(
            "commit",
            State(Draft(), state.objects.committed(new)),
            label=label,
            asking=asking,
            edit=Edit(
                "commit",
                now,
                label=label,
                overlap=policy,
                steps=tuple(replace(step, prediction=None) for step in draft.steps),
                group=group,
            ),
        )
        return label

    def reopen(self, label: int) -> Change:
        """Take a committed object back into work, with its clicks.

        Its pixels leave :attr:`labels` until it is committed again. An object
        that was opened but not changed is put back first.

        Raises
        ------
        SessionError
            If there is no such object, or another one is in work.
        """
        state = self.state
        if state.draft.opened is not None and self._moments.history.kind == "reopen":
            state = state.put_back()
        elif not state.draft.blank:
            raise SessionError(
                "Another object is in work. Commit it with commit(), or drop it with "
                "discard(), before you open a committed one."
            )
        opened = self._object(state, label)
        new = State(opened.reopened(), state.objects.without(opened.label))
        edit = Edit("reopen", label=opened.label)
        return self._moments.record("reopen", new, label=opened.label, edit=edit)

    def discard(self) -> Change:
        """Drop the object in work; an opened one goes back as it was."""
        if self.state.draft.blank:
            return self._moments.tell("discard")
        back = self.state.put_back()
        return self._moments.record("discard", back, edit=Edit("discard"))

    def delete(self, label: int) -> Change:
        """Remove a committed object.

        Raises
        ------
        SessionError
            If there is no such object.
        """
        gone = self._object(self.state, label).label
        new = replace(self.state, objects=self.state.objects.without(gone))
        edit = Edit("delete", label=gone)
        return self._moments.record("delete", new, label=gone, edit=edit)

    def set_labels(self, labels: Any, *, box: Box | None = None) -> Change:
        """Take over a label image, or what was painted into a part of it.

        Objects whose pixels stay the same keep their clicks and probabilities.

        Parameters
        ----------
        labels : array-like of int
            0 is background; of the shape of the image, or of ``box``.
        box : Box, optional
            Where ``labels`` lies.

        Raises
        ------
        MaskError
            If it is no label image of that shape.
        """
        if box is None:
            check_small(Box.of_shape(self.shape), "A label image")
        patch = as_labels(labels, self.shape, box)
        objects = self.state.objects.repainted(patch)
        edit = Edit("labels", patch=patch, whole=box is None)
        new = replace(self.state, objects=objects)
        return self._moments.record("labels", new, edit=edit)

    def _object(self, state: State, label: int) -> SegmentedObject:
        if check_label(label) not in state.objects:
            there = ", ".join(map(str, list(state.objects)[:10])) or "none yet"
            more = ", ..." if len(state.objects) > 10 else ""
            raise SessionError(
                f"There is no object {label}. Committed objects: {there}{more}."
            )
        return state.objects[label]
