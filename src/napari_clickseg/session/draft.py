"""The object in work: its clicks, the mask it started from, its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

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
from napari_clickseg.prediction.settings import Prediction, PredictorState
from napari_clickseg.session.patches import Patch

if TYPE_CHECKING:
    from napari_clickseg.session.objects import SegmentedObject

#: Asks the model: clicks, state of the answer before, settle, visible field.
Ask = Callable[[Clicks, PredictorState | None, bool, Box | None], Prediction]


@dataclass(frozen=True, eq=False)
class Step:
    """One time the model is asked.

    Parameters
    ----------
    count : int
        How many of the draft's clicks it is asked with: the first ``count``. 0 is
        for models that answer without clicks.
    settle : bool or None
        Whether the mirrored pass is part of it; None: not decided yet.
    visible : Box or None
        The field that was shown on the canvas.
    prediction : Prediction or None
        The answer; None: not asked yet, or not kept.
    """

    count: int
    settle: bool | None = None
    visible: Box | None = None
    prediction: Prediction | None = None


@dataclass(frozen=True, eq=False)
class Draft:
    """The object in work, never changed in place.

    An answer depends on the one before it, which is the previous mask of the
    next click. So that an answer follows from the clicks alone and not from
    the way they came about, a click that is moved or removed is answered
    again together with all later ones, from the answer before it; earlier
    answers are kept. A mask that was set or painted by hand is a new start:
    the answers before it no longer count, its clicks still do.

    Parameters
    ----------
    clicks : tuple of Click
        All of the object's clicks.
    base : PredictorState or None
        The mask set or painted by hand that the steps start from.
    before : int
        How many clicks came before that mask.
    steps : tuple of Step
        Each time the model is asked, by growing ``count``; the last is with
        all clicks. Empty where the answer is the base itself.
    answer : Patch of float32
        What is shown: the newest probability, zero outside of the box.
    label : int or None
        The id it goes back to, for an object that was opened again.
    opened : SegmentedObject or None
        That object as it was.
    started : float or None
        When work on it began, in seconds since 1970-01-01 UTC.
    spent : float
        Seconds of work before that.
    given : int
        How many of the first clicks nobody made: they came with a propagation.
    """

    clicks: Clicks = ()
    base: PredictorState | None = None
    before: int = 0
    steps: tuple[Step, ...] = ()
    answer: Patch = field(default_factory=lambda: Patch.empty(np.float32))
    label: int | None = None
    opened: SegmentedObject | None = None
    started: float | None = None
    spent: float = 0.0
    given: int = 0

    @property
    def pending(self) -> bool:
        """Whether the model has still to be asked."""
        return bool(self.steps) and self.steps[-1].prediction is None

    @property
    def settled(self) -> bool:
        """Whether the answer is final (no quick answer that can be improved)."""
        if not self.steps:
            return True
        last = self.steps[-1].prediction
        return last is not None and last.settled

    @property
    def newest(self) -> Prediction | None:
        """The newest answer to the clicks as they stand, if there is one."""
        return self.steps[-1].prediction if self.steps else None

    @property
    def blank(self) -> bool:
        """Whether there is neither a click nor a mask, nor an answer asked for."""
        empty = not self.clicks and not self.steps
        return empty and self.base is None and self.opened is None

    def edited(self, edit: ClickEdit) -> Draft:
        """Return the draft after a change of its clicks, not answered yet."""
        clicks = edit.apply(self.clicks)
        kept, later = self._what_follows(edit, len(clicks))
        steps = [step for step in self.steps if step.count <= kept]
        before = min(self.before, kept)
        for step in later:
            if step.count > (steps[-1].count if steps else before):
                steps.append(replace(step, prediction=None))
        # An edit of a click older than the mask asks the model about that mask.
        asks = len(clicks) > before or kept < self.before
        if clicks and asks and not (steps and steps[-1].count == len(clicks)):
            steps.append(Step(len(clicks)))
        given = self.given if isinstance(edit, AddClick) else min(self.given, kept)
        return replace(
            self, clicks=clicks, before=before, steps=tuple(steps), given=given
        ).shown()

    def without_clicks(self) -> Draft:
        """Return a draft that asks the model before there is any click."""
        return replace(self, steps=(Step(0),))

    def with_mask(self, mask: Patch) -> Draft:
        """Return the draft with a mask (boolean patch) as its new start.

        An empty mask is no mask: the next click starts afresh.
        """
        mask = mask.tight()
        base: PredictorState | None = None
        if not mask.box.empty:
            values = mask.values.astype(np.float32)
            if (last := self._last_state()) is not None:
                base = last.with_mask(values, mask.box)
            else:
                base = PredictorState.from_mask(values, mask.box)
        return replace(self, base=base, before=len(self.clicks), steps=()).shown()

    def inside(self, box: Box, seed: Click | None) -> Draft:
        """Return the draft for an object that lies in a box, not answered yet.

        All clicks are asked again, and ``seed`` as the last of them.
        """
        base = replace(self.base or PredictorState(), within=box)
        clicks, steps = self.clicks, list(self.steps)
        if seed is not None:
            clicks = (*clicks, seed)
        if clicks and not (steps and steps[-1].count == len(clicks)):
            steps.append(Step(len(clicks)))
        asked = tuple(replace(step, prediction=None) for step in steps)
        return replace(self, clicks=clicks, base=base, steps=asked).shown()

    def answered(
        self,
        ask: Ask,
        settle: bool | None,
        visible: Box | None,
        *,
        again: bool = False,
    ) -> Draft:
        """Return the draft with its answer.

        Parameters
        ----------
        ask : callable
            ``(clicks, state, settle, visible) -> Prediction``.
        settle : bool or None
            Whether the last answer includes the mirrored pass; None: as it was
            asked before, else yes. Earlier ones are asked as they were.
        visible : Box or None
            The field shown now, for steps that have not been asked before.
        again : bool
            Ask the last step even where it has an answer.
        """
        steps = list(self.steps)
        known = len(steps)
        while known and (
            steps[known - 1].prediction is None or (again and known == len(steps))
        ):
            known -= 1
        for i in range(known, len(steps)):
            step, last = steps[i], i == len(steps) - 1
            if step.settle is None:
                step = replace(step, settle=settle is not False, visible=visible)
            elif last and settle is not None:
                step = replace(step, settle=settle)
            before = steps[i - 1].prediction if i else None
            prediction = ask(
                self.clicks[: step.count],
                self.base if before is None else before.state,
                bool(step.settle),
                step.visible,
            )
            steps[i] = replace(step, prediction=prediction)
        return replace(self, steps=tuple(steps)).shown()

    def shown(self) -> Draft:
        """Return the draft showing its newest answer; while one is awaited, the old."""
        if self.pending:
            return self
        if self.steps:
            last = self.steps[-1].prediction
            assert last is not None
            return replace(self, answer=Patch(last.box, last.probability))
        if self.base is None or self.base.box is None:
            return replace(self, answer=Patch.empty(np.float32))
        assert self.base.probability is not None
        return replace(self, answer=Patch(self.base.box, self.base.probability))

    def recipe(self) -> Draft:
        """Return the draft without its answers: what to ask, to ask it again."""
        steps = tuple(replace(step, prediction=None) for step in self.steps)
        return replace(self, steps=steps, answer=Patch.empty(np.float32))

    def _what_follows(self, edit: ClickEdit, count: int) -> tuple[int, list[Step]]:
        """Return how many first clicks an edit keeps, and the steps after them."""
        match edit:
            case AddClick(index) if index == len(self.clicks):
                # Answers that nobody waited for are skipped.
                waiting = self.steps[-1:] if self.pending else ()
                return (max(0, waiting[0].count - 1) if waiting else index), []
            case MoveClick(index):
                return index, [s for s in self.steps if s.count > index]
            case RemoveClick(index):
                later = (s for s in self.steps if s.count > index)
                return index, [replace(s, count=s.count - 1) for s in later]
            case ReplaceClicks(old, new, together):
                pairs = zip(old, new, strict=False)
                kept = next(
                    (i for i, (a, b) in enumerate(pairs) if a != b),
                    min(len(old), len(new)),
                )
                first = max(kept + 1, count) if together else kept + 1
                return kept, [Step(n) for n in range(first, count + 1)]
        raise NotImplementedError(edit)

    def _last_state(self) -> PredictorState | None:
        done = [s.prediction.state for s in self.steps if s.prediction is not None]
        return done[-1] if done else self.base
