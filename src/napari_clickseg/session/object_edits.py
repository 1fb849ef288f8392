"""What can be done to committed objects: merged, split, sorted into classes.

Each is a value that is applied to a collection of objects and gives another one, so
that undo, journals, files and replays need to know no more than what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import Any, Protocol

import numpy as np

from napari_clickseg.clicks import Click
from napari_clickseg.errors import SessionError
from napari_clickseg.session.cutting import cut
from napari_clickseg.session.draft import Draft
from napari_clickseg.session.objects import (
    Objects,
    SegmentedObject,
    check_label,
    joined,
)
from napari_clickseg.session.patches import Patch

__all__ = [
    "Accept",
    "Classify",
    "Delete",
    "Merge",
    "ObjectEdit",
    "Relabel",
    "Split",
    "as_category",
    "as_ids",
    "pack_object_edit",
    "unpack_object_edit",
]

#: Longest name of a class.
LONGEST_NAME = 200


class ObjectEdit(Protocol):
    """One change of the committed objects."""

    @property
    def kind(self) -> str:
        """Name of the edit, as of :class:`napari_clickseg.session.Change`."""

    def apply(self, objects: Objects) -> Objects:
        """Return the collection after it; the given one stays as it is."""

    def python(self) -> str:
        """Return the call of a session ``s`` that does it."""


@dataclass(frozen=True)
class Merge:
    """Make one object of several; the first one keeps its id and class."""

    labels: tuple[int, ...]
    kind = "merge"

    def apply(self, objects: Objects) -> Objects:
        """Return the collection with the one object."""
        first, *others = (_there(objects, label) for label in self.labels)
        one = reduce(joined, others, first)
        one = replace(
            one,
            label=first.label,
            category=first.category or one.category,
            time=max(each.time for each in (first, *others)),
            overlap=first.overlap,
            accepted=True,
            carried="",  # corrected by hand: later propagations stop before it
        )
        gone: dict[int, SegmentedObject | None] = {o.label: None for o in others}
        return objects.updated({**gone, one.label: one})

    def python(self) -> str:
        """Return the call of a session."""
        return f"s.merge({list(self.labels)})"


@dataclass(frozen=True)
class Split:
    """Cut an object along a line; the largest piece keeps its id.

    Parameters
    ----------
    label : int
    line : tuple of (float, float)
        Vertices (row, col).
    first : int
        Id of the second piece; further ones count up from there.
    """

    label: int
    line: tuple[tuple[float, float], ...]
    first: int
    kind = "split"

    def parts(self, objects: Objects) -> list[SegmentedObject]:
        """Return the pieces.

        Raises
        ------
        MaskError
            If the line leaves the object in one piece.
        """
        old = _there(objects, self.label)
        masks = cut(old.mask, self.line)
        clicks = _shared_out(
            [c for d in old.drafts for c in d.clicks[d.given :]], masks
        )
        start = self.first
        if objects.next_label > start and any(
            label in objects for label in range(start, start + len(masks) - 1)
        ):
            start = objects.next_label  # others have these ids, with another model
        found = []
        for number, (mask, theirs) in enumerate(zip(masks, clicks, strict=True)):
            values = np.where(mask.values, old.pixels.within(mask.box), np.uint8(0))
            drafts = (Draft(clicks=theirs).with_mask(mask),) if old.drafts else ()
            area = int(np.count_nonzero(mask.values))
            found.append(
                replace(
                    old,
                    label=start + number - 1 if number else self.label,
                    pixels=Patch(mask.box, values),
                    drafts=drafts,
                    seconds=old.seconds * area / old.area,
                    intact=False,
                    accepted=True,
                    carried="",
                )
            )
        return found

    def apply(self, objects: Objects) -> Objects:
        """Return the collection with the pieces."""
        return objects.updated({each.label: each for each in self.parts(objects)})

    def python(self) -> str:
        """Return the call of a session."""
        return f"s.split({self.label}, {list(self.line)}, first={self.first})"


@dataclass(frozen=True)
class Relabel:
    """Give an object another id."""

    label: int
    new: int
    kind = "relabel"

    def apply(self, objects: Objects) -> Objects:
        """Return the collection with the new id."""
        old = _there(objects, self.label)
        if self.new in objects and self.new != self.label:
            raise SessionError(
                f"There is an object {self.new} already. Choose a free id, or make one "
                f"object of both with merge([{self.new}, {self.label}])."
            )
        return objects.updated(
            {self.label: None, self.new: replace(old, label=self.new)}
        )

    def python(self) -> str:
        """Return the call of a session."""
        return f"s.relabel({self.label}, {self.new})"


@dataclass(frozen=True)
class Classify:
    """Say of which class objects are; "" for none."""

    labels: tuple[int, ...]
    category: str
    kind = "class"

    def apply(self, objects: Objects) -> Objects:
        """Return the collection with the class in them."""
        return _changed(objects, self.labels, category=self.category)

    def python(self) -> str:
        """Return the call of a session."""
        return f"s.set_class({list(self.labels)}, {self.category!r})"


@dataclass(frozen=True)
class Accept:
    """Keep proposals as they are."""

    labels: tuple[int, ...]
    kind = "accept"

    def apply(self, objects: Objects) -> Objects:
        """Return the collection in which they count as looked at."""
        return _changed(objects, self.labels, accepted=True)

    def python(self) -> str:
        """Return the call of a session."""
        return f"s.accept({list(self.labels)})"


@dataclass(frozen=True)
class Delete:
    """Remove several objects."""

    labels: tuple[int, ...]
    kind = "delete"

    def apply(self, objects: Objects) -> Objects:
        """Return the collection without them."""
        return objects.updated({_there(objects, n).label: None for n in self.labels})

    def python(self) -> str:
        """Return the call of a session."""
        return f"s.delete({list(self.labels)})"


_KINDS: dict[str, Any] = {
    each.kind: each for each in (Merge, Split, Relabel, Classify, Accept, Delete)
}


def pack_object_edit(edit: ObjectEdit) -> dict[str, Any]:
    """Return an edit of objects as JSON."""
    return asdict(edit)  # type: ignore[call-overload]


def unpack_object_edit(kind: str, text: dict[str, Any]) -> ObjectEdit:
    """Return the edit that :func:`pack_object_edit` made ready."""
    fields = dict(text)
    if "labels" in fields:
        fields["labels"] = tuple(int(n) for n in fields["labels"])
    if "line" in fields:
        fields["line"] = tuple((float(r), float(c)) for r, c in fields["line"])
    edit: ObjectEdit = _KINDS[kind](**fields)
    return edit


def as_ids(given: Any) -> tuple[int, ...]:
    """Return ids from one or several; each once, in the order given.

    Raises
    ------
    SessionError
        If there is none, or one is no id.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str)
    ids = tuple(dict.fromkeys(check_label(n) for n in (given if several else [given])))
    if not ids:
        raise SessionError("Which objects? Give the id of one, or a list of ids.")
    return ids


def as_category(given: Any) -> str:
    """Return the name of a class; a number stands for a name of its digits.

    Raises
    ------
    SessionError
        If it is neither.
    """
    if given is None:
        return ""
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        if given >= 0:
            return str(int(given))
    elif (
        isinstance(given, str) and len(name := " ".join(given.split())) <= LONGEST_NAME
    ):
        return name
    raise SessionError(
        f"A class is a name, or a whole number from 0, not {given!r}. Empty (or None) "
        "for no class."
    )


def _there(objects: Objects, label: int) -> SegmentedObject:
    if label not in objects:
        there = ", ".join(map(str, list(objects)[:10])) or "none yet"
        more = ", ..." if len(objects) > 10 else ""
        raise SessionError(
            f"There is no object {label}. Committed objects: {there}{more}."
        )
    return objects[label]


def _changed(objects: Objects, labels: Sequence[int], **fields: Any) -> Objects:
    return objects.updated(
        {label: replace(_there(objects, label), **fields) for label in labels}
    )


def _shared_out(
    clicks: Sequence[Click], masks: Sequence[Patch]
) -> list[tuple[Click, ...]]:
    """Give each click to the piece that it lies in, or lies next to."""
    theirs: list[list[Click]] = [[] for _ in masks]
    pixels = (
        [np.argwhere(each.values) + each.box[:2] for each in masks] if clicks else []
    )
    for click in clicks:
        away = [((each - click.position) ** 2).sum(axis=1).min() for each in pixels]
        theirs[int(np.argmin(away))].append(click)
    return [tuple(each) for each in theirs]
