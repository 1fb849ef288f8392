"""What importing costs: no torch, no napari, no Qt before they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "napari", "qtpy", "PyQt5", "PyQt6", "PySide6", "vispy", "dask")

WITHOUT_A_MODEL = """
import numpy as np
from napari_clickseg import ClickSession
session = ClickSession()
session.set_image(np.zeros((9, 9)))
session.set_mask(np.eye(9))
session.commit()
session.undo()
session.labels
"""


def loaded_after(code: str) -> set[str]:
    """Return the heavy packages that a fresh Python has after some code."""
    script = f"{code}\nimport sys\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import napari_clickseg",
        "import napari_clickseg as cs; dir(cs); cs.__version__",
        "from napari_clickseg import ClickSegError",
        "from napari_clickseg import list_models; list_models()",
        "from napari_clickseg import ClickSession; ClickSession()",
        WITHOUT_A_MODEL,
    ],
)
def test_nothing_heavy_is_imported(code):
    assert loaded_after(code) == set()


def test_the_probe_sees_what_is_there():
    assert loaded_after("import torch") >= {"torch"}


def test_the_engine_needs_no_napari():
    code = (
        "import napari_clickseg.prediction.predictor, napari_clickseg.models.model\n"
        "import napari_clickseg.session"
    )
    assert loaded_after(code) <= {"torch"}


def test_all_public_names_exist():
    import napari_clickseg

    for name in napari_clickseg.__all__:
        assert getattr(napari_clickseg, name) is not None
    with pytest.raises(AttributeError, match="clack"):
        _ = napari_clickseg.clack
