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
    """One time the model is asked.

    Parameters
    ----------
    mode : str
        ``"click"``, ``"push"`` or ``"stroke"``: what is new then.
    painted : ndarray, shape (H, W), or None
        For strokes: labels of classes where they were painted by then, else 0.
    """

    mode: str = "click"
    painted: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class DenseDraft(Draft):
    """The map in work, never changed in place.

    As for masks (see :class:`napari_clickseg.session.draft.Draft`): all that is
    asked for, as it stands, is answered one after the other, each in its mode. Another
    trimap is another question: all of it is asked again.

    Parameters
    ----------
    trimap : ndarray, shape (H, W), uint8, or None
        What matting knows.
    mode : str
        Mode of what is asked for next.
    taken : Committed or None
        What it was, for a map that was opened again.
    """

    trimap: NDArray[np.uint8] | None = None
    mode: str = "click"
    taken: Committed | None = None

    @property
    def blank(self) -> bool:
        """Whether nothing was asked for, or given, yet."""
        nothing = not self.clicks and not self.steps and self.trimap is None
        return nothing and self.taken is None

    @property
    def painted(self) -> NDArray[Any] | None:
        """All strokes so far."""
        for step in reversed(self.steps):
            if isinstance(step, DenseStep) and step.painted is not None:
                return step.painted
        return None

    def mode_of(self, index: int) -> str:
        """Return the mode in which a click was made: that of its first answer."""
        for step in self.steps:
            if step.count > index:
                return _mode(step)
        return self.mode

    def edited(self, edit: ClickEdit) -> DenseDraft:
        """Return the draft after a change of its clicks, not answered yet."""
        clicks = edit.apply(self.clicks)
        kept, later = self._what_follows(edit, len(clicks))
        steps = [step for step in self.steps if step.count <= kept]
        for step in later:
            newest = steps[-1].count if steps else 0
            if step.count > newest or _mode(step) == "stroke":
                steps.append(replace(step, prediction=None))
        if clicks and not (steps and steps[-1].count == len(clicks)):
            steps.append(DenseStep(len(clicks), mode=self.mode))
        if not steps and not self.blank:
            # Nothing is asked for any more: what the network says by itself.
            steps = [DenseStep(0, mode=self.mode)]
        return replace(self, clicks=clicks, steps=tuple(steps)).shown()

    def with_trimap(self, trimap: NDArray[np.uint8]) -> DenseDraft:
        """Return the draft with another trimap, not answered yet."""
        steps = tuple(replace(step, prediction=None) for step in self.steps)
        begun = steps or (DenseStep(0, mode=self.mode),)
        return replace(self, trimap=trimap, steps=begun)

    def with_strokes(self, painted: NDArray[Any]) -> DenseDraft:
        """Return the draft with all strokes there are now, not answered yet."""
        steps = list(self.steps)
        if steps and _mode(steps[-1]) == "stroke" and self.pending:
            steps.pop()  # strokes that nobody waited for are answered together
        stroke = DenseStep(len(self.clicks), mode="stroke", painted=painted)
        return replace(self, steps=(*steps, stroke))

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
            prediction = self._asked(ask, step, before)
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

    def _asked(self, ask: DenseAsk, step: Step, before: Any) -> Any:
        """Return the answer to a step: to those of its clicks that are of its mode."""
        mode = _mode(step)
        chosen = [i for i in range(step.count) if self.mode_of(i) == mode]
        answer = ask(
            tuple(self.clicks[i] for i in chosen),
            None if before is None else before.state,
            mode=mode,
            trimap=self.trimap,
            painted=step.painted if isinstance(step, DenseStep) else None,
        )
        return answer if chosen == list(range(step.count)) else answer.of(chosen)

    def _what_follows(self, edit: ClickEdit, count: int) -> tuple[int, list[Step]]:
        if isinstance(edit, AddClick) and edit.index == len(self.clicks):
            waiting = self.steps[-1:] if self.pending else ()
            # Pushes are answered each by itself, and so is what came in another mode.
            if any({_mode(step), self.mode} != {"click"} for step in waiting):
                return edit.index, []
        return super()._what_follows(edit, count)


def _mode(step: Step) -> str:
    return step.mode if isinstance(step, DenseStep) else "click"


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
        return DenseDraft(mode=self.draft.mode)

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
