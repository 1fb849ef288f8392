"""Objects proposed for the plane on screen, step by step in the background.

One tile is one job of the worker, and the next one is asked for only when nothing else
waits: so a click goes first, and waits for one tile at most. What was found becomes one
edit of the session.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.engine import LOOKING
from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.reports import Options
from napari_clickseg.errors import SessionError

if TYPE_CHECKING:
    from napari_clickseg.binding.context import Context
    from napari_clickseg.binding.effort import WorkingEngine
    from napari_clickseg.binding.jobs import Jobs
    from napari_clickseg.prediction.proposing import Proposals
    from napari_clickseg.worker import Job

__all__ = ["Proposing"]


@dataclass(eq=False)
class _Search:
    """One search, on one plane of one image."""

    context: Context[WorkingEngine]
    plane: Plane
    options: Options
    wishes: dict[str, Any]
    steps: Generator[tuple[int, int], None, Proposals] | None = None
    found: Proposals | None = None


class Proposing:
    """Looks for objects in one viewer, one plane at a time.

    Parameters
    ----------
    clicks : Jobs
        Held weakly.
    """

    def __init__(self, clicks: Jobs) -> None:
        self._weak = weakref.ref(clicks)
        self._search: _Search | None = None
        self._advancing = False
        #: Usual diameter of objects in pixels; None: it is found out.
        self.diameter: float | None = None
        #: The newest step, the edit that the last search ended with, and why it ended
        #: without.
        self.job: Job | None = None
        self.outcome: Job | None = None
        self.error: Exception | None = None

    @property
    def running(self) -> bool:
        """Whether objects are being looked for."""
        return self._search is not None

    def start(self, **wishes: Any) -> None:
        """Look for objects on the plane on screen; of a large image, in what is shown.

        Parameters
        ----------
        **wishes
            As for :meth:`napari_clickseg.ClickSession.propose_objects`.

        Raises
        ------
        ClickSegError
            If there is no image, or a search runs already.
        """
        clicks = self._weak()
        if clicks is None:
            return
        if self.running:
            raise SessionError("Objects are being looked for already.")
        if self.diameter is not None:
            wishes.setdefault("diameter", self.diameter)
        clicks.make_ready()
        context, plane = clicks.opened()
        options = clicks.current_options()
        if clicks.large and options.visible is not None:
            wishes.setdefault("within", options.visible)  # all of it would not fit
        self.outcome = self.error = None
        self._search = _Search(context, plane, options, wishes)
        clicks.tell_busy(LOOKING, None)
        clicks.changed.emit()
        self.advance()

    def cancel(self) -> None:
        """Look no further; nothing is changed."""
        clicks = self._weak()
        if self.running and clicks is not None:
            self._end()
            clicks.say("Stopped looking for objects; nothing was changed.")

    def close(self) -> None:
        """Forget all work."""
        self._search = None

    def advance(self) -> None:
        """Ask for the next step, if nothing else is to do."""
        clicks = self._weak()
        if clicks is None or self._advancing:
            return
        self._advancing = True
        try:
            # Without an event loop jobs are done as soon as they are asked for.
            while clicks.idle and self._search is not None:
                search = self._search
                self.job = clicks.background(
                    partial(_step, search), partial(self._stepped, search)
                )
        finally:
            self._advancing = False

    def _stepped(self, search: _Search, job: Job) -> None:
        clicks = self._weak()
        if clicks is None or search is not self._search:
            return  # stopped in the meantime
        if job.error is not None:
            self.error = job.error
            self._end()
            clicks.failed(job.error)
        elif search.found is None:
            done, total = job.value
            clicks.tell_busy(LOOKING, done / total if total else None)
        else:
            # who waits for the end finds what came of it
            self.outcome = clicks.take_proposals(
                search.context, search.plane, search.found
            )
            self._end()

    def _end(self) -> None:
        self._search = None
        clicks = self._weak()
        if clicks is not None:
            clicks.tell_busy("", None)
            clicks.changed.emit()


def _step(search: _Search) -> tuple[int, int]:
    """Do one step in the worker."""
    if search.steps is None:
        engine = search.context.engine
        search.steps = engine.looking(search.plane, search.options, **search.wishes)
    try:
        return next(search.steps)
    except StopIteration as end:
        search.found = end.value
        return 1, 1
