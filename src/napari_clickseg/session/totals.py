"""The work in a session, and on all planes together: only what changed is counted."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from napari_clickseg.session.changes import ObjectStats, SessionStats
from napari_clickseg.session.moments import State
from napari_clickseg.session.objects import SegmentedObject

__all__ = ["Totals", "work_in"]

K = TypeVar("K", bound=Hashable)


class Totals(Generic[K]):
    """Sums of what the sessions of an image say, as ``SessionStats.together``.

    A stack has hundreds of planes with the same objects, and each edit asks for the
    sums: only the planes whose objects are others than the last time are gone through.
    """

    def __init__(self) -> None:
        self._seen: dict[K, tuple[ObjectStats, ...]] = {}
        self._parts: dict[int, dict[K, ObjectStats]] = {}
        self._sums: dict[int, ObjectStats] = {}
        self._objects: tuple[ObjectStats, ...] = ()

    def stats(self, sessions: Mapping[K, SessionStats]) -> SessionStats:
        """Return the work on all planes; an object counts once."""
        touched: set[int] = set()
        for key in self._seen.keys() - sessions.keys():
            touched |= self._replace(key, ())
        for key, each in sessions.items():
            if self._seen.get(key) is not each.objects:
                touched |= self._replace(key, each.objects)
        for label in touched:
            self._sum_up(label)
        if touched:
            self._objects = tuple(self._sums[label] for label in sorted(self._sums))
        return SessionStats(
            self._objects,
            sum(each.current_clicks for each in sessions.values()),
            sum(each.proposed for each in sessions.values()),
        )

    def _replace(self, key: K, objects: tuple[ObjectStats, ...]) -> set[int]:
        """Take other objects of a plane; returns the ids whose sums may change."""
        old = {each.label: each for each in self._seen.get(key, ())}
        new = {each.label: each for each in objects}
        touched = {n for n in old.keys() | new.keys() if old.get(n) != new.get(n)}
        for label in touched:
            parts = self._parts.setdefault(label, {})
            if label in new:
                parts[key] = new[label]
            else:
                parts.pop(key, None)
        if objects:
            self._seen[key] = objects
        else:
            self._seen.pop(key, None)
        return touched

    def _sum_up(self, label: int) -> None:
        parts = self._parts[label].values()
        if not parts:
            del self._parts[label], self._sums[label]
            return
        self._sums[label] = ObjectStats(
            label,
            sum(each.clicks for each in parts),
            sum(each.seconds for each in parts),
            sum(each.area for each in parts),
        )


def work_in(state: State) -> SessionStats:
    """Return clicks and seconds for each object of a state."""
    made: list[SegmentedObject] = []
    undecided = 0
    for each in state.objects.in_any_order():
        if each.drafts:
            made.append(each)
        elif each.undecided:
            undecided += 1
    made.sort(key=lambda each: (each.time, each.label))
    return SessionStats(
        tuple(
            ObjectStats(each.label, each.clicks, each.seconds, each.area)
            for each in made
        ),
        current_clicks=len(state.draft.clicks) - state.draft.given,
        proposed=undecided,
    )
