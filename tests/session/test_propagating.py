"""Objects carried from plane to plane: where to, where not, and all of it back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.session.stacks import BrightPredictor, ellipsoids, stack_session

import napari_clickseg as cs
from napari_clickseg.boxes import Box
from napari_clickseg.errors import ImageError, MaskError, SessionError, SettingsError
from napari_clickseg.image import ImageSource
from napari_clickseg.session import ClickSession, PropagationOptions, StackSession
from napari_clickseg.session.changes import ObjectStats, SessionStats
from napari_clickseg.session.following import (
    Appearance,
    core_of,
    innermost,
    moved,
    shift_to,
)
from napari_clickseg.session.patches import Patch
from napari_clickseg.session.propagating import Propagation
from napari_clickseg.session.totals import Totals
from napari_clickseg.stack_samples import draw_nuclei_stack

#: One body in the middle of the stack, one beside it.
ONE = ((6.5, 20, 20), (5, 11, 13), 200)
TWO = ((6, 22, 44), (4, 9, 8), 120)


@pytest.fixture
def truth() -> Any:
    return ellipsoids(ONE, TWO)


@pytest.fixture
def stack(truth: Any) -> StackSession:
    return stack_session(truth[0])


def carried(stack: StackSession, **wishes: Any) -> Any:
    stack.plane(6).add_click((20, 20))
    return stack.propagate(6, **wishes)


# ------------------------------------------------------------------ where to, and end


def test_an_object_is_found_on_all_its_planes_and_nowhere_else(stack, truth):
    done = carried(stack)
    np.testing.assert_array_equal(stack.labels, truth[1] == 1)
    planes = np.flatnonzero((truth[1] == 1).any(axis=(1, 2)))
    assert done.planes == tuple(i for i in planes if i != 6)
    assert sorted(end.index for end in done.ends) == [planes[0] - 1, planes[-1] + 1]
    assert all(end.doubtful for end in done.ends)
    assert str(done).startswith(f"Carried to {len(planes) - 1} planes; stopped at ")


def test_each_plane_is_asked_with_one_click_and_a_core(stack):
    carried(stack, direction="forward", planes=1)
    asked = stack.predictor.asked[-1]
    [click] = asked["clicks"]
    state = asked["state"]
    assert click.positive
    assert (click.row, click.col) == innermost(stack.plane(6).objects[1].mask)[0]
    assert state.external
    given = int((state.probability > 0).sum())
    assert 0.3 < given / stack.plane(6).objects[1].area < 0.7
    assert state.min_crop < 60, "near the object, not the usual window"


def test_directions_and_reach(stack):
    assert carried(stack, direction="forward").planes == (7, 8, 9, 10, 11)
    stack.undo(6)
    done = stack.propagate(6, direction="backward", planes=2)
    assert done.planes == (4, 5)
    assert [end.reason for end in done.ends] == ["as far as asked for"]
    assert not done.ends[0].doubtful


def test_the_end_of_the_stack(truth):
    stack = stack_session(truth[0][4:9])
    stack.plane(2).add_click((20, 20))
    done = stack.propagate(2)
    assert done.planes == (0, 1, 3, 4)
    assert {end.reason for end in done.ends} == {"end of the stack"}


def test_a_jump_ends_the_way(truth):
    image = truth[0].copy()
    image[8, 5:40, 5:55] = 200  # all of it is as bright there
    done = carried(stack_session(image), direction="forward")
    assert done.planes == (7,)
    assert done.ends[0].index == 8
    assert done.ends[0].reason.startswith("jumped: area \N{MULTIPLICATION SIGN}")


def test_planes_far_apart_may_differ_more():
    image, _ = ellipsoids(((6, 20, 20), (5, 5, 5), 200))
    image[7, 13:27, 13:28] = 200  # three times as large
    near, far = stack_session(image), stack_session(image, spacing=9.0)
    for stack, planes in ((near, ()), (far, (7,))):
        stack.plane(6).add_click((20, 20))
        done = stack.propagate(6, direction="forward", planes=1)
        assert done.planes == planes


def test_an_unsure_answer_has_vanished(stack):
    stack.plane(6).add_click((20, 20))
    stack.commit(6)
    stack.predictor.sure = 0.55
    done = stack.propagate(6, 1, direction="forward")
    assert done.planes == ()
    assert done.ends[0].reason == "vanished: only 55% sure"


def test_an_object_that_moves_is_found_again():
    shape = (8, 60, 90)
    image = np.full(shape, 20, np.uint8)
    rows, cols = np.ogrid[: shape[1], : shape[2]]
    texture = np.random.default_rng(0).integers(0, 12, (60, 90)).astype(np.uint8)
    for t in range(shape[0]):
        inside = np.hypot(rows - 30, cols - (14 + 8 * t)) < 7
        image[t][inside] = 200
        image[t] += texture
    stack = stack_session(image)
    stack.plane(0).add_click((30, 14))
    assert len(stack.propagate(0).planes) == 7
    assert [stack.plane(t).objects[1].pixels.box.left for t in (0, 7)] == [8, 64]
    still = stack_session(image)
    still.plane(0).add_click((30, 14))
    assert len(still.propagate(0, search=0.0).planes) < 7


# --------------------------------------------------------------------- other objects


def test_objects_of_others_keep_their_pixels():
    image, objects = ellipsoids(((6, 20, 20), (5, 12, 12), 200), TWO)
    image[8, 15:26, 34:44] = 200  # grown together with what is another object there
    stack = stack_session(image)
    other = stack.plane(8)
    mask = np.zeros(image.shape[1:], bool)
    mask[15:26, 31:44] = True
    other.set_mask(mask)
    label = stack.commit(8)
    assert label == 1
    stack.plane(6).add_click((20, 20))
    done = stack.propagate(6)
    assert done.label == 2
    assert 8 in done.planes
    np.testing.assert_array_equal(other.labels == 1, mask)
    assert other.objects[2].area < objects[8].size
    del objects


def test_an_object_that_lies_in_the_way_ends_it(stack, truth):
    mask = truth[1][8] == 1
    stack.plane(8).set_mask(mask)
    stack.commit(8)
    done = carried(stack, direction="forward")
    assert done.planes == (7,)
    assert done.ends[0].reason == "object 1 is there"
    np.testing.assert_array_equal(stack.plane(8).labels, mask)


def test_the_one_in_work_on_a_plane_stays_in_work(stack):
    stack.plane(8).add_click((22, 44))
    before = stack.plane(8).mask.copy()
    carried(stack)
    assert stack.plane(8).in_work
    np.testing.assert_array_equal(stack.plane(8).mask, before)
    assert list(stack.plane(8).objects) == [1]


# ------------------------------------------------------------------------ corrections


def test_a_plane_that_was_corrected_is_an_anchor(stack):
    carried(stack)
    session = stack.plane(9)
    assert session.objects[1].carried
    session.reopen(1)
    assert [c.time for c in session.clicks] == [None], "nobody made it"
    session.add_click((20, 30), positive=False)
    stack.commit(9)
    corrected = session.labels.copy()
    assert not session.objects[1].carried
    assert session.objects[1].clicks == 1, "the other one nobody made"
    done = stack.propagate(6, 1)
    assert done.planes == (2, 3, 4, 5, 7, 8)
    assert (9, "corrected by hand") in [(e.index, e.reason) for e in done.ends]
    np.testing.assert_array_equal(session.labels, corrected)
    # carried on from there, up to the one it began with
    again = stack.propagate(9, 1)
    assert again.planes == (7, 8, 10, 11)
    assert (6, "corrected by hand") in [(e.index, e.reason) for e in again.ends]


def test_what_was_carried_too_far_goes(truth):
    stack = stack_session(truth[0])
    carried(stack)
    before = stack.labels
    image = truth[0].copy()
    image[9:] = 20  # as if the user found out that it ends here
    for index in range(9, 14):
        session = stack.plane(index)
        session._image = ImageSource(image[index], contrast=(0, 255))
    done = stack.propagate(8, 1, direction="forward")
    assert done.planes == ()
    assert done.dropped == (9, 10, 11)
    assert not stack.labels[9:].any()
    stack.undo(8)
    np.testing.assert_array_equal(stack.labels, before)


def test_painted_by_hand_is_an_anchor(stack):
    carried(stack)
    session = stack.plane(8)
    session.set_labels(np.ones((2, 2), int), box=Box(0, 0, 2, 2))
    assert not session.objects[1].carried
    assert 8 not in stack.propagate(6, 1, direction="forward").planes


def test_going_on_where_it_stopped_keeps_the_id(truth):
    image = truth[0].copy()
    image[8, 5:40, 5:55] = 200
    stack = stack_session(image)
    stack.plane(6).add_click((20, 20))
    label = stack.commit(6)
    propagation = Propagation.begin(stack.plane(6), 6, 14, label)
    list(propagation.run(stack.plane))
    look = propagation.doubts[8]
    session = stack.plane(8)
    session.continue_object(label, look)
    assert session.mask[30, 50], "the answer that was not taken"
    assert session.opened_label == label
    session.add_click((20, 45), positive=False)
    assert stack.commit(8) == label
    assert stack.next_label == label + 1
    with pytest.raises(SessionError, match="on this plane already"):
        session.continue_object(label)


# -------------------------------------------------------------------------- history


def test_undo_is_one_step_and_brings_back_the_object_in_work(stack):
    stack.plane(6).add_click((20, 20))
    mask = stack.plane(6).mask.copy()
    done = stack.propagate(6)
    after = stack.labels
    assert stack.undo(9) == tuple(sorted((*done.planes, 6)))
    assert not stack.labels.any()
    np.testing.assert_array_equal(stack.plane(6).mask, mask)
    assert len(stack.plane(6).clicks) == 1
    assert stack.redo(3) == tuple(sorted((*done.planes, 6)))
    np.testing.assert_array_equal(stack.labels, after)
    assert not stack.plane(6).in_work


def test_right_after_it_undo_works_from_any_plane(stack):
    carried(stack)
    assert len(stack.undo(0)) > 5  # a plane that it did not come to
    assert not stack.labels.any()
    assert len(stack.redo(13)) > 5
    stack.plane(0).add_click((3, 3))
    assert stack.undo(0) == (0,), "what was done there since comes first"
    assert stack.labels.any()
    stack.plane(0).add_click((3, 3))
    assert stack.undo(13) == (), "something was done since: only where it was carried"


def test_what_was_corrected_since_stays(stack):
    carried(stack)
    session = stack.plane(8)
    session.reopen(1)
    session.add_click((20, 30), positive=False)
    stack.commit(8)
    kept = session.labels.copy()
    planes = stack.undo(6)
    assert 8 not in planes
    assert len(planes) == 9
    np.testing.assert_array_equal(session.labels, kept)
    assert not stack.labels[7].any()


def test_stopped_in_between(stack):
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 3

    stack.plane(6).add_click((20, 20))
    done = stack.propagate(6, cancelled=cancelled)
    assert done.planes == (7, 8, 9)
    assert {end.reason for end in done.ends} == {"stopped"}
    assert stack.labels[6:10].any(axis=(1, 2)).all()
    assert not stack.labels[10].any()
    stack.undo(6)
    assert not stack.labels.any()


def test_an_object_counts_once(stack):
    carried(stack)
    stats = stack.stats
    assert str(stats) == "1 object, 1.0 clicks each"
    [one] = stats.objects
    assert one.area == int(stack.labels.sum())


# ----------------------------------------------------------- journal, replay, script


def test_each_plane_comes_back_from_its_journal(stack, tmp_path):
    for index in range(len(stack)):
        stack.plane(index).keep_journal(tmp_path)
    carried(stack)
    labels = stack.labels
    for index in np.flatnonzero(labels.any(axis=(1, 2))):
        path = stack.plane(int(index)).journal.path
        again = ClickSession.load(path, stack.plane(int(index)).image, model=None)
        np.testing.assert_array_equal(again.labels, labels[index])
        assert again.group == stack.plane(int(index)).group != ""
        if index != 6:
            assert again.objects[1].carried == again.group
            assert again.objects[1].clicks == 0
        assert again.undo() is not None
        assert not again.labels.any()


def test_a_file_keeps_what_was_carried(stack, tmp_path):
    carried(stack)
    path = stack.plane(8).save(tmp_path / "plane.clickseg")
    again = ClickSession.load(path, stack.plane(8).image)
    assert again.objects[1].carried == stack.plane(8).objects[1].carried
    assert again.edits[-1].group == stack.plane(8).group
    np.testing.assert_array_equal(again.labels, stack.plane(8).labels)


def test_replay_and_script_of_one_plane_give_the_same(stack):
    carried(stack)
    session = stack.plane(8)
    session.reopen(1)
    session.add_click((20, 30), positive=False)
    session.commit()
    np.testing.assert_array_equal(session.replay().labels, session.labels)
    script = session.as_python()
    assert "s.carry(unpacked(" in script

    def make(*_args: Any, **options: Any) -> ClickSession:
        return ClickSession(predictor=BrightPredictor(), **options)

    found: dict[str, Any] = {"image": stack.plane(8).image.array}
    real, cs.ClickSession = cs.ClickSession, make
    try:
        exec(script, found)
    finally:
        cs.ClickSession = real
    np.testing.assert_array_equal(found["s"].labels, session.labels)


def test_replay_of_one_that_went_on(truth, stack):
    session = stack.plane(6)
    session.continue_object(7, session.look_for(truth[1][6] == 1))
    session.add_click((20, 28), positive=False)
    assert session.commit() == 7
    again = session.replay()
    np.testing.assert_array_equal(again.labels, session.labels)
    session = stack.plane(5)
    session.continue_object(7)
    session.add_click((20, 20))
    assert session.commit() == 7
    np.testing.assert_array_equal(session.replay().labels, session.labels)


# ---------------------------------------------------------------------------- checks


def test_errors_say_what_to_do(stack, truth):
    with pytest.raises(SessionError, match="Which object"):
        stack.propagate(6)
    with pytest.raises(SessionError, match="no object 4"):
        stack.propagate(6, 4)
    with pytest.raises(ImageError, match="no plane 40"):
        stack.plane(40)
    with pytest.raises(ImageError, match="3 axes"):
        StackSession(truth[0][0])
    for wrong in ({"growth": 1.0}, {"planes": 0}, {"direction": "up"}, {"spacing": 0}):
        with pytest.raises(SettingsError):
            PropagationOptions(**wrong)
    with pytest.raises(MaskError):
        stack.plane(6).look_for(np.zeros(truth[0][6].shape, bool))
    assert not stack.labels.any()


def test_planes_along_another_axis_and_with_colours(truth):
    image = np.moveaxis(truth[0], 0, 2)
    colours = np.stack([image] * 3, axis=0)
    stack = stack_session(colours, axis=3, channel_axis=0)
    assert len(stack) == 14
    stack.plane(6).add_click((20, 20))
    stack.propagate(6)
    np.testing.assert_array_equal(stack.labels, truth[1] == 1)


# ------------------------------------------------------------------------ properties

bodies = st.tuples(
    st.tuples(st.floats(3, 10), st.floats(14, 34), st.floats(16, 44)),
    st.tuples(st.floats(2, 6), st.floats(6, 12), st.floats(6, 12)),
)


@settings(max_examples=40)
@given(
    body=bodies,
    other=bodies,
    direction=st.sampled_from(["both", "forward", "backward"]),
    planes=st.one_of(st.none(), st.integers(1, 6)),
    policy=st.sampled_from(["keep", "overwrite", "probability"]),
)
def test_undo_restores_exactly_and_others_are_untouched(
    body, other, direction, planes, policy
):
    image, objects = ellipsoids((*other, 120), (*body, 200))
    stack = stack_session(image, overlap=policy)
    for index in range(len(stack)):  # the other one is there on each plane
        mask = objects[index] == 1
        if mask.any():
            stack.plane(index).set_mask(mask)
            stack.commit(index, 1)
    start = int((objects == 2).sum(axis=(1, 2)).argmax())
    mine = objects[start] == 2
    if mine.sum() < 9:
        return
    before = stack.labels
    row, col = innermost(Patch(Box.of_shape(mine.shape), mine))[0]
    stack.plane(start).add_click((row, col))
    done = stack.propagate(start, direction=direction, planes=planes)
    after = stack.labels
    # nothing but this object has come
    np.testing.assert_array_equal(np.where(after == done.label, 0, after), before)
    assert set(np.unique(after)) <= {0, 1, done.label}
    there = np.flatnonzero((after == done.label).any(axis=(1, 2)))
    assert set(there) == {*done.planes, start}
    # never beyond where it stopped
    for end in done.ends:
        beyond = after[end.index :] if end.index > start else after[: end.index + 1]
        assert not (beyond == done.label).any()
    if planes is not None:
        assert max(abs(there - start)) <= planes
    stack.undo(start)
    np.testing.assert_array_equal(stack.labels, before)
    assert stack.plane(start).in_work
    stack.redo(start)
    np.testing.assert_array_equal(stack.labels, after)


@given(
    st.integers(-9, 9), st.integers(-9, 9), st.integers(5, 14), st.integers(0, 10**6)
)
def test_a_shift_is_found_to_the_pixel(rows, cols, radius, seed):
    rng = np.random.default_rng(seed)
    big = rng.integers(0, 255, (120, 130)).astype(np.uint8)
    before, after = (
        big[20:100, 20:110],
        big[20 - rows : 100 - rows, 20 - cols : 110 - cols],
    )
    y, x = np.ogrid[:80, :90]
    mask = Patch(Box.of_shape((80, 90)), np.hypot(y - 40, x - 45) < radius).tight()
    seen = Appearance.of(ImageSource(before), mask)
    by, alike = shift_to(seen, ImageSource(after), 10)
    assert by == (rows, cols)
    assert alike > 0.99
    there = moved(mask, by, (80, 90))
    assert there.box.top == mask.box.top + rows
    np.testing.assert_array_equal(there.values, mask.values)


def test_the_core_lies_within():
    mask = np.zeros((40, 40), bool)
    mask[5:30, 8:30] = True
    patch = Patch(Box.of_shape(mask.shape), mask)
    core = core_of(patch).within(Box.of_shape(mask.shape))
    assert (mask | ~core).all()
    assert 0.3 < core.sum() / mask.sum() < 0.7
    (row, col), depth = innermost(patch)
    assert core[row, col]
    assert depth == 11.0
    taken = np.zeros_like(mask)
    taken[:, :20] = True
    (_, col), _ = innermost(patch, taken)
    assert col >= 20
    assert innermost(patch, np.ones_like(mask))[1] == 0.0


def test_moved_out_of_the_image():
    mask = Patch(Box(0, 0, 4, 4), np.ones((4, 4), bool))
    assert moved(mask, (-2, 0), (9, 9)).box == Box(0, 0, 2, 4)
    assert moved(mask, (-4, 0), (9, 9)).box.empty


# ---------------------------------------------------------------- the bundled network


def test_the_bundled_model_follows_a_nucleus():
    image, objects = draw_nuclei_stack()
    stack = StackSession(image, spacing=2.0)
    truth = objects == 4  # not cut by the edge; it touches none
    areas = truth.sum(axis=(1, 2))
    start = int(areas.argmax())
    row, col = np.argwhere(truth[start]).mean(axis=0)
    stack.plane(start).add_click((row, col))
    done = stack.propagate(start)
    found = stack.labels == 1
    common = (found & truth).sum() / (found | truth).sum()
    assert common > 0.85
    planes = np.flatnonzero(areas > areas.max() / 5)
    assert set(planes) <= {*done.planes, start}
    last = int(np.flatnonzero(areas)[-1])
    assert not found[last + 3 :].any()


def test_a_split_and_a_merge_are_corrections(stack):
    carried(stack)
    assert stack.plane(8).split(1, [(0, 20), (47, 20)])
    stack.plane(4).add_click((2, 2))
    other = stack.plane(4).commit()
    stack.plane(4).merge([1, other])
    kept = {index: stack.plane(index).labels.copy() for index in (8, 4)}
    assert not any(each.carried for each in stack.plane(8).objects.values())
    assert not any(each.carried for each in stack.plane(4).objects.values())
    again = stack.propagate(6, 1)
    assert {end.reason for end in again.ends} == {"corrected by hand"}
    for index, labels in kept.items():
        np.testing.assert_array_equal(stack.plane(index).labels, labels)
    clicks = [c for each in stack.plane(8).objects.values() for c in each.drafts]
    assert all(not draft.clicks for draft in clicks), "nobody made that click"


def test_another_object_in_work_is_not_carried(stack):
    stack.plane(6).add_click((20, 20))
    stack.plane(6).commit()
    stack.plane(6).add_click((22, 44))
    with pytest.raises(SessionError, match="Another object than 1 is in work"):
        stack.propagate(6, 1)
    assert set(stack.plane(6).objects) == {1}
    assert stack.propagate(6).planes


def test_planes_of_a_stack_keep_no_pixels(stack):
    done = carried(stack)
    assert all(stack.plane(index).image._shown is None for index in done.planes)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(0, 3))))
def test_totals_are_those_of_all_planes(edits):
    """Counted step by step as together at once."""
    totals, planes = Totals(), {}
    for plane, label, clicks in edits:
        now = {
            each.label: each for each in planes.get(plane, SessionStats((), 0)).objects
        }
        now.pop(label, None)
        if clicks:
            now[label] = ObjectStats(label, clicks, 0.5 * clicks, 10 * clicks)
        planes[plane] = SessionStats(tuple(now.values()), clicks, label % 2)
        if clicks == 3 and len(planes) > 3:
            del planes[plane]
        assert totals.stats(planes) == SessionStats.together(planes.values())
