"""The plane of an image that is on screen, as something a session can read.

A session is two-dimensional. For an n-D image the plane is what the canvas shows:
two displayed axes, and one index for every other axis. A click's position in the
plane is ``(row, col)``: the coordinate along the lower and along the higher of the
two displayed data axes, so that transposing the view changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.hooks import camera_of, canvas_size_of
from napari_clickseg.boxes import Box
from napari_clickseg.errors import ImageError
from napari_clickseg.image_colors import Table, compact_table

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer
    from napari.utils import Colormap

__all__ = [
    "Plane",
    "PlaneImage",
    "data_shape",
    "displayed_plane",
    "full_data",
    "plane_image",
    "shown_colors",
    "shown_gamma",
    "shown_range",
    "visible_box",
]


class Plane(NamedTuple):
    """Where a plane lies in the data of a layer.

    Parameters
    ----------
    axes : (int, int)
        Data axes of rows and columns, ascending.
    fixed : tuple of int
        One entry for every data axis; the entries of ``axes`` are -1.
    """

    axes: tuple[int, int]
    fixed: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Number of data axes (without the colours of an RGB image)."""
        return len(self.fixed)

    def shape_in(self, shape: Sequence[int]) -> tuple[int, int]:
        """Height and width of the plane in data of this shape."""
        return int(shape[self.axes[0]]), int(shape[self.axes[1]])

    def indexer(self, box: Box | None = None) -> tuple[slice | int, ...]:
        """Index that cuts the plane (or a box of it) out of n-D data."""
        rows, cols = (slice(None), slice(None)) if box is None else box.slices
        inside = dict(zip(self.axes, (rows, cols), strict=True))
        return tuple(inside.get(axis, i) for axis, i in enumerate(self.fixed))

    def holds(self, position: Sequence[float]) -> bool:
        """Whether an n-D data position lies on this plane."""
        return all(
            axis in self.axes or int(np.round(position[axis])) == i
            for axis, i in enumerate(self.fixed)
        )

    def at(self, position: Sequence[float]) -> Plane:
        """Return the parallel plane through an n-D data position."""
        index = tuple(
            -1 if axis in self.axes else int(np.round(position[axis]))
            for axis in range(self.ndim)
        )
        return Plane(self.axes, index)

    def to_plane(self, position: Sequence[float]) -> tuple[float, float]:
        """Return ``(row, col)`` of an n-D data position."""
        return float(position[self.axes[0]]), float(position[self.axes[1]])

    def to_data(self, position: Sequence[float]) -> tuple[float, ...]:
        """Return the n-D data position of ``(row, col)``."""
        inside = dict(zip(self.axes, position, strict=True))
        return tuple(float(inside.get(a, i)) for a, i in enumerate(self.fixed))

    def describe(self) -> str:
        """Return the fixed indices in words; empty for a 2-D image."""
        fixed = [f"{i}" for axis, i in enumerate(self.fixed) if axis not in self.axes]
        return ", ".join(fixed)

    @property
    def place(self) -> str:
        """Axes and fixed indices, as a part of a file's name; empty for a 2-D image."""
        fixed = enumerate(self.fixed)
        return "_".join(f"{axis}-{i}" for axis, i in fixed if axis not in self.axes)


def displayed_plane(viewer: ViewerModel, layer: Layer) -> Plane:
    """Return the plane of ``layer`` that the canvas shows.

    Raises
    ------
    ImageError
        When the canvas shows no plane of this layer (3-D view, or axes that the
        layer does not have).
    """
    dims = viewer.dims
    if dims.ndisplay != 2:
        raise ImageError(
            "Clicks need the 2-D view: switch back from 3-D with Ctrl+Y "
            "(or the cube button at the bottom left)."
        )
    offset = dims.ndim - layer.ndim
    axes = sorted(axis - offset for axis in dims.displayed)
    if axes[0] < 0:
        raise ImageError(
            f"The view shows an axis that '{layer.name}' does not have: roll the "
            "axes back (Ctrl+E)."
        )
    point = layer.world_to_data(dims.point)
    shape = data_shape(layer)
    index = tuple(
        -1 if axis in axes else int(np.clip(np.round(point[axis]), 0, shape[axis] - 1))
        for axis in range(layer.ndim)
    )
    return Plane((axes[0], axes[1]), index)


@dataclass(frozen=True)
class PlaneImage:
    """What a session needs to know of a plane; opened in the worker.

    Attributes
    ----------
    array
        ``(H, W)`` or with colours or channels ``(H, W, C)``; read by slicing.
    contrast
        As :class:`napari_clickseg.image.ImageSource` takes it.
    colour : bool
        Whether the last axis holds colours or channels.
    gamma : float or tuple of float
        Of each layer, as on screen.
    colormaps : tuple of Table, optional
        Of each layer, where they are shown in colors of their own.
    coarser : tuple of array
        The same with fewer pixels, the finest first, for windows that are far larger
        than what a network looks at.
    """

    array: Any
    contrast: Any
    colour: bool
    shape: tuple[int, int]
    name: str = field(default="", compare=False)
    coarser: tuple[Any, ...] = field(default=(), compare=False)
    gamma: Any = 1.0
    colormaps: tuple[Table, ...] | None = None

    @property
    def look(self) -> tuple[Any, ...]:
        """How it is shown: contrast, gamma and colors."""
        return self.contrast, self.gamma, self.colormaps


def plane_image(layers: Sequence[Image], plane: Plane) -> PlaneImage:
    """Return the plane of one image layer, or of several as its channels.

    Parameters
    ----------
    layers
        One Image layer, grey or RGB, or two or three grey ones of one shape.
    plane
        As from :func:`displayed_plane` of the first.

    Raises
    ------
    ImageError
        When several layers do not fit together.
    """
    first = layers[0]
    shape = plane.shape_in(data_shape(first))
    if len(layers) == 1:
        array, *coarser = _levels(first, plane)
        contrast: Any = shown_range(first)
        return PlaneImage(
            array,
            contrast,
            bool(first.rgb),
            shape,
            first.name,
            tuple(coarser),
            shown_gamma(first),
        )
    for layer in layers:
        if layer.rgb or data_shape(layer) != data_shape(first):
            raise ImageError(
                f"'{layer.name}' cannot be a channel beside '{first.name}': channels "
                "are grey images of one shape. Hide it, or use one image alone."
            )
    stack, *coarser = _stacked([_levels(layer, plane) for layer in layers])
    names = " + ".join(layer.name for layer in layers)
    limits = [shown_range(layer) for layer in layers]
    gammas = tuple(shown_gamma(layer) for layer in layers)
    return PlaneImage(
        stack,
        limits,
        True,
        shape,
        names,
        tuple(coarser),
        gammas,
        shown_colors(layers),
    )


def visible_box(
    layer: Image, plane: Plane, viewer: ViewerModel | None = None
) -> Box | None:
    """Return the part of the plane that the canvas shows, or None if unknown.

    What napari holds of an image with levels of detail reaches to the next edges of
    chunks, and stays so large while the view zooms in. With the viewer it is cut down
    to what its camera sees.
    """
    shape = plane.shape_in(data_shape(layer))
    corners = np.asarray(layer.corner_pixels, dtype=float)[:, list(plane.axes)]
    if getattr(layer, "multiscale", False):
        factors = np.asarray(layer.downsample_factors[layer.data_level], dtype=float)
        corners = corners * factors[list(plane.axes)]
    box = _box_around(corners).clip(shape)
    if viewer is not None and getattr(layer, "multiscale", False):
        seen = _seen(viewer, layer, plane)
        if seen is not None and not box.intersect(seen).empty:
            box = box.intersect(seen)
    return None if box.empty else box


# ----------------------------------------------------------------------- parts


class _LazyPlane:
    """A 2-D view (with colours: 3-D) of n-D data that is read only by slicing."""

    def __init__(self, data: Any, plane: Plane, colour: bool) -> None:
        self._data = data
        self._plane = plane
        self.dtype = np.dtype(data.dtype)
        shape: tuple[int, ...] = plane.shape_in(data.shape)
        self.shape = (*shape, int(data.shape[-1])) if colour else shape
        self.ndim = len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        key: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
        rows, cols, *rest = list(key) + [slice(None)] * (self.ndim - len(key))
        inside = dict(zip(self._plane.axes, (rows, cols), strict=True))
        whole = [inside.get(a, i) for a, i in enumerate(self._plane.fixed)]
        return np.asarray(self._data[(*whole, *rest)])


class _Stack:
    """Grey planes side by side as the channels of one image."""

    def __init__(self, planes: Sequence[Any]) -> None:
        self._planes = planes
        self.dtype = np.result_type(*(plane.dtype for plane in planes))
        self.shape = (*planes[0].shape, len(planes))
        self.ndim = 3

    def __getitem__(self, index: Any) -> NDArray[Any]:
        key: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
        rows, cols, channels = list(key) + [slice(None)] * (3 - len(key))
        chosen = np.arange(len(self._planes))[channels]
        read = [np.asarray(self._planes[c][rows, cols]) for c in np.atleast_1d(chosen)]
        stacked = np.stack(read, axis=-1).astype(self.dtype, copy=False)
        return stacked if np.ndim(chosen) else stacked[..., 0]


def _cut(data: Any, plane: Plane, colour: bool) -> Any:
    if isinstance(data, np.ndarray) or type(data).__module__.startswith("dask."):
        return data[plane.indexer()]  # a view, or lazy itself
    return _LazyPlane(data, plane, colour)


def _box_around(corners: NDArray[np.float64]) -> Box:
    low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    return Box(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1)


def _seen(viewer: ViewerModel, layer: Image, plane: Plane) -> Box | None:
    """Return what the camera of a 2-D view shows of a plane; None: not known."""
    size = canvas_size_of(viewer)
    displayed = list(viewer.dims.displayed)[-2:]
    if size is None or viewer.dims.ndisplay != 2:
        return None
    camera = camera_of(viewer)
    half = np.asarray(size, dtype=float) / (2 * camera.zoom)
    centre = np.asarray(camera.center, dtype=float)[-2:]
    offset = viewer.dims.ndim - layer.ndim
    corners = []
    for sign in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        world = np.asarray(viewer.dims.point, dtype=float)
        world[displayed] = centre + np.array(sign) * half
        corners.append(plane.to_plane(layer.world_to_data(world[offset:])))
    return _box_around(np.array(corners))


def _levels(layer: Image, plane: Plane) -> list[Any]:
    """Return the plane in full resolution, then its coarser levels."""
    if not getattr(layer, "multiscale", False):
        return [_cut(layer.data, plane, colour=layer.rgb)]
    full = data_shape(layer)
    finest, *rest = list(layer.data)
    return [
        _cut(finest, plane, colour=layer.rgb),
        *(
            _LazyPlane(level, _plane_at(plane, full, level.shape), bool(layer.rgb))
            for level in rest
        ),
    ]


def _plane_at(plane: Plane, full: Sequence[int], shape: Sequence[int]) -> Plane:
    """Return a plane in a coarser level, of which other axes may be coarser, too."""
    fixed = tuple(
        at if at < 0 else min(int(at * shape[axis] / full[axis]), int(shape[axis]) - 1)
        for axis, at in enumerate(plane.fixed)
    )
    return Plane(plane.axes, fixed)


def _stacked(layers: Sequence[Sequence[Any]]) -> list[_Stack]:
    """Return channels level by level, as far as their levels are of the same shapes."""
    found = []
    for planes in zip(*layers, strict=False):
        if any(plane.shape != planes[0].shape for plane in planes):
            break
        found.append(_Stack(planes))
    return found


def full_data(layer: Layer) -> Any:
    """Return the data of a layer in full resolution."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def data_shape(layer: Layer) -> tuple[int, ...]:
    """Shape of the data without the colours of an RGB image."""
    shape = tuple(int(n) for n in full_data(layer).shape)
    return shape[: layer.ndim]


def shown_range(layer: Image) -> tuple[float, float]:
    """Return the values that are black and white on screen.

    napari shows RGB as it is: the whole range of an integer type, 0 to 1 for floats.
    """
    if not layer.rgb:
        low, high = layer.contrast_limits
        return float(low), float(high)
    dtype = np.dtype(full_data(layer).dtype)
    if dtype.kind in "iu":
        return 0.0, float(np.iinfo(dtype).max)
    return 0.0, 1.0


def shown_gamma(layer: Image) -> float:
    """Return the exponent of values on screen; napari has none for RGB."""
    return 1.0 if layer.rgb else float(layer.gamma)


def shown_colors(layers: Sequence[Image]) -> tuple[Table, ...] | None:
    """Return the color maps of channels; None: they have no colors of their own.

    That is so where all of them have one and the same map, such as grey; and of an
    image by itself, whose colors say nothing that its values do not.
    """
    if len(layers) == 1:
        return None
    tables = tuple(_table_of(layer.colormap) for layer in layers)
    return tables if len(set(tables)) > 1 else None


#: Tables of color maps that were seen last, for each look at the lamp needs them.
_tables: dict[tuple[bytes, bytes, str], Table] = {}


def _table_of(colormap: Colormap) -> Table:
    kind = str(colormap.interpolation)
    key = colormap.colors.tobytes(), colormap.controls.tobytes(), kind
    if key not in _tables:
        if len(_tables) >= 32:
            _tables.clear()
        _tables[key] = compact_table(colormap.map)
    return _tables[key]
