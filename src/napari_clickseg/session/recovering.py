"""Read a journal: the session as it was after the last whole entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from napari_clickseg.errors import ClickSegError, SessionError
from napari_clickseg.limits import damage
from napari_clickseg.prediction.dense_settings import DenseSettings
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.session import frames
from napari_clickseg.session.deltas import unpack_delta
from napari_clickseg.session.dense_draft import DenseMoment
from napari_clickseg.session.edits import Edit, edits_of, unpack_edits, unpack_how
from napari_clickseg.session.effort import Activity, as_activity
from napari_clickseg.session.file import SessionRecord, image_notes
from napari_clickseg.session.history import History, Moment
from napari_clickseg.session.moments import State

__all__ = ["FORMAT", "VERSION", "Recovered", "is_blank", "read_journal"]

FORMAT = "napari-clickseg journal"
VERSION = 2
#: Version 1 knew no edits of committed objects, and no boxes.
READABLE = (1, VERSION)


@dataclass(eq=False)
class Recovered:
    """What a journal gives back.

    Parameters
    ----------
    head : dict
        What it says of image, options, settings and model.
    history : History
        All moments; the current one is where the work stopped.
    origin : State
        What there was before the first edit.
    past : tuple of Edit
        The edits before the first moment of the history.
    entries : int
        Edits, answers and undos that were read.
    activity : list of Activity
        What the user did and when.
    arrays, numbers, how, end, expected
        For a journal that goes on with the file: what is in it already.
    """

    head: dict[str, Any]
    history: History[State]
    origin: State
    past: tuple[Edit, ...]
    entries: int
    arrays: frames.EntryArrays
    numbers: set[int]
    how: Any = None
    end: int = 0
    expected: int = 0
    activity: list[Activity] = field(default_factory=list)

    @property
    def state(self) -> State:
        """Where the work stopped."""
        return self.history.state

    @property
    def complete(self) -> bool:
        """Whether it was begun to its end: else an older one may hold more."""
        return self.entries >= self.expected

    @property
    def blank(self) -> bool:
        """Whether there is no work in it."""
        return is_blank(self.state)

    def record(self) -> SessionRecord:
        """Return it as what a session file holds."""
        head = self.head
        return SessionRecord(
            image=dict(head["image"]),
            pixels=None,
            options=head["options"],
            settings=_settings(head),
            model=head["model"],
            notices=(),
            stats={},
            state=self.state,
            origin=self.origin.objects,
            edits=(*self.past, *edits_of(self.history.path)),
            activity=tuple(self.activity),
        )


def read_journal(path: str | Path) -> Recovered:
    """Read a journal up to its last whole entry.

    Raises
    ------
    SessionError
        If it is missing, is no journal, holds no whole edit, or was written by a newer
        version.
    """
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            found = _read(file, path)
    except FileNotFoundError as error:
        raise SessionError(f"There is no journal {path}. Check the path.") from error
    except OSError as error:
        raise SessionError(
            f"The journal {path} cannot be read ({error.strerror}). Check the path and "
            "your rights."
        ) from error
    if found is None:
        raise SessionError(
            f"{path} is no journal of napari-clickseg, or nothing of it is whole. Open "
            "the image and begin anew."
        )
    return found


def _read(file: BinaryIO, path: Path) -> Recovered | None:
    arrays, head, found = frames.EntryArrays(), None, None
    moments: dict[int, Moment[State]] = {}
    for payload, end, _ in frames.read_entries(file):
        try:
            text = frames.decode(payload, arrays)
            if text["kind"] == "head":
                head = _checked(text, path)
            elif head is None:
                return None
            elif text["kind"] == "start":
                found = _started(text, head, arrays)
                moments = {found.history.now.number: found.history.now}
            elif found is not None:
                _follow(text, found, moments, _settings(head))
                found.activity.extend(as_activity(text.get("activity", ())))
                found.numbers.add(found.history.now.number)
                found.entries += 1
            if found is not None and head is not None:
                found.head, found.end = head, end
        except SessionError:
            raise
        except damage(ClickSegError):
            break  # whole, but not of ours: what came before stands
    return found


def _checked(text: dict[str, Any], path: Path) -> dict[str, Any]:
    if text.get("format") != FORMAT or text.get("version") not in READABLE:
        raise SessionError(
            f"{path} has version {text.get('version')} of the journal format "
            f"({text.get('written_by', 'unknown program')}); this program reads "
            f"versions up to {VERSION}. Update napari-clickseg."
        )
    head = {k: v for k, v in text.items() if k not in ("kind", "time")}
    _settings(head)
    head["image"] = image_notes(head["image"])
    return head


def _started(
    text: dict[str, Any], head: dict[str, Any], arrays: frames.EntryArrays
) -> Recovered:
    settings = _settings(head)
    dense = isinstance(settings, DenseSettings)
    begin: State = DenseMoment() if dense else State()
    origin = unpack_delta(text["origin"], begin, arrays, settings)
    state = unpack_delta(text["state"], begin, arrays, settings)
    past = unpack_edits(text["edits"], arrays, settings)
    history = History(state)
    history.now.number = int(text["number"])
    history.now.answered = bool(text["answered"])
    numbers, expected = {history.now.number}, int(text["follow"])
    return Recovered(
        head,
        history,
        origin,
        past,
        0,
        arrays,
        numbers,
        expected=expected,
        activity=list(as_activity(text.get("activity", ()))),
    )


def _follow(
    text: dict[str, Any],
    found: Recovered,
    moments: dict[int, Moment[State]],
    settings: Any,
) -> None:
    """Do what an entry says was done."""
    history, arrays, number = found.history, found.arrays, int(text["number"])
    state = unpack_delta(text["state"], history.state, arrays, settings)
    if "how" in text:
        found.how = unpack_how(text["how"])
    how = found.how if text.get("asked") else None
    if number in moments:
        history.go_to(moments[number])
        history.replace(state, how)
    else:
        edit = None
        if "edit" in text:
            edit = unpack_edits([text["edit"]], arrays, settings)[0]
        history.go_to(moments[int(text["parent"])])
        moment = history.record(state, str(text["kind"]), edit, how)
        moment.number = number
        history.count_from(number + 1)
        moments[number] = moment
    history.now.answered = bool(text["answered"])


def _settings(head: dict[str, Any]) -> Any:
    given = dict(head["settings"])
    if head["options"]["task"] == "segmentation":
        return PredictionSettings(**given)
    if given["at"] is not None:
        given["at"] = tuple(given["at"])
    return DenseSettings(**given)


def is_blank(state: State) -> bool:
    """Whether there is no work in a state."""
    kept = state.results if isinstance(state, DenseMoment) else state.objects
    return state.draft.blank and not kept
