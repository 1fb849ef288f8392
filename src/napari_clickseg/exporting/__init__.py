"""Results as files that other programs read.

``class_maps``, ``alpha``, ``cutouts``, ``depth``
    one function each, from arrays to files; ``legend`` and ``foreground`` help them
``objects``, ``coco``, ``geojson``, ``outlines``, ``zarr_labels``
    objects, there and back
``kinds``, ``layers``
    the same by kind, for layers of napari
``png``, ``tiff``, ``planes``, ``values``, ``writing``
    formats, checks, and files that appear whole
"""

from __future__ import annotations

from napari_clickseg.exporting.alpha import save_alpha
from napari_clickseg.exporting.class_maps import save_class_map
from napari_clickseg.exporting.coco import load_coco, save_coco
from napari_clickseg.exporting.cutouts import cut_out, save_cutout
from napari_clickseg.exporting.depth import save_depth
from napari_clickseg.exporting.foreground import estimate_foreground
from napari_clickseg.exporting.geojson import load_geojson, save_geojson
from napari_clickseg.exporting.kinds import KINDS, Kind, kind_of
from napari_clickseg.exporting.layers import export_layer_data
from napari_clickseg.exporting.legend import Legend, LegendEntry, read_legend
from napari_clickseg.exporting.objects import load_objects, save_objects
from napari_clickseg.exporting.table import save_table
from napari_clickseg.exporting.zarr_labels import load_zarr_labels, save_zarr_labels

__all__ = [
    "KINDS",
    "Kind",
    "Legend",
    "LegendEntry",
    "cut_out",
    "estimate_foreground",
    "export_layer_data",
    "kind_of",
    "load_coco",
    "load_geojson",
    "load_objects",
    "load_zarr_labels",
    "read_legend",
    "save_alpha",
    "save_class_map",
    "save_coco",
    "save_cutout",
    "save_depth",
    "save_geojson",
    "save_objects",
    "save_table",
    "save_zarr_labels",
]
