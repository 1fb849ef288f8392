"""Alpha and depth, read with other programs' readers."""

from __future__ import annotations

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

from napari_clickseg.errors import ExportError
from napari_clickseg.exporting import save_alpha, save_depth
from napari_clickseg.imagefiles import read_image

if TYPE_CHECKING:
    from pathlib import Path

RAMP = np.linspace(0, 1, 20 * 30, dtype=np.float32).reshape(20, 30)
WHOLE = np.rint(RAMP * 65535).astype(np.uint16)
READERS: dict[str, Any] = {
    "cv2": lambda path: cv2.imread(str(path), cv2.IMREAD_UNCHANGED),
    "imageio": iio.imread,
    "pillow": lambda path: np.asarray(Image.open(path)),
    "ours": read_image,
}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("reader", READERS)
def test_16_bits_by_default(tmp_path: Path, suffix: str, reader: str) -> None:
    [path] = save_alpha(tmp_path / f"a{suffix}", RAMP)
    found = READERS[reader](path)
    np.testing.assert_array_equal(found, WHOLE)
    assert found.max() == 65535
    if suffix == ".tif":
        np.testing.assert_array_equal(tifffile.imread(path), WHOLE)


def test_other_types_of_file(tmp_path: Path) -> None:
    [path] = save_alpha(tmp_path / "a.tif", RAMP, dtype="float32")
    found = tifffile.imread(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, RAMP)
    for suffix in (".png", ".tif"):
        [path] = save_alpha(tmp_path / f"b{suffix}", RAMP, dtype="uint8")
        assert iio.imread(path).dtype == np.uint8
        np.testing.assert_array_equal(iio.imread(path), np.rint(RAMP * 255))
    with pytest.raises(ExportError, match=r"no floats.*\.tif"):
        save_alpha(tmp_path / "c.png", RAMP, dtype="float32")
    with pytest.raises(ExportError, match="'uint16', 'uint8'"):
        save_alpha(tmp_path / "c.tif", RAMP, dtype="float64")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.eye(4, dtype=bool), np.eye(4) * 65535),
        (np.eye(4, dtype=np.int64), np.eye(4) * 65535),
        (np.eye(4, dtype=np.uint8) * 255, np.eye(4) * 65535),
        (np.full((4, 4), 128, np.uint8), np.full((4, 4), 32896)),
        (WHOLE.astype(">u2"), WHOLE),
        (RAMP.astype(">f8")[::-1, ::2], WHOLE[::-1, ::2]),
        (RAMP.astype(np.float16), np.rint(RAMP.astype(np.float16) * np.float32(65535))),
        (np.array([[1.0005, -0.0005]]), np.array([[65535, 0]])),
    ],
)
def test_what_counts_as_alpha(tmp_path: Path, values: Any, expected: Any) -> None:
    [path] = save_alpha(tmp_path / "a.png", values)
    np.testing.assert_array_equal(iio.imread(path), expected)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.full((4, 4), np.nan), "16 pixels that are NaN"),
        (np.full((4, 4), -np.inf), "infinite"),
        (np.full((4, 4), 1.5), "1.5.*0 .background. to 1 .object."),
        (np.full((4, 4), -0.2), "-0.2"),
        (np.full((4, 4), 200, np.int16), "int16"),
        (np.full((4, 4), -1), "int64"),
        (np.zeros((0, 3)), "empty"),
        (np.zeros(3), "too few axes"),
        (np.zeros((3, 3), complex), "complex"),
        (None, "object"),
    ],
)
def test_what_is_no_alpha(tmp_path: Path, values: Any, says: str) -> None:
    for name in ("a.png", "a.tif"):
        with pytest.raises(ExportError, match=f"{says}|too few"):
            save_alpha(tmp_path / name, values)
    assert not list(tmp_path.iterdir())


def test_a_bad_plane_in_the_middle_leaves_the_older_file(tmp_path: Path) -> None:
    stack = np.stack([RAMP] * 4)
    [path] = save_alpha(tmp_path / "a.tif", stack)
    older = path.read_bytes()
    stack[2, 0, 0] = np.nan
    with pytest.raises(ExportError, match="NaN"):
        save_alpha(path, stack)
    assert path.read_bytes() == older
    assert list(tmp_path.iterdir()) == [path]


@given(
    alpha=arrays.arrays(
        st.sampled_from([np.float32, ">f4", np.float64, np.float16]),
        st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
        elements=st.floats(0, 1, width=16),
    ),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
)
def test_any_stack_comes_back(
    tmp_path_factory: pytest.TempPathFactory, alpha: np.ndarray, dtype: str
) -> None:
    [path] = save_alpha(tmp_path_factory.mktemp("a") / "a.tif", alpha, dtype=dtype)
    found = tifffile.imread(path).reshape(alpha.shape)
    assert found.dtype == dtype
    steps = {"uint8": 255, "uint16": 65535, "float32": None}[dtype]
    if steps is None:
        np.testing.assert_array_equal(found, alpha)
    else:
        np.testing.assert_allclose(found / steps, alpha, atol=0.5001 / steps)


# Depth ---------------------------------------------------------------------------


def test_depth_with_its_unit(tmp_path: Path) -> None:
    depth = RAMP * 9 + 1
    depth[3, 4] = np.nan
    [path] = save_depth(tmp_path / "d.tif", depth, "m", (0.5, 0.25), spacing_unit="mm")
    for reader in (*READERS.values(), tifffile.imread):
        found = reader(path)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, depth)
    with tifffile.TiffFile(path) as file:
        told = file.imagej_metadata
        assert told["vunit"] == "m"
        assert told["unit"] == "mm"
        assert (told["min"], told["max"]) == (1, 10)
        tags = file.pages[0].tags
        assert tags["XResolution"].value == (4, 1)
        assert tags["YResolution"].value == (2, 1)
        assert 'role="unittype">m<' in tags[42112].value
        assert tags["Software"].value.startswith("napari-clickseg")


def test_depth_without_spacing_or_any_known_value(tmp_path: Path) -> None:
    [path] = save_depth(tmp_path / "d.tiff", np.full((4, 5), np.nan), "\u00b5m")
    with tifffile.TiffFile(path) as file:
        assert file.imagej_metadata["vunit"] == "um"
        assert "unit" not in file.imagej_metadata
        assert "max" not in file.imagej_metadata
        assert np.isnan(file.asarray()).all()


@pytest.mark.parametrize("leading", [(3,), (2, 3), (2, 3, 2), (1, 2, 1, 3)])
def test_stacks_of_depth(tmp_path: Path, leading: tuple[int, ...]) -> None:
    depth = np.random.default_rng(0).random((*leading, 5, 6)).astype(">f8")
    [path] = save_depth(tmp_path / "d.tif", depth, "um", (2, 0.5, 0.5))
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == np.prod(leading)
        found = file.asarray()
        assert len(leading) > 3 or file.imagej_metadata["spacing"] == 2
        assert len(leading) < 4 or '"vunit": "um"' in file.pages[0].description
    np.testing.assert_array_equal(found.reshape(depth.shape), depth.astype(np.float32))


def test_more_than_imagej_reads_keeps_spacing_in_centimetres(tmp_path: Path) -> None:
    depth = np.zeros((1, 1, 1, 2, 5, 6))
    [path] = save_depth(tmp_path / "d.tif", depth, "m", 0.5)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert page.tags["ResolutionUnit"].value == 3
        across = page.tags["XResolution"].value
        assert across[0] / across[1] == pytest.approx(20000)


@pytest.mark.parametrize("spacing", [1e-12, 1e12])
def test_spacings_that_no_tag_holds_are_left_out(
    tmp_path: Path, spacing: float
) -> None:
    [path] = save_depth(tmp_path / "d.tif", RAMP, "m", spacing)
    with tifffile.TiffFile(path) as file:
        assert "unit" not in file.imagej_metadata
    np.testing.assert_array_equal(tifffile.imread(path), RAMP)


@pytest.mark.parametrize("name", ["d.png", "d.jpg", "d", "d.ome.tif", "d.exr"])
def test_depth_is_tiff(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match=r"end the name in \.tif or \.tiff"):
        save_depth(tmp_path / name, RAMP)


@pytest.mark.parametrize("unit", ["", "  ", "\u91ce", "x" * 50])
def test_units_that_no_file_holds(tmp_path: Path, unit: str) -> None:
    with pytest.raises(ExportError, match="give a short one"):
        save_depth(tmp_path / "d.tif", RAMP, unit)


@given(
    depth=arrays.arrays(
        st.sampled_from([np.float32, np.float64, ">f4", np.int16, np.uint32, "?"]),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
    ),
    unit=st.sampled_from(["m", "micrometer", "a.u.", "m/s", "<&>", "light  year"]),
)
def test_any_depth_comes_back(
    tmp_path_factory: pytest.TempPathFactory, depth: np.ndarray, unit: str
) -> None:
    [path] = save_depth(tmp_path_factory.mktemp("d") / "d.tif", depth, unit)
    with np.errstate(over="ignore"):
        expected = depth.astype(np.float32)
    np.testing.assert_array_equal(tifffile.imread(path), expected)
