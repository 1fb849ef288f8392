"""Bad images are named and left out; good ones are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.finetuning.conftest import blobs
from tests.finetuning.test_readers import write_folder

from napari_clickseg.errors import TrainingError
from napari_clickseg.training.finetuning.checking import examine
from napari_clickseg.training.finetuning.pictures import Pictures, as_values
from napari_clickseg.training.finetuning.splitting import split, spread
from napari_clickseg.training.readers.arrays import Arrays
from napari_clickseg.training.readers.opening import open_reader


def told(problems: Any) -> str:
    return "; ".join(map(str, problems))


def test_empty_labels_are_left_out() -> None:
    images, labels = blobs(3)
    labels[1][:] = 0
    found = examine(Arrays(images, labels))
    assert [entry.index for entry in found.entries] == [0, 2]
    assert told(found.problems) == "image 2: no object is labelled"
    assert "1 left out" in found.text


def test_nothing_but_empty_labels_is_an_error() -> None:
    images, labels = blobs(2)
    with pytest.raises(TrainingError, match=r"None of the 2 images.*no object"):
        examine(Arrays(images, [np.zeros_like(one) for one in labels]))


def test_labels_of_another_shape() -> None:
    images, labels = blobs(3)
    labels[0] = labels[0][:-2]
    found = examine(Arrays(images, labels))
    assert len(found.entries) == 2
    assert "64 x 80 pixels and its labels are 62 x 80" in told(found.problems)


def test_objects_of_no_or_few_pixels() -> None:
    images, labels = blobs(2)
    labels[0][:] = 0
    labels[0][5:30, 5:30] = 3  # labels 1 and 2 have no pixel at all
    labels[0][50:52, 50:52] = 4
    found = examine(Arrays(images, labels))
    assert [one.label for one in found.entries[0].objects] == [3]
    assert "1 object of less than 9 pixels left out" in told(found.problems)
    assert not any(problem.left_out for problem in found.problems)


def test_nan_images() -> None:
    images, labels = blobs(3)
    images = [image.astype(np.float32) for image in images]
    images[0][:] = np.nan
    images[1][:8] = np.nan
    found = examine(Arrays(images, labels))
    assert [entry.index for entry in found.entries] == [1, 2]
    assert "only NaN" in told(found.problems)
    assert "12.5% of the image is NaN" in told(found.problems)
    picture = Pictures(Arrays(images, labels))[found.entries[0]]
    assert (picture.image[:8] == 0).all()
    assert picture.image[8:].max() > 100


def test_labels_that_are_no_whole_numbers() -> None:
    images, labels = blobs(2)
    strange = [labels[0].astype(float) + 0.5, labels[1]]
    found = examine(Arrays(images, strange))
    assert len(found.entries) == 1
    assert "no whole numbers" in told(found.problems)


def test_a_missing_class_is_told_and_an_unknown_one_left_out() -> None:
    images, labels = blobs(3)
    labels[2][:3] = 9
    found = examine(Arrays(images, labels), "semantic", classes=4)
    assert len(found.entries) == 2
    assert "holds class 9" in told(found.problems)
    assert "no pixel of class 3" in told(found.problems)
    assert found.classes == (0, 1, 2)


def test_values_without_any() -> None:
    images, _ = blobs(3)
    alpha = [np.full((64, 80), np.nan), np.ones((64, 80)), np.full((64, 80), -1.0)]
    found = examine(Arrays(images, alpha), "matting")
    assert [entry.index for entry in found.entries] == [1]
    depth = [np.zeros((64, 80), np.uint16), np.full((64, 80), 900, np.uint16)]
    found = examine(Arrays(images[:2], depth), "depth")
    assert [entry.index for entry in found.entries] == [1]
    assert as_values(depth[1], "depth").max() == pytest.approx(0.9)


def test_an_unreadable_file_among_many(tmp_path: Path) -> None:
    images, labels = blobs(40)
    root = write_folder(tmp_path / "many", images, labels)
    (root / "images" / "i7.png").write_bytes(b"no picture")
    (root / "masks" / "i9.png").write_bytes(
        (root / "masks" / "i9.png").read_bytes()[:60]
    )
    found = examine(open_reader(root))
    assert len(found.entries) == 38
    assert {problem.name for problem in found.problems} == {"i7.png", "i9.png"}
    assert all(problem.left_out for problem in found.problems)


def test_a_file_that_breaks_later_is_passed_over(tmp_path: Path) -> None:
    from tests.finetuning.conftest import SMALL

    from napari_clickseg.training.finetuning.windows import ClickWindows, Source

    root = write_folder(tmp_path / "many", *blobs(6))
    reader = open_reader(root)
    entries = examine(reader).entries
    (root / "images" / "i2.png").write_bytes(b"gone")
    source = Source(Pictures(reader), entries, "microscopy", "none")
    batch = ClickWindows([source], 30, SMALL, 0).draw(0)
    assert len(batch["image"]) == 30
    for entry in entries:
        (root / "images" / entry.name).write_bytes(b"gone")
    source = Source(Pictures(reader), entries, "microscopy", "none")
    with pytest.raises(TrainingError, match="cannot be any more"):
        ClickWindows([source], 2, SMALL, 0).draw(0)


def test_the_digest_follows_the_content() -> None:
    images, labels = blobs(3)
    first = examine(Arrays(images, labels)).digest
    assert examine(Arrays(images, labels)).digest == first
    labels[0][0, 0] = 1
    assert examine(Arrays(images, labels)).digest != first


def test_ignored_pixels_are_unknown() -> None:
    images, labels = blobs(1)
    labels[0][:5] = 255
    reader = Arrays(images, labels)
    entry = examine(reader, ignore=255).entries[0]
    assert 255 not in [one.label for one in entry.objects]
    picture = Pictures(reader, ignore=255)[entry]
    assert (picture.labels[0][:5] == -1).all()


def test_many_and_large_labels_are_numbered_anew() -> None:
    images, labels = blobs(1)
    large = labels[0].astype(np.int64) * 1_000_000
    reader = Arrays(images, [large])
    entry = examine(reader).entries[0]
    picture = Pictures(reader)[entry]
    for number, one in enumerate(entry.objects, start=1):
        np.testing.assert_array_equal(picture.labels[0] == number, large == one.label)


def test_images_are_held_aside_whole() -> None:
    entries = examine(Arrays(*blobs(10))).entries
    aside = split(entries, 0.2, 0)
    assert len(aside.hold) == 2
    assert not aside.hidden
    names = {entry.name for entry in aside.learn} | {e.name for e in aside.hold}
    assert len(names) == 10
    assert split(entries, 0.2, 0) == aside
    assert split(entries, 0.0, 0).hold == ()


def test_objects_are_held_aside_where_images_are_few() -> None:
    images, labels = blobs(1)
    labels[0][:] = 0
    for number in range(20):
        row, col = divmod(number, 5)
        labels[0][row * 14 : row * 14 + 8, col * 14 : col * 14 + 8] = number + 1
    reader = Arrays(images, labels)
    entries = examine(reader).entries
    aside = split(entries, 0.2, 0)
    assert aside.held_objects == 4
    assert len(aside.learn) == len(aside.hold) == 1
    hidden = aside.hidden[0]
    learned = Pictures(reader, hidden=aside.hidden)[entries[0]].labels[0]
    for number in range(20):
        inside = learned[labels[0] == number + 1]
        assert (inside == (-1 if number in hidden else number + 1)).all()
    assert len(spread(aside.held(), 2)[0][1]) == 2


def test_one_object_is_not_held_aside() -> None:
    images, labels = blobs(1, objects=1)
    entries = examine(Arrays(images, labels)).entries
    aside = split(entries, 0.2, 0)
    assert aside.held_objects == 0
    assert len(aside.learn) == 1
