"""Atheris finds nothing in a short run; ``tox -e fuzz`` lets it look for long."""

from __future__ import annotations

import re

import pytest
from tests.fuzz import guided
from tests.fuzz.subjects import SUBJECTS

#: What others may hand to a user.
KINDS = (
    "safetensors",
    "pth",
    "journal",
    "session",
    "coco objects",
    "models of the user",
)


@pytest.mark.parametrize("name", SUBJECTS)
def test_inputs_are_files_and_their_parts(name):
    """What stands for a whole file is that file; a part goes back to its place."""
    subject = SUBJECTS[name]
    names, seen = sorted(subject.forms), 0
    for seed in guided.seeds(subject):
        which, content = guided.decoded(subject, seed)
        assert which == names[seed[0]]
        usual, form = subject.files()[which], subject.forms[which]
        if seed[1] == guided.WHOLE:
            assert content == usual
        elif seed[1] == guided.PART:
            assert form.open(content) == form.open(usual)
        seen += 1
    assert seen > 10
    for short in (b"", b"\x01", b"\x00\x03", b"\x02\x02\x01\x09"):
        assert guided.decoded(subject, short)[0] in names


@pytest.mark.parametrize("name", KINDS)
def test_atheris_finds_nothing(name):
    pytest.importorskip("atheris", reason="atheris is for Linux only")
    found = guided.run(name, 60)
    assert not found.failed, found.said[-4000:]
    # It is led by what our readers execute.
    assert max(map(int, re.findall(r"cov: (\d+)", found.said))) > 30
