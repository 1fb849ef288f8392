"""Undo and redo without limit, over states that are never changed in place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

State = TypeVar("State")


@dataclass(eq=False, slots=True)
class Moment(Generic[State]):
    """One state of a history, and how it was reached.

    Attributes
    ----------
    state : object
    kind : str
        Which edit led here.
    number : int
        Of its own in the history, from 0, in the order of edits.
    edit : object
        What that edit was, for those who want to make it again.
    how : object
        How its answer was asked for.
    answered : bool
        Whether it has one.
    parent : Moment or None
        The one before the edit.
    """

    state: State
    kind: str
    number: int = 0
    edit: Any = None
    how: Any = None
    answered: bool = True
    parent: Moment[State] | None = None
    branches: list[Moment[State]] = field(default_factory=list)
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
        self._now: Moment[State] = Moment(state, "start")
        self._count = 1

    @property
    def now(self) -> Moment[State]:
        """The current moment."""
        return self._now

    @property
    def path(self) -> list[Moment[State]]:
        """The moments from the first to the current one."""
        found = [self._now]
        while (parent := found[-1].parent) is not None:
            found.append(parent)
        return found[::-1]

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

    def record(
        self, state: State, kind: str, edit: Any = None, how: Any = None
    ) -> Moment[State]:
        """Make ``state``, reached by an edit of this kind, the current one."""
        moment = Moment(state, kind, self._count, edit, how, parent=self._now)
        self._count += 1
        self._now.branches.append(moment)
        self._now.newest = len(self._now.branches) - 1
        self._now = moment
        return moment

    def replace(self, state: State, how: Any = None) -> None:
        """Put ``state`` in the place of the current one, as the same moment."""
        self._now.state = state
        if how is not None:
            self._now.how = how

    def go_to(self, moment: Moment[State]) -> None:
        """Make a moment of this history the current one, as undo and redo do."""
        if moment.parent is not None:
            moment.parent.newest = moment.parent.branches.index(moment)
        self._now = moment

    def count_from(self, number: int) -> None:
        """Give the next moments numbers from this one on."""
        self._count = max(self._count, number)

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
