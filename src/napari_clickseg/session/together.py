"""Undo and redo of what was one intent over the sessions of several planes."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from napari_clickseg.session.changes import Change
from napari_clickseg.session.click_session import ClickSession

__all__ = ["Together"]

K = TypeVar("K", bound=Hashable)


class Together(Generic[K]):
    """Sessions of the planes of one image, whose steps may belong together.

    Parameters
    ----------
    sessions : mapping of key to ClickSession
        May grow; each has its own history.
    """

    def __init__(self, sessions: Mapping[K, ClickSession]) -> None:
        self._sessions = sessions
        self._done: tuple[str, dict[K, int]] | None = None
        self._undone: tuple[str, dict[K, int]] | None = None
        self._began = ("", 0.0)

    def done(self, group: str) -> None:
        """Remember that what belongs together has just been done, or a part of it."""
        if self._began[0] != group:
            self._began = group, time.time()
        self._done, self._undone = (group, self._numbers()), None

    def to_undo(self, key: K | None) -> str:
        """Return which group undo takes back on a plane; "" for none.

        The one that the plane's newest step belongs to; or, wherever the plane is, the
        one that was the last thing that was done at all.
        """
        session = None if key is None else self._sessions.get(key)
        if session is not None and (group := session.group):
            return group
        if session is not None and session.step_time > self._began[1]:
            return ""  # done there while the others were on their way
        return self._still(self._done)

    def to_redo(self, key: K | None) -> str:
        """Return which group redo brings back; as :meth:`to_undo`."""
        session = None if key is None else self._sessions.get(key)
        if session is not None and (group := session.next_group):
            return group
        return self._still(self._undone)

    def undo(self, key: K | None) -> dict[K, Change]:
        """Take a group back on all planes on which nothing was done since.

        Returns
        -------
        dict
            What changed on each plane; empty if there is no group to take back.
        """
        group, changes = self.to_undo(key), {}
        if not group:
            return {}
        for each, session in self._sessions.items():
            if session.group == group:
                change = session.undo()
                assert change is not None
                changes[each] = change
        self._done, self._undone = None, (group, self._numbers())
        return changes

    def redo(self, key: K | None) -> dict[K, Change]:
        """Bring a group back on all planes from where it was taken."""
        group, changes = self.to_redo(key), {}
        if not group:
            return {}
        for each, session in self._sessions.items():
            if session.next_group == group:
                change = session.redo()
                assert change is not None
                changes[each] = change
        self.done(group)
        return changes

    def _numbers(self) -> dict[K, int]:
        """Return where each history stands."""
        return {k: s.step_number for k, s in self._sessions.items()}

    def _still(self, then: tuple[str, dict[K, int]] | None) -> str:
        """Return the group, if nothing was done since."""
        if then is None:
            return ""
        group, numbers = then
        now = self._numbers()
        same = all(now[k] == numbers.get(k, 0) for k in now)
        return group if same else ""
