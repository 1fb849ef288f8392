"""The journal: every edit of a session on disk before it is shown.

After a crash, or whatever else ended the work, the journal gives back the session as it
was after the last edit that is whole, with all that can be undone. See
``docs/promises.md`` for what is promised and ``frames`` for the file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_clickseg import __version__
from napari_clickseg.models.cache import data_folder
from napari_clickseg.session import frames
from napari_clickseg.session.deltas import pack_delta, same_on_disk
from napari_clickseg.session.dense_draft import DenseMoment
from napari_clickseg.session.edits import Edit, How, edits_of, pack_edits, pack_how
from napari_clickseg.session.file import versions
from napari_clickseg.session.history import Moment
from napari_clickseg.session.moments import Moments, State
from napari_clickseg.session.recovering import FORMAT, VERSION, Recovered, is_blank

__all__ = [
    "SUFFIX",
    "Journal",
    "head_of",
    "journal_name",
    "journals_of",
    "sessions_folder",
]

SUFFIX = ".journal"
#: A journal of more bytes is written anew, without what was undone, if it is
#: also this many times as long as after that was done last.
COMPACT_AT, COMPACT_TIMES = 2**25, 4
#: So many edits can still be undone after it was written anew.
UNDOABLE = 50
#: So many journals of one image are kept.
KEEP = 5
#: A disk that takes longer (seconds) to say that it holds an entry is asked no more
#: often than every SYNC_EVERY seconds.
SLOW_SYNC, SYNC_EVERY = 0.02, 1.0
_NUMBER = re.compile(r"\.(\d{4,})" + re.escape(SUFFIX) + "$")


def sessions_folder() -> Path:
    """Return where journals lie: in the user's data folder."""
    return data_folder() / "sessions"


def journal_name(signature: str, task: str, place: str = "") -> str:
    """Return what the journals of an image, or of one of its planes, are called."""
    return "-".join(filter(None, (signature, place, task)))


def journals_of(folder: Path, name: str) -> list[Path]:
    """Return the journals of an image, the newest first, by their numbers.

    Not by their times: a clock may have been set back.
    """
    try:
        there = [path for path in folder.iterdir() if _number(path)]
    except OSError:  # no such folder, or no right to look
        return []
    mine = [path for path in there if path.name.rsplit(".", 2)[0] == name]
    return sorted(mine, key=_number, reverse=True)


class Journal:
    """Writes down each step of a session's history.

    Parameters
    ----------
    folder : Path
        Made with the first edit; nothing is written before that.
    name : str
        What the file is called by, such as the signature of the image.
    head : callable
        Returns what a session file says of image, options, settings and model.
    path : Path, optional
        A journal that was read just now, to go on with.

    Notes
    -----
    An entry is handed to the system in one unbuffered write before the edit is shown:
    no crash of this process loses it. It is also forced to the disk (fsync), so that it
    outlives a crash of the system; on disks that take long for that, at most once a
    second. Where writing fails, :attr:`trouble` says why, the session goes on, and the
    next edit tries again with all that is missing.
    """

    def __init__(
        self, folder: Path, name: str, head: Callable[[], dict[str, Any]]
    ) -> None:
        self._folder, self._name, self._head = folder, name, head
        self._file: frames.FrameFile | None = None
        self._arrays = frames.EntryArrays()
        self._told: dict[str, Any] | None = None
        self._last: State | None = None
        self._now = 0
        self._on_disk: set[int] = set()
        #: What the user did, and how much of it is in the file.
        self._activity: list[Any] = []
        self._noted = 0
        self._how: Any = None
        self._base = 0
        self._synced = 0.0
        self._sync_took = 0.0
        self._unsynced = False
        #: Why the newest edit is not on disk; "" where it is.
        self.trouble = ""
        #: Limit of bytes and factor at which the file is written anew.
        self.compacts_at: tuple[int, int] = (COMPACT_AT, COMPACT_TIMES)

    @property
    def path(self) -> Path | None:
        """The file; None before the first edit."""
        return None if self._file is None else self._file.path

    def __call__(self, moments: Moments) -> None:
        """Write down where a session stands now; called before it is shown."""
        self._activity = moments.activity
        try:
            self._write(moments)
        except ValueError:  # closed in another thread: nobody is there any more
            self._arrays.lost()
        except OSError as error:
            self._arrays.lost()
            self.trouble = _told_of(error, self._folder)
        else:
            self.trouble = ""

    def go_on(self, path: Path, recovered: Recovered) -> bool:
        """Go on with the file that a session was recovered from.

        False: somebody else has it, or had it.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        try:
            file = frames.FrameFile(path, new=False)
        except BlockingIOError:
            return False
        if file.end != recovered.end:  # somebody has gone on with it meanwhile
            file.close()
            return False
        self.close()
        self._file, self._arrays = file, recovered.arrays
        self._arrays.forget()
        history = recovered.history
        self._on_disk, self._now = set(recovered.numbers), history.now.number
        self._last, self._base = history.state, file.end
        self._told = recovered.head
        self._how = recovered.how
        self._noted = len(recovered.activity)
        return True

    def sync(self) -> None:
        """Force to the disk what the system has not written yet."""
        if self._file is None or not self._unsynced:
            return
        began = time.monotonic()
        try:
            self._file.sync()
        except OSError as error:
            self.trouble = _told_of(error, self._folder)
            return
        self._synced = time.monotonic()
        self._sync_took = self._synced - began
        self._unsynced = False

    def close(self) -> None:
        """Let go of the file; one that holds no work is removed."""
        if self._file is None:
            return
        self.sync()
        path, blank = self._file.path, self._last is not None and is_blank(self._last)
        self._file.close()
        self._file = None
        if blank:
            _remove(path)

    # ---------------------------------------------------------------------- parts

    def _write(self, moments: Moments) -> None:
        if self._file is None:
            self._begin(moments)
        elif self._file.end > max(
            self.compacts_at[0], self.compacts_at[1] * self._base
        ):
            self._rotate(moments)
        else:
            self._step(moments.history.now)
        if self._unsynced and (
            self._sync_took < SLOW_SYNC or time.monotonic() - self._synced > SYNC_EVERY
        ):
            self.sync()

    def _begin(self, moments: Moments) -> None:
        """Start a file: one with a number that no other process has."""
        self._folder.mkdir(parents=True, exist_ok=True)
        older = journals_of(self._folder, self._name)
        number = 1 + (_number(older[0]) if older else 0)
        made = None
        while made is None:
            path = self._folder / f"{self._name}.{number:04d}{SUFFIX}"
            try:
                made = frames.FrameFile(path, new=True)
            except FileExistsError:
                number += 1
        self._file = made
        try:
            self._whole(moments)
        except OSError:
            made.close()
            _remove(made.path)
            self._file = None
            raise
        for path in older[KEEP - 1 :]:
            if not frames.in_use(path):
                _remove(path)

    def _rotate(self, moments: Moments) -> None:
        """Write what stands into a new file; the old one goes when that is on disk."""
        old, arrays, self._file = self._file, self._arrays, None
        kept = self._told, self._last, self._now, self._on_disk, self._how, self._base
        noted = self._noted
        try:
            self._begin(moments)
            self.sync()
        except OSError:
            self._file, self._arrays = old, arrays
            self._told, self._last, self._now, self._on_disk, self._how, self._base = (
                kept
            )
            self._noted = noted
            self._step(moments.history.now)
            return
        if old is not None:
            old.close()
            _remove(old.path)

    def _whole(self, moments: Moments) -> None:
        """Write all that stands, as the first entries of a file."""
        self._arrays, self._told = frames.EntryArrays(), None
        assert self._file is not None
        self._tell_head()
        path, arrays = moments.history.path, self._arrays
        first = max(0, len(path) - 1 - UNDOABLE)
        begin, root, then = type(moments.state)(), path[first], path[first + 1 :]
        edits = (*moments.past, *edits_of(path[: first + 1]))
        text = {
            "kind": "start",
            "number": root.number,
            "time": time.time(),
            "answered": root.answered,
            "origin": pack_delta(begin, _objects_only(moments.origin, begin), arrays),
            "edits": pack_edits(edits, arrays),
            "state": pack_delta(begin, root.state, arrays),
            "follow": len(then),
            "activity": self._activity,
        }
        self._append(text)
        self._noted = len(self._activity)
        self._on_disk, self._now, self._how = {root.number}, root.number, None
        self._last = root.state
        for moment in then:
            self._step(moment)
        self._base = self._file.end

    def _step(self, now: Moment[State]) -> None:
        """Write the one step that was made last."""
        assert self._last is not None
        if now.number == self._now and same_on_disk(self._last.draft, now.state.draft):
            if self._last.objects is not now.state.objects:
                raise AssertionError("an answer changed the objects")
            self._last = now.state
            return
        self._tell_head()
        text: dict[str, Any] = {
            "kind": now.kind,
            "number": now.number,
            "time": time.time(),
            "answered": now.answered,
            "state": pack_delta(self._last, now.state, self._arrays),
        }
        if now.number not in self._on_disk:
            parent = now.parent
            known = parent is not None and parent.number in self._on_disk
            text["parent"] = parent.number if known and parent else self._now
            if isinstance(now.edit, Edit):
                text["edit"] = pack_edits([now.edit], self._arrays)[0]
        if isinstance(now.how, How):
            text["asked"] = True
            if now.how != self._how:
                text["how"] = pack_how(now.how)
        if self._noted < len(self._activity):
            text["activity"] = self._activity[self._noted :]
        self._append(text)
        self._noted = len(self._activity)
        self._on_disk.add(now.number)
        self._last, self._now = now.state, now.number
        if "how" in text:
            self._how = now.how

    def _tell_head(self) -> None:
        head = self._head()
        if head != self._told:
            self._append({"kind": "head", "time": time.time(), **head})
            self._told = head

    def _append(self, text: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.append(frames.encode(text, self._arrays))
        self._arrays.written()
        self._unsynced = True


def _told_of(error: OSError, folder: Path) -> str:
    return (
        f"Your newest edits are not on disk: {folder} cannot be written "
        f"({error.strerror or error}). The work goes on; make room, or set "
        "NAPARI_CLICKSEG_CACHE to another folder, and save the session to a file."
    )


def _number(path: Path) -> int:
    """Return the number in a journal's name; 0: it is none."""
    found = _NUMBER.search(path.name)
    return int(found[1]) if found else 0


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # somebody reads it: it is removed another time
        return


def head_of(
    image: dict[str, Any], options: dict[str, Any], settings: Any, model: dict[str, Any]
) -> dict[str, Any]:
    """Return what a journal says of a session, ready for JSON.

    Parameters
    ----------
    image, options, settings, model
        As of :class:`napari_clickseg.session.file.SessionRecord`.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"napari-clickseg {__version__}",
        "versions": versions(),
        "image": image,
        "options": options,
        "settings": asdict(settings),
        "model": model,
    }


def _objects_only(state: State, begin: State) -> State:
    """Return what was there before the first edit: objects, and nothing in work."""
    if isinstance(begin, DenseMoment):
        return begin
    return State(objects=state.objects)
