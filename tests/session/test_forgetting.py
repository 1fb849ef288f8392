"""A session of a whole day does not fill the memory, and forgets no click."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from tests.session.fakes import FakePredictor

from napari_clickseg.session import ClickSession
from napari_clickseg.session.forgetting import Forgetting


def begun(shape: tuple[int, int] = (40, 50), **limits: int) -> Any:
    session = ClickSession(predictor=FakePredictor())
    session.set_image(np.zeros(shape, np.uint8))
    if limits:
        session._moments.forgetting = Forgetting(**limits)
    return session


def work(session: Any, edits: int) -> None:
    chance = random.Random(3)
    for number in range(edits):
        place = chance.uniform(5, 34), chance.uniform(5, 44)
        session.add_click(place, positive=number % 4 != 1)
        if number % 5 == 4:
            session.undo()
            session.redo()
        if number % 3 == 2:
            session.commit(overlap="overwrite")


def places(session: Any) -> list[tuple[float, float, bool]]:
    return [(c.row, c.col, c.positive) for c in session.clicks]


def held(session: Any) -> int:
    """Return the bytes of all answers that a session can reach."""
    found: dict[int, int] = {}
    seen: set[int] = set()

    def look(thing: Any) -> None:
        if id(thing) in seen or isinstance(thing, str | int | float | bool):
            return
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            if thing.dtype == np.float32:
                found[id(thing)] = thing.nbytes
        elif isinstance(thing, dict):
            for each in thing.values():
                look(each)
        elif isinstance(thing, list | tuple | set):
            for each in thing:
                look(each)
        elif type(thing).__module__.startswith("napari_clickseg.session"):
            names = getattr(type(thing), "__slots__", ())
            for each in (*vars(thing).values(),) if hasattr(thing, "__dict__") else ():
                look(each)
            for name in names:
                look(getattr(thing, name, None))
        elif type(thing).__module__.startswith("napari_clickseg.prediction"):
            for name in getattr(type(thing), "__dataclass_fields__", ()):
                look(getattr(thing, name))

    for moment in session._moments.history.path:
        look(moment.state)
    return sum(found.values())


def test_answers_take_no_more_than_their_limit():
    unlimited, limited = begun(), begun(kept_bytes=100_000, kept_moments=10)
    for session in (unlimited, limited):
        work(session, 400)
    # Objects keep what is in their pixels, as one answer.
    made = [m for m in limited._moments.history.path if m.kind == "commit"]
    own = sum(
        {
            id(array): array.nbytes
            for m in made
            for draft in m.state.objects[m.edit.label].drafts
            for array in (draft.answer.values,)
        }.values()
    )
    areas = [m.state.objects[m.edit.label].pixels.values.size for m in made]
    assert own <= 4 * sum(areas) + 100_000
    # Of the rest no more is there than was allowed, and it is counted rightly.
    limit = limited._moments.forgetting
    assert limit.bytes <= 100_000 or len(limit._held) <= 10
    assert held(limited) - own <= limit.bytes
    assert held(unlimited) - own > 4 * 100_000
    assert limit.bytes == sum(
        {id(a): a.nbytes for _, found in limit._held.values() for a in found}.values()
    )
    assert len(limited._moments.history.path) == len(unlimited._moments.history.path)


def test_what_is_seen_is_the_same():
    unlimited, limited = begun(), begun(kept_bytes=0, kept_moments=5)
    for session in (unlimited, limited):
        work(session, 90)
    while True:
        np.testing.assert_array_equal(limited.labels, unlimited.labels)
        assert places(limited) == places(unlimited)
        if limited.pending:
            limited.update(settle=True)
        np.testing.assert_array_equal(limited.mask, unlimited.mask)
        np.testing.assert_allclose(limited.probability, unlimited.probability)
        if unlimited.undo() is None:
            assert limited.undo() is None
            break
        assert limited.undo() is not None


def test_an_old_object_is_opened_as_it_was():
    session = begun(kept_bytes=0, kept_moments=3)
    session.add_click((10, 10))
    session.add_click((10, 14), positive=False)
    mask = session.mask.copy()
    session.commit()
    session.add_click((30, 40))
    for row in range(20, 32):
        session.move_click(-1, (row, 40))
    session.commit()
    session.reopen(1)
    np.testing.assert_array_equal(session.mask, mask)
    assert [c.positive for c in session.clicks] == [True, False]
    assert not session.pending
    session.add_click((12, 8))
    assert session.mask[12, 8]


@pytest.mark.parametrize("kept", [0, 50_000])
def test_the_journal_is_the_same(tmp_path, kept):
    """Letting go of answers changes nothing on disk."""
    from napari_clickseg.session.recovering import read_journal

    pictures = []
    for number, limits in enumerate(({}, {"kept_bytes": kept, "kept_moments": 4})):
        session = begun(**limits)
        session.keep_journal(tmp_path / str(number))
        work(session, 60)
        session.undo()
        path = session.journal.path
        session.stop_journal()
        found = read_journal(path)
        again = ClickSession.load(path, np.zeros((40, 50), np.uint8))
        drafted = found.state.draft.clicks
        places = [(c.row, c.col, c.positive) for c in drafted]
        pictures.append((again.labels.tobytes(), places, found.entries))
    assert pictures[0] == pictures[1]
