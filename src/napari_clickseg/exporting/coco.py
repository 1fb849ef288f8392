"""Objects as COCO's JSON: run lengths (through pycocotools) or polygons."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_clickseg import __version__
from napari_clickseg.errors import ExportError, MissingPackageError
from napari_clickseg.exporting.outlines import outlines
from napari_clickseg.exporting.run_lengths import check_corners, run_lengths
from napari_clickseg.exporting.writing import check_suffix, replacing
from napari_clickseg.limits import DAMAGE, check_bytes

__all__ = ["load_coco", "save_coco"]

Shapes = Literal["rle", "polygons"]


def save_coco(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    shapes: Shapes = "rle",
    file_name: str = "image.tif",
    category: str = "object",
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
        What the objects are.

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
    plane = as_plane(labels)
    tools = _tools()
    rings = dict(outlines(plane)) if shapes == "polygons" else {}
    annotations = []
    for label in (int(n) for n in np.unique(plane) if n):
        mask = np.asfortranarray(plane == label, np.uint8)
        packed = tools.encode(mask)
        shape: Any = {**packed, "counts": packed["counts"].decode("ascii")}
        if shapes == "polygons":
            if any(holes for _, holes in rings[label]):
                raise ExportError(
                    f"Object {label} has a hole, which COCO's polygons cannot hold. "
                    "Write run lengths (shapes='rle'), or GeoJSON."
                )
            shape = [_flat(outer) for outer, _ in rings[label]]
        annotations.append(
            {
                "id": label,
                "image_id": 1,
                "category_id": 1,
                "segmentation": shape,
                "area": float(tools.area(packed)),
                "bbox": [float(v) for v in tools.toBbox(packed)],
                "iscrowd": 0,
            }
        )
    height, width = plane.shape
    image = {"id": 1, "file_name": file_name, "height": height, "width": width}
    content = {
        "info": {"description": f"napari-clickseg {__version__}"},
        "images": [image],
        "categories": [{"id": 1, "name": category, "supercategory": ""}],
        "annotations": annotations,
    }
    with replacing(target) as (file,):
        file.write(json.dumps(content).encode())
    return [target]


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
