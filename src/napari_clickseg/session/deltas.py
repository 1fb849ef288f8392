"""What one edit changed in the state of a session, for the journal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.session import dense_file
from napari_clickseg.session.dense_draft import DenseDraft, DenseMoment
from napari_clickseg.session.draft import Draft
from napari_clickseg.session.moments import State
from napari_clickseg.session.packed import (
    pack_draft,
    pack_object,
    unpack_draft,
    unpack_object,
)
from napari_clickseg.session.packing import Arrays

__all__ = ["pack_delta", "same_on_disk", "unpack_delta"]


def pack_delta(old: State, new: State, arrays: Arrays) -> dict[str, Any]:
    """Return what makes ``new`` of ``old``, as JSON and arrays.

    Answers of the object in work are left out: the model gives them again. The pixels
    of what was committed are kept.

    Parameters
    ----------
    old, new : State or DenseMoment
        Both of the same kind.
    arrays : Arrays
        Where arrays go.
    """
    text: dict[str, Any] = {}
    if not same_on_disk(old.draft, new.draft):
        text["draft"] = _pack_draft(new.draft, arrays)
    if old.objects is not new.objects:
        changed = list(old.objects.differing(new.objects))
        there = [label for label in changed if label in new.objects]
        text["objects"] = [pack_object(new.objects[each], arrays) for each in there]
        text["gone"] = [label for label in changed if label not in new.objects]
    if isinstance(new, DenseMoment) and isinstance(old, DenseMoment):
        text["results"] = [
            dense_file.pack_result(each, arrays)
            for number, each in new.results.items()
            if old.results.get(number) is not each
        ]
        text["dropped"] = [n for n in old.results if n not in new.results]
    return text


def unpack_delta(
    text: dict[str, Any], old: State, arrays: Arrays, settings: PredictionSettings
) -> State:
    """Return the state that :func:`pack_delta` told of.

    Raises
    ------
    ValueError, KeyError, TypeError, ClickSegError
        If it does not fit.
    """
    new = old
    if "draft" in text:
        new = replace(new, draft=_unpack_draft(text["draft"], old, arrays, settings))
    objects = new.objects
    for label in text.get("gone", ()):
        objects = objects.without(label)
    found = [unpack_object(each, arrays, settings) for each in text.get("objects", ())]
    if found:
        objects = objects.added(found)
    if objects is not new.objects:
        new = replace(new, objects=objects)
    if isinstance(new, DenseMoment):
        results = {n: r for n, r in new.results.items() if n not in text["dropped"]}
        for each in text["results"]:
            kept = dense_file.unpack_result(each, arrays)
            results[kept.number] = kept
        new = replace(new, results=results)
    return new


def same_on_disk(old: Draft, new: Draft) -> bool:
    """Whether two drafts differ in nothing but answers."""
    if old is new:
        return True
    if isinstance(old, DenseDraft) or isinstance(new, DenseDraft):
        return False
    return (
        old.clicks == new.clicks
        and old.base is new.base
        and old.opened is new.opened
        and (old.before, old.label, old.started, old.spent, old.given)
        == (new.before, new.label, new.started, new.spent, new.given)
        and [(s.count, s.settle, s.visible) for s in old.steps]
        == [(s.count, s.settle, s.visible) for s in new.steps]
    )


def _pack_draft(draft: Draft, arrays: Arrays) -> dict[str, Any]:
    if isinstance(draft, DenseDraft):
        return dense_file.pack_draft(draft.recipe(), arrays)
    return pack_draft(draft.recipe(), arrays, brief=True)


def _unpack_draft(
    text: dict[str, Any], old: State, arrays: Arrays, settings: PredictionSettings
) -> Draft:
    if isinstance(old, DenseMoment):
        return dense_file.unpack_draft(text, arrays)
    return unpack_draft(text, arrays, settings)
