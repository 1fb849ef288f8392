"""Layers, as napari hands them to writers: data, and a mapping of attributes.

napari is not needed: attributes are read as they come.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_clickseg.errors import ClickSegError, ExportError
from napari_clickseg.exporting.alpha import save_alpha
from napari_clickseg.exporting.class_maps import save_class_map
from napari_clickseg.exporting.cutouts import save_cutout
from napari_clickseg.exporting.depth import save_depth
from napari_clickseg.exporting.kinds import Kind, get_kind, kind_of
from napari_clickseg.exporting.legend import Legend, LegendEntry
from napari_clickseg.exporting.tiff import Spacing
from napari_clickseg.tasks.class_lists import Classes

#: Columns of a layer's features that may name its labels, and that may hold them.
_NAMES = ("name", "class", "label name", "class name", "category")
_LABELS = ("index", "label", "id")


def export_layer_data(
    kind: str | None,
    path: str | os.PathLike[str],
    data: Any,
    attributes: Mapping[str, Any],
    **options: Any,
) -> list[Path]:
    """Write a layer as what it is.

    Parameters
    ----------
    kind : str or None
        ``"Classes"``, ``"Alpha"``, ``"Cut-out"`` or ``"Depth"``: for layers that do
        not say it themselves. Those of ours do, and are written as what they say.
    path : path
        Without an ending it gets the usual one.
    data, attributes
        As ``layer.as_layer_data_tuple()`` has them.
    **options
        For the function that writes: :func:`save_class_map`, :func:`save_alpha`,
        :func:`save_cutout`, :func:`save_depth`.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    ExportError
        If the layer is of no kind, or cannot be written so.
    """
    known = kind_of(attributes) or (None if kind is None else get_kind(kind))
    if known is None:
        raise ExportError(
            "This layer does not say what it is. Choose one of 'Classes', 'Alpha', "
            "'Cut-out' and 'Depth', or save it as napari does."
        )
    if attributes.get("multiscale"):
        data = data[0]
    path = Path(path).expanduser()
    if not path.suffix:
        path = path.with_name(path.name + known.suffix(_stack(known, data)))
    options.setdefault("spacing", _spacing(attributes))
    return _SAVERS[known.name](path, data, attributes, options)


def _stack(kind: Kind, data: Any) -> bool:
    return len(np.shape(data)) > (3 if kind.name == "Cut-out" else 2)


def _save_classes(path: Path, data: Any, attributes: Any, options: Any) -> list[Path]:
    metadata = attributes.get("metadata") or {}
    classes: Legend | Classes | None = None
    if isinstance(metadata, Mapping) and "classes" in metadata:
        try:
            classes = Classes.from_dict(metadata["classes"])
        except ClickSegError as error:
            raise ExportError(f"The layer's metadata are damaged: {error}") from error
    else:
        options.setdefault("completed", lambda legend: _as_shown(legend, attributes))
    return save_class_map(path, data, classes, **options)


def _save_alpha(path: Path, data: Any, attributes: Any, options: Any) -> list[Path]:
    if attributes.get("rgb"):
        raise ExportError(
            "This layer holds colours, alpha is a single channel. Save it as a "
            "cut-out, or choose another layer."
        )
    return save_alpha(path, data, **options)


def _save_cutout(path: Path, data: Any, attributes: Any, options: Any) -> list[Path]:
    if not attributes.get("rgb") or np.shape(data)[-1] != 4:
        raise ExportError(
            "This layer holds no colours with alpha (RGBA), so nothing of it is cut "
            "out. Choose a layer that does, or save it as napari does."
        )
    metadata = attributes.get("metadata") or {}
    options.setdefault("foreground", metadata.get("foreground") != "estimated")
    return save_cutout(path, data, **options)


def _save_depth(path: Path, data: Any, attributes: Any, options: Any) -> list[Path]:
    if attributes.get("rgb"):
        raise ExportError(
            "This layer holds colours, depth is a single channel. Choose another layer."
        )
    metadata = attributes.get("metadata") or {}
    options.setdefault("unit", metadata.get("unit") or "m")
    return save_depth(path, data, **options)


_SAVERS = {
    "Classes": _save_classes,
    "Alpha": _save_alpha,
    "Cut-out": _save_cutout,
    "Depth": _save_depth,
}


def _spacing(attributes: Mapping[str, Any]) -> Spacing | None:
    """Return how far the pixels of a layer lie apart, where it is known in a unit."""
    scale, units = attributes.get("scale"), attributes.get("units")
    if scale is None or units is None or isinstance(units, str) or len(units) < 2:
        return None
    names = [str(unit) for unit in units]
    if names[-1] != names[-2] or names[-1] in ("pixel", "dimensionless", ""):
        return None
    values = [abs(float(value)) for value in scale]
    # Planes may be moments in time.
    known = 3 if len(values) > 2 and names[-3] == names[-1] else 2
    try:
        return Spacing.of(values[-known:], names[-1])
    except ExportError:  # a scale of 0, or a unit that files cannot hold
        return None


def _as_shown(legend: Legend, attributes: Mapping[str, Any]) -> Legend:
    """Return a legend with the layer's own colours and names."""
    names = _names(attributes)
    labels = [entry.label for entry in legend]
    colours = _colours(attributes.get("colormap"), labels)
    entries: list[LegendEntry] = []
    for entry, colour in zip(legend, colours or [None] * len(labels), strict=True):
        changed = replace(entry, name=names.get(entry.label, entry.name))
        if colour is not None:
            red, green, blue, alpha = (round(float(v) * 255) for v in colour)
            changed = replace(changed, colour=(red, green, blue), shown=alpha > 0)
        entries.append(changed)
    return Legend(entries)


def _colours(colormap: Any, labels: list[int]) -> Sequence[Any] | None:
    """Return red to alpha from 0 to 1 of each label, as napari shows it."""
    if not labels or not callable(getattr(colormap, "map", None)):
        return None
    mapped = np.asarray(colormap.map(np.asarray(labels)))
    return list(mapped) if mapped.shape == (len(labels), 4) else None


def _names(attributes: Mapping[str, Any]) -> dict[int, str]:
    """Return names of labels from the layer's features, if it has any."""
    features: Any = attributes.get("features")
    if features is None or not len(list(features)):
        features = attributes.get("properties") or {}
    columns = [str(name) for name in features]
    lower = {column.lower(): column for column in columns}
    named = next((lower[name] for name in _NAMES if name in lower), None)
    if named is None:
        return {}
    held = next((lower[name] for name in _LABELS if name in lower), None)
    values = list(features[named])
    # Without a column of labels, napari takes row 0 for label 0.
    labels = list(features[held]) if held else list(range(len(values)))
    found = {}
    for label, value in zip(labels, values, strict=False):
        text = str(value).strip()
        if text and text.lower() != "nan" and float(label) == int(label):
            found[int(label)] = text
    return found
