"""Writers of the manifest: what napari calls when layers are saved with ours."""

from __future__ import annotations

from typing import Any

from napari_clickseg.exporting.layers import export_layer_data

# The manifest asks for an image "and perhaps a graph". napari takes the writer that
# asks for least first, and would otherwise take ours for its own whenever this plugin
# happens to be found before it. Such writers are given a list of layers.


def write_classes(path: str, layers: list[Any]) -> list[str]:
    """Write a Labels layer as a class map with its legend."""
    return _write("Classes", path, layers)


def write_alpha(path: str, layers: list[Any]) -> list[str]:
    """Write an Image layer as alpha."""
    return _write("Alpha", path, layers)


def write_cutout(path: str, layers: list[Any]) -> list[str]:
    """Write an Image layer of colours with alpha as a cut-out."""
    return _write("Cut-out", path, layers)


def write_depth(path: str, layers: list[Any]) -> list[str]:
    """Write an Image layer as depth."""
    return _write("Depth", path, layers)


def _write(kind: str, path: str, layers: list[Any]) -> list[str]:
    data, attributes = next(
        (data, attributes)
        for data, attributes, layer in layers
        if layer in ("image", "labels")
    )
    written = export_layer_data(kind, path, data, attributes)
    return [str(each) for each in written]
