"""A map of classes, alpha or depth in work, and those that are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import AddClick, ClickEdit
from napari_clickseg.session.draft import Draft, Step
from napari_clickseg.session.moments import State
from napari_clickseg.session.patches import Patch

#: Asks the model: clicks, state of the answer before, trimap, strokes.
DenseAsk = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class DenseStep(Step):
    """One time the model is asked, with what was painted by then.

    Parameters
    ----------
    painted : ndarray, shape (H, W), or None
        Labels of classes where they were painted, else 0.
    """

    painted: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class DenseDraft(Draft):
    """The map in work, never changed in place.

    As for masks (see :class:`napari_clickseg.session.draft.Draft`): all that is
    asked for, as it stands, is answered one after the other. Another trimap is another
    question: all of it is asked again.

    Parameters
    ----------
    trimap : ndarray, shape (H, W), uint8, or None
        What matting knows.
    each : bool
        Every click is answered by itself, as pushes are: none is skipped.
    taken : Committed or None
        What it was, for a map that was opened again.
    """

    trimap: NDArray[np.uint8] | None = None
    each: bool = False
    taken: Committed | None = None

    @property
    def blank(self) -> bool:
        """Whether nothing was asked for, or given, yet."""
        nothing = not self.clicks and not self.steps and self.trimap is None
        return nothing and self.taken is None

    @property
    def painted(self) -> NDArray[Any] | None:
        """All strokes so far."""
        last = self.steps[-1] if self.steps else None
        return last.painted if isinstance(last, DenseStep) else None

    def edited(self, edit: ClickEdit) -> DenseDraft:
        """Return the draft after a change of its clicks, not answered yet."""
        draft = super().edited(edit)
        assert isinstance(draft, DenseDraft)
        if not draft.steps and not self.blank:
            # Nothing is asked for any more: what the network says by itself.
            draft = replace(draft, steps=(Step(0),))
        return draft

    def with_trimap(self, trimap: NDArray[np.uint8]) -> DenseDraft:
        """Return the draft with another trimap, not answered yet."""
        steps = tuple(replace(step, prediction=None) for step in self.steps)
        return replace(self, trimap=trimap, steps=steps or (Step(0),))

    def with_strokes(self, painted: NDArray[Any]) -> DenseDraft:
        """Return the draft with all strokes there are now, not answered yet."""
        steps = list(self.steps)
        if steps and isinstance(steps[-1], DenseStep) and self.pending:
            steps.pop()  # strokes that nobody waited for are answered together
        return replace(self, steps=(*steps, DenseStep(0, painted=painted)))

    def answered(
        self,
        ask: DenseAsk,
        settle: bool | None,
        visible: Box | None,
        *,
        again: bool = False,
    ) -> DenseDraft:
        """Return the draft with its answer; see ``Draft.answered``."""
        steps = list(self.steps)
        known = len(steps)
        while known and (
            steps[known - 1].prediction is None or (again and known == len(steps))
        ):
            known -= 1
        for i in range(known, len(steps)):
            step = steps[i]
            before = steps[i - 1].prediction if i else None
            prediction = ask(
                self.clicks[: step.count],
                None if before is None else before.state,
                trimap=self.trimap,
                painted=step.painted if isinstance(step, DenseStep) else None,
            )
            steps[i] = replace(
                step, settle=settle is not False, visible=visible, prediction=prediction
            )
        return replace(self, steps=tuple(steps)).shown()

    def shown(self) -> DenseDraft:
        """Return the draft showing its newest answer; while one is awaited, the old."""
        draft = super().shown()
        assert isinstance(draft, DenseDraft)
        return draft

    def recipe(self) -> DenseDraft:
        """Return the draft without its answers: what to ask, to ask it again."""
        draft = super().recipe()
        assert isinstance(draft, DenseDraft)
        return draft

    def _what_follows(self, edit: ClickEdit, count: int) -> tuple[int, list[Step]]:
        if self.each and isinstance(edit, AddClick) and edit.index == len(self.clicks):
            return edit.index, []
        return super()._what_follows(edit, count)


@dataclass(frozen=True, eq=False)
class Committed:
    """A map that was kept.

    Parameters
    ----------
    number : int
        From 1.
    values : Patch
        Labels, alpha or depths.
    draft : DenseDraft
        How it came about.
    seconds : float
        Time worked on it.
    time : float
        When it was kept, in seconds since 1970-01-01 UTC.
    """

    number: int
    values: Patch
    draft: DenseDraft
    seconds: float = 0.0
    time: float = 0.0

    def reopened(self) -> DenseDraft:
        """Return a draft that stands where this stands."""
        return replace(self.draft, taken=self, started=None, spent=self.seconds)


@dataclass(frozen=True, eq=False)
class DenseMoment(State):
    """One moment of a session: all that undo brings back.

    Parameters
    ----------
    draft : DenseDraft
    results : mapping
        What was kept, by number.
    """

    draft: DenseDraft = field(default_factory=DenseDraft)
    results: Mapping[int, Committed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ordered = dict(sorted(self.results.items()))
        object.__setattr__(self, "results", MappingProxyType(ordered))

    @property
    def next_number(self) -> int:
        """The number after the highest one."""
        return max(self.results, default=0) + 1

    def begun_anew(self) -> DenseDraft:
        """Return an empty draft of the same kind."""
        return DenseDraft(each=self.draft.each)

    def with_result(self, new: Committed) -> DenseMoment:
        """Return the moment with one more kept, and nothing in work."""
        return DenseMoment(
            self.begun_anew(), self.objects, {**self.results, new.number: new}
        )

    def without(self, number: int) -> DenseMoment:
        """Return the moment without one that was kept."""
        left = {key: each for key, each in self.results.items() if key != number}
        return replace(self, results=left)

    def put_back(self) -> DenseMoment:
        """Return the moment with nothing in work; what was opened goes back."""
        taken = self.draft.taken
        results = {} if taken is None else {taken.number: taken}
        return DenseMoment(self.begun_anew(), self.objects, {**results, **self.results})
