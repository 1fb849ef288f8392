"""What is on screen is on disk: killed, torn, full, read-only, shared."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.session import scripted
from tests.session.fakes import FakePredictor

from napari_clickseg.errors import SessionError
from napari_clickseg.prediction import PredictionSettings
from napari_clickseg.session import ClickSession, frames
from napari_clickseg.session.journal import journals_of
from napari_clickseg.session.recovering import read_journal

ROOT = Path(__file__).resolve().parents[2]
#: A nightly run sets it to 200.
KILLS = int(os.environ.get("CLICKSEG_KILLS", "15"))


def recovered(path, image=scripted.IMAGE):
    again = ClickSession.load(path, image)
    again._answering._predictor = again._answering._given = FakePredictor()
    return again


def newest(folder):
    """The first journal with something in it, and how many edits lie behind it."""
    for path in sorted(folder.glob("*.journal"), reverse=True):
        try:
            found = read_journal(path)
        except SessionError:
            continue  # killed while it was written anew: the older one is there
        if found.complete:
            return path, found
    return None, None


def same(one, other):
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.mask, other.mask)
    assert one.clicks == other.clicks
    assert one.opened_label == other.opened_label


@pytest.fixture
def kept(session, tmp_path):
    session.keep_journal(tmp_path / "kept")
    return session


def work(session):
    session.add_click((10, 10))
    session.add_click((10, 14), positive=False, settle=False)
    session.commit()
    session.add_click((12, 30), predict=False)
    session.move_click(0, (12, 31))
    session.update()
    session.undo()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.timeout(300 + 15 * KILLS)
def test_killed_at_any_moment(tmp_path):
    """At most the edit in flight is missing, every time."""
    chance, missing, counts = random.Random(KILLS), [], []
    for number in range(KILLS):
        folder, seed = tmp_path / str(number), str(number % 5)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.session.scripted", str(folder), seed],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        shown = process.stdout.read().split(b"\n")
        process.stdout.close()
        process.wait()
        shown_last = int(shown[-2]) if len(shown) > 1 else 0
        expected = pictures(int(seed), shown_last + 1)
        path, found = newest(folder)
        if path is None:
            assert shown_last == 0
            continue
        got = scripted.picture(recovered(path))
        at = [i for i in (shown_last, shown_last + 1) if expected[i] == got]
        assert at, f"kill {number}: {shown_last} edits were shown"
        missing.append(shown_last - at[-1])
        counts.append(shown_last)
        del found
    print(f"{KILLS} kills after {min(counts)} to {max(counts)} edits")
    assert max(missing) <= 0


def pictures(seed, until, known={}):  # noqa: B006 (shared on purpose)
    """What the script has on screen after each of its edits."""
    if seed not in known:
        known[seed] = [scripted.begin(None), random.Random(seed), []]
        known[seed][2].append(scripted.picture(scripted.begin(None)))
    session, chance, found = known[seed]
    while len(found) <= until:
        if scripted.edit(session, chance):
            found.append(look(session))
    return found


def look(session):
    """A picture that does not change what is looked at."""
    if not session.pending:
        return scripted.picture(session)
    twin = ClickSession(predictor=FakePredictor())
    twin.set_image(scripted.IMAGE)
    twin.resume(session.state)
    return scripted.picture(twin)


@pytest.fixture(scope="module")
def journal_bytes(tmp_path_factory):
    """A journal, and for each whole entry where it ends and what stands then."""
    folder = tmp_path_factory.mktemp("torn")
    session = ClickSession(predictor=FakePredictor())
    session.set_image(scripted.IMAGE)
    session.keep_journal(folder)
    chance = random.Random(3)
    ends = [
        (session.journal._file.end, look(session))
        for _ in range(40)
        if scripted.edit(session, chance)
    ]
    return session.journal.path.read_bytes(), ends


@given(at=st.floats(0, 1), kind=st.sampled_from(["torn", "flipped", "zeros", "extra"]))
def test_torn_or_damaged_at_any_byte(journal_bytes, tmp_path_factory, at, kind):
    whole, ends = journal_bytes
    cut = min(int(at * len(whole)), len(whole) - 1)
    content = {
        "torn": whole[:cut],
        "flipped": whole[:cut] + bytes([whole[cut] ^ 0x41]) + whole[cut + 1 :],
        "zeros": whole[:cut] + bytes(min(4096, len(whole) - cut)),
        "extra": whole[:cut] + os.urandom(100) + whole[cut:],
    }[kind]
    path = tmp_path_factory.getbasetemp() / "damaged.journal"
    path.write_bytes(content)
    first = next(
        (i for i in range(min(len(whole), len(content))) if whole[i] != content[i]),
        min(len(whole), len(content)),
    )
    before = [picture for end, picture in ends if end <= first]
    try:
        got = scripted.picture(recovered(path))
    except SessionError:
        assert not before
        return
    assert got == (before[-1] if before else got)
    # Whoever goes on with it writes after the last whole entry.
    found = read_journal(path)
    file = frames.FrameFile(path, new=False)
    assert file.end == found.end
    file.close()


@given(content=st.binary(max_size=400), framed=st.booleans())
def test_nothing_but_our_errors(tmp_path_factory, content, framed):
    path = tmp_path_factory.getbasetemp() / "fuzz.journal"
    path.unlink(missing_ok=True)
    if framed:  # whole entries of nonsense
        file = frames.FrameFile(path, new=True)
        file.append(content)
        file.append(frames._LENGTH.pack(len(content)) + content)
        file.close()
    else:
        path.write_bytes(frames.MAGIC + content)
    with pytest.raises(SessionError):
        read_journal(path)


def test_all_comes_back_with_its_history(kept):
    work(kept)
    again = recovered(kept.journal.path, kept.image)
    assert again.pending
    for session in (kept, again):
        session.update()
    same(again, kept)
    while kept.undo():
        assert again.undo()
        if again.pending:
            again.update(settle=False)
        np.testing.assert_array_equal(again.labels, kept.labels)
        assert again.clicks == kept.clicks
    assert not again.can_undo
    while kept.redo():
        assert again.redo()
    for session in (kept, again):
        session.update(settle=True)
    same(again, kept)
    same(again.replay(), kept.replay())


def test_work_goes_on_in_the_same_file(kept):
    work(kept)
    path = kept.journal.path
    found = read_journal(path)
    kept.stop_journal()
    again = ClickSession(predictor=FakePredictor())
    again.set_image(kept.image)
    assert again.resume_journal(found, path)
    for session in (kept, again):
        session.redo()
        session.update()
        session.add_click((30, 30))
        session.commit()
    assert again.journal.path == path
    third = recovered(path, kept.image)
    same(third, kept)
    assert third.can_undo
    same(third.replay(), kept)


def test_two_on_one_image_do_not_meet(kept, tmp_path):
    other = ClickSession(predictor=FakePredictor())
    other.set_image(kept.image)
    kept.add_click((10, 10))
    found = read_journal(kept.journal.path)
    assert frames.in_use(kept.journal.path)
    assert not other.resume_journal(found, kept.journal.path), "somebody has it"
    other.add_click((20, 20))
    kept.add_click((11, 11))
    assert other.journal.path != kept.journal.path
    assert [c.position for c in recovered(other.journal.path, kept.image).clicks] == [
        (10, 10),
        (20, 20),
    ]
    assert len(recovered(kept.journal.path, kept.image).clicks) == 2
    # Gone on with by another one, what was read before is old.
    path = kept.journal.path
    kept.stop_journal()
    assert not other.resume_journal(found, path)


def test_the_file_does_not_grow_without_bound(kept):
    kept.journal.compacts_at = (30_000, 2)
    chance = random.Random(0)
    longest, first = 0, None
    for _ in range(600):
        if not scripted.edit(kept, chance):
            continue
        first = first or kept.journal.path
        longest = max(longest, kept.journal.path.stat().st_size)
        if kept.in_work and len(kept.clicks) > 4:
            kept.discard()
    assert kept.journal.path != first
    assert not first.exists()
    assert len(list(first.parent.iterdir())) == 1
    assert longest < 400_000
    again = recovered(kept.journal.path, kept.image)
    for session in (kept, again):
        if session.pending:
            session.update(settle=True)
    same(again, kept)
    same(again.replay(), kept)


def test_disk_full(kept, monkeypatch):
    kept.add_click((10, 10))
    path, write = kept.journal.path, frames.FrameFile._write

    def full(self, content):
        self._file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(frames.FrameFile, "_write", full)
    kept.add_click((20, 20))
    assert "No space left" in kept.journal.trouble
    kept.commit()
    kept.add_click((30, 30))
    kept.undo()
    assert len(recovered(path, kept.image).clicks) == 1, "what was whole is whole"
    monkeypatch.setattr(frames.FrameFile, "_write", write)
    kept.add_click((33, 33))
    assert kept.journal.trouble == ""
    again = recovered(path, kept.image)
    again.update()
    same(again, kept)


def test_a_folder_that_cannot_be_written(session, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    session.keep_journal(blocked / "sessions")
    session.add_click((10, 10))
    assert "cannot be written" in session.journal.trouble
    assert session.mask[10, 10]
    blocked.unlink()
    session.commit()
    assert session.journal.trouble == ""
    same(recovered(session.journal.path, session.image), session)


def test_a_clock_that_is_set_back(kept, monkeypatch):
    work(kept)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 10**6)
    kept.commit()
    assert kept.stats.objects[0].seconds >= 0
    same(recovered(kept.journal.path, kept.image), kept)
    first = kept.journal.path
    kept.set_image(kept.image)
    kept.add_click((5, 5))
    # The newest is the one that was begun last, whatever its time is.
    os.utime(first, (real() + 10**6, real() + 10**6))
    assert journals_of(first.parent, first.name.rsplit(".", 2)[0]) == [
        kept.journal.path,
        first,
    ]


def test_nothing_is_written_before_there_is_something(kept, tmp_path):
    assert kept.journal.path is None
    assert not (tmp_path / "kept").exists()
    kept.add_click((10, 10))
    path = kept.journal.path
    assert path.name.startswith(kept.image.signature())
    kept.undo()
    kept.stop_journal()
    assert not path.exists(), "nothing came of it"
    assert kept.journal is None


def test_it_says_how_things_were(kept):
    kept.add_click((10, 10))
    kept.settings = PredictionSettings(first_look="visible", target_size=300)
    kept.add_click((12, 12))
    kept.overlap = "probability"
    kept.add_click((13, 13))
    again = recovered(kept.journal.path, kept.image)
    assert again.settings == kept.settings
    assert again.overlap == "probability"
    assert [e.how.settings.target_size for e in again.edits][1:] == [300, 300]
    assert all(click.time > 1e9 for click in again.clicks)


def test_older_journals_of_an_image_go(session, tmp_path):
    for _ in range(9):
        session.set_image(session.image)
        session.keep_journal(tmp_path)
        session.add_click((10, 10))
    session.stop_journal()
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("task", ["semantic", "matting", "depth"])
def test_maps_come_back_too(task, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    session = ClickSession(task=task)
    session.set_image(image)
    session.keep_journal(tmp_path)
    if task == "matting":
        session.set_trimap(np.full((64, 64), 128, np.uint8))
    else:
        session.start_from_model()
    session.commit()
    session.reopen(1)
    wish = {"semantic": {"label": 2}, "matting": {"value": 0.5}, "depth": {"value": 4}}
    session.add_click((20, 20), **wish[task])
    session.commit(3)
    session.undo()
    again = ClickSession.load(session.journal.path, image)
    again.update()
    np.testing.assert_allclose(again.result, session.result, atol=1e-5)
    assert again.clicks == session.clicks
    assert again.redo()
    session.redo()
    np.testing.assert_array_equal(again.committed[3], session.committed[3])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_more_planes_than_files_are_allowed_at_first(tmp_path):
    """A series of a thousand frames has as many journals open."""
    script = f"""
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
import numpy as np
from napari_clickseg.session import ClickSession
sessions = []
for number in range(100):
    session = ClickSession()
    session.set_image(np.full((8, 8), number, np.uint8))
    journal = session.keep_journal({str(tmp_path)!r})
    session.set_mask(np.eye(8, dtype=bool))
    assert not journal.trouble, journal.trouble
    sessions.append(session)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == 0
    assert len(list(tmp_path.glob("*.journal"))) == 100
