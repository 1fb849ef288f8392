"""Damaged and hostile files of every kind: our own errors come out, and nothing else.

``CLICKSEG_FUZZ=10000`` sets how many are tried of each kind (``tox -e fuzz``); without
it a short run tries the same few each time.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.hold import hold
from tests.fuzz.mutate import damage, damaged
from tests.fuzz.subjects import SUBJECTS

COUNT = int(os.environ.get("CLICKSEG_FUZZ", "10"))
#: So many examples take this long on a slow machine (seconds).
SECONDS = 120 + COUNT


@pytest.fixture(autouse=True)
def folder_of_traps(tmp_path, monkeypatch):
    """Where a payload would leave its mark."""
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
