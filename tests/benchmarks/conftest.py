"""What all tests of benchmarks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Benchmarks choose their number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
