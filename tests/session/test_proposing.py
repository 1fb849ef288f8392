"""Proposed objects in a session: one edit, each corrected by clicks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.prediction.class_nets import bright_model, painted
from tests.session.fakes import FakePredictor

import napari_clickseg as cs
from napari_clickseg.errors import Cancelled, SessionError
from napari_clickseg.prediction.object_size import BEST
from napari_clickseg.session import ClickSession

#: Three apart, and two that touch.
DISCS = [(20, 20, 10), (20, 70, 12), (70, 25, 11), (70, 70, 10), (70, 87, 10)]
IMAGE = painted((100, 110), DISCS)


@pytest.fixture
def session() -> ClickSession:
    session = ClickSession(predictor=FakePredictor())
    session.set_image(IMAGE, contrast=(0, 255))
    return session


def propose(session: ClickSession, **options: Any) -> Any:
    return session.propose_objects(bright_model(), diameter=BEST, **options)


def test_proposals_are_one_edit(session: ClickSession) -> None:
    change = propose(session)
    assert (change.kind, change.proposed) == ("propose", (1, 2, 3, 4, 5))
    assert change.labels is not None
    labels = session.labels
    np.testing.assert_array_equal(labels > 0, IMAGE > 0)
    assert {int(labels[row, col]) for row, col, _ in DISCS} == {1, 2, 3, 4, 5}
    assert {each.proposed_by for each in session.objects.values()} == {"bright"}
    session.undo()
    assert not session.labels.any()
    assert not session.objects
    assert not session.can_undo
    session.redo()
    np.testing.assert_array_equal(session.labels, labels)
    assert session.stats.proposed == 5


def test_pixels_know_how_sure_they_are(session: ClickSession) -> None:
    propose(session)
    middle = session.objects[1].pixels
    assert middle.values.max() == 255
    assert middle.values[middle.values > 0].min() > 128


def test_clicks_per_object_count_what_was_clicked(session: ClickSession) -> None:
    propose(session)
    assert str(session.stats) == "5 proposed"
    assert session.stats.clicks_per_object == 0
    label = int(session.labels[20, 70])
    session.reopen(label)
    session.add_click((20, 70))
    session.add_click((30, 80), positive=False)
    assert session.commit() == label
    assert session.objects[label].proposed_by == "bright"
    stats = session.stats
    assert (len(stats.objects), stats.clicks_per_object, stats.proposed) == (1, 2.0, 4)
    assert str(stats) == "1 object, 2.0 clicks each; 4 proposed"
    assert stats.to_dict()["proposed"] == 4


def test_what_is_there_stays_as_it_is(session: ClickSession) -> None:
    old = np.zeros(IMAGE.shape, np.int32)
    old[15:25, 10:25] = 7  # much of the first disc
    old[60:64, 60:80] = 3  # a little of the fourth
    session.set_labels(old)
    before = dict(session.objects)
    change = propose(session)
    assert change.proposed == (8, 9, 10, 11)
    assert all(session.objects[label] is each for label, each in before.items())
    np.testing.assert_array_equal(session.labels[old > 0], old[old > 0])
    assert session.labels[70, 70] in change.proposed
    assert session.labels[12, 20] == 0
    session.undo()
    np.testing.assert_array_equal(session.labels, old)


def test_pixels_may_be_taken_where_that_is_asked_for(session: ClickSession) -> None:
    old = np.zeros(IMAGE.shape, np.int32)
    old[60:64, 60:80] = 3
    session.set_labels(old)
    propose(session, overlap="overwrite")
    assert session.labels[62, 70] != 3
    assert session.labels[60, 60] == 3
    session.undo()
    np.testing.assert_array_equal(session.labels, old)


def test_proposals_keep_away_from_the_object_in_work(session: ClickSession) -> None:
    session.set_mask(painted(IMAGE.shape, DISCS[:1]) > 0)
    assert len(propose(session).proposed) == 4
    assert session.mask[20, 20]
    assert session.commit() == 5
    assert session.objects[5].area == int((painted(IMAGE.shape, DISCS[:1]) > 0).sum())


def test_an_opened_object_keeps_its_label_and_its_pixels(session: ClickSession) -> None:
    session.set_mask(painted(IMAGE.shape, DISCS[:1]) > 0)
    session.commit(9)
    session.reopen(9)
    assert propose(session).proposed == (10, 11, 12, 13)
    session.discard()
    assert session.labels[20, 20] == 9
    assert session.objects[9].area == int((painted(IMAGE.shape, DISCS[:1]) > 0).sum())


def test_nothing_new_is_no_edit(session: ClickSession) -> None:
    propose(session)
    moment = session.state
    change = propose(session)
    assert change.proposed == ()
    assert change.bbox is None
    assert session.state is moment


def test_a_stop_leaves_the_session_as_it_was(session: ClickSession) -> None:
    moment = session.state
    with pytest.raises(Cancelled):
        propose(session, cancelled=lambda: True)
    assert session.state is moment


def test_a_file_keeps_which_were_proposed(
    session: ClickSession, tmp_path: Path
) -> None:
    propose(session)
    session.reopen(int(session.labels[70, 70]))
    session.add_click((70, 70))
    session.commit()
    path = session.save(tmp_path / "work.clickseg")
    loaded = ClickSession.load(path)
    np.testing.assert_array_equal(loaded.labels, session.labels)
    assert loaded.stats == session.stats
    assert [o.proposed_by for o in loaded.objects.values()] == ["bright"] * 5
    again = session.replay()
    np.testing.assert_array_equal(again.labels, session.labels)
    assert again.stats.proposed == 4


def test_files_of_before_are_read(session: ClickSession, tmp_path: Path) -> None:
    import json
    import zipfile

    session.set_mask(IMAGE == 255)
    session.commit()
    path = session.save(tmp_path / "new.clickseg")
    old = tmp_path / "old.clickseg"
    with zipfile.ZipFile(path) as new, zipfile.ZipFile(old, "w") as file:
        for name in new.namelist():
            content = new.read(name)
            if name == "session.json":
                text = json.loads(content)
                text["version"] = 3
                del text["objects"][0]["proposed_by"]
                content = json.dumps(text).encode()
            file.writestr(name, content)
    np.testing.assert_array_equal(ClickSession.load(old).labels, session.labels)


@given(st.data())
@settings(deadline=None, max_examples=25)
def test_properties(data: st.DataObject) -> None:
    """Old pixels stay, new labels are new, and undo goes all the way back."""
    place = st.tuples(st.integers(0, 79), st.integers(0, 89), st.integers(5, 18))
    image = painted((80, 90), data.draw(st.lists(place, max_size=8)))
    session = ClickSession(predictor=FakePredictor())
    session.set_image(image, contrast=(0, 255))
    old = np.zeros(image.shape, np.int32)
    for label, (row, col, size) in enumerate(data.draw(st.lists(place, max_size=3)), 4):
        old[row : row + size, col : col + size] = label
    session.set_labels(old)
    if data.draw(st.booleans()):
        session.add_click(data.draw(st.tuples(st.integers(0, 79), st.integers(0, 89))))
    before, mask = session.labels, session.mask
    change = propose(session)
    after = session.labels
    np.testing.assert_array_equal(after[before > 0], before[before > 0])
    np.testing.assert_array_equal(session.mask, mask)
    assert not set(change.proposed) & set(np.unique(before))
    assert set(np.unique(after)) == set(np.unique(before)) | set(change.proposed)
    assert not (after[mask] > 0)[before[mask] == 0].any()
    for label in change.proposed:
        np.testing.assert_array_equal(
            session.objects[label].mask.plane(image.shape), after == label
        )
    if change.proposed:
        session.undo()
        np.testing.assert_array_equal(session.labels, before)
        session.redo()
        np.testing.assert_array_equal(session.labels, after)


def test_without_a_session(make_session: Callable[..., ClickSession]) -> None:
    labels = cs.propose_objects(IMAGE, bright_model(), diameter=BEST, contrast=(0, 255))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels > 0, IMAGE > 0)
    assert labels.max() == 5


def test_sessions_of_maps_have_no_objects() -> None:
    session = ClickSession(bright_model(), task="semantic")
    session.set_image(IMAGE)
    with pytest.raises(SessionError, match="segmentation"):
        session.propose_objects()
