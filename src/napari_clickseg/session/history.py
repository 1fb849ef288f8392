"""Undo and redo without limit, over states that are never changed in place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

State = TypeVar("State")


@dataclass(eq=False, slots=True)
class _Moment(Generic[State]):
    state: State
    kind: str
    parent: _Moment[State] | None = None
    branches: list[_Moment[State]] = field(default_factory=list)
    newest: int = -1


class History(Generic[State]):
    """A tree of states; undo walks to the root, redo back out.

    A new edit after an undo opens a new branch beside the undone one, which
    stays reachable: nothing that was once on screen is ever lost.

    Parameters
    ----------
    state : object
        The first state. States are immutable and share what did not change,
        so that a moment costs what its edit changed and undo takes no time.
    """

    def __init__(self, state: State) -> None:
        self._now: _Moment[State] = _Moment(state, "start")

    @property
    def state(self) -> State:
        """The current state."""
        return self._now.state

    @property
    def kind(self) -> str:
        """Which edit led to the current state."""
        return self._now.kind

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state."""
        return self._now.parent is not None

    @property
    def branches(self) -> int:
        """Between how many later states :meth:`redo` can choose."""
        return len(self._now.branches)

    def record(self, state: State, kind: str) -> None:
        """Make ``state``, reached by an edit of this kind, the current one."""
        moment = _Moment(state, kind, self._now)
        self._now.branches.append(moment)
        self._now.newest = len(self._now.branches) - 1
        self._now = moment

    def replace(self, state: State) -> None:
        """Put ``state`` in the place of the current one, as the same moment."""
        self._now.state = state

    def undo(self) -> bool:
        """Go back by one edit; return whether there was one."""
        if self._now.parent is None:
            return False
        parent = self._now.parent
        parent.newest = parent.branches.index(self._now)
        self._now = parent
        return True

    def redo(self, branch: int | None = None) -> bool:
        """Go forward by one edit; return whether there was one.

        Parameters
        ----------
        branch : int, optional
            Which of the later states, in the order they were made. Default:
            the one that was last left by undo.
        """
        if not self._now.branches:
            return False
        self._now = self._now.branches[self._now.newest if branch is None else branch]
        return True
