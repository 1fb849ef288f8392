"""Damaged and hostile files of every kind: our own errors come out, and nothing else.

``CLICKSEG_FUZZ=10000`` sets how many are tried of each kind (``tox -e fuzz``); without
it a short run tries the same few each time.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.mutate import damage, damaged
from tests.fuzz.subjects import MIB, SUBJECTS
from tests.fuzz.watch import Watch

from napari_clickseg.errors import ClickSegError

COUNT = int(os.environ.get("CLICKSEG_FUZZ", "10"))
#: So many examples take this long on a slow machine (seconds).
SECONDS = 120 + COUNT // 10


@pytest.fixture(autouse=True)
def folder_of_traps(tmp_path, monkeypatch):
    """Where a payload would leave its mark."""
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hold(subject, name, content):
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


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_valid_files_are_read(name, folder_of_traps):
    """Else the others would be refused for the wrong reason."""
    subject = SUBJECTS[name]
    with tempfile.TemporaryDirectory() as place:
        subject.lay_out(Path(place), "", b"")
        subject.read(Path(place))
    for each, form in subject.forms.items():
        data = subject.files()[each]
        parts = form.open(data)
        assert parts
        hold(subject, each, form.close(parts))


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("name", SUBJECTS)
def test_damaged_files(name, folder_of_traps):
    subject = SUBJECTS[name]
    choices = st.sampled_from(sorted(subject.forms))

    @settings(
        max_examples=max(5, round(COUNT * subject.share)),
        derandomize=COUNT <= 200,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(choices, damage)
    def run(which, what):
        inside, changes = what
        data = subject.files()[which]
        hold(subject, which, damaged(data, subject.forms[which], inside, changes))
        assert not list(folder_of_traps.iterdir()), "a payload has run"

    run()
