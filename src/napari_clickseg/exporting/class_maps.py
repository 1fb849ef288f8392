"""Class maps: every pixel holds a label, and a legend says what it means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import ExportError
from napari_clickseg.exporting.legend import SUFFIXES, Legend, legend_path
from napari_clickseg.exporting.planes import Planes, check_single
from napari_clickseg.exporting.png import encode
from napari_clickseg.exporting.tiff import Spacing, write_tiff
from napari_clickseg.exporting.writing import PNG, TIFF, check_suffix, replacing
from napari_clickseg.tasks.class_lists import Classes

CLASS_MAP_SUFFIXES = PNG + TIFF
_WHAT = "A class map"
#: Labels below are counted by a table, larger ones by sorting.
_TABLE = 2**22


def save_class_map(
    path: str | os.PathLike[str],
    labels: Any,
    classes: Legend | Classes | Sequence[str] | None = None,
    *,
    legend: str | Iterable[str] | None = "json",
    spacing: float | Sequence[float] | Spacing | None = None,
    spacing_unit: str = "um",
    completed: Callable[[Legend], Legend] | None = None,
) -> list[Path]:
    """Write a map of labels, and its legend beside it.

    Parameters
    ----------
    path : path
        ``.png``: with the colours of the classes, up to label 255; up to 65535 as
        16-bit grey. ``.tif``, ``.tiff``: the labels in 8, 16 or 32 bits, as few as are
        enough; also stacks.
    labels : array-like of int or bool, shape (H, W) or (..., H, W)
        0 where there is no class. Lazy arrays are read twice, plane by plane.
    classes : Classes, Legend or sequence of str, optional
        What the labels mean; labels that are not in it are called ``label 7``.
    legend : "json", "csv", both, or None
        Which files to write beside it: ``NAME.legend.json``, ``NAME.legend.csv``.
    spacing, spacing_unit
        Distance of pixels: one number, (row, col) or (plane, row, col); its unit. Only
        TIFF holds it.
    completed : function, optional
        Is given the legend with all labels of the map; what it returns is written.

    Returns
    -------
    list of Path
        The map, then its legends.

    Raises
    ------
    ExportError
        If such a map cannot be written there; nothing is, then.
    """
    path = check_suffix(path, CLASS_MAP_SUFFIXES, _WHAT)
    planes = Planes(labels, _WHAT)
    kinds = _legend_kinds(legend)
    spaced = Spacing.of(spacing, spacing_unit)
    in_png = path.suffix.lower() in PNG
    if in_png:
        check_single(planes, path.name)
    counts = count_labels(planes)
    full = Legend.of(classes).counted(counts)
    if completed is not None:
        full = completed(full)
    largest = max(counts, default=0)
    dtype = np.min_scalar_type(largest)
    if dtype.itemsize > (2 if in_png else 4):
        raise ExportError(
            f"Label {largest} does not fit into {path.name}: "
            + ("end the name in .tif." if in_png else "renumber the labels first.")
        )
    colours = _colours(full) if dtype == np.uint8 else None
    targets = [path, *(legend_path(path, kind) for kind in kinds)]
    with replacing(*targets) as files:
        pages = (plane.astype(dtype) for plane in planes)
        if in_png:
            files[0].write(encode(next(pages), _short(colours, largest)))
        else:
            write_tiff(
                files[0], pages, planes.shape, dtype, spacing=spaced, colours=colours
            )
        for kind, file in zip(kinds, files[1:], strict=True):
            facts = _facts(path, planes, counts, spaced)
            text = full.to_csv() if kind == "csv" else full.to_json(facts)
            # Spreadsheets take a file for UTF-8 if it begins so.
            file.write(text.encode("utf-8-sig" if kind == "csv" else "utf-8"))
    return targets


def count_labels(planes: Iterable[NDArray[Any]]) -> dict[int, int]:
    """Return the number of pixels of each label that occurs.

    Raises
    ------
    ExportError
        If there are negative labels, or numbers that are not whole.
    """
    counts: dict[int, int] = {}
    for plane in planes:
        if plane.dtype.kind not in "bui":
            raise ExportError(
                f"A class map holds whole numbers, not {plane.dtype}. Pass "
                "labels.astype(int)."
            )
        lowest, largest = int(plane.min()), int(plane.max())
        if lowest < 0:
            raise ExportError(
                f"There is a label {lowest}: labels count from 0. Give these pixels "
                "another label first."
            )
        if largest < _TABLE:
            found = np.bincount(plane.ravel().astype(np.intp, copy=False))
            values: Any = np.flatnonzero(found)
            numbers: Any = found[values]
        else:
            values, numbers = np.unique(plane, return_counts=True)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + number
    return counts


def _legend_kinds(legend: str | Iterable[str] | None) -> list[str]:
    kinds = [legend] if isinstance(legend, str) else list(legend or ())
    for kind in kinds:
        if kind not in SUFFIXES:
            raise ExportError(
                f"There is no legend of the kind {kind!r}. Choose 'json', 'csv', both "
                "or None."
            )
    return list(dict.fromkeys(kinds))


def _colours(legend: Legend) -> NDArray[np.uint8]:
    """Return colours (256, 3) by label; black for labels without a class."""
    colours = np.zeros((256, 3), np.uint8)
    for entry in legend:
        if entry.label < 256:
            colours[entry.label] = entry.colour
    return colours


def _short(colours: NDArray[np.uint8] | None, largest: int) -> Any:
    return None if colours is None else colours[: largest + 1]


def _facts(
    path: Path, planes: Planes, counts: dict[int, int], spacing: Spacing | None
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "map": path.name,
        "shape": list(planes.shape),
        "unlabelled": counts.get(0, 0),
    }
    if spacing is not None:
        each = (spacing.plane, spacing.row, spacing.col)
        facts["spacing"] = [value for value in each if value is not None]
        facts["spacing_unit"] = spacing.unit
    return facts
