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
from napari_clickseg.exporting.run_lengths import check_corners, run_lengths
from napari_clickseg.imagefiles import read_image
from napari_clickseg.limits import DAMAGE, check_bytes, inside
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
            self._entries = [listed[key] for key in listed if found[key]]
            self.names = tuple(str(entry["file_name"]) for entry in self._entries)
            for name in self.names:
                inside(path.parent, name)
        except DAMAGE as error:
            raise TrainingError(
                f"{path} is not COCO's JSON of images and annotations "
                f"({type(error).__name__}: {error}). Export it again as COCO."
            ) from error
        if not self._entries:
            raise TrainingError(f"{path} annotates no object on any image.")
        self._objects = [found[entry["id"]] for entry in self._entries]
        self._folder = _find_folder(path, images, self.names[0])

    def image(self, index: int) -> Any:
        """Read an image file."""
        return read_image(self._folder / self.names[index])

    def labels(self, index: int) -> NDArray[Any]:
        """Draw the objects of an image, the largest first."""
        entry = self._entries[index]
        try:
            shape = (int(entry["height"]), int(entry["width"]))
            check_bytes(shape, 8)
        except DAMAGE as error:
            raise TrainingError(
                f"{self.names[index]} has no usable height and width ({error})."
            ) from error
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
        total = shape[0] * shape[1]
        try:
            counts = run_lengths(given.get("counts", ()), total)
        except DAMAGE as error:
            raise TrainingError(
                "an object's run lengths do not fill the image"
            ) from error
        ends = np.cumsum(np.asarray(counts, dtype=np.int64))
        change = np.zeros(total + 1, np.int8)
        np.add.at(change, ends[:-1], 1)
        inside = np.cumsum(change[:-1]) % 2 == 1
        return inside.reshape(shape, order="F")
    if isinstance(given, Sequence) and not isinstance(given, str):
        from skimage.draw import polygon2mask

        out = np.zeros(shape, bool)
        for points in given:
            try:
                corners = np.asarray(points, dtype=float).reshape(-1, 2)
                check_corners(corners, shape)
            except DAMAGE as error:
                raise TrainingError(f"an object is drawn badly: {error}") from error
            # COCO counts from the corner of the first pixel, not from its middle
            out |= polygon2mask(shape, corners[:, ::-1] - 0.5)
        return out
    raise TrainingError("an object has no segmentation of polygons or run lengths")
