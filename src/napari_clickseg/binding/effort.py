"""Clicks and seconds of all planes, and a study of them, used in the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from napari_clickseg.binding.object_engine import ObjectEngine
from napari_clickseg.binding.planes import Plane, PlaneImage
from napari_clickseg.session import ClickSession
from napari_clickseg.session.effort import IDLE, Effort, effort_of, together
from napari_clickseg.session.study import GOALS

__all__ = ["Wanted", "WorkingEngine"]


class Wanted(NamedTuple):
    """A study that is wanted, of all planes that are worked on.

    Attributes
    ----------
    reference : callable
        Returns the reference of a plane, an array (H, W) of int.
    path : Path
    goals : sequence of float
    idle_limit : float
    """

    reference: Callable[[Plane], Any]
    path: Path
    goals: Sequence[float] = GOALS
    idle_limit: float = IDLE


class WorkingEngine(ObjectEngine):
    """One image's sessions, with the work in them; parameters as of :class:`Engine`."""

    _wanted: Wanted | None = None

    def effort(self, idle_limit: float = IDLE) -> Effort:
        """Return clicks and active seconds of the objects of all planes."""
        return together(
            effort_of(session.activity, session.objects, idle_limit, plane.describe())
            for plane, session in self._sessions.items()
        )

    def start_study(self, wanted: Wanted | None) -> None:
        """Write a line for each commit on any plane; None: no more."""
        self._wanted = wanted
        for plane, session in self._sessions.items():
            self._study(plane, session)

    @property
    def study_trouble(self) -> str:
        """Why lines of the study are not on disk, or ""."""
        studies = [s.study for s in self._sessions.values()]
        return next((s.trouble for s in studies if s is not None and s.trouble), "")

    def _begun(self, plane: Plane, image: PlaneImage, session: ClickSession) -> None:
        super()._begun(plane, image, session)
        self._study(plane, session)

    def _take_up(self, plane: Plane, session: Any, options: Any) -> Any:
        report = super()._take_up(plane, session, options)
        self._study(plane, session)
        return report

    def _study(self, plane: Plane, session: ClickSession) -> None:
        wanted = self._wanted
        if wanted is None:
            session.stop_study()
        else:
            session.start_study(
                wanted.reference(plane),
                wanted.path,
                goals=wanted.goals,
                idle_limit=wanted.idle_limit,
                plane=plane.describe(),
            )
