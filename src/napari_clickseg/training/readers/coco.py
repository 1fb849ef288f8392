"""COCO's JSON of objects: polygons and run lengths become labels."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import TrainingError
from napari_clickseg.imagefiles import read_image
from napari_clickseg.training.readers.base import Reader, file_hash


class Coco(Reader):
    """Images listed in a COCO annotation file.

    Where objects overlap, the smaller lies on top. Crowds are left out: they are no
    objects. Of images without any annotation nothing is known, so they are left out.

    Parameters
    ----------
    path : Path
        The JSON file.
    images : Path, optional
        Folder of the images; by default looked for beside the file, its folder and
        its parent, under the file's own name and ``images``.

    Raises
    ------
    TrainingError
        If the file is not COCO's, or the images are not found.
    """

    layout: ClassVar[str] = "coco"

    def __init__(self, path: Path, images: Path | None = None) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            listed = {entry["id"]: entry for entry in content["images"]}
            found: dict[Any, list[dict[str, Any]]] = defaultdict(list)
            for annotation in content["annotations"]:
                if not annotation.get("iscrowd"):
                    found[annotation["image_id"]].append(annotation)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{path} is not COCO's JSON of images and annotations "
                f"({type(error).__name__}: {error}). Export it again as COCO."
            ) from error
        self._entries = [listed[key] for key in listed if found[key]]
        if not self._entries:
            raise TrainingError(f"{path} annotates no object on any image.")
        self._objects = [found[entry["id"]] for entry in self._entries]
        self.names = tuple(str(entry["file_name"]) for entry in self._entries)
        self._folder = _find_folder(path, images, self.names[0])

    def image(self, index: int) -> Any:
        """Read an image file."""
        return read_image(self._folder / self.names[index])

    def labels(self, index: int) -> NDArray[Any]:
        """Draw the objects of an image, the largest first."""
        entry = self._entries[index]
        shape = (int(entry["height"]), int(entry["width"]))
        out = np.zeros(shape, np.int32)
        masks = [
            draw_segmentation(one.get("segmentation"), shape)
            for one in self._objects[index]
        ]
        order = sorted(range(len(masks)), key=lambda n: -int(masks[n].sum()))
        for number in order:
            out[masks[number]] = number + 1
        return out

    def fingerprint(self, index: int) -> str:
        """Return a hash of the image file's bytes."""
        return file_hash(self._folder / self.names[index])


def _find_folder(path: Path, images: Path | None, first: str) -> Path:
    if images is not None:
        places = [images]
    else:
        roots = (path.parent, path.parent.parent)
        inner = (".", "images", path.stem.removeprefix("instances_"), "img")
        places = [root / name for root in roots for name in inner]
    for place in places:
        if (place / first).is_file():
            return place
    raise TrainingError(
        f"The images of {path} were not found ({first} is in none of "
        f"{', '.join(str(p) for p in places[:4])}). Say in which folder they are."
    )


def draw_segmentation(given: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of a COCO segmentation.

    Parameters
    ----------
    given : list of polygons, or mapping with ``counts`` and ``size``
        Polygons are lists of x, y in pixels from the image's corner; counts are run
        lengths down the columns, as numbers or in COCO's text.
    shape : (int, int)
        Height and width.

    Raises
    ------
    TrainingError
        If it is none of these, or of another size.
    """
    if isinstance(given, Mapping):
        if tuple(given.get("size", ())) != shape:
            raise TrainingError(
                f"an object is drawn on {given.get('size')} pixels, the image has "
                f"{list(shape)}"
            )
        counts = given.get("counts", ())
        if isinstance(counts, str):
            counts = decode_counts(counts)
        ends = np.cumsum(np.asarray(counts, dtype=np.int64))
        total = shape[0] * shape[1]
        if not ends.size or ends[-1] != total:
            raise TrainingError("an object's run lengths do not fill the image")
        change = np.zeros(total + 1, np.int8)
        np.add.at(change, ends[:-1], 1)
        inside = np.cumsum(change[:-1]) % 2 == 1
        return inside.reshape(shape, order="F")
    if isinstance(given, Sequence) and not isinstance(given, str):
        from skimage.draw import polygon2mask

        out = np.zeros(shape, bool)
        for points in given:
            corners = np.asarray(points, dtype=float).reshape(-1, 2)
            # COCO counts from the corner of the first pixel, not from its middle
            out |= polygon2mask(shape, corners[:, ::-1] - 0.5)
        return out
    raise TrainingError("an object has no segmentation of polygons or run lengths")


def decode_counts(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed text.

    Each number is written in groups of five bits, lowest first, as characters from
    ``0``; a sixth bit says that more follow, and from the third number on it is the
    difference from the last but one.
    """
    numbers: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value = shift = 0
    return numbers
