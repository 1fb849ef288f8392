"""Ask everything that was asked in a session again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from napari_clickseg.clicks import AddClick
from napari_clickseg.errors import Cancelled, ClickError, MaskError, SessionError
from napari_clickseg.session.answering import Asking
from napari_clickseg.session.carrying import redo_carry, redo_continue
from napari_clickseg.session.draft import Ask, Draft, Step
from napari_clickseg.session.edits import ASKS, Edit
from napari_clickseg.session.moments import State
from napari_clickseg.session.object_edits import ObjectEdit
from napari_clickseg.session.objects import (
    Objects,
    SegmentedObject,
    certainty,
    inherited,
)
from napari_clickseg.session.patches import Patch

MaskOf = Callable[[Draft], Patch]


def redone(
    state: State,
    edits: Sequence[Edit],
    asking: Asking,
    mask_of: MaskOf,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[State, tuple[str, ...]]:
    """Return what edits give when they are made again, one after the other.

    Parameters
    ----------
    state : State
        What there was before them.
    edits : sequence of Edit
    asking : Asking
        Asks the model, each time with the settings of that time; without a time
        budget, as nobody waits.
    mask_of : callable
        Returns the mask of an answer.
    progress : callable, optional
        Called with the number of commits done and of all.

    Returns
    -------
    State, tuple of str
        And what the user should know: which edits came to nothing.
    """
    again = _Again(state, asking, mask_of)
    total = sum(edit.kind == "commit" for edit in edits)
    done = 0
    for edit in edits:
        if edit.kind == "commit":
            if progress is not None:
                progress(done, total)
            done += 1
        again.make(edit)
    if progress is not None:
        progress(total, total)
    return again.state, tuple(again.notices)


class _Again:
    """A state to which edits are made."""

    def __init__(self, state: State, asking: Asking, mask_of: MaskOf) -> None:
        self.state = state
        self.notices: list[str] = []
        self._asking, self._mask_of = asking, mask_of

    def make(self, edit: Edit) -> None:
        """Make an edit; one that does not fit any more is left out, and told."""
        if edit.how is not None:
            self._asking.use(edit.how)
        try:
            if edit.on_objects is not None:
                self._on_objects(edit.on_objects)
            else:
                getattr(self, f"_{edit.kind}", self._click)(edit)
        except Cancelled:
            raise
        except (ClickError, MaskError, SessionError, KeyError) as error:
            self.notices.append(
                f"The edit '{edit.kind}' does not fit any more and was left out: "
                f"{error}"
            )
            return
        if edit.kind in ASKS:
            self._answer(edit)

    def _answer(self, edit: Edit) -> None:
        """Ask the model as it was asked then."""
        draft, steps = self.state.draft, list(edit.steps)
        for i, (mine, theirs) in enumerate(zip(draft.steps, steps, strict=False)):
            if mine.prediction is None or _bare(mine) != _bare(theirs):
                break
            steps[i] = mine
        draft = replace(draft, steps=tuple(steps))
        if edit.answered:
            draft = draft.answered(self._asking, None, None)
        self.state = replace(self.state, draft=draft)

    def _click(self, edit: Edit) -> None:
        assert edit.click is not None
        self._draft(self.state.draft.edited(edit.click), edit)

    def _box(self, edit: Edit) -> None:
        assert edit.box is not None
        seed = edit.click.click if isinstance(edit.click, AddClick) else None
        self._draft(self.state.draft.inside(edit.box, seed), edit)

    def _automatic(self, edit: Edit) -> None:
        self._draft(self.state.draft.without_clicks(), edit)

    def _mask(self, edit: Edit) -> None:
        assert edit.patch is not None
        old, patch = self.state.draft, edit.patch
        if not edit.whole:
            before = self._mask_of(old)
            whole = before.box.union(patch.box)
            values = before.within(whole)
            values[patch.box.relative_to(whole).slices] = patch.values
            patch = Patch(whole, values)
        self._draft(old.with_mask(patch), edit)

    def _draft(self, draft: Draft, edit: Edit) -> None:
        if draft.started is None:
            draft = replace(draft, started=edit.time)
        self.state = replace(self.state, draft=draft)

    def _commit(self, edit: Edit) -> None:
        state, draft = self.state, self.state.draft
        assert edit.label is not None
        if draft.pending:
            self._answer(edit)
            draft = self.state.draft
        self.state = State(Draft(), state.objects)
        mask = self._mask_of(draft)
        seconds = 0.0 if draft.started is None else edit.time - draft.started
        new = SegmentedObject(
            edit.label,
            certainty(draft.answer, mask),
            (replace(draft, label=None, opened=None),),
            seconds=draft.spent + max(0.0, seconds),
            time=edit.time,
            overlap=edit.overlap or "keep",
            intact=True,
            **inherited(draft),
        )
        try:
            self.state = State(Draft(), state.objects.committed(new))
        except MaskError:
            self.notices.append(_gone(edit.label))

    def _reopen(self, edit: Edit) -> None:
        state = self.state.put_back()
        self.state = state
        if edit.label is None or edit.label not in state.objects:
            return  # told when it was committed
        opened = state.objects[edit.label]
        self.state = State(opened.reopened(), state.objects.without(opened.label))

    def _discard(self, edit: Edit) -> None:
        del edit
        self.state = self.state.put_back()

    def _delete(self, edit: Edit) -> None:
        objects = self.state.objects
        if edit.label is not None and edit.label in objects:
            self.state = replace(self.state, objects=objects.without(edit.label))

    def _on_objects(self, edit: ObjectEdit) -> None:
        self.state = replace(self.state, objects=edit.apply(self.state.objects))

    def _labels(self, edit: Edit) -> None:
        assert edit.patch is not None
        objects = self.state.objects.repainted(edit.patch)
        self.state = replace(self.state, objects=objects)

    def _carry(self, edit: Edit) -> None:
        self.state = redo_carry(edit, self.state, self._asking, self._mask_of)

    def _continue(self, edit: Edit) -> None:
        self.state = redo_continue(edit, self.state)

    def _propagate(self, edit: Edit) -> None:
        """Take it as right, as whoever set out from here did; others have changed."""
        label = edit.label
        if label is not None and label in self.state.objects:
            objects = self.state.objects.confirmed(label)
            self.state = replace(self.state, objects=objects)

    def _propose(self, edit: Edit) -> None:
        objects = self.state.objects
        for each in edit.objects:
            try:
                objects = objects.committed(each)
            except MaskError:
                self.notices.append(_gone(each.label))
        self.state = replace(self.state, objects=objects)


def _bare(step: Step) -> tuple[object, ...]:
    return step.count, step.settle, step.visible


def _gone(label: int) -> str:
    return (
        f"Object {label} has no pixels any more: the model finds nothing there, or "
        "only what other objects have."
    )


def replayed(
    state: State,
    ask: Ask,
    mask_of: MaskOf,
) -> tuple[State, tuple[str, ...]]:
    """Return what the clicks of a state give when they are answered again.

    Parameters
    ----------
    state : State
        The objects that were clicked are made again in the order of their
        commits, by the steps that were asked then; others are taken over.
    ask : callable
        Asks the model (see :data:`napari_clickseg.session.draft.Ask`).
    mask_of : callable
        Returns the mask of an answer.

    Returns
    -------
    State, tuple of str
        And what the user should know: which objects are empty now.
    """
    clicked = [each for each in state.objects.values() if each.drafts]
    clicked.sort(key=lambda each: each.time)
    objects = Objects(each for each in state.objects.values() if not each.drafts)
    notices = []
    for each in clicked:
        for draft in each.drafts:
            draft = draft.recipe().answered(ask, None, None)
            try:
                objects = objects.committed(_remade(each, draft, mask_of(draft)))
            except MaskError:
                notices.append(_gone(each.label))
    draft = state.draft.recipe().answered(ask, None, None)
    return State(draft, objects), tuple(notices)


def _remade(old: SegmentedObject, draft: Draft, mask: Patch) -> SegmentedObject:
    return replace(
        old,
        pixels=certainty(draft.answer, mask),
        drafts=(draft,),
        seconds=old.seconds / len(old.drafts),
        intact=True,
    )
