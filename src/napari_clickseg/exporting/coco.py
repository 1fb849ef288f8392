"""Objects as COCO's JSON: run lengths (through pycocotools) or polygons."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_clickseg import __version__
from napari_clickseg.boxes import Box
from napari_clickseg.errors import ExportError, MissingPackageError
from napari_clickseg.exporting.outlines import outlines
from napari_clickseg.exporting.run_lengths import check_corners, run_lengths
from napari_clickseg.exporting.writing import check_suffix, replacing
from napari_clickseg.label_blocks import is_large, joined, masks_of
from napari_clickseg.limits import DAMAGE, check_bytes
from napari_clickseg.memory import check_room

__all__ = ["load_coco", "save_coco"]

#: pycocotools counts pixels with 32 bits.
_MOST_RUNS = 2**32
Shapes = Literal["rle", "polygons"]


def save_coco(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    shapes: Shapes = "rle",
    file_name: str = "image.tif",
    category: str = "object",
    classes: Mapping[int, str] | None = None,
) -> list[Path]:
    """Write the objects of one image as COCO's instances.

    Parameters
    ----------
    path : path
        Ending ``.json``.
    labels : array-like of int, shape (H, W)
        0 is background. Labels become the ids of annotations.
    shapes : {"rle", "polygons"}
        Run lengths hold every mask; polygons go along the edges of pixels and know no
        holes.
    file_name : str
        Of the image, as COCO's readers look for it.
    category : str
        What objects are that have no class.
    classes : mapping of int to str, optional
        Class of each label. A class whose name is a number from 1 has that number as
        its id.

    Returns
    -------
    list of Path
        The file.

    Raises
    ------
    ExportError
        If an object with a hole should be a polygon, or the file cannot be written.
    MissingPackageError
        If pycocotools is not installed.
    """
    target = check_suffix(path, (".json",), "COCO's JSON")
    plane: Any = labels if is_large(labels) else as_plane(labels)
    tools, height, width = _tools(), int(plane.shape[0]), int(plane.shape[1])
    if shapes == "rle" and height * width >= _MOST_RUNS:
        raise ExportError(
            f"COCO's run lengths count up to {_MOST_RUNS:,} pixels, this image has "
            f"{height:,} x {width:,}. Write polygons (shapes='polygons'), or GeoJSON."
        )
    rings = dict(outlines(plane)) if shapes == "polygons" else {}
    masks = masks_of(plane)
    names = {n: (classes or {}).get(n) or category for n in masks}
    numbers = category_numbers(names.values() or [category])
    annotations = []
    for label, parts in masks.items():
        box, mask = joined(parts)
        if shapes == "polygons":
            if any(holes for _, holes in rings[label]):
                raise ExportError(
                    f"Object {label} has a hole, which COCO's polygons cannot hold. "
                    "Write run lengths (shapes='rle'), or GeoJSON."
                )
            shape: Any = [_flat(outer) for outer, _ in rings[label]]
        else:
            counts = _runs(mask, box, (height, width))
            given = {"counts": counts, "size": [height, width]}
            packed = tools.frPyObjects(given, height, width)
            shape = {**packed, "counts": packed["counts"].decode("ascii")}
        annotations.append(
            {
                "id": label,
                "image_id": 1,
                "category_id": numbers[names[label]],
                "segmentation": shape,
                "area": float(np.count_nonzero(mask)),
                "bbox": [float(v) for v in (box.left, box.top, *box.shape[::-1])],
                "iscrowd": 0,
            }
        )
    image = {"id": 1, "file_name": file_name, "height": height, "width": width}
    content = {
        "info": {"description": f"napari-clickseg {__version__}"},
        "images": [image],
        "categories": [
            {"id": number, "name": name, "supercategory": ""}
            for name, number in sorted(numbers.items(), key=lambda each: each[1])
        ],
        "annotations": annotations,
    }
    with replacing(target) as (file,):
        file.write(json.dumps(content).encode())
    return [target]


def category_numbers(names: Iterable[str]) -> dict[str, int]:
    """Return an id from 1 for each class: its own number, or the next free one."""
    known = sorted(set(names))
    own = {n: int(n) for n in known if n.isascii() and n.isdecimal() and int(n) > 0}
    free = (n for n in itertools.count(1) if n not in set(own.values()))
    return {name: own[name] if name in own else next(free) for name in known}


def load_coco(path: str | os.PathLike[str], image: int | None = None) -> NDArray[Any]:
    """Read the objects of one image from COCO's JSON.

    Parameters
    ----------
    path : path
    image : int, optional
        Its id; default: the only one.

    Returns
    -------
    ndarray of int32, shape (H, W)
        Annotations by their ids, where these are all different and above 0; else
        numbered from 1. Where they overlap, the later one counts.

    Raises
    ------
    ExportError
        If it is no such file.
    """
    tools = _tools()
    try:
        content = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        images = {entry["id"]: entry for entry in content["images"]}
        if image is None and len(images) != 1:
            raise ExportError(
                f"{path} holds {len(images)} images. Say which one by its id."
            )
        chosen = images[next(iter(images)) if image is None else image]
        shape = int(chosen["height"]), int(chosen["width"])
        mine = [a for a in content["annotations"] if a["image_id"] == chosen["id"]]
        ids = [int(each["id"]) for each in mine]
        if len(set(ids)) < len(ids) or min(ids, default=1) < 1:
            ids = list(range(1, len(mine) + 1))
        check_room(
            "The labels",
            shape[0] * shape[1],
            4,
            ExportError,
            "Read them from OME-Zarr (.zarr) or TIFF, which are read part by part.",
        )
        check_bytes(shape, 8)
        labels = np.zeros(shape, np.int32)
        for label, each in zip(ids, mine, strict=True):
            labels[_drawn(each["segmentation"], shape, tools)] = label
    except ExportError:
        raise
    except DAMAGE as error:
        raise ExportError(
            f"{path} cannot be read as COCO's JSON of images and annotations "
            f"({type(error).__name__}: {error}). Export it again as COCO."
        ) from error
    return labels


def as_plane(labels: Any) -> NDArray[np.int32]:
    """Return a label image (H, W) as int32.

    Raises
    ------
    ExportError
        If it is none.
    """
    plane = np.asarray(labels)
    if plane.ndim != 2 or plane.dtype.kind not in "bui":
        raise ExportError(
            f"Objects are written from one plane of whole numbers, not from "
            f"{plane.dtype} of shape {plane.shape}. Choose a plane, such as labels[0]."
        )
    if plane.size and (plane.min() < 0 or plane.max() > np.iinfo(np.int32).max):
        raise ExportError("Labels go from 0 to 2147483647. Renumber them first.")
    return plane.astype(np.int32)


def _runs(mask: NDArray[np.bool_], box: Box, shape: tuple[int, int]) -> list[int]:
    """Return the lengths of runs down the columns of the whole image, 0 first."""
    columns = np.pad(mask, ((1, 1), (0, 0))).astype(np.int8)
    steps = np.diff(columns, axis=0).T  # one row for each column of the mask
    at = np.arange(box.left, box.right, dtype=np.int64) * shape[0] + box.top
    col, row = np.nonzero(steps == 1)
    starts = at[col] + row
    col, row = np.nonzero(steps == -1)
    edges = np.stack([starts, at[col] + row], axis=1).ravel()
    edges = np.concatenate([[0], edges, [shape[0] * shape[1]]])
    lengths = [int(n) for n in np.diff(edges)]
    return _without_gaps(lengths)


def _without_gaps(lengths: list[int]) -> list[int]:
    """Join runs with nothing in between: from the foot of a column to the next head."""
    out = lengths[:1]
    for number, length in enumerate(lengths[1:], start=1):
        if length == 0 and number < len(lengths) - 1:
            out.append(-1)  # joined with the one that follows
        elif out[-1] == -1:
            out.pop()
            out[-1] += length
        else:
            out.append(length)
    return out[:-1] if out[-1] == 0 else out


def _drawn(given: Any, shape: tuple[int, int], tools: Any) -> NDArray[np.bool_]:
    height, width = shape
    if isinstance(given, list):
        rings = [np.asarray(ring, float).reshape(-1, 2) for ring in given]
        for ring in rings:
            check_corners(ring, shape)
        flat = [ring.ravel().tolist() for ring in rings if len(ring) > 2]
        if not flat:  # points and lines have no inside
            return np.zeros(shape, bool)
        packed = tools.merge(tools.frPyObjects(flat, height, width))
    elif tuple(given["size"]) != shape:
        raise ValueError(f"an object on {given['size']} pixels")
    else:
        counts = run_lengths(given["counts"], height * width)
        plain = {"size": [height, width], "counts": counts}
        packed = tools.frPyObjects(plain, height, width)
    return np.asarray(tools.decode(packed)).astype(bool)


def _flat(ring: Sequence[tuple[int, int]]) -> list[float]:
    return [float(v) for row, col in ring for v in (col, row)]


def _tools() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingPackageError(
            "COCO's JSON needs pycocotools: pip install 'napari-clickseg[coco]'."
        ) from error
    return mask
