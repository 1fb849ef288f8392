"""Answers of long ago are let go, so that a session of a whole day stays small.

Each moment of a history holds the answer that was on screen: a probability for every
pixel that the model looked at. Clicks are small, answers are not. So those of the
newest moments are kept, within a limit of bytes; of older ones what was asked is kept
and the model gives the answer again if somebody goes back so far. An object keeps its
pixels and how sure they are, as a session file does.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.memory import give_back
from napari_clickseg.session.draft import Draft
from napari_clickseg.session.history import History, Moment
from napari_clickseg.session.objects import SegmentedObject
from napari_clickseg.session.patches import Patch

__all__ = ["KEPT_BYTES", "KEPT_MOMENTS", "Forgetting", "answer_of"]

#: Answers of the newest moments take no more than this (bytes) ...
KEPT_BYTES = 2**26
#: ... but of so many moments they are kept in any case.
KEPT_MOMENTS = 50
#: After so many that were let go their memory goes back to the system.
GIVE_BACK_AFTER = 100


class Forgetting:
    """Knows which moments hold answers, the oldest first.

    Parameters
    ----------
    kept_bytes, kept_moments : int
        See :data:`KEPT_BYTES` and :data:`KEPT_MOMENTS`.

    Attributes
    ----------
    bytes : int
        What the answers take that may still be let go, each counted once.
    """

    def __init__(
        self, kept_bytes: int = KEPT_BYTES, kept_moments: int = KEPT_MOMENTS
    ) -> None:
        self.kept_bytes, self.kept_moments = kept_bytes, kept_moments
        self._held: OrderedDict[int, tuple[Moment[Any], list[NDArray[Any]]]] = (
            OrderedDict()
        )
        #: In how many of them an array is: the moments of an object share its answers.
        self._shared: Counter[int] = Counter()
        self.bytes = 0
        self._let_go = 0

    def note(self, history: History[Any], threshold: float) -> None:
        """Take note of the current moment; let go of what is too much by now.

        Parameters
        ----------
        history : History
        threshold : float
            From which probability on a pixel belongs to an object.
        """
        now = history.now
        if type(now.state.draft) is not Draft:
            return  # maps of classes, alpha and depth keep theirs
        self._drop(now.number)
        found = list(_answers(now))
        if found:
            self._held[now.number] = now, found
            for array in found:
                self.bytes += array.nbytes * (id(array) not in self._shared)
                self._shared[id(array)] += 1
        while self.bytes > self.kept_bytes and len(self._held) > self.kept_moments:
            number, (moment, _) = next(iter(self._held.items()))
            self._drop(number)
            _thin(moment, threshold)
            self._let_go += 1
        if self._let_go >= GIVE_BACK_AFTER:
            self._let_go = 0
            give_back()

    def _drop(self, number: int) -> None:
        _, found = self._held.pop(number, (None, []))
        for array in found:
            self._shared[id(array)] -= 1
            if not self._shared[id(array)]:
                del self._shared[id(array)]
                self.bytes -= array.nbytes


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
    values = np.where(pixels.values > 0, inside, np.float32(0))
    values.flags.writeable = False  # else its state takes a copy
    return Patch(pixels.box, values)


def _answers(moment: Moment[Any]) -> Iterator[NDArray[Any]]:
    """Yield the arrays of all answers that a moment holds, each once.

    Not those of the objects that were there before: they are in their own moments.
    """
    state = moment.state
    drafts: list[Draft] = [state.draft]
    label = getattr(moment.edit, "label", None)
    if moment.kind == "commit" and label in state.objects:
        drafts += state.objects[label].drafts
    seen: set[int] = set()
    for draft in drafts:
        if not draft.steps:
            continue  # what was set or painted by hand is no answer
        holders: list[Any] = [draft.answer]
        for step in draft.steps:
            if step.prediction is not None:
                holders += [step.prediction, step.prediction.state]
        for holder in filter(is_dataclass, holders):  # maps have no state
            for each in fields(holder):
                value = getattr(holder, each.name)
                held = isinstance(value, np.ndarray) and value.nbytes
                if held and id(value) not in seen:
                    seen.add(id(value))
                    yield value
