"""Session files: a zip of one JSON text and NumPy arrays, without pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg import __version__
from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import SessionError
from napari_clickseg.prediction.settings import Prediction, PredictionSettings
from napari_clickseg.session.archive import FORMAT, TEXT, reading, write_archive
from napari_clickseg.session.draft import Draft, Step
from napari_clickseg.session.moments import State
from napari_clickseg.session.objects import Objects, SegmentedObject
from napari_clickseg.session.packing import (
    Arrays,
    pack_patch,
    pack_state,
    unpack_patch,
    unpack_state,
)
from napari_clickseg.session.patches import Patch

VERSION = 5
#: Version 1 knew neither refinements nor radii, version 2 no models that remember and
#: no fixed windows, version 3 no proposals; what they hold is read as it was. Version
#: 4 is that of classes, alpha and depth.
READABLE = (1, 2, 3, VERSION)
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
        "draft": _pack_draft(record.state.draft, arrays),
        "objects": [_pack_object(o, arrays) for o in record.state.objects.values()],
    }
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


def _pack_object(each: SegmentedObject, arrays: Arrays) -> dict[str, Any]:
    drafts = [_pack_draft(draft, arrays, brief=True) for draft in each.drafts]
    return {
        "label": each.label,
        "pixels": pack_patch(each.pixels, arrays),
        "drafts": drafts,
        "seconds": each.seconds,
        "time": each.time,
        "overlap": each.overlap,
        "intact": each.intact,
        "proposed_by": each.proposed_by,
    }


def _unpack_object(
    text: dict[str, Any], arrays: Arrays, settings: PredictionSettings
) -> SegmentedObject:
    pixels = unpack_patch(text["pixels"], arrays)
    drafts = [_unpack_draft(d, arrays, settings, pixels) for d in text["drafts"]]
    return SegmentedObject(**{**text, "pixels": pixels, "drafts": tuple(drafts)})


def _pack_draft(draft: Draft, arrays: Arrays, *, brief: bool = False) -> dict[str, Any]:
    """Return a draft as JSON.

    ``brief``: without the answer's pixels, which are those of the committed
    object, to a byte's precision.
    """
    last = draft.steps[-1].prediction if draft.steps else None
    return {
        "clicks": [click.to_dict() for click in draft.clicks],
        "base": None if draft.base is None else pack_state(draft.base, arrays),
        "before": draft.before,
        "steps": [
            {"count": s.count, "settle": s.settle, "visible": s.visible}
            for s in draft.steps
        ],
        "last": None if last is None else _pack_prediction(last, arrays, brief),
        "answer": None if brief else pack_patch(draft.answer, arrays),
        "label": draft.label,
        "opened": None if draft.opened is None else _pack_object(draft.opened, arrays),
        "started": draft.started,
        "spent": draft.spent,
    }


def _unpack_draft(
    text: dict[str, Any],
    arrays: Arrays,
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
        base=None if text["base"] is None else unpack_state(text["base"], arrays),
        before=text["before"],
        steps=tuple(steps),
        label=text["label"],
        started=text["started"],
        spent=text["spent"],
    )
    if text["opened"] is not None:
        draft = replace(draft, opened=_unpack_object(text["opened"], arrays, settings))
    if text["answer"] is not None:
        draft = replace(draft, answer=unpack_patch(text["answer"], arrays))
    return draft.shown()


def _answer_of(pixels: Patch, threshold: float) -> Patch:
    """Return an answer that has exactly the pixels of an object as its mask."""
    lowest = np.nextafter(np.float32(threshold), np.float32(1))
    inside = np.maximum((pixels.values - np.float32(1)) / np.float32(254), lowest)
    return Patch(pixels.box, np.where(pixels.values > 0, inside, np.float32(0)))


def _pack_prediction(last: Prediction, arrays: Arrays, brief: bool) -> dict[str, Any]:
    state = last.state
    if brief:
        state = replace(state, box=None, probability=None)
    return {
        "answer": None
        if brief
        else pack_patch(Patch(last.box, last.probability), arrays),
        "state": pack_state(state, arrays),
        "settled": last.settled,
        "seconds": last.seconds,
        "notices": last.notices,
        "unsatisfied": last.unsatisfied,
        "corrected": last.corrected,
        "contradicted": last.contradicted,
    }


def _unpack_prediction(
    text: dict[str, Any], arrays: Arrays, answer: Patch | None
) -> Prediction:
    state = unpack_state(text["state"], arrays)
    if answer is None:
        answer = unpack_patch(text["answer"], arrays)
    else:
        state = replace(state, box=answer.box, probability=answer.values)
    return Prediction(
        box=answer.box,
        probability=answer.values,
        state=state,
        settled=text["settled"],
        seconds=text["seconds"],
        notices=tuple(text["notices"]),
        # Since version 2.
        unsatisfied=tuple(text.get("unsatisfied", ())),
        corrected=tuple(text.get("corrected", ())),
        contradicted=tuple(text.get("contradicted", ())),
    )
