"""Answers of long ago are let go, so that a session of a whole day stays small.

Each moment of a history holds the answer that was on screen: a probability for every
pixel that the model looked at. Clicks are small, answers are not. So those of the
newest moments are kept, within a limit of bytes; of older ones what was asked is kept
and the model gives the answer again if somebody goes back so far. An object keeps its
pixels and how sure they are, as a session file does.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from napari_clickseg.session.draft import Draft
from napari_clickseg.session.history import History, Moment
from napari_clickseg.session.objects import SegmentedObject
from napari_clickseg.session.patches import Patch

__all__ = ["KEPT_BYTES", "KEPT_MOMENTS", "Forgetting", "answer_of"]

#: Answers of the newest moments take no more than this (bytes) ...
KEPT_BYTES = 2**26
#: ... but of so many moments they are kept in any case.
KEPT_MOMENTS = 50


class Forgetting:
    """Knows which moments hold answers, the oldest first.

    Parameters
    ----------
    kept_bytes, kept_moments : int
        See :data:`KEPT_BYTES` and :data:`KEPT_MOMENTS`.
    """

    def __init__(
        self, kept_bytes: int = KEPT_BYTES, kept_moments: int = KEPT_MOMENTS
    ) -> None:
        self.kept_bytes, self.kept_moments = kept_bytes, kept_moments
        self._held: OrderedDict[int, tuple[Moment[Any], int]] = OrderedDict()
        self._bytes = 0

    def note(self, history: History[Any], threshold: float) -> None:
        """Take note of the current moment; let go of what is too much by now.

        Parameters
        ----------
        history : History
        threshold : float
            From which probability on a pixel belongs to an object.
        """
        now = history.now
        self._drop(now.number)
        size = _bytes_of(now.state.draft)
        if now.kind == "commit" and now.parent is not None:
            size += _bytes_of(now.parent.state.draft)  # the object has its answers
        if size:
            self._held[now.number] = now, size
            self._bytes += size
        while self._bytes > self.kept_bytes and len(self._held) > self.kept_moments:
            number, (moment, _) = next(iter(self._held.items()))
            self._drop(number)
            _thin(moment, threshold)

    def _drop(self, number: int) -> None:
        held = self._held.pop(number, None)
        if held is not None:
            self._bytes -= held[1]


def _thin(moment: Moment[Any], threshold: float) -> None:
    """Let go of the answers of a moment that is not the current one."""
    draft: Draft = moment.state.draft
    if draft.steps:
        moment.state = replace(moment.state, draft=draft.recipe())
    label = getattr(moment.edit, "label", None)
    objects = moment.state.objects
    if moment.kind == "commit" and label in objects:
        _thin_object(objects[label], threshold)


def _thin_object(each: SegmentedObject, threshold: float) -> None:
    """Let go of an object's answers but for the last, which is in its pixels.

    In place: many moments share its drafts, and so do the objects that it became when
    others took pixels from it. What is seen of them stays as it is.
    """
    for draft in each.drafts:
        steps = [replace(step, prediction=None) for step in draft.steps]
        last = draft.steps[-1].prediction if draft.steps else None
        answer = Patch.empty(np.float32)
        if last is not None and each.intact:
            answer = answer_of(each.pixels, threshold)
            state = replace(last.state, box=answer.box, probability=answer.values)
            last = replace(last, box=answer.box, probability=answer.values, state=state)
            steps[-1] = replace(steps[-1], prediction=last)
        object.__setattr__(draft, "steps", tuple(steps))
        object.__setattr__(draft, "answer", answer)


def answer_of(pixels: Patch, threshold: float) -> Patch:
    """Return an answer that has exactly the pixels of an object as its mask.

    Parameters
    ----------
    pixels : Patch of uint8
        As of :class:`SegmentedObject`.
    threshold : float
    """
    lowest = np.nextafter(np.float32(threshold), np.float32(1))
    inside = np.maximum((pixels.values - np.float32(1)) / np.float32(254), lowest)
    return Patch(pixels.box, np.where(pixels.values > 0, inside, np.float32(0)))


def _bytes_of(draft: Draft) -> int:
    """Return how much the newest answer of a draft holds."""
    last = draft.newest
    if last is None:
        return 0
    found: dict[int, int] = {}
    # An answer of classes, alpha or depth carries no state.
    holders: tuple[Any, ...] = (last, getattr(last, "state", None))
    for holder in filter(is_dataclass, holders):
        for each in fields(holder):
            value = getattr(holder, each.name)
            if isinstance(value, np.ndarray):
                found[id(value)] = value.nbytes
    return sum(found.values())
