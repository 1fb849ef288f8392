"""What the session tells: what changed, and how much work it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Clicks

#: Kind of one part of a change that lies in several places.
PART = "part"


@dataclass(frozen=True, eq=False)
class Change:
    """What one call changed, since the change before it.

    Parameters
    ----------
    kind : str
        ``"add"``, ``"move"``, ``"radius"``, ``"remove"``, ``"clicks"``, ``"mask"``,
        ``"labels"``, ``"update"``, ``"settle"``, ``"commit"``, ``"reopen"``,
        ``"delete"``, ``"discard"``, ``"undo"``, ``"redo"``, ``"automatic"``,
        ``"propose"``, ``"merge"``, ``"split"``, ``"relabel"``, ``"class"``,
        ``"accept"``, ``"scribble"`` or ``"box"``.
    bbox : Box or None
        Smallest box around all pixels that changed; None where none did.
    mask : ndarray of bool, shape of ``bbox``, or None
        The live mask in that box; None where it did not change.
    labels : ndarray of int32, shape of ``bbox``, or None
        The committed objects in that box; None where they did not change.
    parts : tuple of Change
        Where changes lie so far apart in a large image that the box around them is
        for the most part empty: each of them, with its own box. ``mask`` and
        ``labels`` are then a :class:`~napari_clickseg.plane_view.PlaneView` each.
    clicks : tuple of Click
        The clicks of the object in work.
    settled : bool
        Whether the answer is final.
    pending : bool
        Whether the clicks have yet to be answered by ``update()``.
    seconds : float
        Time the model took.
    notices : tuple of str
        What the user should know.
    label : int or None
        The object that was committed, opened again or deleted.
    unsatisfied : tuple of int
        Numbers (from 0) of the clicks whose own pixel the model itself did not
        give the label that was asked for; empty without a refinement.
    corrected : tuple of int
        Those of them that a local correction honours: the pixel has the label
        now, and with it no more than a small spot around it.
    contradicted : tuple of int
        Those of them that a later click on the same pixel takes back.
    proposed : tuple of int
        Objects that were found without a click.
    """

    kind: str
    bbox: Box | None = None
    mask: NDArray[np.bool_] | None = field(default=None, repr=False)
    labels: NDArray[np.int32] | None = field(default=None, repr=False)
    clicks: Clicks = ()
    settled: bool = True
    pending: bool = False
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
    label: int | None = None
    unsatisfied: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()
    contradicted: tuple[int, ...] = ()
    proposed: tuple[int, ...] = ()
    parts: tuple[Change, ...] = field(default=(), repr=False)

    @classmethod
    def part(cls, box: Box | None, mask: Any, labels: Any) -> Change:
        """Return what changed in one of several places."""
        return cls(PART, bbox=box, mask=mask, labels=labels)

    @property
    def boxes(self) -> tuple[Change, ...]:
        """The parts, or this change alone where it is in one place."""
        return self.parts or (self,)


@dataclass(frozen=True)
class ObjectStats:
    """The work on one committed object.

    Parameters
    ----------
    label : int
        Its id.
    clicks : int
        Clicks that stand (a click that was taken back does not count).
    seconds : float
        Wall time from the first click to the commit, over all times it was
        worked on; pauses count.
    area : int
        Pixels.
    """

    label: int
    clicks: int
    seconds: float
    area: int


@dataclass(frozen=True)
class SessionStats:
    """The work in a session.

    Parameters
    ----------
    objects : tuple of ObjectStats
        Objects that were made or corrected here, in the order of commits;
        objects that were only loaded do not count.
    current_clicks : int
        Clicks of the object in work.
    proposed : int
        Objects that a model proposed and nobody has accepted or worked on: they are in
        no mean.
    """

    objects: tuple[ObjectStats, ...]
    current_clicks: int
    proposed: int = 0

    @classmethod
    def together(cls, several: Iterable[SessionStats]) -> SessionStats:
        """Return the work on all planes; an object counts once, on however many it is.

        Its clicks, seconds and pixels are those of all its planes.
        """
        each = list(several)
        found: dict[int, ObjectStats] = {}
        for one in (one for stats in each for one in stats.objects):
            old = found.get(one.label, ObjectStats(one.label, 0, 0.0, 0))
            found[one.label] = ObjectStats(
                one.label,
                old.clicks + one.clicks,
                old.seconds + one.seconds,
                old.area + one.area,
            )
        return cls(
            tuple(found[label] for label in sorted(found)),
            sum(stats.current_clicks for stats in each),
            sum(stats.proposed for stats in each),
        )

    @property
    def clicks(self) -> int:
        """All clicks, those of the object in work included."""
        return self.current_clicks + sum(each.clicks for each in self.objects)

    @property
    def seconds(self) -> float:
        """Time worked on the committed objects."""
        return sum(each.seconds for each in self.objects)

    @property
    def clicks_per_object(self) -> float:
        """Mean over the committed objects; 0 where there is none."""
        return fmean(each.clicks for each in self.objects) if self.objects else 0.0

    @property
    def seconds_per_object(self) -> float:
        """Mean over the committed objects; 0 where there is none."""
        return fmean(each.seconds for each in self.objects) if self.objects else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        return {
            "objects": len(self.objects),
            "clicks": self.clicks,
            "clicks_per_object": self.clicks_per_object,
            "proposed": self.proposed,
            "seconds": self.seconds,
            "seconds_per_object": self.seconds_per_object,
            "each": [
                {
                    "label": o.label,
                    "clicks": o.clicks,
                    "seconds": o.seconds,
                    "area": o.area,
                }
                for o in self.objects
            ],
        }

    def __str__(self) -> str:
        """Return the sentence that the dock shows."""
        count = len(self.objects)
        parts = []
        if count:
            one = "object" if count == 1 else "objects"
            parts.append(f"{count} {one}, {self.clicks_per_object:.1f} clicks each")
        if self.proposed:
            parts.append(f"{self.proposed} proposed")
        return "; ".join(parts) or "no object yet"
