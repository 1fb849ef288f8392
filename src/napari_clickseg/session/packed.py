"""Objects and drafts as JSON and named arrays, for session files and journals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.prediction.settings import Prediction, PredictionSettings
from napari_clickseg.session.draft import Draft, Step
from napari_clickseg.session.forgetting import answer_of
from napari_clickseg.session.objects import SegmentedObject
from napari_clickseg.session.packing import (
    Arrays,
    pack_patch,
    pack_state,
    unpack_patch,
    unpack_state,
)
from napari_clickseg.session.patches import Patch

__all__ = ["pack_draft", "pack_object", "unpack_draft", "unpack_object"]


def pack_object(each: SegmentedObject, arrays: Arrays) -> dict[str, Any]:
    """Return a committed object as JSON."""
    drafts = [pack_draft(draft, arrays, brief=True) for draft in each.drafts]
    # Since version 6, where there is something to tell.
    beside = ("category", "accepted", "carried")
    told = {name: value for name in beside if (value := getattr(each, name))}
    return {
        **told,
        "label": each.label,
        "pixels": pack_patch(each.pixels, arrays),
        "drafts": drafts,
        "seconds": each.seconds,
        "time": each.time,
        "overlap": each.overlap,
        "intact": each.intact,
        "proposed_by": each.proposed_by,
    }


def unpack_object(
    text: dict[str, Any], arrays: Arrays, settings: PredictionSettings
) -> SegmentedObject:
    """Return the object that :func:`pack_object` made ready."""
    pixels = unpack_patch(text["pixels"], arrays)
    drafts = [unpack_draft(d, arrays, settings, pixels) for d in text["drafts"]]
    return SegmentedObject(**{**text, "pixels": pixels, "drafts": tuple(drafts)})


def pack_draft(draft: Draft, arrays: Arrays, *, brief: bool = False) -> dict[str, Any]:
    """Return a draft as JSON.

    ``brief``: without the answer's pixels, which are those of the committed
    object, to a byte's precision.
    """
    last = draft.steps[-1].prediction if draft.steps else None
    given = {"given": draft.given} if draft.given else {}
    return {
        **given,
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
        "opened": None if draft.opened is None else pack_object(draft.opened, arrays),
        "started": draft.started,
        "spent": draft.spent,
    }


def unpack_draft(
    text: dict[str, Any],
    arrays: Arrays,
    settings: PredictionSettings,
    pixels: Patch | None = None,
) -> Draft:
    """Return the draft that :func:`pack_draft` made ready.

    ``pixels``: those of the committed object, where the draft was packed in brief.
    """
    steps = [
        Step(
            s["count"],
            s["settle"],
            None if s["visible"] is None else Box(*s["visible"]),
        )
        for s in text["steps"]
    ]
    if steps and text["last"] is not None:
        answer = None if pixels is None else answer_of(pixels, settings.threshold)
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
        given=text.get("given", 0),
    )
    if text["opened"] is not None:
        draft = replace(draft, opened=unpack_object(text["opened"], arrays, settings))
    if text["answer"] is not None:
        draft = replace(draft, answer=unpack_patch(text["answer"], arrays))
    return draft.shown()


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
