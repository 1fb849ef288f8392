"""The moments of a session, and what changed from one report to the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from napari_clickseg.errors import MaskError
from napari_clickseg.session.changes import Change
from napari_clickseg.session.differences import what_changed
from napari_clickseg.session.draft import Draft
from napari_clickseg.session.effort import Activity
from napari_clickseg.session.forgetting import Forgetting
from napari_clickseg.session.history import History
from napari_clickseg.session.objects import Objects
from napari_clickseg.session.patches import Patch
from napari_clickseg.session.refining import Disobeyed


class Told(Protocol):
    """What a model took, and what it told."""

    @property
    def seconds(self) -> float:
        """Time it took."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What users should know."""


@dataclass(frozen=True, eq=False)
class State:
    """One moment of a session: all that undo brings back."""

    draft: Draft = field(default_factory=Draft)
    objects: Objects = field(default_factory=Objects)

    def put_back(self) -> State:
        """Return the state without the object in work; an opened one goes back."""
        opened = self.draft.opened
        objects = self.objects
        if opened is not None:
            try:
                objects = objects.committed(opened)
            except MaskError:  # its pixels were painted over in the meantime
                objects = self.objects
        return State(Draft(), objects)


class Moments:
    """History of a session that tells each change as a box of pixels.

    Parameters
    ----------
    state : State
        The first moment.
    mask_of : callable
        Returns the mask of a draft's answer as a tight boolean patch.
    history : History, optional
        To go on with; ``state`` is its current one.
    """

    def __init__(
        self,
        state: State,
        mask_of: Callable[[Draft], Patch],
        history: History[State] | None = None,
    ) -> None:
        self._history = History(state) if history is None else history
        self._mask_of = mask_of
        #: What there was before the first edit, and the edits before the history.
        self.origin: State = state
        self.past: tuple[Any, ...] = ()
        #: Told of each step of the history before it is shown.
        self.log: Callable[[Moments], object] | None = None
        #: The same, for a study.
        self.watch: Callable[[Moments], object] | None = None
        #: What the user did, undo and redo included.
        self.activity: list[Activity] = []
        self._told_mask = mask_of(state.draft)
        #: Lets answers of long ago go.
        self.forgetting = Forgetting()
        #: From which probability on a pixel belongs to an object.
        self.threshold: Callable[[], float] = lambda: 0.5
        self._told_objects = state.objects
        #: The newest change.
        self.change = Change("start", clicks=state.draft.clicks)

    @property
    def state(self) -> State:
        """The current moment."""
        return self._history.state

    @property
    def history(self) -> History[State]:
        """All moments."""
        return self._history

    def record(
        self,
        kind: str,
        state: State,
        *,
        label: int | None = None,
        asking: Told | None = None,
        proposed: tuple[int, ...] = (),
        edit: Any = None,
    ) -> Change:
        """Make ``state`` the newest moment and return what changed."""
        moment = self._history.record(state, kind, edit, getattr(asking, "how", None))
        self._note(kind, label)
        moment.answered = not state.draft.pending
        self._keep()
        return self.tell(kind, label=label, asking=asking, proposed=proposed)

    def replace(self, kind: str, state: State, asking: Told) -> Change:
        """Put ``state`` in the place of the current moment; return what changed."""
        self._history.replace(state, getattr(asking, "how", None))
        self._history.now.answered = True
        self._keep()
        return self.tell(kind, asking=asking)

    def step(self, kind: str, back: bool, branch: int | None = None) -> Change | None:
        """Undo (``back``) or redo; None where there is nothing."""
        history = self._history
        if not (history.undo() if back else history.redo(branch)):
            return None
        self._note(kind, None)
        self._keep()
        return self.tell(kind)

    @property
    def mask_of(self) -> Callable[[Draft], Patch]:
        """Returns the mask of a draft's answer as a tight boolean patch."""
        return self._mask_of

    def _note(self, kind: str, label: int | None) -> None:
        clicks = len(self.state.draft.clicks)
        self.activity.append(Activity(time.time(), kind, label, clicks))

    def _keep(self) -> None:
        for told in (self.log, self.watch):
            if told is not None:
                told(self)
        self.forgetting.note(self._history, self.threshold())

    def tell(
        self,
        kind: str,
        *,
        label: int | None = None,
        asking: Told | None = None,
        proposed: tuple[int, ...] = (),
    ) -> Change:
        """Return what changed since it was last told."""
        state = self.state
        mask = self._mask_of(state.draft)
        found = what_changed(self._told_mask, mask, self._told_objects, state.objects)
        self._told_mask, self._told_objects = mask, state.objects
        self.change = Change(
            kind,
            bbox=found.box,
            mask=found.mask,
            labels=found.labels,
            parts=tuple(
                Change.part(part.box, part.mask, part.labels) for part in found.parts
            ),
            clicks=state.draft.clicks,
            settled=state.draft.settled,
            pending=state.draft.pending,
            seconds=asking.seconds if asking else 0.0,
            notices=asking.notices if asking else (),
            label=label,
            proposed=proposed,
            **Disobeyed.of(state.draft.newest)._asdict(),
        )
        return self.change
