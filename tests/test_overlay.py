"""The picture of clicks and objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ImageError
from napari_clickseg.imagefiles import read_image
from napari_clickseg.overlay import (
    NEGATIVE,
    POSITIVE,
    draw_overlay,
    label_colour,
    write_overlay,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_drawn() -> None:
    image = np.full((100, 120), 100, np.uint8)
    labels = np.zeros((100, 120), np.int32)
    labels[20:60, 20:60] = 1
    labels[20:60, 60:90] = 70000
    clicks = [Click(40, 40), Click(80, 100, positive=False)]
    picture = draw_overlay(image, labels, clicks)
    assert picture.shape == (100, 120, 3)
    assert picture.dtype == np.uint8
    assert (picture[5, 5] == 100).all()
    tint = 0.6 * 100 + 0.4 * np.array(label_colour(1))
    np.testing.assert_allclose(picture[25, 25], tint, atol=0.51)
    assert tuple(picture[20, 30]) == label_colour(1)  # the outline
    assert tuple(picture[40, 59]) == label_colour(1)  # two objects that touch
    assert tuple(picture[40, 60]) == label_colour(70000)
    assert tuple(picture[40, 40]) == (255, 255, 255)  # the plus
    assert tuple(picture[38, 42]) == POSITIVE
    assert tuple(picture[78, 100]) == NEGATIVE
    assert (image == 100).all()


def test_clicks_on_the_edge() -> None:
    picture = draw_overlay(
        np.zeros((20, 20)), np.zeros((20, 20), int), [Click(0, 0), Click(19.4, 19.4)]
    )
    assert tuple(picture[0, 0]) == tuple(picture[19, 19]) == (255, 255, 255)


def test_colours_of_neighbours_differ() -> None:
    for label in range(1, 300):
        one, other = np.array(label_colour(label)), np.array(label_colour(label + 1))
        assert np.abs(one - other).max() > 60


def test_file(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (30, 40)).astype(np.uint16)
    path = write_overlay(tmp_path / "a" / "b.png", image, np.eye(30, 40, dtype=int))
    np.testing.assert_array_equal(
        read_image(path), draw_overlay(image, np.eye(30, 40, dtype=int))
    )
    with pytest.raises(ImageError, match=r"end the name in \.png"):
        write_overlay(tmp_path / "b.txt", image, np.eye(30, 40, dtype=int))
