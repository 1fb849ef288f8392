"""By which rules an object is carried from plane to plane, and when its way ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from napari_clickseg.errors import SettingsError
from napari_clickseg.session.carrying import Look
from napari_clickseg.session.following import Appearance
from napari_clickseg.session.patches import Patch

__all__ = ["DIRECTIONS", "SIGNS", "Direction", "PropagationOptions"]

Direction = Literal["both", "forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
#: The ways to go, in this order.
SIGNS = {"both": (1, -1), "forward": (1,), "backward": (-1,)}
#: Planes farther apart than this many pixels loosen the rules no further.
LOOSEST = 4.0
#: Differences of grey values above so many deviations are clear.
CLEAR = 1.5


@dataclass(frozen=True)
class PropagationOptions:
    """How far an object is carried, and when its way ends.

    Parameters
    ----------
    direction : {"both", "forward", "backward"}
        Towards higher indices (forward), lower ones, or first the former and then the
        latter.
    planes : int or None
        So many planes each way at most; None: to the end of the stack.
    growth : float
        The area may grow by at most this factor from one plane to the next; above 1.
    shrink : float
        It may become smaller by at most this factor; above 1. Larger than ``growth``,
        because the last plane of a round object is often small.
    overlap : float
        Intersection over union of the masks on two planes is at least this, or, where
        one lies almost within the other, that much of the smaller one is: 0 to 1.
    least_area : int
        An object of fewer pixels has vanished.
    certainty : float
        Mean probability within the mask below which it has vanished: 0 to 1.
    contrast : float
        Where an object is clearly brighter or darker than what is around it (by more
        than 1.5 times the deviation there), it has vanished once that difference falls
        below this part of what it was on the plane before, or below half of this part
        of what it was at first: 0 to 1; 0 for never.
    search : float
        How far the object may have moved from one plane to the next, as a part of its
        longer side; its grey values are looked for there. 0: it stands still.
    spacing : float
        Distance of two planes, in pixels of a plane (``dz / dx``). Beyond 1 the object
        may change more: the factors are taken to the power of ``sqrt(spacing)``, and
        ``overlap`` is divided by it; above 4 they loosen no further.

    Raises
    ------
    SettingsError
        If a value makes no sense.
    """

    direction: Direction = "both"
    planes: int | None = None
    growth: float = 2.0
    shrink: float = 3.0
    overlap: float = 0.3
    least_area: int = 9
    certainty: float = 0.6
    contrast: float = 0.45
    search: float = 0.4
    spacing: float = 1.0

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise SettingsError(
                f"direction is {self.direction!r}: choose one of "
                f"{', '.join(DIRECTIONS)}."
            )
        if self.planes is not None and self.planes < 1:
            raise SettingsError(f"planes is {self.planes}: give 1 or more, or None.")
        for name in ("growth", "shrink"):
            value = getattr(self, name)
            if not value > 1:
                raise SettingsError(f"{name} is {value}: give a factor above 1.")
        for name in ("overlap", "certainty", "contrast", "search"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SettingsError(f"{name} is {value}: give a value from 0 to 1.")
        if self.least_area < 1:
            raise SettingsError(f"least_area is {self.least_area}: give 1 or more.")
        if not (self.spacing > 0 and math.isfinite(self.spacing)):
            raise SettingsError(
                f"spacing is {self.spacing}: give the distance of two planes in pixels."
            )

    @property
    def looseness(self) -> float:
        """By how much the rules are loosened; 1 for planes a pixel apart or nearer."""
        return math.sqrt(min(max(self.spacing, 1.0), LOOSEST))

    def judge(self, before: Patch, look: Look) -> str:
        """Return why an answer cannot be the object of the plane before; "" if it can.

        Parameters
        ----------
        before : Patch of bool
            Its mask there, moved to where it was looked for.
        look : Look
            The answer.
        """
        mask = look.mask
        area, old = (int(np.count_nonzero(p.values)) for p in (mask, before))
        if area < self.least_area:
            return "vanished"
        inside = look.draft.answer.within(mask.box)[mask.values]
        if float(inside.mean()) < self.certainty:
            return f"vanished: only {inside.mean():.0%} sure"
        ratio, loose = area / old, self.looseness
        if ratio > self.growth**loose or 1 / ratio > self.shrink**loose:
            return f"jumped: area \N{MULTIPLICATION SIGN}{_short(ratio)}"
        common = int(np.count_nonzero(before.within(mask.box) & mask.values))
        shared = common / (area + old - common)
        if shared < self.overlap / loose and common < 0.9 * min(area, old):
            return f"jumped: only {shared:.0%} overlap"
        return ""

    def faded(self, seen: Appearance, before: Appearance, first: Appearance) -> str:
        """Return that the object is not to be seen any more; "" if it is."""
        now, _ = seen.contrast
        for other, part in ((before, self.contrast), (first, self.contrast / 2)):
            was, around = other.contrast
            if abs(was) > CLEAR * around and now * np.sign(was) < part * abs(was):
                left = max(0.0, now / was)
                return f"vanished: {left:.0%} of its contrast left"
        return ""


def _short(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"
