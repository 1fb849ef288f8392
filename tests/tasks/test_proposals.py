"""Objects proposed from class probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clickseg.errors import MaskError
from napari_clickseg.tasks.proposals import propose_objects


def planes(classes: np.ndarray, sure: float = 0.9) -> np.ndarray:
    rest = (1 - sure) / 2
    return np.stack([np.where(classes == c, sure, rest) for c in range(3)])


def test_cells_that_touch_are_two() -> None:
    classes = np.zeros((30, 50), int)
    classes[5:25, 5:45] = 2
    classes[7:23, 7:24] = classes[7:23, 26:43] = 1
    classes[27, 3] = 1  # a speck
    found = propose_objects(planes(classes))
    assert found.max() == 2
    # all of each cell, its border included
    assert (found[5:25, 5:24] == 1).all()
    assert (found[5:25, 26:45] == 2).all()
    assert set(np.unique(found[5:25, 24:26])) == {1, 2}
    assert found[27, 3] == 0
    assert not found[classes == 0].any()


def test_without_border_they_are_one() -> None:
    classes = np.zeros((30, 50), int)
    classes[5:25, 5:45] = 1
    assert propose_objects(planes(classes)).max() == 1


def test_nothing_is_proposed_of_nothing() -> None:
    empty = propose_objects(planes(np.zeros((9, 9), int)))
    assert not empty.any()
    assert empty.dtype == np.int32
    with pytest.raises(MaskError, match="three planes"):
        propose_objects(np.zeros((2, 9, 9)))
