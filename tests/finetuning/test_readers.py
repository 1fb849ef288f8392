"""Every layout gives the same pictures and the same objects."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.finetuning.conftest import blobs

from napari_clickseg.errors import TrainingError
from napari_clickseg.exporting.run_lengths import decode_counts
from napari_clickseg.training.readers.arrays import Arrays
from napari_clickseg.training.readers.coco import draw_segmentation
from napari_clickseg.training.readers.coco_lvis import read_plain_pickle
from napari_clickseg.training.readers.opening import open_reader


def write_folder(root: Path, images: list[Any], labels: list[Any]) -> Path:
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for number, (image, marks) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(root / "images" / f"i{number}.png")
        Image.fromarray(marks).save(root / "masks" / f"i{number}.png")
    return root


def run_lengths(mask: np.ndarray) -> list[int]:
    flat = np.concatenate([[0], mask.ravel(order="F").astype(int), [0]])
    change = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], change, [mask.size]])).tolist()
    return counts if mask.ravel(order="F")[-1] == 0 else counts[:-1]


def write_coco(root: Path, images: list[Any], labels: list[Any]) -> Path:
    (root / "images").mkdir(parents=True)
    listed, annotations = [], []
    for number, (image, marks) in enumerate(zip(images, labels, strict=True)):
        name = f"i{number}.png"
        Image.fromarray(image).save(root / "images" / name)
        height, width = marks.shape
        listed.append(
            {"id": number, "file_name": name, "height": height, "width": width}
        )
        for label in np.unique(marks)[1:]:
            mask = marks == label
            counts = {"size": [height, width], "counts": run_lengths(mask)}
            annotations.append(
                {"image_id": number, "iscrowd": 0, "segmentation": counts}
            )
    path = root / "annotations.json"
    path.write_text(json.dumps({"images": listed, "annotations": annotations}))
    return path


def write_coco_lvis(root: Path, images: list[Any], labels: list[Any]) -> Path:
    for part in ("images", "masks"):
        (root / "train" / part).mkdir(parents=True)
    index = {}
    for number, (image, marks) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(root / "train" / "images" / f"{number}.jpg")
        stuff = np.zeros_like(marks)
        stuff[:10] = 1
        packed = []
        for layer in (marks, stuff):
            buffer = io.BytesIO()
            Image.fromarray(layer).save(buffer, "PNG")
            packed.append(np.frombuffer(buffer.getvalue(), np.uint8)[:, None])
        places = [(0, int(label)) for label in np.unique(marks)[1:]]
        content = pickle.dumps((packed, [*places, (1, 1)]))
        (root / "train" / "masks" / f"{number}.pickle").write_bytes(content)
        index[str(number)] = {
            "num_instance_masks": len(places),
            "hierarchy": dict.fromkeys(range(len(places))),
        }
    (root / "train" / "hannotation.pickle").write_bytes(pickle.dumps(index))
    return root


def write_sbd(root: Path, images: list[Any], labels: list[Any]) -> Path:
    from scipy.io import savemat

    for part in ("img", "inst"):
        (root / "dataset" / part).mkdir(parents=True)
    names = []
    for number, (image, marks) in enumerate(zip(images, labels, strict=True)):
        names.append(f"p{number}")
        Image.fromarray(image).save(root / "dataset" / "img" / f"p{number}.jpg")
        content = np.zeros((1, 1), dtype=[("Segmentation", object)])
        content[0, 0]["Segmentation"] = marks
        savemat(root / "dataset" / "inst" / f"p{number}.mat", {"GTinst": content})
    (root / "dataset" / "train.txt").write_text("\n".join(names))
    return root


def write_ome_zarr(version: str) -> Callable[[Path, list[Any], list[Any]], Path]:
    def write(root: Path, images: list[Any], labels: list[Any]) -> Path:
        import zarr

        form = 2 if version == "0.4" else 3
        path = root / "image.zarr"
        group = zarr.open_group(str(path), mode="w", zarr_format=form)
        stack = np.stack(images)[:, None]
        group.create_array("0", data=stack, chunks=(1, 1, 32, 32))
        names = ("z", "c", "y", "x")
        inner = group.create_group("labels")
        marks = inner.create_group("disks")
        marks.create_array("0", data=np.stack(labels), chunks=(1, 32, 32))

        def about(axes: tuple[str, ...]) -> dict[str, Any]:
            entry = {
                "axes": [{"name": name} for name in axes],
                "datasets": [{"path": "0"}],
            }
            return {"multiscales": [entry]}

        def tell(node: Any, facts: dict[str, Any]) -> None:
            node.attrs.update(
                facts if form == 2 else {"ome": {"version": version, **facts}}
            )

        tell(group, about(names))
        tell(inner, {"labels": ["disks"]})
        tell(marks, about(("z", "y", "x")))
        return path

    return write


LAYOUTS = {
    "folder": write_folder,
    "coco": write_coco,
    "coco_lvis": write_coco_lvis,
    "sbd": write_sbd,
    "ngff 0.4": write_ome_zarr("0.4"),
    "ngff 0.5": write_ome_zarr("0.5"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_and_read(layout: str, tmp_path: Path) -> None:
    images, labels = blobs(3)
    reader = open_reader(LAYOUTS[layout](tmp_path / "data", images, labels))
    assert reader.layout == layout.replace("ngff 0.4", "ome_zarr").replace(
        "ngff 0.5", "ome_zarr"
    )
    assert len(reader) == 3
    lossy = layout in {"coco_lvis", "sbd"}  # photos are JPEG there
    prints = set()
    for index in range(3):
        image = np.asarray(reader.image(index)[:])
        image = image[0] if reader.channel_axis(index) == 0 else image
        difference = np.abs(image.astype(int) - images[index].astype(int))
        assert difference.mean() < (12 if lossy else 1e-9)
        found = reader.labels(index)
        found = found.max(axis=0) if found.ndim == 3 else found
        assert (found > 0).sum() == (labels[index] > 0).sum()
        for label in np.unique(labels[index])[1:]:
            inside = np.unique(found[labels[index] == label])
            assert len(inside) == 1
        prints.add(reader.fingerprint(index))
    assert len(prints) == 3


def test_arrays_may_be_one_or_many() -> None:
    images, labels = blobs(2)
    assert len(Arrays(images[0], labels[0])) == 1
    assert len(Arrays(images, labels)) == 2
    with pytest.raises(TrainingError, match="2 images and 1 arrays of labels"):
        Arrays(images, labels[:1])


def test_a_stack_is_no_list_of_one_image() -> None:
    images, labels = blobs(2)
    reader = Arrays(np.stack(images), np.stack(labels))
    assert len(reader) == 1  # refused later: "looks like a stack"


def test_polygons_are_counted_from_the_pixels_corner() -> None:
    # a square from x 2 to 6 and y 1 to 4 holds pixels 2..5 and 1..3
    mask = draw_segmentation([[2, 1, 6, 1, 6, 4, 2, 4]], (8, 9))
    wanted = np.zeros((8, 9), bool)
    wanted[1:4, 2:6] = True
    np.testing.assert_array_equal(mask, wanted)


def encode_counts(counts: list[int]) -> str:
    """COCO's text, written as its definition says."""
    text = ""
    for number, count in enumerate(counts):
        value = count - (counts[number - 2] if number > 2 else 0)
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr((bits | (32 if more else 0)) + 48)
    return text


def test_compressed_run_lengths() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        counts = rng.integers(0, 5000, rng.integers(1, 30)).tolist()
        assert decode_counts(encode_counts(counts)) == counts


def test_run_lengths_of_another_size_are_refused() -> None:
    with pytest.raises(TrainingError, match="fill the image"):
        draw_segmentation({"size": [4, 4], "counts": [3, 4]}, (4, 4))
    with pytest.raises(TrainingError, match="the image has"):
        draw_segmentation({"size": [4, 5], "counts": [20]}, (4, 4))


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("never",))


def test_a_pickle_that_runs_something_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.pickle"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(TrainingError, match="refused"):
        read_plain_pickle(path)
    assert "never" not in capsys.readouterr().out


def test_missing_and_unknown_layouts_are_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="There is no folder"):
        open_reader(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="no layout"):
        open_reader(tmp_path, layout="yolo")  # type: ignore[arg-type]
    (tmp_path / "images").mkdir()
    with pytest.raises(TrainingError, match="no labels beside"):
        open_reader(tmp_path)
    with pytest.raises(TrainingError, match="need arrays of labels"):
        open_reader(np.zeros((8, 8)))


def test_images_without_labels_are_named(tmp_path: Path) -> None:
    images, labels = blobs(2)
    root = write_folder(tmp_path / "data", images, labels)
    (root / "masks" / "i1.png").unlink()
    reader: Any = open_reader(root)
    assert reader.names == ("i0.png",)
    assert reader.alone == ("i1.png",)
