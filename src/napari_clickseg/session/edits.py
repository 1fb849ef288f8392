"""What was done in a session, edit by edit, so that it can be done again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import (
    AddClick,
    Click,
    ClickEdit,
    Clicks,
    MoveClick,
    RemoveClick,
    ReplaceClicks,
)
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.session.draft import Step
from napari_clickseg.session.history import Moment
from napari_clickseg.session.object_edits import (
    ObjectEdit,
    pack_object_edit,
    unpack_object_edit,
)
from napari_clickseg.session.objects import Overlap, SegmentedObject
from napari_clickseg.session.packed import pack_object, unpack_object
from napari_clickseg.session.packing import Arrays, pack_patch, unpack_patch
from napari_clickseg.session.patches import Patch
from napari_clickseg.session.refining import How, as_plain, as_refinement

__all__ = [
    "ASKS",
    "Edit",
    "How",
    "edits_of",
    "pack_edits",
    "pack_how",
    "unpack_edits",
    "unpack_how",
]

#: Kinds of edits after which the model may be asked about the object in work.
ASKS = frozenset(
    {
        *("add", "move", "radius", "remove", "clicks", "automatic", "reopen", "mask"),
        *("scribble", "box", "continue"),
    }
)


@dataclass(frozen=True, eq=False)
class Edit:
    """One edit of a session.

    Parameters
    ----------
    kind : str
        As of :class:`napari_clickseg.session.Change`.
    time : float
        When it was made, in seconds since 1970-01-01 UTC.
    click : ClickEdit, optional
        What was done to the clicks.
    label : int, optional
        The object that was committed, opened or deleted.
    overlap : str, optional
        Policy of a commit.
    patch : Patch, optional
        The mask or the labels that were set or painted; they fill ``patch.box``.
    whole : bool
        Whether the patch stands for the whole image.
    objects : tuple of SegmentedObject
        What was proposed.
    on_objects : ObjectEdit, optional
        What was done to committed objects.
    box : Box, optional
        Where the object in work was said to lie.
    steps : tuple of Step
        What the model was asked of the object in work by the next edit, without its
        answers.
    answered : bool
        Whether the next edit waited for the last answer.
    how : How, optional
        With which settings.
    group : str
        Name of the propagation that it is a part of, over several planes.
    """

    kind: str
    time: float = field(default_factory=time.time)
    click: ClickEdit | None = None
    label: int | None = None
    overlap: Overlap | None = None
    patch: Patch | None = None
    whole: bool = True
    objects: tuple[SegmentedObject, ...] = ()
    on_objects: ObjectEdit | None = None
    box: Box | None = None
    steps: tuple[Step, ...] = ()
    answered: bool = True
    how: How | None = None
    group: str = ""


def edits_of(path: Sequence[Moment[Any]]) -> tuple[Edit, ...]:
    """Return the edits that led from one moment to the next.

    Parameters
    ----------
    path : sequence of Moment
        Such as ``history.path``, which leaves out what was undone.

    Returns
    -------
    tuple of Edit
        Each with how the model was asked until the next edit.
    """
    found = []
    for moment in path:
        if not isinstance(moment.edit, Edit):
            continue
        edit, draft = replace(moment.edit, how=moment.how), moment.state.draft
        if edit.kind in ASKS:
            steps = tuple(replace(step, prediction=None) for step in draft.steps)
            edit = replace(edit, steps=steps, answered=moment.answered)
        found.append(edit)
    return tuple(found)


def pack_edits(edits: Sequence[Edit], arrays: Arrays) -> list[dict[str, Any]]:
    """Return edits as JSON; settings and steps only where they change."""
    packed, how = [], None
    steps: tuple[Any, ...] = ()
    for edit in edits:
        text = _pack(edit, arrays)
        if edit.how is not None and edit.how != how:
            how, text["how"] = edit.how, pack_how(edit.how)
        if edit.steps:
            mine = tuple((s.count, s.settle, s.visible) for s in edit.steps)
            same = [a == b for a, b in zip(mine, steps, strict=False)]
            kept = same.index(False) if False in same else len(same)
            text["steps"] = [kept, *mine[kept:]]
            steps = mine
        packed.append(text)
    return packed


def unpack_edits(
    texts: Sequence[dict[str, Any]], arrays: Arrays, settings: PredictionSettings
) -> tuple[Edit, ...]:
    """Return the edits that :func:`pack_edits` made ready."""
    found, how = [], None
    steps: tuple[Step, ...] = ()
    for text in texts:
        edit = _unpack(text, arrays, settings)
        if "how" in text:
            how = unpack_how(text["how"])
        if "steps" in text:
            kept, *new = text["steps"]
            steps = (*steps[:kept], *map(_step, new))
            edit = replace(edit, steps=steps)
        found.append(replace(edit, how=how))
    return tuple(found)


def pack_how(how: How) -> dict[str, Any]:
    """Return settings as JSON."""
    return {"settings": asdict(how.settings), "refinement": as_plain(how.refinement)}


def unpack_how(text: dict[str, Any]) -> How:
    """Return the settings that :func:`pack_how` made ready."""
    settings = PredictionSettings(**text["settings"])
    return How(settings, as_refinement(text["refinement"]))


def _pack(edit: Edit, arrays: Arrays) -> dict[str, Any]:
    text: dict[str, Any] = {"kind": edit.kind, "time": edit.time}
    if edit.click is not None:
        text["click"] = _pack_click(edit.click)
    for name in ("label", "overlap"):
        if (value := getattr(edit, name)) is not None:
            text[name] = value
    if edit.patch is not None:
        text["patch"], text["whole"] = pack_patch(edit.patch, arrays), edit.whole
    if edit.objects:
        text["objects"] = [pack_object(each, arrays) for each in edit.objects]
    if edit.on_objects is not None:
        text["on_objects"] = pack_object_edit(edit.on_objects)
    if edit.box is not None:
        text["box"] = edit.box
    if not edit.answered:
        text["answered"] = False
    if edit.group:
        text["group"] = edit.group
    return text


def _unpack(text: dict[str, Any], arrays: Arrays, settings: PredictionSettings) -> Edit:
    objects, kind = text.get("objects", ()), str(text["kind"])
    done = text.get("on_objects")
    return Edit(
        kind=kind,
        time=float(text["time"]),
        click=_unpack_click(text["click"]) if "click" in text else None,
        label=text.get("label"),
        overlap=text.get("overlap"),
        patch=unpack_patch(text["patch"], arrays) if "patch" in text else None,
        whole=text.get("whole", True),
        objects=tuple(unpack_object(each, arrays, settings) for each in objects),
        on_objects=None if done is None else unpack_object_edit(kind, done),
        box=Box(*text["box"]) if "box" in text else None,
        answered=bool(text.get("answered", True)),
        group=str(text.get("group", "")),
    )


def _step(text: Any) -> Step:
    count, settle, visible = text
    return Step(count, settle, None if visible is None else Box(*visible))


def _pack_click(edit: ClickEdit) -> dict[str, Any]:
    match edit:
        case AddClick(index, click):
            return {"add": index, "new": click.to_dict()}
        case RemoveClick(index, click):
            return {"remove": index, "old": click.to_dict()}
        case MoveClick(index, old, new):
            return {"move": index, "old": old.to_dict(), "new": new.to_dict()}
        case ReplaceClicks(old_clicks, new_clicks, together):
            both = {"replace": _plain(old_clicks), "new": _plain(new_clicks)}
            return {**both, "together": True} if together else both
    raise NotImplementedError(edit)


def _unpack_click(text: dict[str, Any]) -> ClickEdit:
    if "add" in text:
        return AddClick(int(text["add"]), Click.from_dict(text["new"]))
    if "remove" in text:
        return RemoveClick(int(text["remove"]), Click.from_dict(text["old"]))
    if "move" in text:
        old, new = Click.from_dict(text["old"]), Click.from_dict(text["new"])
        return MoveClick(int(text["move"]), old, new)
    old_clicks, new_clicks = text["replace"], text["new"]
    return ReplaceClicks(
        tuple(map(Click.from_dict, old_clicks)),
        tuple(map(Click.from_dict, new_clicks)),
        bool(text.get("together", False)),
    )


def _plain(clicks: Clicks) -> list[dict[str, Any]]:
    return [click.to_dict() for click in clicks]
