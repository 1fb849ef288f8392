"""Who worked how long on what, and how many clicks a reference took."""

from __future__ import annotations

import csv
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.session.fakes import FakePredictor

from napari_clickseg.errors import ExportError, MaskError, SessionError
from napari_clickseg.session import ClickSession
from napari_clickseg.session.effort import Activity, effort_of, save_effort

SHAPE = (60, 80)
IMAGE = np.arange(60 * 80, dtype=np.uint16).reshape(SHAPE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that goes on when it is told to."""

    class Clock:
        now = 1.8e9

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr("time.time", clock)
    return clock


def new() -> ClickSession:
    session = ClickSession(predictor=FakePredictor())
    session.set_image(IMAGE)
    return session


def worked(session: ClickSession, clock: Any) -> None:
    """Two objects, with a pause of ten minutes in the first."""
    session.add_click((10, 10))
    clock.now += 3
    session.add_click((10, 14))
    clock.now += 600
    session.undo()
    clock.now += 2
    session.add_click((12, 12))
    clock.now += 4
    session.commit()
    clock.now += 5
    session.add_click((40, 40))
    clock.now += 7
    session.commit()


def test_pauses_do_not_count(clock: Any) -> None:
    s = new()
    worked(s, clock)
    one, other = s.effort().objects
    assert (one.clicks, one.clicks_made, one.undone, one.commits) == (2, 3, 1, 1)
    assert one.seconds == 3 + 2 + 4
    assert one.search_seconds == 0
    assert (other.clicks, other.seconds, other.search_seconds) == (1, 7, 5)
    effort = s.effort()
    assert (effort.seconds, effort.seconds_gone) == (21, 0)
    assert s.effort(idle_limit=1000).objects[0].seconds == 609
    with pytest.raises(SessionError, match="idle limit"):
        s.effort(idle_limit=0)


def test_later_work_is_added(clock: Any) -> None:
    s = new()
    worked(s, clock)
    clock.now += 3
    s.reopen(1)
    clock.now += 2
    s.add_click((14, 10))
    clock.now += 2
    s.commit()
    clock.now += 1
    s.set_class(1, "a")
    clock.now += 6
    s.add_click((50, 60))
    clock.now += 6
    s.discard()
    effort = s.effort()
    one = effort.objects[0]
    assert (one.clicks, one.clicks_made, one.commits) == (3, 4, 2)
    assert one.category == "a"
    assert one.seconds == 9 + 4 + 1
    assert one.search_seconds == 3
    assert effort.seconds_gone == 12
    counted = sum(o.seconds + o.search_seconds for o in effort.objects)
    assert effort.seconds == pytest.approx(counted + effort.seconds_gone)


def test_it_comes_back_from_file_and_journal(clock: Any, tmp_path: Path) -> None:
    s = new()
    s.keep_journal(tmp_path).compacts_at = (2000, 1)  # written anew in between
    worked(s, clock)
    s.undo()
    s.redo()
    path = s.save(tmp_path / "x.clickseg")
    assert ClickSession.load(path).effort() == s.effort()
    s.stop_journal()
    [journal] = tmp_path.glob("*.journal")
    back = ClickSession.load(journal, IMAGE)
    assert back.activity == s.activity
    assert back.effort() == s.effort()


def test_a_table_and_sums(clock: Any, tmp_path: Path) -> None:
    s = new()
    worked(s, clock)
    table = save_effort(s.effort(), tmp_path / "x.csv")
    rows = lines(table)
    assert [r["label"] for r in rows] == ["1", "2"]
    assert rows[0]["seconds"] == "9.000"
    assert rows[0]["class"] == ""
    sums = json.loads(save_effort(s.effort(), tmp_path / "x.json").read_text())
    assert sums["seconds"] == 21
    assert sums["idle_limit"] == 30
    assert sums["objects"][1]["clicks"] == 1
    with pytest.raises(ExportError, match=r"\.csv"):
        save_effort(s.effort(), tmp_path / "x.xlsx")


kinds = st.sampled_from(
    (
        *("add", "move", "undo", "redo", "commit", "discard", "reopen", "merge"),
        *("accept", "propose", "labels", "delete", "box"),
    )
)


@given(
    st.lists(
        st.tuples(
            st.floats(-5, 100), kinds, st.none() | st.integers(1, 3), st.integers(0, 5)
        )
    )
)
def test_no_second_is_counted_twice(steps: Any) -> None:
    at, activity = 0.0, []
    for gap, kind, label, clicks in steps:
        at += gap
        activity.append(Activity(at, kind, label, clicks))
    effort = effort_of(activity, new().objects)
    assert effort.seconds == pytest.approx(effort.seconds_gone)
    gaps = [b.time - a.time for a, b in itertools.pairwise(activity)]
    assert effort.seconds == pytest.approx(sum(g for g in gaps if 0 <= g <= 30))


# -- studies -------------------------------------------------------------------------


def reference() -> np.ndarray:
    rows, cols = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint16)
    labels[np.hypot(rows - 10, cols - 10) <= 4] = 7
    labels[np.hypot(rows - 40, cols - 40) <= 8] = 9
    return labels


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_line_for_each_commit_at_once(tmp_path: Path, clock: Any) -> None:
    s = new()
    path = tmp_path / "study.csv"
    s.start_study(reference(), path)
    s.add_click((10, 10))  # a disk of radius 4: the reference itself
    clock.now += 2
    s.commit()
    [line] = lines(path)
    assert (line["label"], line["reference"], line["clicks"]) == ("1", "7", "1")
    assert (line["iou"], line["noc@85"], line["noc@90"]) == ("1.0000", "1", "1")
    assert line["seconds"] == "2.000"
    # a large one needs more clicks than that
    for place in ((40, 40), (36, 40), (44, 40), (40, 36), (40, 44)):
        s.add_click(place)
    s.add_click((5, 70))
    s.undo()
    s.commit()
    second = lines(path)[1]
    ious = [float(each.split(":")[1]) for each in second["ious"].split()]
    assert len(ious) == 5  # what was undone does not count
    assert ious[0] < 0.5
    assert second["reference"] == "9"
    assert second["noc@90"] == ""
    expected = (s.labels == 2) & (reference() == 9)
    union = (s.labels == 2) | (reference() == 9)
    assert float(second["iou"]) == pytest.approx(expected.sum() / union.sum(), abs=1e-4)
    # somewhere else: no reference
    s.add_click((55, 5))
    s.commit()
    assert lines(path)[2]["reference"] == "0"
    s.stop_study()
    s.add_click((10, 50))
    s.commit()
    assert len(lines(path)) == 3


def test_undo_and_redo_write_no_line_twice(tmp_path: Path) -> None:
    s = new()
    s.start_study(reference(), tmp_path / "study.csv")
    s.add_click((10, 10))
    s.commit()
    s.undo()
    s.redo()
    assert len(lines(tmp_path / "study.csv")) == 1


def test_a_study_goes_on_in_its_file_and_in_no_other(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "study.csv"
    for _ in range(2):
        s = new()
        s.start_study(reference(), path)
        s.add_click((10, 10))
        s.commit()
    assert len(lines(path)) == 2
    with pytest.raises(ExportError, match="no study with these goals"):
        new().start_study(reference(), path, goals=(0.8,))
    other = tmp_path / "x.csv"
    other.write_bytes(b"\xff\x00")
    with pytest.raises(ExportError):
        new().start_study(reference(), other)
    with pytest.raises(MaskError, match="shape"):
        new().start_study(reference()[:5], tmp_path / "y.csv")
    with pytest.raises(MaskError):
        new().start_study(reference().astype(float), tmp_path / "y.csv")
    with pytest.raises(SessionError, match="Goals"):
        new().start_study(reference(), tmp_path / "y.csv", goals=(85,))


def test_a_disk_that_is_full_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s, path = new(), tmp_path / "study.csv"
    study = s.start_study(reference(), path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        s.add_click((10, 10))
        s.commit()
        assert "No space left" in study.trouble
    s.add_click((40, 40))
    s.commit()
    assert not study.trouble
    assert [line["label"] for line in lines(path)][-1] == "2"
    assert {line["label"] for line in lines(path)} == {"1", "2"}


def test_a_study_heeds_what_comes_after_its_beginning(tmp_path: Path) -> None:
    s, path = new(), tmp_path / "study.csv"
    s.add_click((10, 10))
    s.commit()
    s.add_click((40, 40))
    s.start_study(reference(), path)
    s.undo()  # back to the commit that was before
    assert not lines(path)
    s.undo()
    s.redo()
    assert not lines(path)
    for _ in range(30):
        s.add_click((40, 40))
        s.undo()
    s.set_image(IMAGE)  # numbers of edits begin anew
    s.add_click((10, 10))
    s.commit()
    assert len(lines(path)) == 1


def test_what_a_propagation_does_is_nobodys_time() -> None:
    kinds = (("add", None, 1), ("propagate", 1, 0), ("carry", 1, 0), ("carry", 1, 0))
    activity = [
        Activity(10.0 * i, kind, label, clicks)
        for i, (kind, label, clicks) in enumerate(kinds)
    ]
    activity.append(Activity(35.0, "add", None, 1))
    found = effort_of(activity, {})
    assert found.seconds == 15.0
