"""Session files: a zip of one JSON text and NumPy arrays, without pickle."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg import __version__
from napari_clickseg.errors import SessionError
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.session.archive import FORMAT, TEXT, reading, write_archive
from napari_clickseg.session.edits import Edit, pack_edits, unpack_edits
from napari_clickseg.session.effort import Activity, as_activity
from napari_clickseg.session.moments import State
from napari_clickseg.session.objects import Objects
from napari_clickseg.session.packed import (
    pack_draft,
    pack_object,
    unpack_draft,
    unpack_object,
)
from napari_clickseg.session.packing import Arrays

VERSION = 6
#: Version 1 knew neither refinements nor radii, version 2 no models that remember and
#: no fixed windows, version 3 no proposals; what they hold is read as it was. Version
#: 4 is that of classes, alpha and depth, version 5 knew no classes of objects, no edits
#: of committed ones and no boxes.
READABLE = (1, 2, 3, 5, VERSION)
#: Images in memory of at most this many bytes are put into the file.
IMAGE_LIMIT = 2**26


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
    origin : Objects
        The objects that there were before the first edit.
    edits : tuple of Edit or None
        All edits since, to make them again; None: they are not known.
    activity : tuple of Activity
        What the user did and when, undo and redo included.
    """

    image: dict[str, Any]
    pixels: NDArray[Any] | None
    options: dict[str, Any]
    settings: PredictionSettings
    model: dict[str, Any]
    notices: tuple[str, ...]
    stats: dict[str, Any]
    state: State
    origin: Objects = field(default_factory=Objects)
    edits: tuple[Edit, ...] | None = None
    activity: tuple[Activity, ...] = ()


def write(record: SessionRecord, path: Path) -> Path:
    """Write a session file; an older one stays until the new one is complete."""
    arrays = Arrays()
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
        "draft": pack_draft(record.state.draft, arrays),
        "objects": [pack_object(o, arrays) for o in record.state.objects.values()],
        "versions": versions(),
    }
    if record.edits is not None:
        origin = record.origin.values()
        text["origin"] = [pack_object(each, arrays) for each in origin]
        text["edits"] = pack_edits(record.edits, arrays)
    text["activity"] = record.activity
    return write_archive(path, {TEXT: text}, arrays)


def read(path: Path) -> SessionRecord:
    """Read a session file.

    Raises
    ------
    SessionError
        If it is missing, is no session file, is damaged, or was written by a
        newer version.
    """
    with reading(path, "a session file of napari-clickseg") as archive:
        text = json.loads(archive.read(TEXT))
        _check_version(text, path)
        return _unpack(text, Arrays(archive))


def versions() -> dict[str, str]:
    """Return what is at work here: this package, Python, NumPy, and torch if loaded."""
    torch = sys.modules.get("torch")
    found = {
        "napari-clickseg": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.platform(terse=True),
    }
    if torch is not None:
        found["torch"] = str(torch.__version__)
    return found


def image_notes(image: Any) -> dict[str, Any]:
    """Return what a file says of its image, if all is there that is needed later.

    Raises
    ------
    KeyError, TypeError, ValueError
        If not: the file is damaged.
    """
    notes = dict(image)
    height, width = notes["shape"]
    notes["shape"] = [int(height), int(width)]
    for name in ("dtype", "signature", "channels", "contrast", "channel_axis"):
        _ = notes[name]
    return notes


def _check_version(text: Any, path: Path) -> None:
    if not isinstance(text, dict) or text.get("format") != FORMAT:
        raise SessionError(
            f"{path} is not a session file of napari-clickseg. Choose a file that "
            "ClickSession.save wrote."
        )
    if text.get("version") not in READABLE:
        raise SessionError(
            f"{path} has version {text.get('version')} of the session format "
            f"({text.get('written_by', 'unknown program')}); this program reads "
            f"versions up to {VERSION}. Update napari-clickseg, or save it again there."
        )


def _unpack(text: dict[str, Any], arrays: Arrays) -> SessionRecord:
    settings = PredictionSettings(**text["settings"])
    image = image_notes(text["image"])
    pixels = image.pop("pixels")
    state = State(
        unpack_draft(text["draft"], arrays, settings),
        Objects(unpack_object(each, arrays, settings) for each in text["objects"]),
    )
    origin = (unpack_object(o, arrays, settings) for o in text.get("origin", ()))
    edits = text.get("edits")
    return SessionRecord(
        image=image,
        pixels=None if pixels is None else arrays.get(pixels),
        options=text["options"],
        settings=settings,
        model=text["model"],
        notices=tuple(text["notices"]),
        stats=text["stats"],
        state=state,
        origin=Objects(origin),
        edits=None if edits is None else unpack_edits(edits, arrays, settings),
        activity=as_activity(text.get("activity", ())),
    )
