"""Objects merged, split, classified, accepted: no pixel is lost, and undo undoes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.session.fakes import FakePredictor

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError, SessionError
from napari_clickseg.session import ClickSession
from napari_clickseg.session.cutting import cut, pixels_along
from napari_clickseg.session.objects import Objects
from napari_clickseg.session.patches import Patch

SHAPE = (24, 30)
IMAGE = np.arange(24 * 30, dtype=np.uint16).reshape(SHAPE)
TOUCHING = np.ones((3, 3), bool)


def new_session(labels: Any = None, image: Any = IMAGE) -> ClickSession:
    session = ClickSession(predictor=FakePredictor())
    session.set_image(image, labels=labels)
    return session


def four() -> ClickSession:
    """A session with four objects: two were clicked, two were there."""
    labels = np.zeros(SHAPE, np.int32)
    labels[15:20, 2:12] = 3
    labels[15:20, 16:26] = 4
    session = new_session(labels)
    session.add_click((5, 5))
    session.add_click((5, 7))
    session.commit(1)
    session.add_click((6, 20))
    session.commit(2)
    return session


def picture(session: ClickSession) -> Any:
    return (
        session.labels.tobytes(),
        session.clicks,
        session.mask.tobytes(),
        [
            (o.label, o.clicks, o.area, o.category, o.accepted, round(o.seconds, 6))
            for o in session.objects.values()
        ],
    )


def bare(session: ClickSession) -> Any:
    """The same without seconds: a replay knows those of the edits alone."""
    *rest, objects = picture(session)
    return *rest, [each[:-1] for each in objects]


# -- merging -------------------------------------------------------------------------


def test_merging_keeps_the_union_and_one_undo_takes_it_back():
    s = four()
    before, was = picture(s), s.labels.copy()
    assert s.merge([2, 4, 1]) == 2
    expected = np.where(np.isin(was, [1, 2, 4]), 2, was)
    np.testing.assert_array_equal(s.labels, expected)
    assert s.objects[2].clicks == 3
    assert s.change.kind == "merge"
    s.undo()
    assert picture(s) == before
    s.redo()
    np.testing.assert_array_equal(s.labels, expected)


@pytest.mark.parametrize("ids", [[], [1], [1, 1], [1, 9], [0, 1], "12", 1])
def test_what_cannot_be_merged(ids):
    s = four()
    before = picture(s)
    with pytest.raises(SessionError):
        s.merge(ids)
    assert picture(s) == before
    assert s.change.kind == "commit"


# -- splitting -----------------------------------------------------------------------


def test_splitting_leaves_every_pixel_with_a_piece():
    s = four()
    before, was = picture(s), s.labels.copy()
    ids = s.split(3, [(10, 5.2), (22, 5.4)])
    assert ids == (3, 5)
    now = s.labels
    np.testing.assert_array_equal(np.isin(now, ids), was == 3)
    np.testing.assert_array_equal(now[~np.isin(now, ids)], was[~np.isin(now, ids)])
    assert s.objects[3].area > s.objects[5].area
    for label in ids:
        assert ndimage.label(now == label, TOUCHING)[1] == 1
    s.undo()
    assert picture(s) == before


def test_clicks_and_seconds_go_with_the_pieces():
    s = four()
    seconds = s.objects[1].seconds
    ids = s.split(1, [(0, 6), (12, 6)])
    pieces = [s.objects[n] for n in ids]
    assert [p.clicks for p in pieces] == [1, 1]
    assert sum(p.seconds for p in pieces) == pytest.approx(seconds)
    assert s.stats.clicks == 3
    # each starts from its own pixels
    s.reopen(ids[1])
    np.testing.assert_array_equal(s.mask, pieces[1].mask.plane(SHAPE))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ([(10, 5), (17, 5)], "does not separate"),
        ([(0, 0), (1, 1)], "does not touch"),
        ([(10, 5)], "line"),
        ([(np.nan, 5), (3, 3)], "no number"),
        ("abc", "line"),
        ([(0, 0), (10**9, 0)], "far outside"),
    ],
)
def test_a_line_that_does_not_separate(line, says):
    s = four()
    before = picture(s)
    with pytest.raises(MaskError, match=says):
        s.split(3, line)
    assert picture(s) == before


def test_several_pieces_at_once():
    s = four()
    ids = s.split(4, [(13, 18), (22, 18), (22, 22), (13, 22)])
    assert ids == (4, 5, 6)
    assert {s.objects[n].area for n in ids} >= {15}


def test_islands_come_apart_by_a_line_between_them():
    labels = np.zeros(SHAPE, int)
    labels[4:8, 4:8] = labels[4:8, 14:18] = 1
    s = new_session(labels)
    assert s.split(1, [(0, 11), (20, 11)]) == (1, 2)


@st.composite
def shapes(draw):
    """A blob, perhaps of several parts."""
    seed = draw(st.integers(0, 10**6))
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2)
    return noise > np.quantile(noise, draw(st.sampled_from([0.3, 0.6, 0.8])))


points = st.tuples(
    st.floats(-5, SHAPE[0] + 5, width=32), st.floats(-5, SHAPE[1] + 5, width=32)
)


@given(mask=shapes(), line=st.lists(points, min_size=2, max_size=5))
@settings(max_examples=200, deadline=None)
def test_whatever_is_cut_stays_whole(mask, line):
    box = Box(3, 4, 3 + SHAPE[0], 4 + SHAPE[1])
    patch = Patch(box, mask).tight()
    whole = patch.within(box)
    try:
        pieces = cut(patch, line)
    except MaskError:
        return
    total = sum(each.within(box).astype(int) for each in pieces)
    np.testing.assert_array_equal(total, whole)
    assert len(pieces) > 1
    sizes = [int(each.values.sum()) for each in pieces]
    assert sizes == sorted(sizes, reverse=True)
    for each in pieces:
        assert each.values.any()
        assert each.tight().box == each.box


@given(line=st.lists(points, min_size=2, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_line_has_no_gap_to_slip_through(line):
    steps = np.abs(np.diff(pixels_along(np.array(line)), axis=0)).sum(axis=1)
    assert (steps == 1).all()


# -- ids, classes, proposals ---------------------------------------------------------


def test_another_id():
    s = four()
    was = s.labels.copy()
    s.relabel(3, 70)
    np.testing.assert_array_equal(s.labels, np.where(was == 3, 70, was))
    with pytest.raises(SessionError, match="merge"):
        s.relabel(70, 1)
    s.reopen(2)
    with pytest.raises(SessionError, match="in work"):
        s.relabel(70, 2)


def test_pieces_do_not_take_the_id_of_an_opened_object():
    s = four()
    s.relabel(2, 9)
    s.reopen(9)
    assert s.split(3, [(10, 7), (22, 7)]) == (3, 10)
    s.commit()
    assert set(s.objects) == {1, 3, 4, 9, 10}


def test_classes_stay_with_their_objects():
    s = four()
    s.set_class([1, 3], " nucleus  of a cell ")
    s.set_class(4, 7)
    assert s.classes == ("7", "nucleus of a cell")
    s.reopen(1)
    s.add_click((7, 5))
    s.commit()
    assert s.objects[1].category == "nucleus of a cell"
    ids = s.split(3, [(10, 7), (22, 7)])
    assert [s.objects[n].category for n in ids] == ["nucleus of a cell"] * 2
    s.merge([4, 3])
    assert s.objects[4].category == "7"
    s.set_class(4, None)
    assert s.objects[4].category == ""
    s.undo()
    assert s.objects[4].category == "7"


@pytest.mark.parametrize("name", [1.5, True, -1, "x" * 300, b"a"])
def test_what_is_no_class(name):
    with pytest.raises(SessionError, match="class"):
        four().set_class(1, name)


def test_deleting_several_is_one_step():
    s = four()
    before = picture(s)
    s.delete([1, 4])
    assert set(s.objects) == {2, 3}
    s.undo()
    assert picture(s) == before
    with pytest.raises(SessionError):
        s.delete([1, 99])
    assert picture(s) == before


def test_take_up_the_object_under_a_click():
    s = four()
    s.reopen_at((17, 20))
    assert s.opened_label == 4
    np.testing.assert_array_equal(np.argwhere(s.mask).min(0), (15, 16))
    assert s.commit() == 4
    with pytest.raises(SessionError, match="no object"):
        s.reopen_at((0, 0))


# -- all of it -----------------------------------------------------------------------

EDITS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("merge", "split", "class", "accept", "delete", "relabel", "click"),
                *("scribble", "box", "polygon", "undo", "redo", "commit", "take up"),
            )
        ),
        st.integers(0, 10**6),
        points,
        points,
    ),
    max_size=14,
)


def perform(s: ClickSession, kind: str, seed: int, one: Any, other: Any) -> None:
    ids = list(s.objects)
    chosen = [ids[(seed + i) % len(ids)] for i in range(1 + seed % 3)] if ids else [1]
    inside = np.clip(one, 0, np.array(SHAPE) - 1)
    settle = bool(seed % 2)
    match kind:
        case "merge":
            s.merge(chosen)
        case "split":
            s.split(chosen[0], [one, other])
        case "class":
            s.set_class(chosen, ["a", "b", 3, None][seed % 4])
        case "accept":
            s.accept(chosen)
        case "delete":
            s.delete(chosen if seed % 2 else chosen[0])
        case "relabel":
            s.relabel(chosen[0], 1 + seed % 9)
        case "click":
            s.add_click(inside, settle=settle)
        case "scribble":
            s.add_scribble([one, other], seed % 3 > 0, settle=settle)
        case "box":
            ends = np.array([one, other])
            s.add_box((*ends.min(0), *(ends.max(0) + 1)), settle=settle)
        case "polygon":
            s.add_polygon([one, other, (other[0], one[1])], seed % 3 > 0)
        case "undo":
            s.undo()
        case "redo":
            s.redo()
        case "commit":
            s.commit(overlap=["keep", "overwrite", "probability"][seed % 3])
        case "take up":
            s.reopen_at(inside)


@given(edits=EDITS)
@settings(max_examples=60, deadline=None)
def test_undo_journal_file_replay_and_script_agree(
    edits: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    s = four()
    s.keep_journal(folder)
    try:
        _edit_and_compare(s, edits, folder)
    finally:
        s.stop_journal()


def _edit_and_compare(s: ClickSession, edits: Any, folder: Path) -> None:
    for edit in edits:
        before, number = picture(s), s._moments.history.now.number
        try:
            perform(s, *edit)
        except (MaskError, SessionError, ValueError):
            assert picture(s) == before
            continue
        if edit[0] not in ("undo", "redo") and s._moments.history.now.number != number:
            after = picture(s)
            s.undo()
            assert picture(s) == before
            s.redo()
            assert picture(s) == after
        count = np.zeros(SHAPE, int)
        for each in s.objects.values():
            count += each.mask.within(Box.of_shape(SHAPE))
        assert count.max(initial=0) <= 1
    expected = picture(s)
    assert bare(s.replay()) == bare(s)
    scope: dict[str, Any] = {"image": IMAGE, "FakePredictor": FakePredictor}
    script = s.as_python().replace("'ritm-mobilenetv2-starter'", "predictor=fake", 1)
    scope["fake"] = FakePredictor()
    exec(script, scope)
    np.testing.assert_array_equal(scope["s"].labels, s.labels)
    np.testing.assert_array_equal(scope["s"].mask, s.mask)
    classes = [o.category for o in scope["s"].objects.values()]
    assert classes == [o.category for o in s.objects.values()]
    file = s.save(folder / "x.clickseg")
    assert picture(ClickSession.load(file)) == expected
    assert s.journal is not None
    if s.journal.path is not None:
        s.stop_journal()
    for found in folder.glob("*.journal"):
        back = ClickSession.load(found, IMAGE)
        back._answering = s._answering.another(None, "auto", "auto")
        if back.pending:
            back.update(settle=True)
        assert back.labels.tobytes() == s.labels.tobytes()
        kept = [(o.label, o.category, o.accepted) for o in back.objects.values()]
        assert kept == [(o.label, o.category, o.accepted) for o in s.objects.values()]


def test_other_tasks_have_no_objects() -> None:
    assert isinstance(Objects(), Objects)
    s = ClickSession("semantic-cells-starter", task="semantic")
    for call in (
        lambda: s.set_class(1, "a"),
        lambda: s.add_scribble([(0, 0)]),
        lambda: s.add_box((0, 0, 1, 1)),
        lambda: s.add_polygon([(0, 0), (1, 1), (2, 0)]),
    ):
        with pytest.raises(SessionError, match="segmentation"):
            call()
