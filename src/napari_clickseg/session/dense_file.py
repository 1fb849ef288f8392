"""Session files of classes, alpha and depth: JSON and NumPy arrays, without pickle."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from napari_clickseg import __version__
from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import SessionError
from napari_clickseg.limits import DAMAGE
from napari_clickseg.prediction.dense_answering import DenseAnswer
from napari_clickseg.prediction.dense_settings import DenseSettings, DenseState
from napari_clickseg.session.archive import FORMAT, TEXT, reading, write_archive
from napari_clickseg.session.dense_draft import (
    Committed,
    DenseDraft,
    DenseMoment,
    DenseStep,
)
from napari_clickseg.session.draft import Step
from napari_clickseg.session.file import SessionRecord, image_notes
from napari_clickseg.session.packing import Arrays, pack_patch, unpack_patch
from napari_clickseg.session.patches import Patch

#: Above those of masks, so that programs that know only these say what to do.
VERSION = 5
_OWN = "dense.json"


def holds(path: Path) -> bool:
    """Whether a file is a session of classes, alpha or depth."""
    path = Path(path).expanduser()
    try:
        with zipfile.ZipFile(path) as archive:
            return _OWN in archive.namelist()
    except DAMAGE:  # what it is instead, is said by who reads it
        return False


def write(record: SessionRecord, path: Path) -> Path:
    """Write a session file; an older one stays until the new one is complete."""
    arrays, state = Arrays(), record.state
    assert isinstance(state, DenseMoment)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"napari-clickseg {__version__}",
    }
    text = {
        "image": {**record.image, "pixels": arrays.put(record.pixels)},
        "options": record.options,
        "settings": asdict(record.settings),
        "model": record.model,
        "notices": record.notices,
        "stats": record.stats,
        "draft": pack_draft(state.draft, arrays),
        "results": [pack_result(each, arrays) for each in state.results.values()],
    }
    return write_archive(path, {TEXT: head, _OWN: text}, arrays)


def read(path: Path) -> SessionRecord:
    """Read a session file.

    Raises
    ------
    SessionError
        If it is missing, is no such file, is damaged, or of a newer version.
    """
    with reading(path, "a session file of classes, alpha or depth") as archive:
        head = json.loads(archive.read(TEXT))
        if head["format"] != FORMAT or head["version"] != VERSION:
            raise SessionError(
                f"{path} has version {head['version']} of the session format; this "
                f"program reads version {VERSION} for classes, alpha and depth. Update "
                "napari-clickseg, or save it again there."
            )
        return _unpack(json.loads(archive.read(_OWN)), Arrays(archive))


def _unpack(text: dict[str, Any], arrays: Arrays) -> SessionRecord:
    image = image_notes(text["image"])
    pixels = image.pop("pixels")
    given = dict(text["settings"])
    if given["at"] is not None:
        given["at"] = tuple(given["at"])
    results = [unpack_result(each, arrays) for each in text["results"]]
    settings: Any = DenseSettings(**given)
    return SessionRecord(
        image=image,
        pixels=None if pixels is None else arrays.get(pixels),
        options=text["options"],
        settings=settings,
        model=text["model"],
        notices=tuple(text["notices"]),
        stats=text["stats"],
        state=DenseMoment(
            unpack_draft(text["draft"], arrays),
            results={each.number: each for each in results},
        ),
    )


def pack_result(each: Committed, arrays: Arrays) -> dict[str, Any]:
    """Return what was kept as JSON."""
    return {
        "number": each.number,
        "values": pack_patch(each.values, arrays),
        "draft": pack_draft(each.draft, arrays),
        "seconds": each.seconds,
        "time": each.time,
    }


def unpack_result(text: dict[str, Any], arrays: Arrays) -> Committed:
    """Return what :func:`pack_result` made ready."""
    return Committed(
        text["number"],
        unpack_patch(text["values"], arrays),
        unpack_draft(text["draft"], arrays),
        text["seconds"],
        text["time"],
    )


def pack_draft(draft: DenseDraft, arrays: Arrays) -> dict[str, Any]:
    """Return the map in work as JSON."""
    last = draft.steps[-1].prediction if draft.steps else None
    return {
        "clicks": [click.to_dict() for click in draft.clicks],
        "trimap": arrays.put(draft.trimap),
        "mode": draft.mode,
        "steps": [_pack_step(step, arrays) for step in draft.steps],
        "last": None if last is None else _pack_answer(last, arrays),
        "answer": pack_patch(draft.answer, arrays),
        "taken": None if draft.taken is None else pack_result(draft.taken, arrays),
        "started": draft.started,
        "spent": draft.spent,
    }


def _pack_step(step: Step, arrays: Arrays) -> dict[str, Any]:
    assert isinstance(step, DenseStep)
    return {
        "count": step.count,
        "mode": step.mode,
        "settle": step.settle,
        "visible": step.visible,
        "painted": arrays.put(step.painted),
    }


def _unpack_step(text: dict[str, Any], arrays: Arrays) -> Step:
    visible = None if text["visible"] is None else Box(*text["visible"])
    painted = text["painted"]
    return DenseStep(
        text["count"],
        text["settle"],
        visible,
        mode=text["mode"],
        painted=None if painted is None else arrays.get(painted),
    )


def unpack_draft(text: dict[str, Any], arrays: Arrays) -> DenseDraft:
    """Return the map that :func:`pack_draft` made ready."""
    steps = [_unpack_step(each, arrays) for each in text["steps"]]
    if steps and text["last"] is not None:
        last: Any = _unpack_answer(text["last"], arrays)
        steps[-1] = replace(steps[-1], prediction=last)
    taken = text["taken"]
    draft = DenseDraft(
        clicks=tuple(Click.from_dict(click) for click in text["clicks"]),
        steps=tuple(steps),
        answer=unpack_patch(text["answer"], arrays),
        trimap=None if text["trimap"] is None else arrays.get(text["trimap"]),
        mode=text["mode"],
        taken=None if taken is None else unpack_result(taken, arrays),
        started=text["started"],
        spent=text["spent"],
    )
    return draft.shown()


def _pack_answer(last: Any, arrays: Arrays) -> dict[str, Any]:
    state: DenseState | None = last.state
    return {
        "answer": pack_patch(Patch(last.box, last.values), arrays),
        "state": None
        if state is None
        else {
            "purpose": state.purpose,
            "box": state.box,
            "size": state.size,
            "arrays": [
                {name: arrays.put(array) for name, array in layer.items()}
                for layer in state.arrays
            ],
        },
        "settled": last.settled,
        "seconds": last.seconds,
        "notices": last.notices,
        "unsatisfied": last.unsatisfied,
        "corrected": last.corrected,
        "contradicted": last.contradicted,
        "evaluations": last.evaluations,
    }


def _unpack_answer(text: dict[str, Any], arrays: Arrays) -> DenseAnswer:
    answer = unpack_patch(text["answer"], arrays)
    state = None
    if (known := text["state"]) is not None:
        layers = tuple(
            {name: arrays.get(array) for name, array in layer.items()}
            for layer in known["arrays"]
        )
        height, width = known["size"]
        state = DenseState(
            known["purpose"], Box(*known["box"]), (height, width), layers
        )
    return DenseAnswer(
        answer.box,
        answer.values,
        state,
        text["settled"],
        text["seconds"],
        tuple(text["notices"]),
        tuple(text["unsatisfied"]),
        tuple(text["corrected"]),
        tuple(text["contradicted"]),
        text["evaluations"],
    )
