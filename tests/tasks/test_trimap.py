"""Trimaps: read, made of masks, painted, and opened by clicks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_clickseg.clicks import Click
from napari_clickseg.errors import MaskError
from napari_clickseg.tasks.trimap import (
    as_trimap,
    from_mask,
    opened,
    overwritten,
    painted_over,
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 128, 255]], np.uint8), [[0, 128, 255]]),
        (np.array([[0, 90, 255]], np.uint8), [[0, 128, 255]]),
        (np.array([[0, 1, 2]], np.uint8), [[0, 128, 255]]),
        (np.array([[0.0, 0.5, 1.0]]), [[0, 128, 255]]),
        (np.array([[False, True]]), [[0, 255]]),
        (np.array([[0, 0]], np.uint8), [[0, 0]]),
    ],
)
def test_reading(values: np.ndarray, expected: list[list[int]]) -> None:
    found = as_trimap(values)
    assert found.dtype == np.uint8
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 2, 3)), np.array([[300]]), np.array([[-1]]), np.array([[1.5]])],
)
def test_what_is_no_trimap(wrong: np.ndarray) -> None:
    with pytest.raises(MaskError, match="trimap"):
        as_trimap(wrong)


def test_a_band_around_a_square() -> None:
    mask = np.zeros((21, 21), bool)
    mask[6:15, 6:15] = True
    trimap = from_mask(mask, inside=2, outside=3)
    assert trimap[10].tolist() == [0] * 3 + [128] * 5 + [255] * 5 + [128] * 5 + [0] * 3
    # Corners are round outside and square inside.
    assert trimap[3, 3] == 0
    assert trimap[4, 4] == 128
    assert trimap[8, 8] == 255
    only_out = from_mask(mask, inside=0, outside=1)
    assert (only_out[mask] == 255).all()
    assert (only_out == 128).sum() == 36
    assert (from_mask(mask)[10] == 255).sum() == 0  # 5 pixels each way
    with pytest.raises(MaskError, match="empty"):
        from_mask(mask & False)
    with pytest.raises(MaskError, match="widths"):
        from_mask(mask, inside=-1)
    with pytest.raises(MaskError, match="one plane"):
        from_mask(np.ones((2, 2, 2)))


@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_a_band_lies_between_erosion_and_dilation(
    mask: np.ndarray, inside: int, outside: int
) -> None:
    mask.flat[0] = True
    trimap = from_mask(mask, inside, outside)
    assert ((trimap == 255) <= mask).all()
    assert ((trimap == 0) <= ~mask).all()
    if mask.all():
        assert (trimap == 255).all()
        return
    rows, cols = np.indices((9, 9)) - 4
    for part, width, value in ((mask, inside, 255), (~mask, outside, 0)):
        disk = rows**2 + cols**2 <= width**2
        kept = ndimage.binary_erosion(part, disk, border_value=1)
        assert ((trimap == value) == (part & kept)).all()


def test_the_border_of_the_image_is_no_edge() -> None:
    mask = np.zeros((10, 30), bool)
    mask[:, :15] = True
    trimap = from_mask(mask, 2, 2)
    assert (trimap == trimap[0]).all()
    assert (trimap[0, :13] == 255).all()


def test_painting() -> None:
    base = np.array([[0, 255, 128, 0]], np.uint8)
    strokes = np.array([[3, 2, 1, 0]])
    assert painted_over(base, strokes).tolist() == [[255, 128, 0, 0]]
    assert base.tolist() == [[0, 255, 128, 0]]
    with pytest.raises(MaskError, match="label 1"):
        painted_over(base, strokes + 3)
    with pytest.raises(MaskError, match="shape"):
        painted_over(base, strokes[:, :2])


def test_clicks_open_what_the_trimap_says_wrongly() -> None:
    trimap = np.zeros((40, 40), np.uint8)
    trimap[20:] = 255
    agreeing = [Click(5, 5, positive=False), Click(30, 5)]
    assert opened(trimap, agreeing, [0.0, 1.0]) is trimap
    found = opened(trimap, [Click(5, 5, value=0.5, radius=3)], [0.5])
    assert found is not trimap
    assert (found == 128).sum() == 29  # a disk of radius 3
    assert found[5, 5] == 128
    wide = opened(trimap, [Click(10, 20)], [1.0])
    assert wide[10, 5] == 128
    assert wide[10, 4] == 0
    assert (trimap != 128).all()


def test_known_pixels_are_answered_as_they_are() -> None:
    alpha = np.array([[0.4, 0.4, 0.4]], np.float32)
    found = overwritten(alpha, np.array([[0, 128, 255]], np.uint8))
    np.testing.assert_allclose(found, [[0, 0.4, 1]])
    assert alpha[0, 0] == np.float32(0.4)
