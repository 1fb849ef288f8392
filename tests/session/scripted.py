"""Annotates by a script, for those who kill it: `python scripted.py FOLDER SEED`.

Prints the number of each edit once it is "on screen". Whoever runs the same seed in
peace knows what must be on disk.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.errors import ClickSegError
from napari_clickseg.session import ClickSession

SHAPE = (60, 80)
IMAGE = np.arange(60 * 80, dtype=np.uint16).reshape(SHAPE)


def edit(session: ClickSession, chance: random.Random) -> bool:
    """Make one edit (or undo, or redo); False: nothing changed."""
    where = chance.uniform(0, 59), chance.uniform(0, 79)
    kind = chance.choices(
        ["add", "move", "remove", "commit", "undo", "redo", "paint", "labels", "open"],
        [10, 3, 1, 4, 3, 2, 1, 1, 1],
    )[0]
    settle = chance.random() < 0.7
    try:
        if kind == "add":
            session.add_click(where, chance.random() < 0.7, settle=settle)
        elif kind == "move" and session.clicks:
            session.move_click(-1, where, predict=settle)
        elif kind == "remove" and session.clicks:
            session.remove_click(0, settle=settle)
        elif kind == "commit" and session.in_work:
            session.commit(overlap=chance.choice(["keep", "overwrite"]))
        elif kind == "undo":
            return session.undo() is not None
        elif kind == "redo":
            return session.redo() is not None
        elif kind == "paint":
            session.set_mask(np.ones((5, 7), bool), box=Box(20, 20, 25, 27))
        elif kind == "labels":
            session.set_labels(np.full((4, 4), 99), box=Box(40, 40, 44, 44))
        elif kind == "open" and session.objects and not session.in_work:
            session.reopen(chance.choice(list(session.objects)))
        else:
            return False
    except ClickSegError:
        return False
    return True


def picture(session: ClickSession) -> str:
    """Return everything that must come back, as text."""
    if session.pending:
        session.update(settle=True)
    clicks = [(c.row, c.col, c.positive) for c in session.clicks]
    pixels = session.labels.tobytes(), session.mask.tobytes()
    return f"{clicks} {[hash_of(each) for each in pixels]} {session.opened_label}"


def hash_of(content: bytes) -> str:
    """Return a short name of some bytes."""
    import hashlib

    return hashlib.blake2b(content, digest_size=8).hexdigest()


def begin(folder: Path | None) -> ClickSession:
    """Return a session with a journal that is written anew again and again."""
    from tests.session.fakes import FakePredictor

    session = ClickSession(predictor=FakePredictor())
    session.set_image(IMAGE)
    if folder is not None:
        session.keep_journal(folder).compacts_at = (20_000, 1)
    return session


def main() -> None:
    """Annotate until somebody ends it."""
    session = begin(Path(sys.argv[1]))
    chance = random.Random(int(sys.argv[2]))
    done = 0
    os.write(1, b"0\n")
    while done < 3000:
        if edit(session, chance):
            done += 1
            os.write(1, b"%d\n" % done)


if __name__ == "__main__":
    main()
