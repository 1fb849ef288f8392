"""Made again, edit by edit, a session gives what it gave."""

from __future__ import annotations

import numpy as np
import pytest
from tests.session.fakes import FakePredictor

from napari_clickseg.boxes import Box
from napari_clickseg.prediction import PredictionSettings
from napari_clickseg.session import ClickSession


def loaded(session, tmp_path):
    again = ClickSession.load(session.save(tmp_path / "a.clickseg"))
    again._answering._predictor = again._answering._given = FakePredictor()
    return again


def same(one, other):
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.probability, other.probability)
    assert one.clicks == other.clicks
    counted = [
        [(o.label, o.clicks, o.area, round(o.seconds)) for o in each.stats.objects]
        for each in (one, other)
    ]
    assert counted[0] == counted[1]


def reopened(session):
    session.add_click((10, 10))
    session.add_click((10, 14), settle=False)
    session.commit(1)
    session.add_click((12, 18))
    session.commit(2)  # shares pixels with the first one, which keeps them
    session.reopen(1)
    session.add_click((12, 17), positive=False)
    session.commit()
    session.reopen(1)
    session.discard()


def painted(session):
    session.add_click((10, 10))
    session.commit(1)
    labels = np.zeros((6, 6), int)
    labels[2:] = 5
    session.set_labels(labels, box=Box(8, 8, 14, 14))
    session.add_click((12, 12))
    session.commit(overlap="probability")
    session.delete(5)
    session.reopen(1)
    session.set_mask(np.ones((3, 3), bool), box=Box(20, 20, 23, 23))
    session.add_click((22, 25))
    session.commit(overlap="overwrite")


def undone(session):
    session.add_click((10, 10), predict=False)
    session.add_click((14, 14), predict=False)
    session.update(settle=False)
    session.undo()
    session.update()
    session.move_click(0, (11, 11))
    session.commit()
    session.undo()
    session.add_click((12, 12), predict=False)
    session.remove_click(0)
    session.undo()
    session.redo()
    session.set_clicks([(12, 12), (20, 20), (21, 22, False)], settle=False)
    session.settle()


def looked_elsewhere(session):
    session.visible = Box(0, 0, 20, 20)
    session.add_click((10, 10))
    session.settings = PredictionSettings(first_look="visible", threshold=0.6)
    session.visible = Box(0, 0, 30, 30)
    session.add_click((20, 10))
    session.commit()


@pytest.mark.parametrize("work", [reopened, painted, undone, looked_elsewhere])
def test_the_same_again(work, session, tmp_path):
    labels = np.zeros((40, 50), int)
    labels[36:, 46:] = 7
    session.set_image(session.image, labels=labels)
    work(session)
    same(session.replay(), session)
    kept = loaded(session, tmp_path)
    same(kept.replay(), session)
    kept.add_click((30, 40))
    same(kept.replay(), kept)
    # What comes out of a replay can be replayed.
    same(kept.replay().replay(), kept)


def test_what_no_longer_fits_is_told(session):
    session.add_click((10.4, 10.4))
    session.commit()
    session.reopen(1)
    session.add_click((10.4, 14.4))
    session.commit()
    session._answering._given = FakePredictor(radius=0.1)
    again = session.replay()
    assert "Object 1 has no pixels" in again.notices[0]
    assert not again.labels.any()


def test_a_file_says_where_it_comes_from(session, tmp_path):
    import json
    import zipfile

    reopened(session)
    with zipfile.ZipFile(session.save(tmp_path / "a.clickseg")) as archive:
        text = json.loads(archive.read("session.json"))
    assert {"napari-clickseg", "numpy", "python"} <= set(text["versions"])
    assert text["image"]["signature"] == session.image.signature()
    assert "sha256" in text["model"]
    clicks = [e["click"]["new"] for e in text["edits"] if e["kind"] == "add"]
    assert len(clicks) == 4
    assert all(click["time"] > 1e9 for click in clicks)


def test_an_older_file_is_replayed_by_its_objects(session, tmp_path):
    import json
    import zipfile

    session.add_click((10, 10))
    session.commit()
    path = session.save(tmp_path / "a.clickseg")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    text = json.loads(members["session.json"])
    del text["edits"], text["origin"]
    members["session.json"] = json.dumps(text).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    again = ClickSession.load(path)
    again._answering._predictor = again._answering._given = FakePredictor()
    np.testing.assert_array_equal(again.replay().labels, session.labels)
