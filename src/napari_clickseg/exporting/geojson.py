"""Objects as GeoJSON, as QuPath reads and writes it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import ExportError
from napari_clickseg.exporting.coco import as_plane
from napari_clickseg.exporting.outlines import Polygon, outlines
from napari_clickseg.exporting.writing import check_suffix, replacing
from napari_clickseg.label_blocks import is_large
from napari_clickseg.limits import DAMAGE
from napari_clickseg.memory import check_room

__all__ = ["load_geojson", "save_geojson"]

#: What to do with labels that do not fit into memory.
INSTEAD = (
    "Read them from OME-Zarr (.zarr) or TIFF instead, which are read part by part."
)
#: No coordinate of a file may be farther out.
_LARGEST = 2**31


def save_geojson(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    category: str = "object",
    classes: Mapping[int, str] | None = None,
) -> list[Path]:
    """Write objects as QuPath's annotations: File, Import objects from file.

    Outlines go along the edges of pixels, holes included, so that nothing is lost.

    Parameters
    ----------
    path : path
        Ending ``.geojson``.
    labels : array-like of int, shape (H, W)
        0 is background.
    category : str
        QuPath's class of objects that have none of their own.
    classes : mapping of int to str, optional
        Class of each label.

    Returns
    -------
    list of Path
        The file.

    Raises
    ------
    ExportError
        If it is no plane of labels, or cannot be written.
    """
    target = check_suffix(path, (".geojson",), "GeoJSON")
    features = [
        {
            "type": "Feature",
            "id": str(uuid.uuid4()),
            "geometry": _geometry(polygons),
            "properties": {
                "objectType": "annotation",
                "name": str(label),
                "classification": {"name": (classes or {}).get(label) or category},
                "measurements": {"label": label},
            },
        }
        for label, polygons in outlines(
            labels if is_large(labels) else as_plane(labels)
        )
    ]
    with replacing(target) as (file,):
        content = {"type": "FeatureCollection", "features": features}
        file.write(json.dumps(content).encode())
    return [target]


def load_geojson(
    path: str | os.PathLike[str], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Read polygons from GeoJSON: pixels whose centre lies inside.

    Parameters
    ----------
    path : path
        A collection of features, a list of them, or one.
    shape : (int, int)
        Height and width of the image.

    Returns
    -------
    ndarray of int32, shape (H, W)
        By the measurement ``label``, where all have one of their own; else as they
        come.

    Raises
    ------
    ExportError
        If it is no such file, or holds something else than polygons.
    """
    try:
        content = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        if isinstance(content, dict):
            content = content.get("features", [content])
        labels = [_label(each) for each in content]
        if len({n for n in labels if n > 0}) < len(labels):
            labels = list(range(1, len(content) + 1))
        check_room("The labels", shape[0] * shape[1], 4, ExportError, INSTEAD)
        out = np.zeros(shape, np.int32)
        for label, each in zip(labels, content, strict=True):
            geometry = each["geometry"]
            polygons = geometry["coordinates"]
            if geometry["type"] == "Polygon":
                polygons = [polygons]
            elif geometry["type"] != "MultiPolygon":
                raise ValueError(f"a {geometry['type']}, which has no inside")
            for rings in polygons:
                _draw(out, rings, label)
    except ExportError:
        raise
    except DAMAGE as error:
        raise ExportError(
            f"{path} cannot be read as GeoJSON of polygons ({type(error).__name__}: "
            f"{error}). Export it again, for example from QuPath."
        ) from error
    return out


def _geometry(polygons: list[Polygon]) -> dict[str, Any]:
    coordinates = [
        [[[c, r] for r, c in (*ring, ring[0])] for ring in (outer, *holes)]
        for outer, holes in polygons
    ]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _label(feature: Any) -> int:
    found = (feature.get("properties") or {}).get("measurements") or {}
    if isinstance(found, list):  # as older versions of QuPath write it
        found = {each["name"]: each["value"] for each in found}
    return int(found.get("label", 0))


def _draw(out: NDArray[np.int32], rings: list[Any], label: int) -> None:
    """Give a label to the pixels whose centre is inside an odd number of rings."""
    points = [np.asarray(ring, float)[:, :2] for ring in rings]
    if any(not (np.abs(each) < _LARGEST).all() for each in points):
        raise ValueError("coordinates that are no numbers, or too large")
    low = np.floor(np.min([p.min(0) for p in points], 0)).astype(int)
    high = np.ceil(np.max([p.max(0) for p in points], 0)).astype(int)
    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(high, (out.shape[1], out.shape[0]))
    if right <= left or bottom <= top:
        return
    cols = np.arange(left, right) + 0.5
    inside = np.zeros((bottom - top, right - left), bool)
    for row in range(top, bottom):
        for ring in points:
            x, y = ring.T
            x2, y2 = np.roll(x, -1), np.roll(y, -1)
            crossed = (y <= row + 0.5) != (y2 <= row + 0.5)
            part = (row + 0.5 - y[crossed]) / (y2[crossed] - y[crossed])
            at = np.sort(x[crossed] + part * (x2[crossed] - x[crossed]))
            inside[row - top] ^= np.searchsorted(at, cols) % 2 == 1
    out[top:bottom, left:right][inside] = label
