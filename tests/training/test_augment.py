"""Windows and pasting keep image and labels together."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="training needs the extra 'train' (OpenCV)")

from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.training.augment import choose_window, paste, recolour, warp

IDENTITY = (1.0, 20.0, 30.0)


def _scene() -> tuple[np.ndarray, np.ndarray]:
    image = np.zeros((40, 60, 3), np.uint8)
    labels = np.zeros((40, 60), np.int16)
    image[8:16, 20:36] = 255
    labels[8:16, 20:36] = 7
    return image, labels


def test_whole_window_is_the_identity() -> None:
    image, labels = _scene()
    out, ids, target = warp(
        image, labels, np.array([7], np.int16), (40, 60), IDENTITY, 0.0, False
    )
    np.testing.assert_array_equal(out, image)
    np.testing.assert_array_equal(ids, labels)
    np.testing.assert_array_equal(target, labels == 7)


def test_flip_mirrors_columns() -> None:
    image, labels = _scene()
    out, ids, _ = warp(
        image, labels, np.array([7], np.int16), (40, 60), IDENTITY, 0.0, True
    )
    np.testing.assert_array_equal(out, image[:, ::-1])
    np.testing.assert_array_equal(ids, labels[:, ::-1])


@given(
    st.floats(0.3, 3.0),
    st.floats(-3.0, 3.0),
    st.booleans(),
    st.floats(10, 30),
    st.floats(10, 50),
)
def test_image_and_labels_move_together(
    scale: float, angle: float, flip: bool, row: float, col: float
) -> None:
    image, labels = _scene()
    out, ids, target = warp(
        image,
        labels,
        np.array([7], np.int16),
        (48, 48),
        (scale, row, col),
        angle,
        flip,
    )
    seen = out[..., 0] > 127
    inside = ids >= 0  # beyond the image it is mirrored
    wrong = (seen != target) & inside
    assert np.count_nonzero(wrong) <= 0.1 * target.sum() + 30


@given(st.integers(0, 1000))
def test_windows_stay_inside_where_they_fit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers(60, 400, 2))
    top, left = (int(rng.integers(0, side - 20)) for side in shape)
    box = (top, left, top + int(rng.integers(5, 20)), left + int(rng.integers(5, 20)))
    spread = None if seed % 3 == 0 else (1.15, 9.0)
    scale, row, col = choose_window(box, shape, (65, 97), spread, rng)
    assert scale > 0
    for centre, size, side in ((row, shape[0], 65), (col, shape[1], 97)):
        half = side * scale / 2
        assert centre - half >= -1e-6
        assert centre + half <= size + 1e-6


def test_paste_reports_what_it_covers() -> None:
    cutout = np.zeros((30, 30, 4), np.uint8)
    cutout[5:25, 5:25] = (255, 0, 0, 255)
    ground = np.zeros((80, 80, 3), np.uint8)
    for seed in range(20):
        image, covered = paste(ground, cutout, np.random.default_rng(seed))
        assert np.all(image[covered, 0] >= 126)
        assert not image[..., 1:].any()
        assert covered.any() == bool(image.max() >= 128)


@pytest.mark.parametrize("microscopy", [False, True])
def test_recolour_keeps_shape_and_type(microscopy: bool) -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    changed = 0
    for seed in range(30):
        out = recolour(image, np.random.default_rng(seed), microscopy)
        assert out.shape == image.shape
        assert out.dtype == np.uint8
        changed += bool((out != image).any())
    assert changed > 20
