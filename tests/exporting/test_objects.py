"""Objects to files and back, read by readers that we did not write."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napari_clickseg.errors import ExportError
from napari_clickseg.exporting import load_objects, save_objects
from napari_clickseg.exporting.outlines import outlines


def labels_of(seed=0, shape=(30, 41), count=6):
    """Blobs with holes, parts, corners that touch, and pixels at the border."""
    chance = np.random.default_rng(seed)
    out = chance.integers(0, count, shape)
    out[5:15, 8:20] = count + 300
    out[8:11, 10:13] = 0
    return out.astype(np.int32)


@pytest.mark.parametrize("name", ["a.tif", "a.json", "a.geojson", "a.zarr"])
def test_there_and_back(tmp_path, name):
    pytest.importorskip("pycocotools")
    pytest.importorskip("zarr")
    labels = labels_of()
    save_objects(tmp_path / name, labels)
    np.testing.assert_array_equal(load_objects(tmp_path / name, labels.shape), labels)
    save_objects(tmp_path / name, labels[:, :20])  # and once more
    again = load_objects(tmp_path / name, (30, 20))
    np.testing.assert_array_equal(again, labels[:, :20])


def test_tiff_by_tifffile(tmp_path):
    import tifffile

    labels = labels_of()
    save_objects(tmp_path / "a.tif", labels, spacing=0.5)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.asarray(), labels)
        assert file.pages[0].dtype == np.uint16
        assert file.imagej_metadata["unit"] == "um"


def test_a_picture_shows_every_object(tmp_path):
    from PIL import Image

    labels = labels_of()
    save_objects(tmp_path / "a.png", labels)
    seen = np.asarray(Image.open(tmp_path / "a.png"))
    assert seen.shape == (*labels.shape, 3)
    assert not seen[labels == 0].any()
    colours = {tuple(seen[labels == n][0]) for n in np.unique(labels)}
    assert len(colours) == len(np.unique(labels))


@pytest.mark.parametrize("shapes", ["rle", "polygons"])
def test_coco_by_pycocotools(tmp_path, shapes, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    labels = labels_of()
    if shapes == "polygons":
        with pytest.raises(ExportError, match="has a hole"):
            save_objects(tmp_path / "a.json", labels, shapes=shapes)
        labels[8:11, 10:13] = labels.max()
        labels[labels < labels.max()] = 0
        labels[20:24, 3] = labels[24, 4] = 7
    save_objects(tmp_path / "a.json", labels, shapes=shapes, file_name="x.tif")
    read = coco.COCO(str(tmp_path / "a.json"))
    [image] = read.loadImgs(read.getImgIds())
    assert (image["height"], image["width"]) == labels.shape
    assert image["file_name"] == "x.tif"
    for each in read.loadAnns(read.getAnnIds()):
        mask = labels == each["id"]
        np.testing.assert_array_equal(read.annToMask(each), mask)
        assert each["area"] == mask.sum()
        cols = np.flatnonzero(mask.any(0))
        assert each["bbox"][0] == cols[0]
        assert each["bbox"][2] == cols[-1] - cols[0] + 1
    np.testing.assert_array_equal(load_objects(tmp_path / "a.json"), labels)


def test_geojson_by_shapely(tmp_path):
    geometry = pytest.importorskip("shapely.geometry")
    labels = labels_of()
    save_objects(tmp_path / "a.geojson", labels)
    content = json.loads((tmp_path / "a.geojson").read_text())
    found = np.zeros_like(labels)
    for each in content["features"]:
        assert each["properties"]["objectType"] == "annotation"
        shape = geometry.shape(each["geometry"])
        assert shape.is_valid
        label = each["properties"]["measurements"]["label"]
        assert shape.area == (labels == label).sum()
        for row, col in np.argwhere(labels == label)[::7]:
            assert shape.contains(geometry.Point(col + 0.5, row + 0.5))
            found[row, col] = label
    assert set(np.unique(found)) == set(np.unique(labels))


def test_ome_zarr_by_zarr(tmp_path):
    zarr = pytest.importorskip("zarr")
    labels = labels_of()
    save_objects(tmp_path / "a.zarr", labels, spacing=(0.5, 0.25))
    save_objects(tmp_path / "a.zarr", labels * 2, name="others")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["labels"].attrs["ome"]["labels"] == ["objects", "others"]
    np.testing.assert_array_equal(group["labels/objects/0"][...], labels)
    [scales] = group["labels/objects"].attrs["ome"]["multiscales"]
    place = scales["datasets"][0]["coordinateTransformations"]
    assert place == [{"type": "scale", "scale": [0.5, 0.25]}]
    assert scales["axes"][0] == {"name": "y", "type": "space", "unit": "micrometer"}


@given(
    bits=st.lists(st.integers(0, 2), min_size=1, max_size=64), width=st.integers(1, 8)
)
# A hole that touches the outline at a corner.
@example(bits=[1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0], width=4)
def test_outlines_hold_all_pixels(bits, width):
    shapely = pytest.importorskip("shapely")
    height = -(-len(bits) // width)
    labels = np.zeros(height * width, np.int32)
    labels[: len(bits)] = bits
    labels = labels.reshape(height, width)
    for label, polygons in outlines(labels):
        mask, drawn = labels == label, 0.0
        for outer, holes in polygons:
            shape = shapely.Polygon(outer, holes)
            assert shape.is_valid
            drawn += shape.area
        assert drawn == mask.sum()


@pytest.mark.parametrize("name", ["a.json", "a.geojson"])
@given(
    content=st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "images",
                        "annotations",
                        "id",
                        "image_id",
                        "segmentation",
                        "features",
                        "geometry",
                        "type",
                        "coordinates",
                        "height",
                        "width",
                        "counts",
                        "size",
                        "properties",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_nothing_but_our_errors(tmp_path_factory, name, content):
    pytest.importorskip("pycocotools")
    path = tmp_path_factory.getbasetemp() / name
    path.write_text(json.dumps(content))
    with contextlib.suppress(ExportError):
        load_objects(path, (9, 9))


def test_what_cannot_be_written_is_told(tmp_path):
    labels = labels_of()
    with pytest.raises(ExportError, match="end the name in"):
        save_objects(tmp_path / "a.bmp", labels)
    with pytest.raises(ExportError, match="one plane"):
        save_objects(tmp_path / "a.tif", labels[None])
    blocked = tmp_path / "file"
    blocked.write_text("")
    for name in ("a.json", "a.geojson", "a.tif", "a.zarr"):
        with pytest.raises(ExportError):
            save_objects(blocked / name, labels)
