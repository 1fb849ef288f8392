"""Session files: a zip of one JSON text and NumPy arrays, without pickle."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg import __version__
from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickSegError, SessionError
from napari_clickseg.prediction.settings import (
    Prediction,
    PredictionSettings,
    PredictorState,
)
from napari_clickseg.session.draft import Draft, Step
from napari_clickseg.session.moments import State
from napari_clickseg.session.objects import Objects, SegmentedObject
from napari_clickseg.session.patches import Patch

FORMAT, VERSION = "napari-clickseg session", 1
#: Images in memory of at most this many bytes are put into the file.
IMAGE_LIMIT = 2**26
_TEXT = "session.json"


@dataclass(frozen=True, eq=False)
class SessionRecord:
    """All that a session file holds.

    Parameters
    ----------
    image : dict
        ``shape``, ``signature``, ``channels``, ``contrast``, ``channel_axis``.
    pixels : ndarray or None
        The image itself.
    options : dict
        ``task``, ``refinement``, ``overlap``.
    settings : PredictionSettings
        Where the model looked.
    model : dict
        ``name``, ``source``, ``sha256``, ``device``, ``precision``.
    notices : tuple of str
        What the model had to tell.
    stats : dict
        Clicks and seconds, for people and tables; not read back.
    state : State
        The object in work and the committed ones.
    """

    image: dict[str, Any]
    pixels: NDArray[Any] | None
    options: dict[str, Any]
    settings: PredictionSettings
    model: dict[str, Any]
    notices: tuple[str, ...]
    stats: dict[str, Any]
    state: State


def write(record: SessionRecord, path: Path) -> Path:
    """Write a session file; an older one stays until the new one is complete."""
    arrays = _Arrays()
    text = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"napari-clickseg {__version__}",
        "image": {**record.image, "pixels": arrays.put(record.pixels)},
        "options": record.options,
        "settings": asdict(record.settings),
        "model": record.model,
        "notices": record.notices,
        "stats": record.stats,
        "draft": _pack_draft(record.state.draft, arrays),
        "objects": [_pack_object(o, arrays) for o in record.state.objects.values()],
    }
    path = path.expanduser()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            with zipfile.ZipFile(
                file, "w", zipfile.ZIP_DEFLATED, compresslevel=1
            ) as archive:
                archive.writestr(_TEXT, json.dumps(text, indent=1, default=_plain))
                arrays.write(archive)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise SessionError(
            f"The session could not be written to {path} ({error.strerror}). Choose "
            "another folder or make room; a file that was there is unchanged."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def read(path: Path) -> SessionRecord:
    """Read a session file.

    Raises
    ------
    SessionError
        If it is missing, is no session file, is damaged, or was written by a
        newer version.
    """
    path = path.expanduser()
    try:
        with zipfile.ZipFile(path) as archive:
            text = json.loads(archive.read(_TEXT))
            _check_version(text, path)
            return _unpack(text, _Arrays(archive))
    except FileNotFoundError as error:
        raise SessionError(
            f"There is no session file {path}. Check the path."
        ) from error
    except SessionError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        RuntimeError,  # of zipfile: encrypted, or packed in a way not known
        zipfile.BadZipFile,
        zlib.error,
        ClickSegError,
    ) as error:
        raise SessionError(
            f"{path} is not a session file of napari-clickseg, or it is damaged "
            f"({error}). Choose a file that ClickSession.save wrote."
        ) from error


class _Arrays:
    """Arrays of a file, each stored once, named by their content."""

    def __init__(self, archive: zipfile.ZipFile | None = None) -> None:
        self._archive = archive
        self._members: dict[str, bytes] = {}
        self._read: dict[str, NDArray[Any]] = {}

    def put(self, array: NDArray[Any] | None) -> str | None:
        """Keep an array for writing and return its name."""
        if array is None:
            return None
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
        content = buffer.getvalue()
        name = f"arrays/{hashlib.sha256(content).hexdigest()[:32]}.npy"
        self._members[name] = content
        return name

    def write(self, archive: zipfile.ZipFile) -> None:
        """Write all arrays that were put in."""
        for name, content in self._members.items():
            archive.writestr(name, content)

    def get(self, name: str) -> NDArray[Any]:
        """Read an array; one name always gives the same, read-only one."""
        if name not in self._read:
            assert self._archive is not None
            content = io.BytesIO(self._archive.read(name))
            array = np.lib.format.read_array(content, allow_pickle=False)
            array.flags.writeable = False
            self._read[name] = array
        return self._read[name]


def _plain(value: Any) -> Any:
    """Return a NumPy number as the Python number that JSON knows."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be written as JSON")


def _check_version(text: Any, path: Path) -> None:
    if not isinstance(text, dict) or text.get("format") != FORMAT:
        raise SessionError(
            f"{path} is not a session file of napari-clickseg. Choose a file that "
            "ClickSession.save wrote."
        )
    if text.get("version") != VERSION:
        raise SessionError(
            f"{path} has version {text.get('version')} of the session format "
            f"({text.get('written_by', 'unknown program')}); this program reads "
            f"version {VERSION}. Update napari-clickseg, or save it again there."
        )


def _unpack(text: dict[str, Any], arrays: _Arrays) -> SessionRecord:
    settings = PredictionSettings(**text["settings"])
    image = dict(text["image"])
    pixels = image.pop("pixels")
    state = State(
        _unpack_draft(text["draft"], arrays, settings),
        Objects(_unpack_object(each, arrays, settings) for each in text["objects"]),
    )
    return SessionRecord(
        image=image,
        pixels=None if pixels is None else arrays.get(pixels),
        options=text["options"],
        settings=settings,
        model=text["model"],
        notices=tuple(text["notices"]),
        stats=text["stats"],
        state=state,
    )


def _pack_object(each: SegmentedObject, arrays: _Arrays) -> dict[str, Any]:
    drafts = [_pack_draft(draft, arrays, brief=True) for draft in each.drafts]
    return {
        "label": each.label,
        "pixels": _pack_patch(each.pixels, arrays),
        "drafts": drafts,
        "seconds": each.seconds,
        "time": each.time,
        "overlap": each.overlap,
        "intact": each.intact,
    }


def _unpack_object(
    text: dict[str, Any], arrays: _Arrays, settings: PredictionSettings
) -> SegmentedObject:
    pixels = _unpack_patch(text["pixels"], arrays)
    drafts = [_unpack_draft(d, arrays, settings, pixels) for d in text["drafts"]]
    return SegmentedObject(**{**text, "pixels": pixels, "drafts": tuple(drafts)})


def _pack_draft(
    draft: Draft, arrays: _Arrays, *, brief: bool = False
) -> dict[str, Any]:
    """Return a draft as JSON.

    ``brief``: without the answer's pixels, which are those of the committed
    object, to a byte's precision.
    """
    last = draft.steps[-1].prediction if draft.steps else None
    return {
        "clicks": [click.to_dict() for click in draft.clicks],
        "base": None if draft.base is None else _pack_state(draft.base, arrays),
        "before": draft.before,
        "steps": [
            {"count": s.count, "settle": s.settle, "visible": s.visible}
            for s in draft.steps
        ],
        "last": None if last is None else _pack_prediction(last, arrays, brief),
        "answer": None if brief else _pack_patch(draft.answer, arrays),
        "label": draft.label,
        "opened": None if draft.opened is None else _pack_object(draft.opened, arrays),
        "started": draft.started,
        "spent": draft.spent,
    }


def _unpack_draft(
    text: dict[str, Any],
    arrays: _Arrays,
    settings: PredictionSettings,
    pixels: Patch | None = None,
) -> Draft:
    steps = [
        Step(
            s["count"],
            s["settle"],
            None if s["visible"] is None else Box(*s["visible"]),
        )
        for s in text["steps"]
    ]
    if steps and text["last"] is not None:
        answer = None if pixels is None else _answer_of(pixels, settings.threshold)
        last = _unpack_prediction(text["last"], arrays, answer)
        steps[-1] = replace(steps[-1], prediction=last)
    draft = Draft(
        clicks=tuple(Click.from_dict(click) for click in text["clicks"]),
        base=None if text["base"] is None else _unpack_state(text["base"], arrays),
        before=text["before"],
        steps=tuple(steps),
        label=text["label"],
        started=text["started"],
        spent=text["spent"],
    )
    if text["opened"] is not None:
        draft = replace(draft, opened=_unpack_object(text["opened"], arrays, settings))
    if text["answer"] is not None:
        draft = replace(draft, answer=_unpack_patch(text["answer"], arrays))
    return draft.shown()


def _answer_of(pixels: Patch, threshold: float) -> Patch:
    """Return an answer that has exactly the pixels of an object as its mask."""
    lowest = np.nextafter(np.float32(threshold), np.float32(1))
    inside = np.maximum((pixels.values - np.float32(1)) / np.float32(254), lowest)
    return Patch(pixels.box, np.where(pixels.values > 0, inside, np.float32(0)))


def _pack_prediction(last: Prediction, arrays: _Arrays, brief: bool) -> dict[str, Any]:
    state = last.state
    if brief:
        state = replace(state, box=None, probability=None)
    return {
        "answer": None
        if brief
        else _pack_patch(Patch(last.box, last.probability), arrays),
        "state": _pack_state(state, arrays),
        "settled": last.settled,
        "seconds": last.seconds,
        "notices": last.notices,
    }


def _unpack_prediction(
    text: dict[str, Any], arrays: _Arrays, answer: Patch | None
) -> Prediction:
    state = _unpack_state(text["state"], arrays)
    if answer is None:
        answer = _unpack_patch(text["answer"], arrays)
    else:
        state = replace(state, box=answer.box, probability=answer.values)
    return Prediction(
        box=answer.box,
        probability=answer.values,
        state=state,
        settled=text["settled"],
        seconds=text["seconds"],
        notices=tuple(text["notices"]),
    )


def _pack_patch(patch: Patch, arrays: _Arrays) -> dict[str, Any]:
    return {"box": patch.box, "values": arrays.put(patch.values)}


def _unpack_patch(text: dict[str, Any], arrays: _Arrays) -> Patch:
    return Patch(Box(*text["box"]), arrays.get(text["values"]))


def _pack_state(state: PredictorState, arrays: _Arrays) -> dict[str, Any]:
    """Return all fields of a predictor's state, whatever they are."""
    packed: dict[str, Any] = {}
    for each in fields(state):
        value = getattr(state, each.name)
        if isinstance(value, Box):
            value = {"box": value}
        elif isinstance(value, np.ndarray):
            value = {"array": arrays.put(value)}
        packed[each.name] = value
    return packed


def _unpack_state(text: dict[str, Any], arrays: _Arrays) -> PredictorState:
    values = {}
    for name, value in text.items():
        if isinstance(value, dict) and "box" in value:
            value = Box(*value["box"])
        elif isinstance(value, dict):
            value = arrays.get(value["array"])
        values[name] = value
    return PredictorState(**values)
