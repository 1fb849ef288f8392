"""Class maps and legends, read with other programs' readers."""

from __future__ import annotations

import csv
import json
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

from napari_clickseg.errors import ClickSegError, ExportError, SettingsError
from napari_clickseg.exporting import (
    Legend,
    LegendEntry,
    read_legend,
    save_class_map,
)
from napari_clickseg.imagefiles import read_labels
from napari_clickseg.tasks import Classes

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = Classes.named(["background", "cell", "border"], background="background")


def cells() -> np.ndarray:
    labels = np.zeros((20, 30), np.int64)
    labels[2:9, 3:12] = 2
    labels[9:11, 3:12] = 3
    labels[:, 20:] = 1
    return labels


def colours_of(labels: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    for label, each in enumerate(CLASSES, 1):
        table[label] = each.colour
    return table[labels]


def test_a_palette_png_holds_labels_and_shows_colours(tmp_path: Path) -> None:
    labels = cells()
    written = save_class_map(tmp_path / "map.png", labels, CLASSES)
    assert written == [tmp_path / "map.png", tmp_path / "map.legend.json"]
    with Image.open(written[0]) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), labels)
        shown = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(shown, colours_of(labels))
    np.testing.assert_array_equal(iio.imread(written[0]), shown)
    np.testing.assert_array_equal(cv2.imread(str(written[0]))[..., ::-1], shown)
    np.testing.assert_array_equal(read_labels(written[0]), labels)


def test_the_legend_says_all(tmp_path: Path) -> None:
    labels = cells()
    paths = save_class_map(
        tmp_path / "map.tif", labels, CLASSES, legend=("json", "csv"), spacing=0.5
    )
    text = json.loads(paths[1].read_text(encoding="utf-8"))
    assert text["map"] == "map.tif"
    assert text["shape"] == [20, 30]
    assert text["unlabelled"] == (labels == 0).sum()
    assert text["spacing"] == [0.5, 0.5]
    assert text["spacing_unit"] == "um"
    first, second = text["classes"][:2]
    assert first == {
        "label": 1,
        "name": "background",
        "colour": "#666666",
        "shown": False,
        "pixels": 200,
    }
    assert second["colour"] == "#0072b2"
    assert second["pixels"] == (labels == 2).sum()
    with paths[2].open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert rows[2] == {
        "label": "3",
        "name": "border",
        "colour": "#e69f00",
        "shown": "1",
        "pixels": "18",
    }
    for path in (paths[0], paths[1], paths[2]):
        assert read_legend(path).to_classes() == CLASSES
    assert read_legend(paths[1]) == read_legend(paths[2])


def test_a_tiff_gives_every_reader_labels_and_imagej_colours(tmp_path: Path) -> None:
    labels = cells()
    path, _ = save_class_map(
        tmp_path / "map.TIF", labels, CLASSES, spacing=(2, 4), spacing_unit="micron"
    )
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray(), labels)
        assert page.dtype == np.uint8
        assert page.photometric.name == "MINISBLACK"
        table = np.asarray(page.tags[320].value).reshape(3, 256)
        np.testing.assert_array_equal(table[:, 2] >> 8, CLASSES.of(2).colour)
        assert file.imagej_metadata["unit"] == "um"
        across, down = (
            page.tags[name].value for name in ("XResolution", "YResolution")
        )
        assert across[0] / across[1] == 0.25
        assert down[0] / down[1] == 0.5
    with Image.open(path) as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), labels)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), labels)
    np.testing.assert_array_equal(iio.imread(path), labels)


@pytest.mark.parametrize(
    ("largest", "dtype"),
    [(255, np.uint8), (256, np.uint16), (65535, np.uint16), (70000, np.uint32)],
)
def test_as_few_bits_as_are_enough(tmp_path: Path, largest: int, dtype: Any) -> None:
    labels = np.zeros((9, 7), np.int64)
    labels[2, 3], labels[4, 5] = largest, 1
    path = tmp_path / "map.tif"
    save_class_map(path, labels)
    found = tifffile.imread(path)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, labels)
    png = tmp_path / "map.png"
    if largest > 65535:
        png.write_bytes(b"older")
        with pytest.raises(ExportError, match=r"70000 does not fit.*\.tif"):
            save_class_map(png, labels)
        assert png.read_bytes() == b"older"
        return
    save_class_map(png, labels)
    with Image.open(png) as picture:
        assert picture.mode == ("P" if largest < 256 else "I;16")
    np.testing.assert_array_equal(np.asarray(Image.open(png)), labels)
    legend = read_legend(png)
    assert [each.label for each in legend] == [1, largest]
    assert legend.entries[1].name == f"label {largest}"


def test_stacks_go_to_tiff_only(tmp_path: Path) -> None:
    stack = np.stack([cells(), cells() * 0, cells()[::-1]])
    for shape in ((3, 20, 30), (1, 3, 20, 30), (1, 1, 3, 20, 30), (1, 3, 1, 1, 20, 30)):
        path, legend = save_class_map(
            tmp_path / "s.tif", stack.reshape(shape), CLASSES, spacing=(5, 0.5, 0.5)
        )
        np.testing.assert_array_equal(tifffile.imread(path).reshape(stack.shape), stack)
        assert read_legend(legend).entries[1].pixels == (stack == 2).sum()
    save_class_map(path, stack, CLASSES, spacing=(5, 0.5, 0.5))
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 3
        assert file.series[0].axes == "ZYX"
        assert file.imagej_metadata["spacing"] == 5
        assert all(320 in page.tags for page in file.pages)
    with pytest.raises(ExportError, match=r"stack of shape \(3, 20, 30\).*\.tif"):
        save_class_map(tmp_path / "s.png", stack, CLASSES)


def test_lazy_stacks_are_read_plane_by_plane(tmp_path: Path) -> None:
    import dask.array as da

    largest = []

    def plane(block: np.ndarray) -> np.ndarray:
        largest.append(block.shape)
        return block + 1

    stack = np.arange(4 * 6 * 5).reshape(4, 6, 5) % 3
    lazy = da.from_array(stack, chunks=(1, 6, 5)).map_blocks(plane, dtype=stack.dtype)
    largest.clear()
    path, _ = save_class_map(tmp_path / "lazy.tif", lazy, CLASSES)
    np.testing.assert_array_equal(tifffile.imread(path), stack + 1)
    assert set(largest) == {(1, 6, 5)}


@given(
    labels=arrays.arrays(
        st.sampled_from(["?", "|u1", "<u2", ">u2", "<i4", ">i8", "<u4"]),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements={"min_value": 0, "max_value": 120},
    ),
    count=st.integers(2, 300),
    order=st.sampled_from(["C", "F", "reversed"]),
    suffix=st.sampled_from([".png", ".tif"]),
)
def test_any_labels_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    labels: np.ndarray,
    count: int,
    order: str,
    suffix: str,
) -> None:
    given = labels[::-1, ::-1] if order == "reversed" else np.array(labels, order=order)
    folder = tmp_path_factory.mktemp("maps")
    classes = Classes.named(f"class {n}" for n in range(count))
    path, legend = save_class_map(folder / f"m{suffix}", given, classes)
    np.testing.assert_array_equal(read_labels(path), given)
    found = read_legend(legend)
    counted = {each.label: each.pixels for each in found}
    assert all(counted[n] == (given == n).sum() for n in counted)
    assert sum(counted.values()) == (given > 0).sum()
    assert list(found)[:count] == list(Legend.of(classes).counted(counted))[:count]


def test_labels_that_have_no_class_get_a_name_and_a_colour(tmp_path: Path) -> None:
    labels = cells()
    labels[0, 0], labels[0, 1] = 9, 7
    _, legend = save_class_map(tmp_path / "m.png", labels, CLASSES)
    found = read_legend(legend)
    assert [each.name for each in found][3:] == ["label 7", "label 9"]
    assert len({each.colour for each in found}) == 5
    with pytest.raises(SettingsError, match="count 1, 2, 3"):
        found.to_classes()
    named = Legend([LegendEntry(9, "hole", (1, 2, 3)), LegendEntry(2, "x", (4, 5, 6))])
    _, legend = save_class_map(tmp_path / "m.png", labels, named)
    assert read_legend(legend).entries[-1] == LegendEntry(9, "hole", (1, 2, 3), True, 1)
    save_class_map(tmp_path / "names.png", cells(), ["a", "b", "ü, ö"])
    assert read_legend(tmp_path / "names.png").entries[2].name == "ü, ö"


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros((0, 4), int), "empty"),
        (np.zeros(4, int), "too few axes"),
        (np.zeros((4, 4)), "whole numbers"),
        (np.full((4, 4), -3), "label -3"),
        (np.zeros((4, 4), complex), "complex128"),
        (np.array([["a"]]), "Convert it"),
        ([[1, 2], [3]], "no array"),
        (np.full((4, 4), 2**40), "does not fit"),
    ],
)
def test_what_is_no_map_leaves_what_was_there(
    tmp_path: Path, labels: Any, says: str
) -> None:
    path = tmp_path / "m.tif"
    path.write_bytes(b"older")
    with pytest.raises(ClickSegError, match=says):
        save_class_map(path, labels)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"legend": "xml"}, "'json', 'csv'"),
        ({"spacing": 0}, "spacing"),
        ({"spacing": (1, float("nan"))}, "spacing"),
        ({"spacing": "wide"}, "spacing"),
        ({"spacing": 1, "spacing_unit": ""}, "unit"),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ExportError, match=says):
        save_class_map(tmp_path / "m.tif", cells(), CLASSES, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["m.jpg", "m", "m.npy", "m.ome.tif", "m.gif", "m.ome.TIFF"]
)
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match=r"end the name in .*\.tif"):
        save_class_map(tmp_path / name, cells(), CLASSES)
    assert not list(tmp_path.iterdir())


def test_legends_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="There is no legend"):
        read_legend(tmp_path / "map.png")
    for name, text in {
        "a.legend.json": "{}",
        "b.legend.json": "no json",
        "c.legend.json": '{"classes": [{"label": 1, "name": "x", "colour": "red"}]}',
        "d.legend.csv": "a,b\n1,2\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ExportError, match="no legend of a class map"):
            read_legend(tmp_path / name)
    assert save_class_map(tmp_path / "alone.png", cells(), legend=None) == [
        tmp_path / "alone.png"
    ]
