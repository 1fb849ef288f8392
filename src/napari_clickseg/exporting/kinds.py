"""What there is to export: one row for each kind of result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from napari_clickseg.errors import ExportError
from napari_clickseg.exporting.alpha import ALPHA_SUFFIXES
from napari_clickseg.exporting.class_maps import CLASS_MAP_SUFFIXES
from napari_clickseg.exporting.cutouts import CUTOUT_SUFFIXES
from napari_clickseg.exporting.depth import DEPTH_SUFFIXES

#: The key of a layer's metadata under which it says what it is.
OWN = "napari-clickseg"


@dataclass(frozen=True)
class Kind:
    """A kind of result.

    Parameters
    ----------
    name : str
        What a layer's metadata say, under ``"napari-clickseg"``.
    title : str
        As users read it.
    layer : str
        napari's type of layer.
    suffixes : tuple of str
        Endings of files; the first is the usual one.
    """

    name: str
    title: str
    layer: str
    suffixes: tuple[str, ...]

    @property
    def filter(self) -> str:
        """What a file dialog shows, such as ``Alpha (*.png *.tif *.tiff)``."""
        return f"{self.title} ({' '.join('*' + each for each in self.suffixes)})"

    def suffix(self, stack: bool = False) -> str:
        """Return the usual ending; for a stack one that can hold it."""
        return ".tif" if stack else self.suffixes[0]


#: By name.
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("Classes", "Class map with legend", "labels", CLASS_MAP_SUFFIXES),
            Kind("Alpha", "Alpha, 16 bit", "image", ALPHA_SUFFIXES),
            Kind("Cut-out", "Cut-out with alpha", "image", CUTOUT_SUFFIXES),
            Kind("Depth", "Depth with unit", "image", DEPTH_SUFFIXES),
        )
    }
)


def get_kind(name: str) -> Kind:
    """Return the kind of that name.

    Raises
    ------
    ExportError
        If there is none.
    """
    if name not in KINDS:
        raise ExportError(
            f"There is no kind of export {name!r}. Choose one of "
            f"{', '.join(map(repr, KINDS))}."
        )
    return KINDS[name]


def kind_of(attributes: Mapping[str, Any]) -> Kind | None:
    """Return what a layer of ours says that it is; of others None."""
    metadata = attributes.get("metadata") or {}
    name = metadata.get(OWN) if isinstance(metadata, Mapping) else None
    return KINDS.get(name) if isinstance(name, str) else None
