"""Arrays of every kind become the same windows of RGB, read only where needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_clickseg.boxes import Box
from napari_clickseg.errors import ImageError
from napari_clickseg.image import ImageSource

INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
DTYPES = ["?", *INTEGERS, "f2", "f4", "f8", ">u2", ">i4", ">f4", ">f8"]


def whole(source: ImageSource) -> np.ndarray:
    return source.window(Box.of_shape(source.shape))


class Counting:
    """An array that tells which parts of it were read."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.reads: list[tuple[slice, ...]] = []

    def __getitem__(self, index):
        self.reads.append(index)
        return self._array[index]

    @property
    def pixels_read(self) -> int:
        height, width = self.shape[:2]
        return sum(
            len(range(*rows.indices(height))) * len(range(*cols.indices(width)))
            for rows, cols, *_ in self.reads
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_spans_the_contrast_that_is_given(dtype):
    low, high = (0, 1) if dtype == "?" else (10, 90)
    plane = np.array([[low, high], [high, low]]).astype(dtype)
    window = whole(ImageSource(plane, contrast=(low, high)))
    assert window.dtype == np.float32
    assert window.flags.c_contiguous
    np.testing.assert_array_equal(window[..., 0], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(window[..., 0], window[..., 2])


@given(
    hnp.arrays(
        st.sampled_from(DTYPES).map(np.dtype),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
        elements=None,
    )
)
def test_any_values_stay_between_0_and_1(plane):
    if plane.dtype.kind == "f":
        # Values whose differences no float holds are beyond any image.
        big = np.abs(plane.astype(np.float64)) > 1e30
        plane = np.where(big, plane.dtype.type(np.inf), plane)
    window = whole(ImageSource(plane))
    assert np.isfinite(window).all()
    assert window.min() >= 0
    assert window.max() <= 1


def test_colour_of_eight_bits_is_as_the_networks_were_trained():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    window = ImageSource(image).window(Box(2, 3, 12, 28))
    np.testing.assert_array_equal(
        window, image[2:12, 3:28].astype(np.float32) / np.float32(255)
    )


def test_alpha_is_left_out():
    image = np.zeros((5, 5, 4), np.uint8)
    image[..., 3] = 255
    assert not whole(ImageSource(image)).any()


def test_grey_of_eight_bits_is_as_on_screen():
    window = whole(ImageSource(np.full((4, 4), 51, np.uint8)))
    np.testing.assert_allclose(window, 0.2, rtol=1e-6)


def test_one_hot_pixel_does_not_darken_the_image():
    image = np.random.default_rng(0).integers(100, 200, (64, 64)).astype(np.uint16)
    image[5, 5] = 65535
    assert np.ptp(np.median(whole(ImageSource(image)), axis=2)[:, 20:]) > 0.9


def test_float_colour_within_0_and_1_is_taken_as_it_is():
    image = np.random.default_rng(0).uniform(0.2, 0.6, (9, 9, 3))
    np.testing.assert_allclose(whole(ImageSource(image)), image, rtol=1e-6)


def test_colour_of_sixteen_bits_keeps_its_hue():
    image = np.zeros((50, 50, 3), np.uint16)
    image[..., 0] = np.arange(2500).reshape(50, 50) * 20
    image[..., 1] = image[..., 0] // 4
    window = whole(ImageSource(image))
    inside = (window[..., 0] > 0.1) & (window[..., 0] < 0.9)
    ratio = window[..., 1][inside] / window[..., 0][inside]
    np.testing.assert_allclose(ratio, 0.25, atol=0.02)


def test_channels_that_were_chosen_are_stretched_one_by_one():
    image = np.zeros((40, 40, 5), np.uint16)
    image[..., 1] = np.arange(1600).reshape(40, 40) + 1000
    image[..., 4] = np.arange(1600).reshape(40, 40) * 40
    window = whole(ImageSource(image, channels=(4, 1)))
    # Two channels: magenta and green.
    np.testing.assert_array_equal(window[..., 0], window[..., 2])
    np.testing.assert_allclose(window[..., 0], window[..., 1], atol=1e-3)
    single = whole(ImageSource(image, channels=-1))
    np.testing.assert_array_equal(single[..., 1], window[..., 0])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 12])
def test_any_number_of_channels(count):
    image = np.random.default_rng(0).random((16, 18, count))
    assert whole(ImageSource(image)).shape == (16, 18, 3)


def test_contrast_for_each_channel():
    image = np.stack([np.full((3, 3), v, np.uint16) for v in (10, 200, 3000)], -1)
    limits = [(0, 20), (100, 300), (2000, 4000)]
    np.testing.assert_allclose(whole(ImageSource(image, contrast=limits)), 0.5)
    np.testing.assert_allclose(
        whole(ImageSource(image, channels=2, contrast=(2000, 4000))), 0.5
    )


def test_not_a_number_and_infinity():
    plane = np.array([[np.nan, -np.inf, np.inf], [0, 1, 2]], np.float32)
    expected = [[0, 0, 1], [0, 0.5, 1]]
    given = whole(ImageSource(plane, contrast=(0, 2)))
    np.testing.assert_array_equal(given[..., 0], expected)
    np.testing.assert_allclose(whole(ImageSource(plane))[..., 0], expected, atol=2e-3)
    assert not whole(ImageSource(np.full((4, 4), np.nan))).any()


def test_small_differences_on_a_large_offset_survive():
    plane = 2**40 + np.arange(100).reshape(10, 10)
    for dtype in (np.int64, np.float64):
        window = whole(ImageSource(plane.astype(dtype), contrast=(2**40, 2**40 + 99)))
        np.testing.assert_allclose(window[..., 0].ravel(), np.arange(100) / 99)


def test_a_lazy_array_is_read_only_in_the_window():
    lazy = Counting(np.zeros((2000, 3000, 4), np.uint16))
    source = ImageSource(lazy, channels=(1, 2), contrast=(0, 1))
    assert not lazy.reads
    box = Box(100, 200, 300, 500)
    first = source.window(box)
    assert lazy.reads == [(slice(100, 300), slice(200, 500), slice(1, 3))]
    np.testing.assert_array_equal(source.window(box), first)
    inner = source.window(Box(150, 250, 250, 400))
    np.testing.assert_array_equal(inner, first[50:150, 50:200])
    assert len(lazy.reads) == 1
    source.window(Box(1000, 1000, 1010, 1010))
    assert lazy.pixels_read == 200 * 300 + 100


def test_contrast_and_signature_of_a_lazy_array_read_little_of_it():
    lazy = Counting(np.zeros((2000, 3000), np.uint16))
    source = ImageSource(lazy)
    source.window(Box(0, 0, 10, 10))
    signature = source.signature()
    assert source.signature() == signature
    assert lazy.pixels_read < 2000 * 3000 / 20


def test_dask_and_zarr_give_what_numpy_gives(tmp_path):
    da = pytest.importorskip("dask.array")
    zarr = pytest.importorskip("zarr")
    image = np.random.default_rng(0).integers(0, 4000, (200, 150, 3)).astype("u2")
    stored = zarr.open(
        str(tmp_path / "a.zarr"), mode="w", shape=image.shape, dtype="u2"
    )
    stored[:] = image
    sources = [ImageSource(a) for a in (image, da.from_array(image), stored)]
    assert [s.lazy for s in sources] == [False, True, True]
    windows = [s.window(Box(20, 30, 120, 140)) for s in sources]
    np.testing.assert_array_equal(windows[0], windows[1])
    np.testing.assert_array_equal(windows[0], windows[2])
    assert len({s.signature() for s in sources}) == 1


def test_a_lazy_array_computes_only_the_blocks_it_needs():
    da = pytest.importorskip("dask.array")
    computed = []

    def block(block_info=None):
        computed.append(block_info[None]["chunk-location"])
        return np.ones((100, 100), np.uint8)

    lazy = da.map_blocks(
        block, chunks=((100,) * 50, (100,) * 50), dtype="u1", meta=np.ones((0, 0), "u1")
    )
    ImageSource(lazy).window(Box(250, 250, 290, 390))
    assert sorted(computed) == [(2, 2), (2, 3)]


def test_windows_belong_to_the_caller():
    source = ImageSource(np.zeros((10, 10), np.uint8))
    source.window(Box(0, 0, 10, 10))[:] = 1
    assert not source.window(Box(0, 0, 10, 10)).any()


def test_channels_first_when_it_is_said():
    image = np.random.default_rng(0).random((3, 40, 50))
    source = ImageSource(image, channel_axis=0)
    assert source.shape == (40, 50)
    same = ImageSource(np.moveaxis(image, 0, -1))
    np.testing.assert_array_equal(whole(source), whole(same))
    assert source.signature() == same.signature()


@pytest.mark.parametrize(
    ("array", "arguments", "says"),
    [
        (np.zeros((0, 5)), {}, "empty"),
        (np.zeros((5, 0, 3)), {}, "empty"),
        (np.zeros((5, 5, 0)), {}, "empty"),
        (np.zeros((5, 5), complex), {}, "np.abs"),
        (np.array([["a", "b"]]), {}, "Convert"),
        (np.array([[None, 1]], dtype=object), {}, "Convert"),
        (np.zeros((5, 5), "M8[s]"), {}, "Convert"),
        (np.zeros(5), {}, "1 axes"),
        (np.float64(3), {}, "0 axes"),
        (np.zeros((2, 5, 5, 3)), {}, r"image\[t, z\]"),
        (np.zeros((3, 64, 64)), {}, "channel_axis=0"),
        (np.zeros((30, 64, 64)), {}, r"image\[0\]"),
        (np.zeros((64, 64, 64)), {}, "three spatial axes"),
        (np.zeros((3, 64, 64)), {"channels": (0, 1, 2)}, "channel_axis=0"),
        (np.zeros((5, 5)), {"channels": 1}, "1 channel"),
        (np.zeros((5, 5, 3)), {"channels": 3}, "0 to 2"),
        (np.zeros((20, 20, 9)), {"channels": (1, 2, 3, 4)}, "one to three"),
        (np.zeros((5, 5, 3)), {"channels": "red"}, "does not fit"),
        (np.zeros((5, 5)), {"channel_axis": 0}, "Leave"),
        (np.zeros((5, 5, 3)), {"channel_axis": 3}, "0, 1 or 2"),
        (np.zeros((5, 5)), {"contrast": (5, 5)}, "low below"),
        (np.zeros((5, 5)), {"contrast": (0, np.nan)}, "finite"),
        (np.zeros((5, 5, 3)), {"contrast": [(0, 1), (0, 1)]}, "each of the 3"),
        (np.zeros((5, 5)), {"contrast": "bright"}, "neither"),
    ],
)
def test_what_cannot_be_used_is_explained(array, arguments, says):
    with pytest.raises(ImageError, match=says):
        ImageSource(array, **arguments)


def test_windows_outside_are_refused():
    source = ImageSource(np.zeros((10, 10)))
    for box in (Box(0, 0, 11, 5), Box(-1, 0, 5, 5), Box(3, 3, 3, 8)):
        with pytest.raises(ImageError, match="Clip"):
            source.window(box)


def test_the_signature_tells_images_apart():
    image = np.random.default_rng(0).integers(0, 255, (300, 300)).astype(np.uint8)
    other = image.copy()
    other[150, 150] ^= 1
    signs = {
        ImageSource(a).signature()
        for a in (image, other, image.astype("u2"), image[:, :299], image[..., None])
    }
    # The trailing axis of one channel holds the same picture.
    assert len(signs) == 4
    swapped = image.astype(">u2")
    assert (
        ImageSource(swapped).signature() == ImageSource(image.astype("<u2")).signature()
    )


def test_lists_are_images_too():
    assert ImageSource([[0, 1], [2, 3]]).shape == (2, 2)


@pytest.mark.parametrize("channels", [1.5, True, "r", []])
def test_channels_are_whole_numbers(channels):
    with pytest.raises(ImageError, match="does not fit an image"):
        ImageSource(np.zeros((5, 6, 4), np.uint8), channels)


def test_rows_of_different_lengths_are_no_image():
    with pytest.raises(ImageError, match="rows of the same length"):
        ImageSource([[1], [2, 3]])


def test_an_array_that_does_not_know_its_shape_is_refused():
    array = pytest.importorskip("dask.array").ones((5, 6))
    with pytest.raises(ImageError, match="compute_chunk_sizes"):
        ImageSource(array[array[:, 0] > 0])


# ------------------------------------------------------------------ gamma, byte order


@given(
    hnp.arrays(
        st.sampled_from([d for d in DTYPES if d not in "?"]).map(np.dtype),
        (6, 5, 3),
        elements=st.integers(0, 90),
    ),
    st.sampled_from([(0,), (2, 0), (0, 1, 2)]),
    st.sampled_from([0, 1, 2]),
)
def test_byte_order_and_axes_change_nothing(array, channels, axis):
    array = np.asarray(array)
    moved = np.moveaxis(array, 2, axis)
    swapped = moved.astype(moved.dtype.newbyteorder())
    expected = whole(ImageSource(array, channels, (0, 90)))
    for each in (moved, swapped, np.asfortranarray(moved)):
        source = ImageSource(each, channels, (0, 90), channel_axis=axis)
        np.testing.assert_array_equal(whole(source), expected)
    assert expected.min() >= 0
    # Values keep their order, whatever the type.
    flat = array[..., channels[0]].ravel().astype(float)
    shown = expected[..., 0].ravel()
    assert (np.diff(shown[np.argsort(flat, kind="stable")]) >= 0).all()


@given(
    st.floats(0.2, 5.0),
    st.sampled_from(["u1", "u2", "i4", "f2", ">f4", "f8"]),
)
def test_gamma_is_as_napari_shows_it(gamma, dtype):
    plane = np.arange(0, 91, 10).reshape(2, 5).astype(dtype)
    window = whole(ImageSource(plane, contrast=(0, 90), gamma=gamma))
    expected = (plane.astype(float) / 90) ** gamma
    np.testing.assert_allclose(window[..., 1], expected, atol=2e-6)


def test_gamma_of_each_channel_and_in_coarser_levels():
    array = np.full((64, 64, 2), 25, np.uint8)
    half = np.full((8, 8, 2), 25, np.uint8)
    source = ImageSource(
        array, (0, 1), (0, 100), gamma=(0.5, 2), channel_axis=2, coarser=[half]
    )
    for window in (whole(source), source.window_for(Box(0, 0, 64, 64), (4, 4))):
        np.testing.assert_allclose(window[0, 0], [0.5, 0.0625, 0.5])
    assert source.window_for(Box(0, 0, 64, 64), (4, 4)).shape == (8, 8, 3)
    assert source.describe()["gamma"] == [0.5, 2.0]
    assert "gamma" not in source.shown((0, 100)).describe()
    colour = ImageSource(np.full((4, 4, 3), 51, np.uint8), gamma=2)
    np.testing.assert_allclose(whole(colour), 0.04, atol=1e-6)


@pytest.mark.parametrize("gamma", [0, -1, np.nan, "dark", (1, 2, 3, 4)])
def test_gamma_is_above_0(gamma):
    with pytest.raises(ImageError, match="above 0"):
        ImageSource(np.zeros((4, 4)), gamma=gamma)


# -------------------------------------------------------------------------- colormaps


GREEN, RED = [(0, 0, 0), (0, 1, 0)], [(0, 0, 0), (1, 0, 0)]


def test_channels_in_colors_of_their_own_are_added():
    array = np.stack([np.full((64, 64), 50), np.full((64, 64), 80)], -1).astype("u1")
    half = array[::8, ::8]
    source = ImageSource(
        array, (0, 1), (0, 100), colormaps=[GREEN, RED], channel_axis=2, coarser=[half]
    )
    for window in (whole(source), source.window_for(Box(0, 0, 64, 64), (4, 4))):
        np.testing.assert_allclose(window[3, 3], (0.8, 0.5, 0))
        assert window.dtype == np.float32
        assert window.flags.c_contiguous
    yellow = [(0, 0, 0), (1, 1, 0)]
    bright = source.shown((0, 100), (0, 1), colormaps=[yellow, yellow])
    np.testing.assert_allclose(whole(bright)[0, 0], (1, 1, 0))
    assert source.describe()["colormaps"] == [
        [list(map(float, r)) for r in GREEN],
        [list(map(float, r)) for r in RED],
    ]
    assert "colormaps" not in source.shown((0, 100)).describe()
    assert source.signature() == bright.signature()


@pytest.mark.parametrize(
    "colormaps",
    [
        "green",
        [GREEN],
        [GREEN, GREEN, GREEN],
        [GREEN, [(0, 0, 0)]],
        [GREEN, [(0, 2, 0)] * 2],
        [GREEN, [(np.nan, 0, 0)] * 2],
        [GREEN, [(0, 0)] * 2],
        3,
        [[], []],
    ],
)
def test_colormaps_are_tables_for_each_channel(colormaps):
    with pytest.raises(ImageError, match="table of colors"):
        ImageSource(np.zeros((4, 4, 2)), colormaps=colormaps)
