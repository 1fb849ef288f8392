"""How much work each object was: clicks, and seconds in which somebody worked."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_clickseg.errors import ExportError, SessionError
from napari_clickseg.exporting.writing import replacing

if TYPE_CHECKING:
    from napari_clickseg.session.objects import SegmentedObject

__all__ = ["IDLE", "Activity", "Effort", "ObjectEffort", "effort_of", "save_effort"]

#: Seconds without an edit after which somebody does not work.
IDLE = 30.0
#: What is done to objects that are committed already.
_ON_OBJECTS = frozenset(
    {"merge", "split", "relabel", "class", "accept", "delete", "propagate"}
)
#: What a propagation does on its way: nobody works meanwhile.
_BY_ITSELF = frozenset({"carry"})
#: What makes clicks; those of an opened object were made before.
_CLICKING = frozenset({"add", "clicks", "scribble", "box"})
#: What is about no object.
_OTHER = frozenset({"propose", "labels"})


class Activity(NamedTuple):
    """One thing that the user did, undo and redo included.

    Attributes
    ----------
    time : float
        In seconds since 1970-01-01 UTC.
    kind : str
        As of :class:`napari_clickseg.session.Change`.
    label : int or None
        The object that it was about; None: the one in work, or none.
    clicks : int
        Clicks of the object in work, afterwards.
    """

    time: float
    kind: str
    label: int | None
    clicks: int


def as_activity(given: Iterable[Any]) -> tuple[Activity, ...]:
    """Return what a file holds."""
    return tuple(
        Activity(float(t), str(kind), None if label is None else int(label), int(n))
        for t, kind, label, n in given
    )


@dataclass(frozen=True)
class ObjectEffort:
    """The work on one object.

    Parameters
    ----------
    label : int
    category : str
        Its class.
    clicks : int
        Clicks that stand.
    clicks_made : int
        Clicks that were made, those that were taken back included.
    seconds : float
        Active seconds from its first click to its commit, over all times that it was
        worked on, and of edits afterwards: pauses longer than the idle limit do not
        count.
    search_seconds : float
        Active seconds before its first click: to find it, and to look at a proposal.
    undone : int
        How often something was taken back.
    commits : int
        How often it was committed: more than once where it was corrected.
    area : int
        Pixels.
    proposed_by : str
        The model that proposed it; empty where none did.
    accepted : bool
        Whether a proposal was kept as it was.
    plane : str
        Of a stack: which plane; else empty.
    """

    label: int
    category: str = ""
    clicks: int = 0
    clicks_made: int = 0
    seconds: float = 0.0
    search_seconds: float = 0.0
    undone: int = 0
    commits: int = 0
    area: int = 0
    proposed_by: str = ""
    accepted: bool = False
    plane: str = ""


@dataclass(frozen=True)
class Effort:
    """The work in a session.

    Parameters
    ----------
    objects : tuple of ObjectEffort
        By label; also those that nobody worked on.
    idle_limit : float
        Pauses longer than this (seconds) do not count.
    seconds : float
        All active seconds, those of objects that are gone included.
    seconds_gone : float
        Of these, for objects that were discarded or deleted, or are in work.
    """

    objects: tuple[ObjectEffort, ...] = ()
    idle_limit: float = IDLE
    seconds: float = 0.0
    seconds_gone: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        return {
            "idle_limit": self.idle_limit,
            "seconds": self.seconds,
            "seconds_gone": self.seconds_gone,
            "objects": [asdict(each) for each in self.objects],
        }


@dataclass
class _Bucket:
    seconds: float = 0.0
    search: float = 0.0
    made: int = 0
    undone: int = 0
    commits: int = 0
    begun: bool = False

    def add(self, other: _Bucket) -> None:
        self.seconds += other.seconds
        self.search += other.search
        self.made += other.made
        self.undone += other.undone
        self.commits += other.commits


@dataclass
class _Account:
    """Who gets which seconds."""

    now: _Bucket = field(default_factory=_Bucket)
    of: dict[int, _Bucket] = field(default_factory=dict)
    rest: _Bucket = field(default_factory=_Bucket)
    clicks: int = 0

    def take(self, each: Activity, gap: float) -> None:
        made = max(0, each.clicks - self.clicks)
        self.clicks = each.clicks
        if each.kind in _BY_ITSELF:
            return
        if each.kind in _ON_OBJECTS and each.label is not None:
            mine = self.of.setdefault(each.label, _Bucket())
            if each.kind == "accept":
                mine.search += gap
            else:
                mine.seconds += gap
        elif each.kind in _OTHER:
            self.rest.seconds += gap
        elif each.kind == "commit" and each.label is not None:
            self.now.seconds += gap
            self.now.commits += 1
            self.of.setdefault(each.label, _Bucket()).add(self.now)
            self.now = _Bucket()
        elif each.kind == "discard":
            self.now.seconds += gap
            self.rest.add(self.now)
            self.now = _Bucket()
        elif each.kind in ("undo", "redo"):
            self.now.seconds += gap
            self.now.undone += each.kind == "undo"
        else:
            if self.now.begun:
                self.now.seconds += gap
            else:
                self.now.search += gap
            self.now.begun = True
            if each.kind in _CLICKING:
                self.now.made += made


def effort_of(
    activity: Sequence[Activity],
    objects: Mapping[int, SegmentedObject],
    idle_limit: float = IDLE,
    plane: str = "",
) -> Effort:
    """Return clicks and active seconds of each object.

    Parameters
    ----------
    activity : sequence of Activity
        In the order of time.
    objects : mapping of int to SegmentedObject
        What there is now.
    idle_limit : float
        Pauses longer than this (seconds) do not count at all.
    plane : str
        Of a stack.

    Raises
    ------
    SessionError
        If the limit is not above 0.
    """
    if not idle_limit > 0:
        raise SessionError(
            f"The idle limit is {idle_limit!r}: give seconds above 0, such as {IDLE:g}."
        )
    account, before, total = _Account(), None, 0.0
    for each in activity:
        gap = 0.0 if before is None else each.time - before
        # A clock that was set back tells of no time either.
        counts = 0 <= gap <= idle_limit and each.kind not in _BY_ITSELF
        gap = gap if counts else 0.0
        before, total = each.time, total + gap
        account.take(each, gap)
    rows = []
    for label, each_object in objects.items():
        mine = account.of.pop(label, _Bucket())
        rows.append(
            ObjectEffort(
                label,
                each_object.category,
                each_object.clicks,
                max(mine.made, each_object.clicks),
                mine.seconds,
                mine.search,
                mine.undone,
                mine.commits,
                each_object.area,
                each_object.proposed_by,
                each_object.accepted,
                plane,
            )
        )
    counted = sum(each.seconds + each.search_seconds for each in rows)
    return Effort(tuple(rows), idle_limit, total, max(0.0, total - counted))


def together(efforts: Iterable[Effort]) -> Effort:
    """Return the work of several planes as one."""
    all_of_them = list(efforts)
    if not all_of_them:
        return Effort()
    return Effort(
        tuple(each for effort in all_of_them for each in effort.objects),
        all_of_them[0].idle_limit,
        sum(each.seconds for each in all_of_them),
        sum(each.seconds_gone for each in all_of_them),
    )


def save_effort(effort: Effort, path: str | Path) -> Path:
    """Write the work of a session as a table (``.csv``) or with sums (``.json``).

    Raises
    ------
    ExportError
        If it is no such name, or cannot be written.
    """
    target = Path(path).expanduser()
    suffix = target.suffix.lower()
    if suffix == ".json":
        content = json.dumps(effort.to_dict(), indent=1)
    elif suffix == ".csv":
        text = io.StringIO()
        names = [each.name for each in fields(ObjectEffort)]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["class" if n == "category" else n for n in names])
        writer.writerows([_cell(getattr(o, n)) for n in names] for o in effort.objects)
        content = text.getvalue()
    else:
        raise ExportError(
            f"Clicks and seconds are written as .csv or .json, not as {target.name}."
        )
    with replacing(target) as (file,):
        file.write(content.encode())
    return target


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return f"{value:.3f}" if isinstance(value, float) else value
