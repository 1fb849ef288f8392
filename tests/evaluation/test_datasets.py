"""The published layouts, made up small, and folders of label images."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from napari_clickseg.errors import DatasetError
from napari_clickseg.evaluation.datasets import open_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEIGHT, WIDTH = 12, 16


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(path)


def save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)


def boxes(*values: int, dtype: Any = np.uint8) -> np.ndarray:
    """A mask with a 3 x 3 square for each value, side by side."""
    mask = np.zeros((HEIGHT, WIDTH), dtype)
    for i, value in enumerate(values):
        mask[2:5, 5 * i : 5 * i + 3] = value
    return mask


def voc_palette() -> np.ndarray:
    """The palette of Pascal VOC: bits of the index spread over the colours."""
    palette = np.zeros((256, 3), np.uint8)
    for index in range(256):
        for bit in range(8):
            for channel in range(3):
                value = (index >> (3 * bit + channel)) & 1
                palette[index, channel] |= value << (7 - bit)
    return palette


@pytest.mark.parametrize(
    ("layout", "images", "masks"),
    [("grabcut", "data_GT", "boundary_GT"), ("berkeley", "images", "masks")],
)
def test_grabcut_and_berkeley(
    tmp_path: Path, layout: str, images: str, masks: str
) -> None:
    for stem, suffix in (("b", "jpg"), ("a", "bmp"), ("c10", "png")):
        photo(tmp_path / images / f"{stem}.{suffix}")
        grey = boxes(255, 128, 64)
        save(tmp_path / masks / f"{stem}.bmp", np.stack([grey, grey * 0, grey], -1))
    (tmp_path / images / "Thumbs.db").write_bytes(b"no image")
    samples = open_dataset(tmp_path, layout).first()
    assert [sample.name for sample in samples] == ["a", "b", "c10"]
    truth = samples[0].read_truth()
    expected = boxes(1, 255, 0).astype(np.int8)  # 128 is ignored, 64 is nothing
    np.testing.assert_array_equal(truth, expected)
    assert samples[0].read_image().shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("layout", ["davis", "coco_mval"])
def test_davis_takes_the_union(tmp_path: Path, layout: str) -> None:
    photo(tmp_path / "img" / "bear.jpg")
    colours = np.stack([boxes(128, 0, 0), boxes(0, 128, 0), boxes(0, 0, 255)], -1)
    save(tmp_path / "gt" / "bear.png", colours)
    (sample,) = open_dataset(tmp_path, layout).first()
    np.testing.assert_array_equal(sample.read_truth(), boxes(1, 1, 1))


def test_davis_with_a_palette(tmp_path: Path) -> None:
    """Palette masks are read as the colours they show, as OpenCV does."""
    photo(tmp_path / "img" / "bear.jpg")
    picture = Image.fromarray(boxes(1, 2)).convert("P")
    picture.putpalette(voc_palette().ravel().tolist())
    (tmp_path / "gt").mkdir()
    picture.save(tmp_path / "gt" / "bear.png")
    (sample,) = open_dataset(tmp_path, "davis").first()
    np.testing.assert_array_equal(sample.read_truth(), boxes(1, 1))


@pytest.mark.parametrize("inner", ["", "dataset"])
def test_sbd(tmp_path: Path, inner: str) -> None:
    root = tmp_path / inner
    (root / "inst").mkdir(parents=True)
    for stem, values in (("2008_2", (1, 2, 3)), ("2008_1", (1,))):
        photo(root / "img" / f"{stem}.jpg")
        record = {"Segmentation": boxes(*values), "Categories": np.ones((1, 1))}
        savemat(root / "inst" / f"{stem}.mat", {"GTinst": record})
    (root / "val.txt").write_text("2008_1\n2008_2\n")
    samples = open_dataset(tmp_path, "sbd").first()
    names = ["2008_1", "2008_2#1", "2008_2#2", "2008_2#3"]
    assert [sample.name for sample in samples] == names
    np.testing.assert_array_equal(samples[2].read_truth(), boxes(0, 1, 0))


def make_voc(root: Path, *stems: str) -> None:
    for stem in stems:
        photo(root / "JPEGImages" / f"{stem}.jpg")
        picture = Image.fromarray(boxes(1, 255, 2)).convert("P")
        picture.putpalette(voc_palette().ravel().tolist())
        (root / "SegmentationObject").mkdir(exist_ok=True)
        picture.save(root / "SegmentationObject" / f"{stem}.png")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("\n".join(stems))


GREY_OF_1, GREY_OF_2 = 38, 75  # of the colours (128, 0, 0) and (0, 128, 0)


def test_voc_without_the_published_list(tmp_path: Path) -> None:
    make_voc(tmp_path, "b", "a")
    samples = open_dataset(tmp_path, "voc").first()
    names = [f"{stem}#{grey}" for stem in "ba" for grey in (GREY_OF_1, GREY_OF_2)]
    assert [sample.name for sample in samples] == names
    np.testing.assert_array_equal(
        samples[1].read_truth(), boxes(0, 255, 1).astype(np.int8)
    )


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    "number",
    [int, np.int64, np.int32, np.uint8, np.dtype(">i4").type],
    ids=["int", "int64", "int32", "uint8", "big-endian"],
)
def test_voc_with_the_published_list(
    tmp_path: Path, protocol: int, number: Callable[[int], Any]
) -> None:
    make_voc(tmp_path, "a")
    index = (["a", "a"], [number(GREY_OF_2), number(GREY_OF_1)])
    path = tmp_path / "ImageSets" / "Segmentation" / "test.pickle"
    path.write_bytes(pickle.dumps(index, protocol))
    samples = open_dataset(tmp_path, "voc").first()
    assert [sample.object_id for sample in samples] == [GREY_OF_2, GREY_OF_1]


class Hostile:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(5))
def test_hostile_list_is_refused_and_nothing_of_it_runs(
    tmp_path: Path, protocol: int
) -> None:
    import os

    make_voc(tmp_path, "a")
    proof = tmp_path / "it-ran"
    path = tmp_path / "ImageSets" / "Segmentation" / "test.pickle"
    for call in (
        (os.mkdir, (str(proof),)),
        (eval, (f"__import__('os').mkdir({str(proof)!r})",)),
        (getattr, ("a", "upper")),
    ):
        path.write_bytes(pickle.dumps((["a"], [Hostile(*call)]), protocol))
        with pytest.raises(DatasetError, match="is refused"):
            open_dataset(tmp_path, "voc").first()
    assert not proof.exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps((["a"], [1.5])),
        pickle.dumps((["a", "b"], [1])),
        pickle.dumps(([7], [1])),
        pickle.dumps({"a": 1}),
        b"",
        b"no pickle at all",
        # numpy.dtype changed after it was made, and used as what it is not
        b"cnumpy\ndtype\n}b.",
        b"cnumpy\ndtype\n(S'O8'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n(NS'a'\ntR.",
    ],
    ids=range(9),
)
def test_broken_list(tmp_path: Path, content: bytes) -> None:
    make_voc(tmp_path, "a")
    path = tmp_path / "ImageSets" / "Segmentation" / "test.pickle"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="is refused"):
        open_dataset(tmp_path, "voc").first()


def make_folder(root: Path, **masks: np.ndarray) -> None:
    for stem, mask in masks.items():
        photo(root / "images" / f"{stem}.jpg")
        save(root / "masks" / f"{stem}.png", mask)


def test_folder_gives_each_object(tmp_path: Path) -> None:
    make_folder(tmp_path, b=boxes(4, 255, 9), a=boxes(255), c=boxes(0))
    samples = open_dataset(tmp_path).first()
    assert [s.name for s in samples] == ["a", "b#4", "b#9", "b#255"]
    np.testing.assert_array_equal(samples[1].read_truth(), boxes(1, 0, 0))
    ignoring = open_dataset(tmp_path, ignore=255).first()
    assert [s.name for s in ignoring] == ["b#4", "b#9"]
    truth = ignoring[0].read_truth()
    np.testing.assert_array_equal(truth, boxes(1, 255, 0).astype(np.int8))


def test_folder_as_union(tmp_path: Path) -> None:
    make_folder(tmp_path, a=boxes(4, 255, 9))
    (sample,) = open_dataset(tmp_path, ignore=255, objects="union").first()
    truth = sample.read_truth()
    np.testing.assert_array_equal(truth, boxes(1, 255, 1).astype(np.int8))


def test_folder_with_16_bit_labels(tmp_path: Path) -> None:
    """255 is an object among others there."""
    make_folder(tmp_path, a=boxes(255, 300, 40000, dtype=np.uint16))
    samples = open_dataset(tmp_path).first()
    assert [s.object_id for s in samples] == [255, 300, 40000]
    np.testing.assert_array_equal(samples[2].read_truth(), boxes(0, 0, 1))


def test_folder_with_tiff_and_numpy_masks(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    make_folder(tmp_path, a=boxes(1), b=boxes(1))
    for old in (tmp_path / "masks").iterdir():
        old.unlink()
    tifffile.imwrite(tmp_path / "masks" / "a.tif", boxes(1, 70000, dtype=np.int32))
    np.save(tmp_path / "masks" / "b.npy", boxes(1) > 0)
    samples = open_dataset(tmp_path).first()
    assert [s.name for s in samples] == ["a#1", "a#70000", "b"]


def test_folder_with_palette_labels(tmp_path: Path) -> None:
    make_folder(tmp_path, a=boxes(1))
    picture = Image.fromarray(boxes(1, 2)).convert("P")
    picture.putpalette(voc_palette().ravel().tolist())
    picture.save(tmp_path / "masks" / "a.png")
    assert [s.object_id for s in open_dataset(tmp_path).first()] == [1, 2]


def test_folder_with_colours(tmp_path: Path) -> None:
    make_folder(tmp_path, a=boxes(1))
    save(
        tmp_path / "masks" / "a.png",
        np.stack([boxes(9, 9), boxes(0, 1), boxes(0, 0)], -1),
    )
    assert [s.object_id for s in open_dataset(tmp_path).first()] == [9, 9 + 256]


def test_small_objects_and_crowds_can_be_thinned_out(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[0, :8] = np.arange(1, 9)
    mask[5, :12] = np.repeat(np.arange(3, 9), 2)
    make_folder(tmp_path, a=mask)
    large = open_dataset(tmp_path, min_area=3).first()
    assert [s.object_id for s in large] == [3, 4, 5, 6, 7, 8]
    few = open_dataset(tmp_path, min_area=3, per_image=3).first()
    assert [s.object_id for s in few] == [3, 5, 8]
    assert [s.name for s in open_dataset(tmp_path, per_image=1).first()] == ["a#1"]


def test_limit_reads_no_further(tmp_path: Path) -> None:
    make_folder(tmp_path, a=boxes(1, 2), b=boxes(1))
    (tmp_path / "masks" / "b.png").write_bytes(b"broken")
    assert len(open_dataset(tmp_path).first(2)) == 2
    with pytest.raises(DatasetError, match=r"b\.png cannot be read"):
        open_dataset(tmp_path).first()


def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no layout 'coco'"):
        open_dataset(tmp_path, "coco")
    photo(tmp_path / "img" / "a.jpg")
    save(tmp_path / "gt" / "a.png", boxes(1))
    with pytest.raises(DatasetError, match="--layout davis or coco_mval"):
        open_dataset(tmp_path, "grabcut")
    with pytest.raises(DatasetError, match="own rule for ignored"):
        open_dataset(tmp_path, "davis", ignore=255)
    (tmp_path / "inst").mkdir()
    with pytest.raises(DatasetError, match=r"needs the list of images .*val\.txt"):
        open_dataset(tmp_path, "sbd")
    photo(tmp_path / "img" / "b.jpg")
    with pytest.raises(DatasetError, match=r"1 of 2 images .* for example b\.jpg"):
        open_dataset(tmp_path, "davis")
    photo(tmp_path / "img" / "a.png")
    with pytest.raises(DatasetError, match="more than one file named a"):
        open_dataset(tmp_path, "davis")


def test_ignoring_all_there_is(tmp_path: Path) -> None:
    make_folder(tmp_path, a=boxes(255))
    with pytest.raises(DatasetError, match="Leave --ignore out"):
        open_dataset(tmp_path, ignore=255).first()
    with pytest.raises(DatasetError, match="'each' or as a 'union'"):
        open_dataset(tmp_path, objects="some")


def test_masks_must_hold_whole_numbers(tmp_path: Path) -> None:
    make_folder(tmp_path, a=boxes(1))
    (tmp_path / "masks" / "a.png").unlink()
    np.save(tmp_path / "masks" / "a.npy", boxes(1).astype(float))
    with pytest.raises(DatasetError, match="whole numbers"):
        open_dataset(tmp_path).first()


def test_grabcut_pack(data_dir: Path) -> None:
    dataset = open_dataset(data_dir / "eval" / "grabcut", ignore=255)
    samples = dataset.first()
    assert dataset.images == len(samples) == 50
    for sample in samples[::10]:
        truth = sample.read_truth()
        assert truth.shape == sample.read_image().shape[:2]
        assert set(np.unique(truth)) <= {-1, 0, 1}


def test_an_unexplained_255_is_told(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    save(tmp_path / "masks" / "a.png", boxes(1, 255))
    plain = open_dataset(tmp_path)
    assert "--ignore 255" in plain.doubts(plain.first())[0]
    ignoring = open_dataset(tmp_path, ignore=255)
    assert ignoring.doubts(ignoring.first()) == []
    save(tmp_path / "masks" / "a.png", boxes(1, 2))
    assert plain.doubts(plain.first()) == []
