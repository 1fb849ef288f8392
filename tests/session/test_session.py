"""Clicks, answers, masks, commits: what each step gives, and taking it back."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import (
    Cancelled,
    ClickError,
    ClickSegError,
    DeviceError,
    ImageError,
    MaskError,
    SessionError,
    SettingsError,
    UnknownModelError,
)
from napari_clickseg.prediction import PredictionSettings
from napari_clickseg.session import ClickSession


def answer_of(make_session, *clicks, **options):
    """The answer of a fresh session to clicks made one after the other."""
    other = make_session()
    for click in clicks:
        other.add_click(click, **options)
    return other.probability


# -- clicks and answers


def test_one_click_gives_a_mask(session):
    change = session.add_click((10, 20))
    assert change.kind == "add"
    assert change.bbox == Box(6, 16, 15, 25)
    np.testing.assert_array_equal(change.mask, session.mask[change.bbox.slices])
    assert change.labels is None
    assert change.settled
    assert change.seconds == 0.5
    assert session.mask.dtype == np.bool_
    assert session.mask.shape == session.probability.shape == (40, 50)
    assert session.probability.dtype == np.float32
    assert session.mask[10, 20]
    assert session.mask.sum() == 49
    np.testing.assert_array_equal(session.result, session.mask)
    np.testing.assert_array_equal(session.mask, session.probability > 0.49)


def test_a_negative_click_takes_away(session):
    session.add_click((10, 20))
    session.add_click((10, 23), positive=False)
    assert not session.mask[10, 23]
    assert session.mask[10, 17]
    assert [click.positive for click in session.clicks] == [True, False]


def test_a_click_carries_its_time(session):
    session.add_click((1, 1))
    session.add_click(Click(2, 2, time=7.0))
    assert session.clicks[0].time > 1.7e9
    assert session.clicks[1].time == 7.0


def test_moving_a_click_gives_what_the_moved_clicks_give(session, make_session):
    for position in [(10, 10), (20, 20), (30, 30)]:
        session.add_click(position)
    session.move_click(1, (20, 24))
    expected = answer_of(make_session, (10, 10), (20, 24), (30, 30))
    np.testing.assert_array_equal(session.probability, expected)
    # The path does not matter: there and back again.
    session.move_click(1, (5, 40))
    session.move_click(1, (20, 24))
    np.testing.assert_array_equal(session.probability, expected)


def test_removing_a_click_gives_what_the_others_give(session, make_session):
    for position in [(10, 10), (20, 20), (30, 30)]:
        session.add_click(position)
    session.remove_click(0)
    expected = answer_of(make_session, (20, 20), (30, 30))
    np.testing.assert_array_equal(session.probability, expected)
    session.remove_click(-1)
    session.remove_click(-1)
    assert session.clicks == ()
    assert not session.mask.any()
    assert not session.probability.any()


def test_only_the_clicks_after_a_moved_one_are_answered_again(session, fake):
    for position in [(10, 10), (20, 20), (30, 30)]:
        session.add_click(position)
    fake.asked.clear()
    session.move_click(2, (31, 31))
    assert [ask["count"] for ask in fake.asked] == [3]
    session.move_click(1, (21, 21))
    assert [ask["count"] for ask in fake.asked] == [3, 2, 3]
    fake.asked.clear()
    session.remove_click(2)
    assert fake.asked == []


def test_replacing_all_clicks_keeps_the_answers_at_the_front(session, fake):
    session.add_click((10, 10))
    session.add_click((20, 20))
    fake.asked.clear()
    session.set_clicks([(10, 10), (25, 25, False), (30, 30)])
    assert [ask["count"] for ask in fake.asked] == [2, 3]
    assert session.clicks[0].time is not None
    assert len(session.clicks) == 3
    session.set_clicks([])
    assert not session.mask.any()


# -- answers that come later


def test_edits_without_an_answer_only_change_the_list(session, fake):
    session.add_click((10, 10))
    before = session.mask
    change = session.add_click((20, 20), predict=False)
    assert change.pending
    assert change.bbox is None
    assert session.pending
    np.testing.assert_array_equal(session.mask, before)
    session.add_click((30, 30), predict=False)
    fake.asked.clear()
    change = session.update(visible=Box(0, 0, 5, 5))
    # The second click is not answered on its own: nobody waits for that.
    assert fake.asked == [{"count": 3, "settle": False, "visible": Box(0, 0, 5, 5)}]
    assert change.kind == "update"
    assert not change.settled
    assert not session.pending
    assert session.update().bbox is None


def test_the_settled_answer_replaces_the_quick_one(session, make_session):
    session.add_click((10, 10), settle=False)
    quick = session.probability
    assert not session.settled
    change = session.settle()
    assert change.kind == "settle"
    assert change.settled
    assert session.settled
    assert not np.array_equal(session.probability, quick)
    np.testing.assert_array_equal(
        session.probability, answer_of(make_session, (10, 10))
    )
    assert session.settle() is None
    # It is no moment of its own: undo goes back to before the click.
    session.undo()
    assert session.clicks == ()
    assert not session.mask.any()
    session.redo()
    assert session.settled


def test_quick_and_settled_answers_are_made_again_as_they_were(session, fake):
    session.add_click((10, 10), settle=False)
    session.add_click((20, 20))
    session.add_click((30, 30))
    fake.asked.clear()
    session.move_click(0, (11, 11))
    assert [ask["settle"] for ask in fake.asked] == [False, True, True]


def test_a_stopped_answer_changes_nothing(session):
    session.add_click((10, 10))
    session.add_click((20, 20), predict=False)
    before = session.state
    with pytest.raises(Cancelled):
        session.update(cancelled=lambda: True)
    assert session.state is before
    assert session.update().bbox is not None


def test_an_answer_that_fails_changes_nothing(session, fake):
    session.add_click((10, 10))
    fake.failure = RuntimeError("no power")
    before = session.state
    for edit in (
        lambda: session.add_click((20, 20)),
        lambda: session.move_click(0, (20, 20)),
    ):
        with pytest.raises(RuntimeError, match="no power"):
            edit()
        assert session.state is before
    assert len(session.clicks) == 1


def test_undo_and_redo_ask_no_model(session, fake):
    for position in [(10, 10), (20, 20)]:
        session.add_click(position)
    session.commit()
    fake.asked.clear()
    while session.undo():
        pass
    while session.redo():
        pass
    assert fake.asked == []
    assert session.labels.max() == 1


def test_notices_are_told_and_kept(session, fake):
    fake.notices = ("Memory ran out.",)
    assert session.add_click((10, 10)).notices == ("Memory ran out.",)
    fake.notices = ()
    assert session.add_click((20, 20)).notices == ()
    assert session.notices == ("Memory ran out.",)


# -- masks


def test_a_mask_is_the_answer_and_the_next_previous_mask(session):
    mask = np.zeros((40, 50), bool)
    mask[5:25, 5:25] = True
    change = session.set_mask(mask)
    assert change.kind == "mask"
    assert change.bbox == Box(5, 5, 25, 25)
    np.testing.assert_array_equal(session.mask, mask)
    session.add_click((30, 30))
    # A quarter of the previous mask is what the fake leaves of it.
    assert session.probability[6, 6] == pytest.approx(0.25)
    session.remove_click(0)
    np.testing.assert_array_equal(session.mask, mask)
    session.undo()
    session.undo()
    session.undo()
    assert not session.mask.any()


def test_painting_in_a_box(session):
    session.add_click((10, 10))
    before = session.mask.copy()
    box = Box(12, 8, 20, 16)
    painted = np.ones(box.shape, bool)
    change = session.set_mask(painted, box=box)
    expected = before.copy()
    expected[box.slices] = True
    np.testing.assert_array_equal(session.mask, expected)
    assert change.bbox is not None
    assert change.bbox.intersect(box) == change.bbox
    assert len(session.clicks) == 1
    session.undo()
    np.testing.assert_array_equal(session.mask, before)


def test_a_click_older_than_the_mask_asks_about_the_mask(session, fake):
    session.add_click((10, 10))
    session.set_mask(session.mask)
    fake.asked.clear()
    session.move_click(0, (12, 12))
    assert [ask["count"] for ask in fake.asked] == [1]
    assert session.mask[12, 15]
    session.remove_click(0)
    # No click is left: what remains is the mask.
    assert session.mask[10, 10]


def test_erasing_everything_starts_afresh(session, make_session):
    session.add_click((10, 10))
    session.set_mask(np.zeros((40, 50), bool))
    assert not session.mask.any()
    session.set_clicks([])
    session.add_click((30, 30))
    np.testing.assert_array_equal(
        session.probability, answer_of(make_session, (30, 30))
    )


def test_an_integer_mask_of_one_object(session):
    mask = np.zeros((40, 50), np.uint16)
    mask[3:6, 3:6] = 255
    session.set_mask(mask)
    assert session.mask.sum() == 9


# -- objects


def test_commits_take_the_next_free_label(session):
    for expected, position in enumerate([(10, 10), (10, 30), (30, 10)], start=1):
        session.add_click(position)
        assert session.commit() == expected
        assert session.labels[position] == expected
    assert session.labels.dtype == np.int32
    assert session.clicks == ()
    assert not session.mask.any()
    session.add_click((30, 30))
    assert session.commit(label=17) == 17
    session.add_click((30, 40))
    assert session.commit() == 18


def test_a_commit_is_told_with_its_box(session):
    session.add_click((10, 10))
    box = session.change.bbox
    label = session.commit()
    change = session.change
    assert change.kind == "commit"
    assert change.label == label
    assert change.bbox == box
    assert not change.mask.any()
    np.testing.assert_array_equal(change.labels, session.labels[box.slices])
    assert change.labels.max() == 1


def test_a_used_label_takes_more_pixels(session):
    session.add_click((10, 10))
    session.commit()
    session.add_click((10, 14))
    session.commit(label=1)
    assert set(np.unique(session.labels)) == {0, 1}
    assert session.labels[10, 10] == session.labels[10, 17] == 1
    assert session.stats.objects[0].clicks == 2


@pytest.mark.parametrize("overlap", ["keep", "overwrite", "probability"])
def test_pixels_that_two_objects_claim(make_session, overlap):
    session = make_session(overlap=overlap)
    session.add_click((20, 20))
    first = session.mask.copy()
    session.commit()
    session.add_click((20, 24), settle=False)  # less sure: 0.95 times
    second = session.mask.copy()
    session.commit()
    both = first & second
    assert both.any()
    winner = {"keep": 1, "overwrite": 2, "probability": 1}[overlap]
    assert set(session.labels[both]) == {winner}
    assert set(session.labels[first & ~second]) == {1}
    assert set(session.labels[second & ~first]) == {2}


def test_the_surer_object_takes_the_pixels(make_session):
    session = make_session()
    session.add_click((20, 20), settle=False)
    first = session.mask.copy()
    session.commit()
    session.add_click((20, 24))
    both = first & session.mask
    session.commit(overlap="probability")
    assert set(session.labels[both]) == {2}


def test_an_object_without_a_pixel_of_its_own_is_refused(session):
    session.add_click((20, 20))
    session.commit()
    session.add_click((20, 20))
    before = session.state
    with pytest.raises(MaskError, match="overwrite"):
        session.commit()
    assert session.state is before
    assert session.commit(overlap="overwrite") == 2
    assert set(np.unique(session.labels)) == {0, 2}
    session.undo()
    assert set(np.unique(session.labels)) == {0, 1}


def test_an_object_is_opened_as_it_was(session, fake):
    session.add_click((10, 10))
    session.add_click((10, 16))
    clicks, probability = session.clicks, session.probability
    session.commit()
    session.add_click((30, 40))
    session.commit()
    fake.asked.clear()
    change = session.reopen(1)
    assert session.clicks == clicks
    np.testing.assert_array_equal(session.probability, probability)
    assert set(np.unique(session.labels)) == {0, 2}
    assert change.label == 1
    assert (change.labels == 0).all()
    assert change.mask.sum() == session.mask.sum()
    assert fake.asked == []
    session.remove_click(1)
    assert session.commit() == 1
    assert session.labels[10, 16] == 0
    assert session.labels[10, 10] == 1


def test_what_is_seen_is_what_is_opened(session):
    session.add_click((20, 20))
    session.commit()
    session.add_click((20, 25))
    session.commit()
    seen = session.labels == 2
    session.reopen(2)
    np.testing.assert_array_equal(session.mask, seen)
    assert len(session.clicks) == 1


def test_looking_through_objects_changes_none_of_them(session):
    for position in [(10, 10), (10, 30), (30, 10)]:
        session.add_click(position)
        session.commit()
    before, objects = session.labels, dict(session.objects)
    for label in (1, 3, 2):
        session.reopen(label)
        assert session.opened_label == label
    session.discard()
    np.testing.assert_array_equal(session.labels, before)
    assert dict(session.objects) == objects


def test_an_opened_object_that_was_changed_is_not_lost(session):
    session.add_click((10, 10))
    session.commit()
    session.add_click((30, 30))
    session.commit()
    before = session.labels
    session.reopen(1)
    session.add_click((10, 16))
    with pytest.raises(SessionError, match="discard"):
        session.reopen(2)
    session.discard()
    np.testing.assert_array_equal(session.labels, before)
    session.undo()
    assert len(session.clicks) == 2


def test_discarding_nothing_is_nothing(session):
    assert session.discard().bbox is None
    assert not session.can_undo


def test_deleting_an_object(session):
    session.add_click((10, 10))
    session.commit()
    change = session.delete(1)
    assert not session.labels.any()
    assert change.labels is not None
    session.undo()
    assert session.labels[10, 10] == 1


def test_objects_that_are_there_already(make_session):
    session = make_session()
    labels = np.zeros((40, 50), np.uint8)
    labels[:10, :10], labels[20:30, 20:30] = 3, 9
    session.set_image(np.zeros((40, 50)), labels=labels)
    np.testing.assert_array_equal(session.labels, labels)
    assert not session.can_undo
    session.add_click((35, 45))
    assert session.commit() == 10
    session.reopen(9)
    np.testing.assert_array_equal(session.mask, labels == 9)
    session.add_click((32, 25))
    assert session.commit() == 9
    assert session.labels[33, 25] == 9
    assert [each.label for each in session.stats.objects] == [10, 9]


def test_painting_in_the_labels(session):
    session.add_click((10, 10))
    session.commit()
    session.add_click((10, 30))
    session.commit()
    untouched = session.objects[2]
    box = Box(8, 4, 14, 12)
    part = session.labels[box.slices].copy()
    part[:3] = 0
    part[5, :3] = 5
    session.set_labels(part, box=box)
    np.testing.assert_array_equal(session.labels[box.slices], part)
    assert session.objects[2] is untouched
    assert session.objects[1].clicks == 1
    session.reopen(1)
    assert session.mask[12, 10]
    assert not session.mask[9, 10]
    session.undo()
    session.undo()
    assert session.labels[9, 10] == 1
    assert 5 not in session.objects


@pytest.mark.parametrize("high", [7, 2**31 - 1])
def test_large_labels(make_session, high):
    session = make_session()
    labels = np.zeros((40, 50), np.int64)
    labels[2:4, 2:4], labels[6:9, 6:9], labels[6, 7] = 5, high, 5
    session.set_labels(labels)
    np.testing.assert_array_equal(session.labels, labels)
    everywhere = labels + (labels == 0)
    session.set_labels(everywhere)
    np.testing.assert_array_equal(session.labels, everywhere)
    if high == 2**31 - 1:
        session.delete(1)
        session.add_click((30, 30))
        with pytest.raises(SessionError, match="whole number"):
            session.commit()


# -- history


def test_a_new_edit_opens_a_branch_and_loses_nothing(session):
    session.add_click((10, 10))
    session.add_click((20, 20))
    session.undo()
    session.add_click((30, 30))
    session.undo()
    assert session.redo().clicks[-1].position == (30, 30)
    session.undo()
    assert session.redo(0).clicks[-1].position == (20, 20)
    session.undo()
    # Redo follows the branch that was left last.
    assert session.redo().clicks[-1].position == (20, 20)
    assert session.redo() is None
    session.undo()
    session.undo()
    assert session.undo() is None
    assert not session.can_undo
    assert session.can_redo


def test_memory_does_not_grow_with_the_image_times_the_depth(make_session):
    import tracemalloc

    session = make_session((3000, 3000))
    tracemalloc.start()
    for i in range(60):
        session.add_click((50 + 40 * (i % 60), 50 + i))
        session.add_click((52 + 40 * (i % 60), 50 + i))
        session.commit()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    # One plane of labels alone would be 36 MB; 180 moments of it 6.5 GB.
    assert used < 10e6
    assert len(session.objects) == 60


def test_a_new_image_starts_anew(session):
    session.add_click((10, 10))
    session.commit()
    session.set_image(np.zeros((20, 30, 3), np.uint8))
    assert session.shape == (20, 30)
    assert session.labels.shape == (20, 30)
    assert not session.labels.any()
    assert session.clicks == ()
    assert not session.can_undo
    with pytest.raises(ImageError):
        session.set_image(np.zeros(5))
    assert session.shape == (20, 30)


def test_contrast_may_change_in_the_middle(session):
    session.add_click((10, 10))
    session.set_contrast((0, 1000))
    assert len(session.clicks) == 1
    window = session.image.window(Box(0, 0, 40, 50))
    assert window[25, 0, 0] == 1.0
    assert session.can_undo


# -- numbers about the work


def test_stats(session, monkeypatch):
    clock = iter(range(1000, 2000, 10))
    monkeypatch.setattr("time.time", lambda: float(next(clock)))
    assert str(session.stats) == "no object yet"
    session.add_click((10, 10))
    session.add_click((12, 12))
    session.commit()
    session.add_click((30, 30))
    session.commit()
    session.add_click((20, 40))
    stats = session.stats
    assert [each.clicks for each in stats.objects] == [2, 1]
    assert stats.current_clicks == 1
    assert stats.clicks == 4
    assert stats.clicks_per_object == 1.5
    assert all(each.seconds > 0 for each in stats.objects)
    assert stats.seconds_per_object * 2 == pytest.approx(stats.seconds)
    assert str(stats) == "2 objects, 1.5 clicks each"
    assert stats.to_dict()["each"][0]["area"] == (session.labels == 1).sum()


def test_work_on_an_opened_object_adds_up(session, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    session.add_click((10, 10))
    now[0] = 110.0
    session.commit()
    now[0] = 500.0
    session.reopen(1)
    now[0] = 600.0
    session.add_click((12, 12))
    now[0] = 605.0
    session.commit()
    assert session.stats.objects[0].seconds == 15.0


# -- reading from another thread


def test_arrays_are_of_one_moment_and_read_only(session):
    session.add_click((10, 10))
    mask, probability, labels = session.mask, session.probability, session.labels
    for array in (mask, probability, labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1
    assert session.mask is mask
    before = mask.copy()
    session.add_click((30, 30))
    session.commit()
    np.testing.assert_array_equal(mask, before)
    assert not labels.any()


def test_reading_while_another_thread_works(session):
    stop = threading.Event()
    wrong = []

    def read():
        while not stop.is_set():
            state = session.state
            area = sum(o.area for o in state.objects.values())
            if np.count_nonzero(state.objects.labels(Box(0, 0, 40, 50)).values) != area:
                wrong.append(area)
            if session.mask.shape != (40, 50) or session.stats.clicks < 0:
                wrong.append("shape")

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(30):
        session.add_click((5 + i, 10 + i))
        session.commit()
        if i % 3 == 0:
            session.undo()
    stop.set()
    reader.join()
    assert not wrong


# -- what cannot be done is explained


@pytest.mark.parametrize("position", [(-1, 5), (40, 5), (5, 50), (45, 5)])
def test_a_click_outside(session, position):
    with pytest.raises(ClickError, match="outside"):
        session.add_click(position)
    session.add_click((5, 5))
    with pytest.raises(ClickError, match="outside"):
        session.move_click(0, position)
    with pytest.raises(ClickError, match="outside"):
        session.set_clicks([position])
    assert len(session.clicks) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"label": 3}, "no label"),
        ({"value": 0.5}, "no value"),
        ({"radius": 0}, "greater than 0"),
        ({"radius": -3}, "greater than 0"),
        ({"radius": np.nan}, "finite"),
    ],
)
def test_a_click_that_asks_for_what_the_task_does_not_know(session, arguments, says):
    with pytest.raises(ClickError, match=says):
        session.add_click((5, 5), **arguments)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.zeros((40, 49), bool), r"\(40, 49\).*\(40, 50\)"),
        (np.zeros((40, 50, 1), bool), "shape"),
        (np.arange(2000).reshape(40, 50), "1999 values"),
        (np.zeros((40, 50), complex), "boolean"),
        (np.full((40, 50), "x"), "boolean"),
    ],
)
def test_a_mask_that_does_not_fit(session, mask, says):
    with pytest.raises(MaskError, match=says):
        session.set_mask(mask)
    assert not session.can_undo


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros((4, 5), int), "shape"),
        (np.zeros((40, 50)), "whole numbers"),
        (np.full((40, 50), -1), "background"),
        (np.full((40, 50), 2**31), "Renumber"),
    ],
)
def test_labels_that_do_not_fit(session, labels, says):
    with pytest.raises(MaskError, match=says):
        session.set_labels(labels)
    with pytest.raises(MaskError, match="Clip"):
        session.set_labels(np.zeros((9, 9), int), box=Box(35, 0, 44, 9))


def test_there_is_nothing_to_commit(session):
    with pytest.raises(MaskError, match="Click inside an object"):
        session.commit()
    session.add_click((5, 5), positive=False)
    with pytest.raises(MaskError, match="empty"):
        session.commit()


def test_objects_and_clicks_that_are_not_there(session):
    with pytest.raises(SessionError, match="none yet"):
        session.reopen(1)
    session.add_click((5, 5))
    session.commit()
    with pytest.raises(SessionError, match="objects: 1"):
        session.delete(2)
    with pytest.raises(ClickError, match="no click 0"):
        session.remove_click(0)
    for label in (0, -3, 2**31, 1.5, "one", None):
        session.add_click((30, 30))
        if label is not None:
            with pytest.raises(SessionError, match="whole number"):
                session.commit(label=label)
        session.discard()


def test_a_session_without_an_image(fake):
    session = ClickSession(predictor=fake)
    for use in (
        lambda: session.add_click((1, 1)),
        lambda: session.mask,
        lambda: session.labels,
        lambda: session.set_mask(np.zeros((3, 3))),
        lambda: session.save("nowhere.clickseg"),
    ):
        with pytest.raises(SessionError, match="set_image"):
            use()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"model": "ritm-hrnet81"}, UnknownModelError, "ritm-hrnet"),
        ({"model": "missing/weights.safetensors"}, UnknownModelError, "weights"),
        ({"model": 3}, UnknownModelError, "load_model"),
        ({"device": "tpu"}, DeviceError, "cuda"),
        ({"device": "cuda:99"}, DeviceError, "cuda:99"),
        ({"precision": "float8"}, DeviceError, "bfloat16"),
        ({"task": "matting", "mode": "paint"}, SettingsError, "'push'"),
        ({"mode": "push"}, SessionError, "takes no mode"),
        ({"task": "painting"}, SessionError, "segmentation"),
        ({"refinement": "brs"}, SettingsError, "f-brs-b"),
        ({"refinement": 3}, SettingsError, "name"),
        ({"refinement": {"method": "f-brs-b", "speed": 3}}, SettingsError, "speed"),
        ({"overlap": "both"}, SessionError, "overwrite"),
    ],
)
def test_unknown_names_are_refused_at_once(options, error, says):
    with pytest.raises(error, match=says) as caught:
        ClickSession(**options)
    assert isinstance(caught.value, ClickSegError)


def test_settings_can_be_changed_on_the_way(session):
    assert session.first_look == "published"
    session.first_look = "visible"
    assert session.settings.first_look == "visible"
    session.add_click((10, 10))
    session.settings = replace(PredictionSettings(), threshold=0.95)
    assert not session.mask.any()
    assert ClickSession().first_look == "search"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_mask_of_no_numbers_is_refused(session, value):
    mask = np.zeros((40, 50))
    mask[3, 4] = value
    with pytest.raises(MaskError, match="NaN or infinite"):
        session.set_mask(mask)


def test_things_that_are_no_numbers_name_no_click_and_no_object(session):
    session.add_click((10, 10))
    session.commit()
    session.add_click((10, 10))
    with pytest.raises(ClickError, match="whole number"):
        session.move_click("0", (1, 1))
    with pytest.raises(ClickError, match="whole number"):
        session.remove_click(0.5)
    session.discard()
    with pytest.raises(SessionError, match="whole number"):
        session.reopen("1")
