"""An object followed through a stack or a time series, from plane to plane.

Each plane is asked with one click that nobody made, at the innermost point of the mask
on the plane before, moved to where its grey values are found again. The previous mask
is the core of that mask: given all of it, the network repeats it. Only where the answer
is little more than that core, it is given the whole. Where the answer vanishes or its
shape jumps, the object has ended, or somebody has to look: the way ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import MaskError
from napari_clickseg.session.carrying import Look, new_group
from napari_clickseg.session.changes import Change
from napari_clickseg.session.click_session import ClickSession
from napari_clickseg.session.following import (
    Appearance,
    core_of,
    innermost,
    moved,
    shift_to,
)
from napari_clickseg.session.objects import Overlap, check_label
from napari_clickseg.session.patches import Patch
from napari_clickseg.session.propagation_rules import SIGNS, PropagationOptions

__all__ = [
    "End",
    "Propagation",
    "PropagationOptions",
    "Step",
]

#: An object is looked for no farther away than this, in pixels.
FARTHEST = 64
#: An answer that adds less than this part of what is around the core repeats it.
REPEATS = 0.3
#: Where less than this part of the place is free of others, the object is not there.
FREE = 0.5


@dataclass(frozen=True, eq=False)
class Step:
    """What was done on one plane.

    Parameters
    ----------
    index : int
        The plane.
    change : Change or None
        What changed there; None where nothing did.
    look : Look or None
        The answer, also of one that was not taken; None where none was asked for.
    end : str
        Why the way ended here; empty where it goes on.
    carried : bool
        Whether the object was carried here.
    """

    index: int
    change: Change | None
    look: Look | None = None
    end: str = ""
    carried: bool = False


@dataclass(frozen=True)
class End:
    """Where a way ended.

    Parameters
    ----------
    index : int
        The first plane that the object was not carried to.
    reason : str
        ``"vanished"``, ``"jumped: area x2.3"``, ``"corrected by hand"``,
        ``"end of the stack"``, ``"as far as asked for"``, ``"stopped"``, ...
    doubtful : bool
        Whether somebody might go on there: it jumped or vanished.
    """

    index: int
    reason: str
    doubtful: bool = False


@dataclass(eq=False)
class _Way:
    """One direction."""

    sign: int
    at: int
    seen: Appearance
    taken: int = 0
    clears: bool = False


@dataclass(eq=False)
class Propagation:
    """One object on its way through the planes; each call of :meth:`step` is one plane.

    Parameters
    ----------
    start : int
        The plane that it is carried from; there it is committed already.
    count : int
        Planes of the stack.
    label : int
        Its id, the same on all planes.
    seen : Appearance
        It, on that plane.
    options : PropagationOptions
    policy : {"keep", "overwrite", "probability"} or None
        Whose the pixels of other objects are; None: as the sessions say.
    group : str
        Name of the propagation, by which its steps are undone together.

    Notes
    -----
    What an earlier propagation left of the same object is replaced, and deleted beyond
    the plane where this one ends because the object vanished or jumped. A plane where
    somebody made or corrected it ends the way, and is not touched.
    """

    start: int
    count: int
    label: int
    seen: Appearance
    options: PropagationOptions = field(default_factory=PropagationOptions)
    policy: Overlap | None = None
    group: str = field(default_factory=new_group)
    carried: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    #: The answers that were not taken, by plane.
    doubts: dict[int, Look] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        session: ClickSession,
        start: int,
        count: int,
        label: int,
        options: PropagationOptions | None = None,
        policy: Overlap | None = None,
    ) -> Propagation:
        """Commit the object in work on a plane, if there is one, and set out.

        Parameters
        ----------
        session : ClickSession
            Of the plane ``start``.
        start, count, label, options, policy
            As above.

        Raises
        ------
        SessionError, MaskError
            If there is no such object.
        """
        group = new_group()
        session.begin_propagation(group, label, overlap=policy)
        seen = Appearance.of(session.image, session.objects[label].mask)
        chosen = options or PropagationOptions()
        return cls(start, count, label, seen, chosen, policy, group)

    def __post_init__(self) -> None:
        check_label(self.label)
        if self.seen.mask.box.empty:
            raise MaskError("There is no object to carry: its mask is empty.")
        self._stopped = False
        self._ways = [
            _Way(sign, self.start, self.seen) for sign in SIGNS[self.options.direction]
        ]
        self._check_reach()

    @property
    def upcoming(self) -> int | None:
        """The plane that :meth:`step` asks for next; None: all is done."""
        if self._stopped or not self._ways:
            return None
        return self._ways[0].at + self._ways[0].sign

    @property
    def total(self) -> int:
        """How many planes there are to go at most, of those that were asked for."""
        limit = self.options.planes or self.count
        ends = {1: self.count - 1 - self.start, -1: self.start}
        return sum(min(limit, ends[s]) for s in SIGNS[self.options.direction])

    def step(
        self, session: ClickSession, cancelled: Callable[[], bool] | None = None
    ) -> Step:
        """Carry the object to the upcoming plane.

        Parameters
        ----------
        session : ClickSession
            Of that plane.
        cancelled : callable, optional
            Asked between passes of the model; True stops.

        Raises
        ------
        Cancelled
            If ``cancelled`` said so; nothing has changed on that plane.
        """
        way = self._ways[0]
        index = way.at + way.sign
        there = session.objects.get(self.label)
        if way.clears:
            if there is None or not there.carried:
                self._ways.remove(way)
                return Step(index, None)
            way.at = index
            self._check_reach()
            self.dropped.append(index)
            return Step(index, session.drop_carried(self.label, self.group))
        if session.opened_label == self.label:
            return self._ends(way, index, "in work there")
        if there is not None and not there.carried:
            return self._ends(way, index, "corrected by hand")
        reason, look = self._ask(way, session, cancelled)
        change, seen = None, None
        if look is not None and not reason:
            seen = Appearance.of(session.image, look.mask)
            reason = self.options.faded(seen, way.seen, self.seen)
        if look is not None and not reason:
            try:
                change = session.take_carried(
                    look, self.label, group=self.group, overlap=self.policy
                )
            except MaskError:
                reason = _taken_by(session.labels, look.mask)
        if reason or seen is None:
            if look is not None:
                self.doubts[index] = look
            return self._ends(way, index, reason, there, session, look)
        kept = session.objects[self.label].mask
        if np.count_nonzero(kept.values) >= self.options.least_area:
            # else the rest belongs to others: not enough to go on from
            seen = replace(seen, mask=kept)
        way.at, way.seen, way.taken = index, seen, way.taken + 1
        self.carried.append(index)
        self._check_reach()
        return Step(index, change, look, carried=True)

    def stop(self, reason: str = "stopped") -> None:
        """Go no further; what was carried stays."""
        # A step may be on its way in another thread: its list is left alone.
        if self._stopped:
            return
        self._stopped = True
        for way in tuple(self._ways):
            if not way.clears:
                self.ends.append(End(way.at + way.sign, reason))

    def run(
        self,
        open_plane: Callable[[int], ClickSession],
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[Step]:
        """Yield each step, to the end."""
        while (index := self.upcoming) is not None:
            yield self.step(open_plane(index), cancelled)

    # ----------------------------------------------------------------------- parts

    def _ask(
        self,
        way: _Way,
        session: ClickSession,
        cancelled: Callable[[], bool] | None,
    ) -> tuple[str, Look | None]:
        """Ask for the object on the upcoming plane.

        Returns why it is not there, and the answer.
        """
        image, mask = session.image, way.seen.mask
        reach = int(np.clip(self.options.search * max(mask.box.shape), 0, FARTHEST))
        by, _ = shift_to(way.seen, image, reach)
        before = moved(mask, by, image.shape)
        if before.box.empty:
            return "vanished: it has left the image", None
        others = session.state.objects.without(self.label).labels(before.box).values
        free = Patch(before.box, before.values & (others == 0)).tight()
        inside, left = (int(np.count_nonzero(p.values)) for p in (before, free))
        if left < FREE * inside:
            return _taken_by(others, before), None
        core = core_of(free)
        place, _ = innermost(free)
        look = session.look_for(core.values, place, box=core.box, cancelled=cancelled)
        given = np.count_nonzero(core.values)
        if np.count_nonzero(look.mask.values) < given + REPEATS * (left - given):
            # The plane alone does not tell where it ends: its shape before has to.
            look = session.look_for(
                before.values, place, box=before.box, cancelled=cancelled
            )
        return self.options.judge(before, look), look

    def _ends(
        self,
        way: _Way,
        index: int,
        reason: str,
        older: object = None,
        session: ClickSession | None = None,
        look: Look | None = None,
    ) -> Step:
        """End a way at a plane; what an older propagation left there is deleted."""
        doubtful = session is not None
        self.ends.append(End(index, reason, doubtful))
        if not doubtful:
            self._ways.remove(way)
            return Step(index, None, look, reason)
        way.at, way.clears = index, True
        self._check_reach()
        change = None
        if older is not None and session is not None:
            change = session.drop_carried(self.label, self.group)
            self.dropped.append(index)
        return Step(index, change, look, reason)

    def _check_reach(self) -> None:
        """Drop the ways that have come to the end of the stack, or far enough."""
        limit = self.options.planes
        for way in list(self._ways):
            upcoming = way.at + way.sign
            if not 0 <= upcoming < self.count:
                reason = "end of the stack"
            elif limit is not None and way.taken >= limit and not way.clears:
                reason = "as far as asked for"
            else:
                continue
            if not way.clears:
                self.ends.append(End(upcoming, reason))
            self._ways.remove(way)


def _taken_by(labels: NDArray[np.integer], mask: Patch) -> str:
    """Say whose the pixels are."""
    if labels.shape != mask.values.shape:
        labels = labels[mask.box.slices]
    theirs = labels[mask.values & (labels > 0)]
    if theirs.size == 0:
        return "vanished"
    return f"object {int(np.bincount(theirs).argmax())} is there"
