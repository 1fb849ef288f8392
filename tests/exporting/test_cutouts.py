"""Cut-outs, and the colours of what is cut out."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy import ndimage

from napari_clickseg.errors import ExportError
from napari_clickseg.exporting import cut_out, estimate_foreground, save_cutout
from napari_clickseg.exporting.png import encode

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(3)
PHOTO = RNG.integers(0, 256, (40, 50, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (40, 50, 3), np.uint16)
ALPHA = np.clip(np.linspace(-0.5, 1.5, 50, dtype=np.float32), 0, 1) * np.ones((40, 1))


def by_cv2(path: Path) -> np.ndarray:
    return cv2.cvtColor(
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA
    )


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("image", [PHOTO, DEEP], ids=["8 bits", "16 bits"])
def test_as_many_bits_as_the_photo(
    tmp_path: Path, image: np.ndarray, suffix: str
) -> None:
    one = np.iinfo(image.dtype).max
    [path] = save_cutout(tmp_path / f"c{suffix}", image, ALPHA, foreground=False)
    # OpenCV multiplies the alpha of an 8-bit TIFF in.
    found = tifffile.imread(path) if suffix == ".tif" else by_cv2(path)
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found[..., 3], np.rint(ALPHA * np.float32(one)))
    # Straight: colours are what they are, also where alpha is small.
    np.testing.assert_array_equal(found[..., :3], image)
    if suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            assert file.pages[0].extrasamples[0].name == "UNASSALPHA"
    if image is PHOTO:
        with Image.open(path) as picture:
            assert picture.mode == "RGBA"
            np.testing.assert_array_equal(np.asarray(picture), found)
        np.testing.assert_array_equal(iio.imread(path), found)


def test_bits_on_request(tmp_path: Path) -> None:
    [path] = save_cutout(tmp_path / "c.png", PHOTO, ALPHA, bits=16, foreground=False)
    found = by_cv2(path)
    np.testing.assert_array_equal(found[..., :3], PHOTO.astype(np.uint16) * 257)
    np.testing.assert_array_equal(found[..., 3], np.rint(ALPHA * np.float32(65535)))
    [path] = save_cutout(tmp_path / "c.png", DEEP, ALPHA, bits=8, foreground=False)
    np.testing.assert_allclose(by_cv2(path)[..., :3], DEEP / 257, atol=0.501)
    with pytest.raises(ExportError, match="8 or 16 bits"):
        save_cutout(path, DEEP, ALPHA, bits=12)


@pytest.mark.parametrize(
    ("image", "colours"),
    [
        (PHOTO[..., 0], PHOTO[..., :1] * np.ones(3)),
        (PHOTO[..., :1], PHOTO[..., :1] * np.ones(3)),
        (DEEP.astype(">u2"), DEEP),
        (DEEP[::-1, ::-1], DEEP[::-1, ::-1]),
        (PHOTO > 99, (PHOTO > 99) * 255),
        (DEEP / 65535, DEEP),
    ],
    ids=["grey", "one channel", "big-endian", "turned", "bool", "float"],
)
def test_images_of_all_sorts(image: np.ndarray, colours: np.ndarray) -> None:
    found = cut_out(image, ALPHA, foreground=False)
    np.testing.assert_array_equal(found[..., :3], colours)
    assert found.dtype.isnative


def test_alpha_in_the_image() -> None:
    rgba = np.dstack([PHOTO, np.rint(ALPHA * 255).astype(np.uint8)])
    found = cut_out(rgba, foreground=False)
    np.testing.assert_array_equal(found, rgba)
    half = cut_out(rgba, np.full((40, 50), 0.5), foreground=False)
    np.testing.assert_array_equal(half[..., 3], np.rint(rgba[..., 3] * np.float32(0.5)))


def test_stacks_of_cutouts(tmp_path: Path) -> None:
    stack = np.stack([np.dstack([DEEP, DEEP[..., 0]])] * 3)
    [path] = save_cutout(tmp_path / "c.tif", stack, foreground=False)
    np.testing.assert_array_equal(tifffile.imread(path), stack)
    [path] = save_cutout(
        tmp_path / "d.tif", np.stack([PHOTO, PHOTO]), np.stack([ALPHA, 1 - ALPHA])
    )
    assert tifffile.imread(path).shape == (2, 40, 50, 4)
    with pytest.raises(ExportError, match=r"stack.*\.tif"):
        save_cutout(tmp_path / "c.png", stack)


@pytest.mark.parametrize(
    ("image", "alpha", "says"),
    [
        (PHOTO, None, "needs alpha"),
        (PHOTO, ALPHA[:-1], "same pixels"),
        (PHOTO, np.full((40, 50), np.nan), "NaN"),
        (PHOTO, ALPHA * 3, "has to go from 0"),
        (DEEP.astype(np.int32), ALPHA, "int32"),
        (DEEP.astype(float), ALPHA, "image goes from"),
        (np.zeros((40, 50, 7), np.uint8), ALPHA, "three channels"),
        (np.zeros((2, 40, 50, 3), np.uint8), ALPHA, "three channels|same pixels"),
        (np.zeros((40, 0, 3), np.uint8), ALPHA[:, :0], "empty"),
        (np.zeros((40, 50, 3), complex), ALPHA, "complex"),
    ],
)
def test_what_cannot_be_cut_out(
    tmp_path: Path, image: Any, alpha: Any, says: str
) -> None:
    for suffix in (".png", ".tif"):
        with pytest.raises(ExportError, match=says):
            save_cutout(tmp_path / f"c{suffix}", image, alpha)
    assert not list(tmp_path.iterdir())


# 16-bit PNG --------------------------------------------------------------------------


@given(
    pixels=arrays.arrays(
        st.sampled_from([np.uint16, ">u2"]),
        st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(2, 4)),
    )
)
def test_any_16_bit_png_is_read_by_others(pixels: np.ndarray) -> None:
    found = cv2.imdecode(np.frombuffer(encode(pixels), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels.shape[2] == 2:  # OpenCV makes colours of grey with alpha
        np.testing.assert_array_equal(found[..., 3], pixels[..., 1])
        np.testing.assert_array_equal(found[..., 0], pixels[..., 0])
        return
    order = [2, 1, 0, 3][: pixels.shape[2]]
    np.testing.assert_array_equal(found[..., order], pixels)


def test_rows_are_filtered_where_that_saves_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, cols = np.mgrid[:200, :300]
    smooth = np.dstack([rows * 200, cols * 100, rows + cols, rows]).astype(np.uint16)
    whole = encode(smooth)
    plain = zlib.compress(smooth.astype(">u2").tobytes(), 3)
    assert len(whole) < 0.5 * len(plain)
    # In small blocks the same, up to where deflate is cut.
    monkeypatch.setattr("napari_clickseg.exporting.png._BLOCK", 5000)
    parts = encode(smooth)
    for each in (whole, parts):
        found = cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(found[..., [2, 1, 0, 3]], smooth)


# Colours of the object -------------------------------------------------------------


def mixture(dtype: Any = np.uint8) -> tuple[np.ndarray, ...]:
    """A soft red thing before a green wall: image, alpha, and its true colours."""
    rows, cols = np.mgrid[:160, :200].astype(np.float32)
    away = np.hypot(rows - 80, cols - 100) + 6 * np.sin(rows / 7)
    alpha = np.clip((60 - away) / 24 + 0.5, 0, 1).astype(np.float32)
    front = np.stack([0.8 + 0 * rows, 0.1 + rows / 900, 0.2 + cols / 900], -1)
    back = np.stack([0.1 + cols / 900, 0.9 - rows / 900, 0.1 + 0 * rows], -1)
    image = alpha[..., None] * front + (1 - alpha[..., None]) * back
    one = np.iinfo(dtype).max
    return np.rint(image * one).astype(dtype), alpha, front * one


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_no_background_is_left_in_soft_edges(dtype: Any) -> None:
    image, alpha, front = mixture(dtype)
    one = np.iinfo(dtype).max
    found = estimate_foreground(image, alpha)
    assert found.dtype == dtype
    edge = (alpha > 0.02) & (alpha < 0.98)
    weight = alpha[edge][:, None]

    def fringe(colours: np.ndarray) -> float:
        """Root mean square of what is wrong over any new background."""
        return float(np.sqrt(np.mean((weight * (colours[edge] - front[edge])) ** 2)))

    assert fringe(found.astype(float)) < 0.02 * one
    assert fringe(image.astype(float)) > 0.09 * one
    # What is certain is as it was, and what is far away is nothing.
    np.testing.assert_array_equal(found[alpha == 1], image[alpha == 1])
    far = ndimage.distance_transform_edt(alpha == 0) > 10
    assert far.any()
    assert not found[far].any()
    # Beside the object there is its own colour: nothing shines in when resized.
    near = (alpha == 0) & (ndimage.distance_transform_edt(alpha == 0) < 4)
    assert found[near][:, 0].min() > 0.6 * one
    assert found[near][:, 1].max() < 0.5 * one


def test_a_place_in_a_large_photo_is_as_alone() -> None:
    image, alpha, _ = mixture()
    large = RNG.integers(0, 256, (700, 800, 3), np.uint8)
    covered = np.zeros((700, 800), np.float32)
    place = np.s_[300:460, 300:500]
    # As far as the wide blur sees, the same surroundings.
    around = np.pad(image, ((100, 100), (100, 100), (0, 0)), mode="edge")
    large[200:560, 200:600] = around
    covered[place] = alpha
    alone = estimate_foreground(around, np.pad(alpha, 100))
    found = estimate_foreground(large, covered)[200:560, 200:600]
    assert np.abs(found.astype(int) - alone).max() <= 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_soft_edges_nothing_is_estimated(value: float) -> None:
    found = estimate_foreground(PHOTO, np.full((40, 50), value))
    np.testing.assert_array_equal(found, PHOTO if value else 0 * PHOTO)


@given(
    alpha=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 14), st.integers(1, 14)),
        elements=st.floats(0, 1, width=32),
    ),
    seed=st.integers(0, 99),
)
def test_any_alpha_gives_colours(alpha: np.ndarray, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*alpha.shape, 3), np.uint8)
    found = estimate_foreground(image, alpha)
    assert found.shape == image.shape
    np.testing.assert_array_equal(found[alpha == 1], image[alpha == 1])


def test_one_colour_stays_it() -> None:
    image = np.full((50, 60, 3), (200, 30, 90), np.uint8)
    alpha = RNG.random((50, 60)).astype(np.float32)
    found = estimate_foreground(image, alpha)
    assert np.abs(found.astype(int) - image).max() <= 1


def test_hair_before_real_backgrounds(data_dir: Path) -> None:
    """Measured alpha of fur, known colours, photographs behind."""
    folder = data_dir / "eval" / "matting"
    ratios = []
    for number in range(4):
        alpha = iio.imread(folder / "alpha" / f"comp_0{number}.png")
        alpha = (alpha if alpha.ndim == 2 else alpha[..., 0]) / np.float32(255)
        rows, cols = (
            axis / side
            for axis, side in zip(
                np.mgrid[: alpha.shape[0], : alpha.shape[1]], alpha.shape, strict=True
            )
        )
        front = 255 * np.stack([0.6 + 0.3 * rows, 0.5 - 0.2 * cols, 0.2 * rows], -1)
        behind = iio.imread(folder / "images" / f"comp_0{number + 4}.jpg")[..., :3]
        short = np.maximum(np.subtract(alpha.shape, behind.shape[:2]), 0)
        pad = ((0, int(short[0])), (0, int(short[1])), (0, 0))
        behind = np.pad(behind, pad, mode="reflect")
        behind = behind[: alpha.shape[0], : alpha.shape[1]]
        mixed = alpha[..., None] * front + (1 - alpha[..., None]) * behind
        image = np.rint(mixed).astype(np.uint8)
        found = estimate_foreground(image, alpha)
        edge = (alpha > 0.02) & (alpha < 0.98)
        weight = alpha[edge][:, None]
        fringes = [
            np.sqrt(np.mean((weight * (each[edge] - front[edge])) ** 2))
            for each in (found.astype(float), image.astype(float))
        ]
        ratios.append(float(fringes[0] / fringes[1]))
    assert max(ratios) < 0.5, ratios
