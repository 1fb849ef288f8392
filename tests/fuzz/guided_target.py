"""What atheris calls: see ``guided.py``, which starts it.

python -m tests.fuzz.guided_target journal -runs=100 corpus
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

# All of ours must be imported in here, or atheris does not see what is executed.
with atheris.instrument_imports(
    include=["napari_clickseg"], enable_loader_override=False
):
    from tests.fuzz.guided import decoded
    from tests.fuzz.hold import hold
    from tests.fuzz.subjects import SUBJECTS

    NAME = sys.argv[1]
    SUBJECT = SUBJECTS[NAME]
    # Readers import what they need when they are called first.
    with tempfile.TemporaryDirectory() as _place:
        os.environ["NAPARI_CLICKSEG_CACHE"] = _place
        SUBJECT.lay_out(Path(_place), "", b"")
        SUBJECT.read(Path(_place))


def one(data: bytes) -> None:
    """Read one damaged file."""
    hold(SUBJECT, *decoded(SUBJECT, data))
    assert not list(Path().iterdir()), "a payload has run"


if __name__ == "__main__":
    atheris.Setup([NAME, *sys.argv[2:]], one)
    atheris.Fuzz()
