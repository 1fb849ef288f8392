"""Whatever is done in whatever order: nothing gets lost, and undo undoes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.session.fakes import FakePredictor

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError
from napari_clickseg.prediction import PredictorState
from napari_clickseg.session import OVERLAPS, ClickSession

SHAPE = (24, 30)
ALL = Box(0, 0, *SHAPE)
positions = st.tuples(
    st.floats(0, SHAPE[0] - 1, width=16), st.floats(0, SHAPE[1] - 1, width=16)
)
settles = st.sampled_from([None, True, False])
chances = st.integers(0, 10**6)


@st.composite
def boxes(draw):
    top, left = draw(st.integers(0, 20)), draw(st.integers(0, 26))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    return Box(top, left, top + height, left + width).clip(SHAPE)


class Sessions(RuleBasedStateMachine):
    """Drives a session, and keeps its own simple account of what must hold."""

    @initialize()
    def start(self):
        self.session = ClickSession(predictor=FakePredictor())
        self.session.set_image(np.zeros(SHAPE, np.uint8))
        # What a viewer shows that only ever hears of changes.
        self.shown_mask = np.zeros(SHAPE, bool)
        self.shown_labels = np.zeros(SHAPE, np.int32)
        # Pictures of the past and of what was undone.
        self.past = [self.picture()]
        self.future = []

    def picture(self, session=None):
        """Everything that undo has to bring back."""
        s = session or self.session
        return (
            s.clicks,
            s.mask.tobytes(),
            s.probability.tobytes(),
            s.labels.tobytes(),
            tuple((o.label, o.clicks, o.area) for o in s.objects.values()),
        )

    def note(self, change):
        """Show a change as the dock does."""
        if change.mask is not None:
            self.shown_mask[change.bbox.slices] = change.mask
        if change.labels is not None:
            self.shown_labels[change.bbox.slices] = change.labels

    def edited(self, change):
        self.note(change)
        self.past.append(self.picture())
        self.future.clear()

    # -- edits

    @rule(at=positions, positive=st.booleans(), predict=st.booleans(), settle=settles)
    def add(self, at, positive, predict, settle):
        before = len(self.session.clicks)
        self.edited(
            self.session.add_click(at, positive, predict=predict, settle=settle)
        )
        assert len(self.session.clicks) == before + 1

    @precondition(lambda self: self.session.clicks)
    @rule(which=chances, to=positions, predict=st.booleans())
    def move(self, which, to, predict):
        index = which % len(self.session.clicks)
        self.edited(self.session.move_click(index, to, predict=predict))
        assert self.session.clicks[index].position == to

    @precondition(lambda self: self.session.clicks)
    @rule(which=chances, predict=st.booleans())
    def remove(self, which, predict):
        index = which % len(self.session.clicks)
        left = list(self.session.clicks)
        del left[index]
        self.edited(self.session.remove_click(index, predict=predict))
        assert list(self.session.clicks) == left

    @rule(clicks=st.lists(positions, max_size=3), predict=st.booleans())
    def replace_all(self, clicks, predict):
        self.edited(self.session.set_clicks(clicks, predict=predict))
        assert [c.position for c in self.session.clicks] == clicks

    @rule(box=boxes(), value=st.booleans(), whole=st.booleans())
    def paint(self, box, value, whole):
        expected = self.session.mask.copy()
        expected[box.slices] = value
        if whole:
            self.edited(self.session.set_mask(expected))
        else:
            part = np.full(box.shape, value)
            self.edited(self.session.set_mask(part, box=box))
        np.testing.assert_array_equal(self.session.mask, expected)
        assert not self.session.pending

    @rule(label=st.none() | st.integers(1, 6), overlap=st.sampled_from(OVERLAPS))
    def commit(self, label, overlap):
        session = self.session
        if session.pending:
            self.note(session.update(settle=True))
            self.past[-1] = self.picture()
        mask, before = session.mask, session.labels
        expected = label or session.opened_label or max(session.objects, default=0) + 1
        try:
            committed = session.commit(label, overlap=overlap)
        except MaskError:
            taken = (before > 0) & (before != expected)
            assert overlap != "overwrite" or not mask.any()
            assert not mask.any() or taken[mask].all()
            return
        self.edited(session.change)
        assert committed == expected
        after = session.labels
        # Pixels outside the mask belong to whom they belonged.
        np.testing.assert_array_equal(after[~mask], before[~mask])
        assert np.isin(after[mask], [committed, *np.unique(before[mask])]).all()
        assert (after[mask] > 0).all()
        if overlap == "keep":
            np.testing.assert_array_equal(after[before > 0], before[before > 0])
        if overlap == "overwrite":
            assert (after[mask] == committed).all()
        assert not session.mask.any()
        assert session.clicks == ()

    @precondition(lambda self: self.session.objects and not self.session.in_work)
    @rule(which=chances)
    def reopen(self, which):
        session = self.session
        label = list(session.objects)[which % len(session.objects)]
        before = session.labels
        self.edited(session.reopen(label))
        np.testing.assert_array_equal(session.mask, before == label)
        np.testing.assert_array_equal(
            session.labels, np.where(before == label, 0, before)
        )

    @rule()
    def discard(self):
        session = self.session
        opened = session.state.draft.opened
        if session.in_work:
            self.edited(session.discard())
        else:
            self.note(session.discard())
        assert not session.in_work
        if opened is not None and opened.label not in session.objects:
            # Its pixels were painted over while it was open.
            assert (session.labels[opened.mask.within(ALL)] > 0).all()

    @precondition(lambda self: self.session.objects)
    @rule(which=chances)
    def delete(self, which):
        session = self.session
        label = list(session.objects)[which % len(session.objects)]
        before = session.labels
        self.edited(session.delete(label))
        np.testing.assert_array_equal(
            session.labels, np.where(before == label, 0, before)
        )

    @rule(box=boxes(), label=st.integers(0, 5))
    def paint_labels(self, box, label):
        expected = self.session.labels.copy()
        expected[box.slices] = label
        part = np.full(box.shape, label)
        self.edited(self.session.set_labels(part, box=box))
        np.testing.assert_array_equal(self.session.labels, expected)

    # -- answers within a moment

    @rule(settle=st.booleans())
    def update(self, settle):
        self.note(self.session.update(settle=settle))
        assert not self.session.pending
        self.past[-1] = self.picture()

    @rule()
    def settle(self):
        change = self.session.settle()
        if change is not None:
            self.note(change)
        assert self.session.settled
        self.past[-1] = self.picture()

    # -- back and forth

    @rule(steps=st.integers(1, 5))
    def undo(self, steps):
        for _ in range(steps):
            change = self.session.undo()
            if len(self.past) == 1:
                assert change is None
                return
            self.note(change)
            self.future.append(self.past.pop())
            assert self.picture() == self.past[-1]

    @rule(steps=st.integers(1, 5))
    def redo(self, steps):
        for _ in range(steps):
            change = self.session.redo()
            if not self.future:
                assert change is None
                return
            self.note(change)
            self.past.append(self.future.pop())
            assert self.picture() == self.past[-1]

    @rule()
    def save_and_load(self):
        # Waiting for the disk a hundred times would take minutes.
        with tempfile.TemporaryDirectory() as folder, patch("os.fsync"):
            path = self.session.save(Path(folder) / "x.clickseg")
            other = ClickSession.load(path)
        assert self.picture(other) == self.picture()
        assert other.pending == self.session.pending
        assert other.settled == self.session.settled

    # -- what always holds

    @invariant()
    def the_viewer_shows_what_is(self):
        np.testing.assert_array_equal(self.shown_mask, self.session.mask)
        np.testing.assert_array_equal(self.shown_labels, self.session.labels)

    @invariant()
    def every_pixel_has_one_owner(self):
        session = self.session
        count = np.zeros(SHAPE, int)
        for each in session.objects.values():
            inside = each.mask.within(ALL)
            assert inside.any()
            assert each.mask.tight().box == each.pixels.box
            count += inside
            assert (session.labels[inside] == each.label).all()
        assert count.max(initial=0) <= 1
        np.testing.assert_array_equal(count > 0, session.labels > 0)
        assert session.opened_label is None or session.in_work

    @invariant()
    def the_answer_is_that_of_the_clicks(self):
        """As if the steps were asked one after the other, from the base."""
        draft = self.session.state.draft
        if draft.pending:
            return
        expected = np.zeros(SHAPE, np.float32)
        if draft.base is not None:
            expected = draft.base.window(ALL)
        counts = [step.count for step in draft.steps]
        assert counts == sorted(set(counts))
        state: PredictorState | None = draft.base
        for step in draft.steps:
            prediction = FakePredictor().predict(
                self.session.image,
                draft.clicks[: step.count],
                state,
                settle=bool(step.settle),
            )
            state = prediction.state
            expected = state.window(ALL)
        assert not counts or counts[-1] == len(draft.clicks)
        np.testing.assert_array_equal(self.session.probability, expected)


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=60, stateful_step_count=30)
