"""Session files: complete, safe, honest about what they belong to."""

from __future__ import annotations

import json
import pickle
import zipfile

import numpy as np
import pytest
from tests.session.fakes import FakePredictor

from napari_clickseg.boxes import Box
from napari_clickseg.errors import SessionError, UnknownModelError
from napari_clickseg.session import ClickSession, archive


@pytest.fixture
def worked(session):
    """A session with objects of all kinds and one in work."""
    labels = np.zeros((40, 50), int)
    labels[36:, 46:] = 7
    session.set_labels(labels)
    session.add_click((10, 10), settle=False)
    session.add_click((10, 14), positive=False)
    session.commit()
    session.add_click((10, 20))
    session.commit()
    session.set_mask(np.eye(40, 50, dtype=bool))
    session.commit(overlap="overwrite")
    session.visible = Box(0, 0, 30, 30)
    session.add_click((30, 30))
    session.add_click((32, 33), settle=False)
    return session


def load(path, image=None, fake=None):
    loaded = ClickSession.load(path, image)
    # The model of the file is a fake one, which no name can bring back.
    loaded._answering._predictor = loaded._answering._given = fake or FakePredictor()
    return loaded


def test_everything_comes_back(worked, tmp_path):
    worked.overlap = "probability"
    path = worked.save(tmp_path / "a.clickseg")
    loaded = load(path)
    for name in ("labels", "mask", "probability"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(worked, name))
    assert loaded.clicks == worked.clicks
    assert loaded.stats == worked.stats
    assert loaded.settings == worked.settings
    assert loaded.overlap == "probability"
    assert loaded.shape == worked.shape
    assert not loaded.settled
    assert not loaded.can_undo
    assert list(loaded.objects) == list(worked.objects)
    assert loaded.image.signature() == worked.image.signature()


def test_work_goes_on_as_if_it_had_not_stopped(worked, tmp_path):
    loaded = load(worked.save(tmp_path / "a.clickseg"))
    for session in (worked, loaded):
        session.add_click((20, 40))
        session.settle()
        session.move_click(0, (29, 29))
        session.remove_click(1)
        session.commit()
        session.add_click((20, 5))
    np.testing.assert_array_equal(loaded.labels, worked.labels)
    np.testing.assert_array_equal(loaded.probability, worked.probability)


def test_objects_of_a_file_can_be_opened(worked, tmp_path):
    loaded = load(worked.save(tmp_path / "a.clickseg"))
    loaded.discard()
    for label in list(worked.objects):
        before = loaded.labels == label
        clicks = sum((d.clicks for d in loaded.objects[label].drafts), ())
        loaded.reopen(label)
        np.testing.assert_array_equal(loaded.mask, before)
        assert loaded.clicks == clicks
    # What was made by clicks can still be made again, also after a commit.
    intact = [o.label for o in worked.objects.values() if o.intact and o.clicks]
    loaded.reopen(intact[0])
    loaded.commit()
    assert loaded.objects[intact[0]].drafts[0].steps


def test_an_opened_object_goes_back_after_loading(worked, tmp_path):
    worked.discard()
    labels = worked.labels
    worked.reopen(9)
    worked.add_click((12, 25))
    loaded = load(worked.save(tmp_path / "a.clickseg"))
    assert loaded.opened_label == 9
    loaded.discard()
    np.testing.assert_array_equal(loaded.labels, labels)


def test_clicks_without_an_answer_yet(session, tmp_path):
    session.add_click((10, 10))
    session.add_click((20, 20), predict=False)
    loaded = load(session.save(tmp_path / "a.clickseg"))
    assert loaded.pending
    np.testing.assert_array_equal(loaded.mask, session.mask)
    for each in (session, loaded):
        each.update()
    np.testing.assert_array_equal(loaded.probability, session.probability)


def test_replay_gives_the_same(worked, tmp_path, fake):
    fake.asked.clear()
    calls = []
    again = worked.replay(progress=lambda done, of: calls.append((done, of)))
    np.testing.assert_array_equal(again.probability, worked.probability)
    np.testing.assert_array_equal(again.labels, worked.labels)
    assert again.clicks == worked.clicks
    assert [o.clicks for o in again.objects.values()] == [
        o.clicks for o in worked.objects.values()
    ]
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [a["settle"] for a in fake.asked] == [False, True, True, True, False]
    loaded = load(worked.save(tmp_path / "a.clickseg"))
    np.testing.assert_array_equal(loaded.replay().labels, worked.labels)


def test_replay_with_another_model(worked):
    other = FakePredictor(radius=2.0)
    before = worked.labels
    worked._answering._given = other
    again = worked.replay()
    assert 0 < (again.labels > 0).sum() < (before > 0).sum()
    np.testing.assert_array_equal(worked.labels, before)
    assert again.labels[39, 49] == 7  # nobody clicked it


def test_replay_tells_what_it_no_longer_finds(session):
    session.add_click((10.4, 10.4))
    session.commit()
    session._answering._given = FakePredictor(radius=0.1)
    again = session.replay()
    assert not again.labels.any()
    assert "Object 1 has no pixels any more" in again.notices[0]


def test_another_image_is_refused(worked, tmp_path):
    path = worked.save(tmp_path / "a.clickseg")
    image = np.asarray(worked.image.array)
    assert load(path, image).shape == (40, 50)
    other = image.copy()
    other[0, 0] += 1
    with pytest.raises(SessionError, match="other values"):
        ClickSession.load(path, other)
    with pytest.raises(SessionError, match=r"of shape \(40, 50\)"):
        ClickSession.load(path, image[:20])
    with pytest.raises(SessionError, match="another image"):
        ClickSession.load(path, np.zeros((2, 3, 4, 5)))


def test_without_the_image_there_is_only_looking(worked, tmp_path):
    path = worked.save(tmp_path / "a.clickseg", image=False)
    image = np.asarray(worked.image.array)
    loaded = load(path)
    np.testing.assert_array_equal(loaded.labels, worked.labels)
    with pytest.raises(SessionError, match="image="):
        loaded.add_click((3, 3))
    again = loaded.save(tmp_path / "b.clickseg")
    with pytest.raises(SessionError, match="image="):
        loaded.save(tmp_path / "b.clickseg", image=True)
    back = load(again, image)
    back.add_click((3, 3))
    np.testing.assert_array_equal(back.labels, worked.labels)


def test_large_and_lazy_images_stay_out(fake, tmp_path, monkeypatch):
    da = pytest.importorskip("dask.array")
    session = ClickSession(predictor=fake)
    image = np.random.default_rng(0).integers(0, 9, (60, 70, 5), np.uint16)
    session.set_image(da.from_array(image), channels=(3, 1), contrast=(0, 9))
    session.add_click((9, 9))
    path = session.save(tmp_path / "a.clickseg")
    with pytest.raises(SessionError, match="no image"):
        _ = load(path).image
    loaded = load(path, image)
    assert loaded.image.channels == (3, 1)
    box = Box(0, 0, 60, 70)
    np.testing.assert_array_equal(loaded.image.window(box), session.image.window(box))
    monkeypatch.setattr("napari_clickseg.session.base.IMAGE_LIMIT", 10)
    session.set_image(image)
    session.save(path)
    with pytest.raises(SessionError, match="no image"):
        _ = load(path).image


def test_channels_first_and_colour_come_back(fake, tmp_path):
    session = ClickSession(predictor=fake)
    for image, options in [
        (np.random.default_rng(0).random((3, 30, 40)), {"channel_axis": 0}),
        (np.random.default_rng(0).integers(0, 255, (30, 40, 4), np.uint8), {}),
        (np.random.default_rng(0).random((30, 40)).astype(">f4"), {}),
    ]:
        session.set_image(image, **options)
        loaded = load(session.save(tmp_path / "a.clickseg"))
        box = Box(0, 0, 30, 40)
        np.testing.assert_array_equal(
            loaded.image.window(box), session.image.window(box)
        )


def test_the_file_is_text_and_arrays_for_anyone_to_read(worked, tmp_path):
    path = worked.save(tmp_path / "a.clickseg")
    with zipfile.ZipFile(path) as archive:
        text = json.loads(archive.read("session.json"))
        for name in archive.namelist():
            assert name == "session.json" or name.startswith("arrays/")
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    np.lib.format.read_array(member, allow_pickle=False)
    assert text["version"] == 6
    assert text["draft"]["clicks"][0]["row"] == 30
    assert text["stats"]["objects"] == 3
    assert text["image"]["shape"] == [40, 50]
    assert [each["label"] for each in text["objects"]] == list(worked.objects)


def test_the_same_array_is_stored_once(session, tmp_path):
    session.add_click((10, 10))
    path = session.save(tmp_path / "a.clickseg")
    with zipfile.ZipFile(path) as archive:
        # The image, and the answer, which is the model's state as well.
        assert len(archive.namelist()) == 3


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self):
        return exec, ("import builtins; builtins.bomb_went_off = True",)


def rewrite(path, change):
    """Change the text of a session file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    text = json.loads(members["session.json"])
    change(text, members)
    members["session.json"] = json.dumps(text).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_nothing_in_a_file_is_run(worked, tmp_path):
    import builtins
    import io

    path = worked.save(tmp_path / "a.clickseg")
    hostile = io.BytesIO()
    np.save(hostile, np.array([Bomb()], dtype=object), allow_pickle=True)

    def plant(text, members):
        name = text["objects"][0]["pixels"]["values"]
        members[name] = hostile.getvalue()

    rewrite(path, plant)
    with pytest.raises(SessionError, match="damaged"):
        ClickSession.load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(SessionError, match="not a session file"):
        ClickSession.load(path)
    assert not hasattr(builtins, "bomb_went_off")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text, _: text.update(version=4), "version 4.*Update"),
        (lambda text, _: text.update(format="other"), "not a session file"),
        (lambda text, _: text.pop("draft"), "damaged"),
        (lambda text, _: text["draft"].update(clicks=[{"row": "x"}]), "damaged"),
        (lambda text, _: text["settings"].update(threshold=7), "damaged"),
        (lambda _, members: members.pop(list(members)[1]), "damaged"),
    ],
)
def test_files_that_cannot_be_read_say_why(worked, tmp_path, change, says):
    path = worked.save(tmp_path / "a.clickseg")
    rewrite(path, change)
    with pytest.raises(SessionError, match=says):
        ClickSession.load(path)


def test_other_files_are_no_sessions(tmp_path):
    with pytest.raises(SessionError, match="There is no session file"):
        ClickSession.load(tmp_path / "missing.clickseg")
    path = tmp_path / "a.clickseg"
    path.write_text("{}")
    with pytest.raises(SessionError, match="not a session file"):
        ClickSession.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "x")
    with pytest.raises(SessionError, match="not a session file"):
        ClickSession.load(path)
    with pytest.raises(SessionError):
        ClickSession.load(tmp_path)


def test_a_file_that_is_there_survives_a_failed_save(worked, tmp_path, monkeypatch):
    path = worked.save(tmp_path / "a.clickseg")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.os, "fsync", full)
    with pytest.raises(SessionError, match="No space left"):
        worked.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.clickseg"]
    monkeypatch.undo()
    with pytest.raises(SessionError, match="another folder"):
        worked.save(tmp_path / "missing" / "a.clickseg")


def test_a_model_that_is_not_here_can_be_replaced(worked, tmp_path):
    path = worked.save(tmp_path / "a.clickseg")
    rewrite(path, lambda text, _: text["model"].update(source="somebodys-own"))
    loaded = ClickSession.load(path)
    assert loaded.model_name == "somebodys-own"
    np.testing.assert_array_equal(loaded.labels, worked.labels)
    with pytest.raises(UnknownModelError, match="somebodys-own"):
        loaded.add_click((3, 3))
    with pytest.raises(UnknownModelError):
        ClickSession.load(path, model="nobodys")


def test_numbers_of_numpy_are_numbers(session, tmp_path):
    session.visible = Box(*np.array([0, 0, 9, 9]))
    session.add_click(np.array([10, 10], np.float32))
    loaded = load(session.save(tmp_path / "a.clickseg"))
    assert loaded.clicks == session.clicks


def test_a_file_with_a_flipped_byte_anywhere_is_refused_in_words(worked, tmp_path):
    path = worked.save(tmp_path / "a.clickseg")
    whole = path.read_bytes()
    refused = 0
    for i in range(40, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            ClickSession.load(path)
        except SessionError:
            refused += 1
    assert refused > 20  # some bytes, such as dates, tell nothing
