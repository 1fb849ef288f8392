"""What is found in files, folders and zarr arrays."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from napari_clickseg.boxes import Box
from napari_clickseg.encoding.sources import Plane, Shown, find_sources, planes_of
from napari_clickseg.errors import ImageError


def planes(given, **shown):
    shown = Shown(**shown)
    return [
        (name.rsplit("/", 1)[-1], image)
        for source in find_sources(given, shown)
        for name, image in planes_of(source, shown)
    ]


def test_a_folder_with_all_in_it(photos):
    (photos / ".hidden.png").write_bytes(b"")
    found = planes([photos])
    assert [name for name, _ in found] == [
        "grey.tif",
        "floats.npy",
        "stack.tif[0]",
        "stack.tif[1]",
        "photo0.png",
        "photo1.png",
        "photo2.png",
    ]
    shapes = [image.shape for _, image in found]
    assert shapes == [
        (64, 100),
        (50, 60),
        *[(64, 100)] * 2,
        *((70 + n, 90) for n in range(3)),
    ]
    grey, turned = found[0][1].window(Box(0, 0, 64, 100)), found[3][1]
    np.testing.assert_array_equal(grey[::-1], turned.window(Box(0, 0, 64, 100)))


def test_each_once(photos):
    file = photos / "grey.tif"
    assert len(find_sources([file, photos, file])) == 6
    assert find_sources([photos])[0].path == str(file)


def test_what_is_no_image(photos, tmp_path):
    with pytest.raises(ImageError, match="can be read here"):
        find_sources([photos / "notes.txt"])
    with pytest.raises(ImageError, match="no image or folder"):
        find_sources([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no image in what was given"):
        find_sources([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("shape", "shown", "count", "plane"),
    [
        ((40, 50), {}, 1, (40, 50)),
        ((40, 50, 3), {}, 1, (40, 50)),
        ((5, 40, 50), {}, 5, (40, 50)),
        ((2, 5, 40, 50), {}, 10, (40, 50)),
        ((2, 40, 50, 4), {}, 2, (40, 50)),
        ((6, 40, 50), {"channel_axis": 0}, 1, (40, 50)),
        ((3, 6, 40, 50), {"channel_axis": 0, "channels": (5, 1)}, 3, (40, 50)),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "zarr"])
def test_planes_of_arrays(tmp_path, shape, shown, count, plane, kind):
    array = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    path = tmp_path / f"array.{kind}"
    if kind == "npy":
        np.save(path, array)
    else:
        zarr.create_array(path, data=array)
    found = planes([path], **shown)
    assert len(found) == count
    assert {image.shape for _, image in found} == {plane}
    assert len({name for name, _ in found}) == count
    last = array.reshape(
        count, *array.shape[array.ndim - (3 if shown or shape[-1] <= 4 else 2) :]
    )[-1]
    seen = found[-1][1].window(Box(3, 4, 20, 30))
    if last.ndim == 2:
        np.testing.assert_allclose(seen[..., 0], last[3:20, 4:30] / 255, atol=1e-6)
    elif not shown:
        np.testing.assert_allclose(seen, last[3:20, 4:30, :3] / 255, atol=1e-6)


def ome(path, axes, shape, version="0.5"):
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    array = np.random.default_rng(1).integers(0, 4000, shape, np.uint16)
    group.create_array("full", data=array)
    group.create_array("half", data=array[..., ::2, ::2])
    image = {
        "axes": [{"name": a} for a in axes],
        "datasets": [{"path": "full"}, {"path": "half"}],
    }
    group.attrs.update(
        {"ome": {"multiscales": [image]}}
        if version == "0.5"
        else {"multiscales": [image]}
    )
    return array


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_at_full_resolution(tmp_path, version):
    array = ome(tmp_path / "plate.zarr", "tczyx", (2, 3, 1, 40, 50), version)
    single = planes([tmp_path], contrast=(0, 4000))
    assert len(single) == 6  # each channel an image, as napari shows them
    np.testing.assert_allclose(
        single[4][1].window(Box(0, 0, 40, 50))[..., 1], array[1, 1, 0] / 4000, atol=1e-6
    )
    together = planes([tmp_path], channels=(2, 0, 1), contrast=(0, 4000))
    assert len(together) == 2
    np.testing.assert_allclose(
        together[1][1].window(Box(5, 6, 30, 40)),
        np.moveaxis(array[1, [2, 0, 1], 0, 5:30, 6:40], 0, -1) / 4000,
        atol=1e-6,
    )


def test_a_zarr_group_of_something_else(tmp_path):
    zarr.create_group(tmp_path / "tables.zarr")
    with pytest.raises(ImageError, match="no OME-Zarr image"):
        find_sources([tmp_path])


def test_only_the_window_of_a_large_plane_is_read():
    class Watched:
        shape, ndim, dtype = (3, 10**6, 10**6), 3, np.dtype(np.uint8)
        most = 0

        def __getitem__(self, index):
            lengths = [
                len(range(*i.indices(n)))
                for i, n in zip(index, self.shape, strict=True)
                if isinstance(i, slice)
            ]
            self.most = max(self.most, int(np.prod(lengths)))
            return np.zeros(lengths, np.uint8)

    array = Watched()
    plane = Plane(array, (1, 2), (2,))
    from napari_clickseg.image import ImageSource

    source = ImageSource(plane)
    assert source.shape == (10**6, 10**6)
    assert source.window(Box(5, 5, 205, 305)).shape == (200, 300, 3)
    assert array.most == 200 * 300
