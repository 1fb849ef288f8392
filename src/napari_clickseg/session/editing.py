"""Committed objects edited: merged, split, accepted, sorted into classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click, as_position, check_inside
from napari_clickseg.errors import SessionError
from napari_clickseg.session.changes import Change
from napari_clickseg.session.cutting import as_vertices
from napari_clickseg.session.edits import Edit
from napari_clickseg.session.object_edits import (
    Accept,
    Classify,
    Delete,
    Merge,
    ObjectEdit,
    Relabel,
    Split,
    as_category,
    as_ids,
)
from napari_clickseg.session.objects import MAX_LABEL, SegmentedObject, check_label
from napari_clickseg.session.patches import Patch
from napari_clickseg.session.proposing import ProposingSession
from napari_clickseg.session.unlabelled import Region, find_unlabelled

__all__ = ["EditingSession"]


class EditingSession(ProposingSession):
    """A session whose committed objects are edited; each edit is one step of undo."""

    def merge(self, labels: Iterable[int]) -> int:
        """Make one object of several.

        Parameters
        ----------
        labels : iterable of int
            Ids of two or more objects.

        Returns
        -------
        int
            The id: that of the first, whose class stays, too. What changed is
            :attr:`change`.

        Raises
        ------
        SessionError
            If there are no such objects.
        """
        ids = as_ids(labels)
        if len(ids) < 2:
            raise SessionError(
                "Merging takes two or more objects. Give their ids, for example "
                "merge([3, 7])."
            )
        self._do(Merge(ids), label=ids[0])
        return ids[0]

    def split(
        self, label: int, line: Any, *, first: int | None = None
    ) -> tuple[int, ...]:
        """Cut an object along a line; each connected piece gets an id of its own.

        No pixel is lost: those under the line go to the nearest piece.

        Parameters
        ----------
        label : int
        line : array-like, shape (N, 2)
            Vertices (row, col) of a line through the object, from outside to outside.
        first : int, optional
            Id of the second piece, further ones count up from there; default: the next
            free one.

        Returns
        -------
        tuple of int
            Ids, the largest piece first: it keeps ``label``. Clicks go with the pieces
            they lie in, seconds by area.

        Raises
        ------
        SessionError
            If there is no such object.
        MaskError
            If the line does not separate it.
        """
        old = self._object(self.state, label)
        line = as_vertices(line, 2, "line")
        vertices = tuple((float(row), float(col)) for row, col in line)
        free = self._next_free if first is None else check_label(first)
        edit = Split(old.label, vertices, free)
        found = tuple(each.label for each in edit.parts(self.state.objects))
        self._do(edit, label=old.label)
        return found

    def relabel(self, label: int, new: int) -> Change:
        """Give an object another id, which nobody has.

        Raises
        ------
        SessionError
            If there is no such object, or the id is taken.
        """
        new = check_label(new)
        if new == self.state.draft.label:
            raise SessionError(
                f"Object {new} is in work, and comes back with this id. Choose another."
            )
        return self._do(Relabel(check_label(label), new), label=new)

    def set_class(
        self, labels: int | Iterable[int], category: str | int | None
    ) -> Change:
        """Say of which class objects are.

        Parameters
        ----------
        labels : int or iterable of int
        category : str, int or None
            A name; a number stands for a name of its digits; empty or None: none.
        """
        ids = as_ids(labels)
        return self._do(Classify(ids, as_category(category)), label=ids[-1])

    def accept(self, labels: int | Iterable[int]) -> Change:
        """Keep proposals as they are: they count as looked at."""
        ids = as_ids(labels)
        return self._do(Accept(ids), label=ids[-1])

    def delete(self, label: int | Iterable[int]) -> Change:
        """Remove committed objects.

        Parameters
        ----------
        label : int or iterable of int
            Several are removed in one step.

        Raises
        ------
        SessionError
            If there is no such object.
        """
        if not isinstance(label, Iterable):
            return super().delete(label)
        ids = as_ids(label)
        return self._do(Delete(ids), label=ids[-1])

    def reopen_at(self, position: Any) -> Change:
        """Take the object at a position back into work, to correct it.

        Its pixels are where the clicks start from; :meth:`commit` puts it back under
        the same id. Use :meth:`set_labels` before for objects of another program.

        Parameters
        ----------
        position : (row, col)

        Raises
        ------
        SessionError
            If there is no object, or another one is in work.
        """
        label = self.label_at(position)
        if not label:
            row, col = as_position(position)
            raise SessionError(
                f"There is no object at row {row:g}, column {col:g}. Click inside one."
            )
        return self.reopen(label)

    def label_at(self, position: Any) -> int:
        """Return the id of the object at ``(row, col)``; 0: none."""
        click = Click(*as_position(position))
        check_inside(click, self.shape)
        row, col = (int(np.floor(v + 0.5)) for v in click.position)
        pixel = Box(row, col, row + 1, col + 1)
        return int(self.state.objects.labels(pixel).values[0, 0])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that objects have, sorted."""
        return tuple(sorted({o.category for o in self.objects.values()} - {""}))

    def next_unlabelled(
        self,
        within: Box | None = None,
        near: Any = None,
        *,
        cancelled: Callable[[], bool] | None = None,
        skip: Collection[Box] = (),
    ) -> Region | None:
        """Return a region without objects that looks as if something were there.

        See :func:`napari_clickseg.session.unlabelled.find_unlabelled`.

        Parameters
        ----------
        within : Box, optional
            Where to look first, such as what is on screen; default: :attr:`visible`.
        near : (row, col), optional
            Prefer what is near to this; default: what is large.
        cancelled : callable, optional
            Asked between two windows; True stops.
        skip : collection of Box
            Boxes of regions that are no objects, such as those of earlier calls.
        """
        objects = self.state.objects
        draft = self.state.draft
        in_work = [self.mask_of(draft)]
        if draft.opened is not None:
            in_work.append(draft.opened.mask)
        for number, mask in enumerate(in_work):
            if not mask.box.empty:  # taken, too
                taken = mask.values.astype(np.uint8)
                each = SegmentedObject(MAX_LABEL - number, Patch(mask.box, taken))
                objects = objects.added([each])
        place = None if near is None else as_position(near)
        field = self.visible if within is None else within
        return find_unlabelled(self.image, objects, field, place, cancelled, skip)

    # ----------------------------------------------------------------------- parts

    @property
    def _next_free(self) -> int:
        """The next id that nobody has; that of an opened object comes back."""
        state = self.state
        return max(state.objects.next_label, (state.draft.label or 0) + 1)

    def _do(self, edit: ObjectEdit, *, label: int) -> Change:
        """Edit the committed objects, as one step."""
        self._only_objects(edit.kind)
        state = self.state
        new = replace(state, objects=edit.apply(state.objects))
        return self._moments.record(
            edit.kind, new, label=label, edit=Edit(edit.kind, on_objects=edit)
        )

    def _only_objects(self, what: str) -> None:
        """Refuse what means nothing to sessions for classes, alpha and depth."""
