"""Reading of golden numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_golden(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of a file by name, and close it."""
    with np.load(path) as file:
        return dict(file)
