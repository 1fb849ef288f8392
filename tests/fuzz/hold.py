"""What every reader promises of every file."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

from tests.fuzz.subjects import MIB, Subject
from tests.fuzz.watch import Watch

from napari_clickseg.errors import ClickSegError


def hold(subject: Subject, name: str, content: bytes) -> None:
    """Read one damaged file: nothing but our own errors, and nothing touched."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        # What libraries warn of is theirs to say; errors are what counts.
        warnings.simplefilter("ignore")
        folder = Path(place)
        subject.lay_out(folder, name, content)
        os.environ["NAPARI_CLICKSEG_CACHE"] = place  # the user's own files, too
        said = "nothing was wrong"
        with Watch(folder, writes=subject.writes) as watch:
            try:
                subject.read(folder)
            except ClickSegError as error:
                said = str(error)
    assert said.strip(), "an error that says nothing"
    assert not watch.wrong, watch.wrong
    assert watch.peak <= subject.most, f"{watch.peak / MIB:.0f} MiB"
