"""Classes of objects go along to other programs; a table of measures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import regionprops

from napari_clickseg.errors import ExportError
from napari_clickseg.exporting import save_objects
from napari_clickseg.exporting.coco import category_numbers

CLASSES = {1: "nucleus", 2: "7", 5: "", 1000: "nucleus"}


def labels() -> np.ndarray:
    made = np.zeros((20, 30), np.int32)
    made[2:6, 3:9], made[8:12, 3:9], made[2:6, 20:25] = 1, 2, 5
    made[10:19, 15:29] = 1000
    made[12:14, 18:20] = 0
    return made


def test_coco_has_a_category_for_each_class(tmp_path: Path) -> None:
    [path] = save_objects(tmp_path / "x.json", labels(), classes=CLASSES)
    content = json.loads(path.read_text())
    names = {each["id"]: each["name"] for each in content["categories"]}
    assert names == {1: "nucleus", 2: "object", 7: "7"}
    of = {a["id"]: names[a["category_id"]] for a in content["annotations"]}
    assert of == {1: "nucleus", 2: "7", 5: "object", 1000: "nucleus"}


def test_geojson_has_a_classification(tmp_path: Path) -> None:
    [path] = save_objects(tmp_path / "x.geojson", labels(), classes=CLASSES)
    features = json.loads(path.read_text())["features"]
    found = {
        f["properties"]["name"]: f["properties"]["classification"]["name"]
        for f in features
    }
    assert found == {"1": "nucleus", "2": "7", "5": "object", "1000": "nucleus"}


def test_a_table_measures_as_scikit_image_does(tmp_path: Path) -> None:
    [path] = save_objects(
        tmp_path / "x.csv", labels(), classes=CLASSES, spacing=(0.5, 0.25)
    )
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, each in zip(rows, regionprops(labels()), strict=True):
        assert int(row["label"]) == each.label
        assert int(row["area"]) == each.area
        assert float(row["area_um2"]) == pytest.approx(each.area * 0.125)
        assert (float(row["row"]), float(row["col"])) == pytest.approx(
            each.centroid, abs=1e-3
        )
        box = tuple(int(row[n]) for n in ("top", "left", "bottom", "right"))
        assert box == each.bbox
        assert row["class"] == CLASSES[each.label]


def test_a_table_of_nothing_and_of_no_background(tmp_path: Path) -> None:
    [path] = save_objects(tmp_path / "x.csv", np.zeros((3, 3), int))
    assert path.read_text().count("\n") == 1
    [path] = save_objects(tmp_path / "x.csv", np.full((3, 3), 4))
    assert path.read_text().splitlines()[1].startswith("4,,9,1.000,1.000,0,0,3,3")
    with pytest.raises(ExportError):
        save_objects(tmp_path / "x.csv", np.zeros((3, 3)))


@given(st.lists(st.text(max_size=3) | st.integers(0, 5).map(str), min_size=1))
def test_no_two_classes_share_an_id(names: list[str]) -> None:
    numbers = category_numbers(names)
    assert set(numbers) == set(names)
    assert len(set(numbers.values())) == len(numbers)
    assert min(numbers.values()) >= 1
    for name, number in numbers.items():
        if name.isascii() and name.isdecimal() and str(int(name)) == name != "0":
            assert number == int(name)
