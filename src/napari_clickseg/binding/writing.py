"""Write a box into a Labels layer, and draw no more than that box anew.

Times for a 4096 x 4096 layer and an object of 360,000 pixels (napari 0.9, two
slow cores): writing the box and refreshing the part, 1 ms; ``data_setitem``,
7 to 50 ms; slice and whole refresh, 4 to 20 ms for uint8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.labels_plane import LabelsPlane
from napari_clickseg.binding.lazy_labels import LazyLabels
from napari_clickseg.binding.planes import Plane, full_data
from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError
from napari_clickseg.memory import DENSE_PIXELS

if TYPE_CHECKING:
    from napari.layers import Labels

__all__ = [
    "box_reader",
    "label_check",
    "layer_plane",
    "read_box",
    "write_box",
    "write_box_undoable",
]

#: Changes of more pixels than this do not go through the layer's own history:
#: it keeps 20 bytes for each, and takes long to write them.
HISTORY_LIMIT = 1_000_000


def read_box(layer: Labels, plane: Plane, box: Box | None = None) -> Any:
    """Return the labels of a plane (or a box of it) as a new array.

    A whole plane that is too large to be one array comes as a
    :class:`~napari_clickseg.binding.labels_plane.LabelsPlane`.
    """
    if box is None:
        return box_reader(layer, plane)()
    return np.array(full_data(layer)[layer_plane(layer, plane).indexer(box)])


def box_reader(layer: Labels, plane: Plane) -> Callable[[], Any]:
    """Return what reads the labels of a plane later, in any thread.

    A whole plane of a large image takes longer to copy than a window may stand
    still. The function holds the array, not the layer. What it returns is no array
    where the plane is too large for one, see :func:`read_box`.
    """
    data, plane = full_data(layer), layer_plane(layer, plane)
    key = plane.indexer()
    height, width = plane.shape_in(data.shape)
    if height * width > DENSE_PIXELS or isinstance(data, LazyLabels):
        return lambda: LabelsPlane(data, key)
    return lambda: np.array(data[key])


def write_box(
    layer: Labels,
    plane: Plane,
    box: Box,
    values: NDArray[Any],
    *,
    refresh: bool = True,
) -> None:
    """Put ``values`` into a box of a plane, past the layer's own undo.

    Parameters
    ----------
    layer : Labels
        A layer of the plane's shape.
    plane, box
        Where; the box lies inside the plane.
    values : array, shape of ``box``
        Bool or integer, converted to the layer's type.
    refresh : bool
        Draw it; otherwise the caller does, after the last of many boxes.
    """
    if box.empty:
        return
    data, plane = _writable(layer), layer_plane(layer, plane)
    key = plane.indexer(box)
    data[key] = values.astype(data.dtype, copy=False)
    if refresh and not _refresh_part(layer, plane, box):
        layer.refresh(extent=False, highlight=False)


def write_box_undoable(
    layer: Labels, plane: Plane, box: Box, values: NDArray[Any]
) -> None:
    """Like :func:`write_box`, and napari's own undo can take it back.

    Changes of a million pixels and more are written without that, and so is all in
    layers with levels of detail, which napari does not edit.
    """
    if box.empty:
        return
    if layer.multiscale:
        write_box(layer, plane, box, values)
        return
    data, theirs = _writable(layer), layer_plane(layer, plane)
    changed = np.nonzero(np.asarray(data[theirs.indexer(box)]) != values)
    if changed[0].size > HISTORY_LIMIT:
        write_box(layer, plane, box, values)
    elif changed[0].size:
        inside = dict(
            zip(theirs.axes, (changed[0] + box.top, changed[1] + box.left), strict=True)
        )
        indices = tuple(
            inside[axis] if axis in inside else np.full(changed[0].size, i)
            for axis, i in enumerate(theirs.fixed)
        )
        layer.data_setitem(indices, values[changed].astype(data.dtype))


def layer_plane(layer: Labels, plane: Plane) -> Plane:
    """Return where a plane of the image lies in a layer with other axes.

    As napari shows it: the last axes go together. Axes that the layer lacks do not
    count; further ones have one plane.
    """
    more = layer.ndim - plane.ndim
    if not more:
        return plane
    rows, cols = plane.axes
    fixed = (0,) * more + plane.fixed if more > 0 else plane.fixed[-more:]
    return Plane((rows + more, cols + more), fixed)


def label_check(layer: Labels) -> Callable[[int], None]:
    """Return what refuses a label that the layer's type cannot hold.

    It raises a MaskError that says what to do, and may be called in any thread.
    """
    name, dtype = layer.name, np.dtype(layer.data.dtype)
    limit = np.iinfo(dtype).max if dtype.kind in "iu" else None

    def check(label: int) -> None:
        if limit is not None and label > limit:
            raise MaskError(
                f"'{name}' is {dtype} and cannot hold object {label}: right-click it "
                "in the layer list and convert it to int32, or commit to a new layer."
            )

    return check


def _writable(layer: Labels) -> Any:
    data = full_data(layer)
    readonly = isinstance(data, np.ndarray) and not data.flags.writeable
    if readonly or type(data).__module__.startswith("dask."):
        raise MaskError(
            f"'{layer.name}' cannot be written to (it is lazy or read-only): choose "
            "another layer for the objects."
        )
    return data


def _refresh_part(layer: Any, plane: Plane, box: Box) -> bool:
    """Redraw only the box; False where this napari cannot.

    napari offers this only together with its own history (``data_setitem``), so
    the steps it consists of are taken here. Where a later napari names them
    differently, the caller falls back on the public, slower way.
    """
    if not layer.visible:
        return True  # drawn when it is shown again
    data = layer.data
    if not isinstance(data, np.ndarray) or layer.multiscale or layer.contour:
        return False
    try:
        displayed = list(layer._slice_input.displayed)  # noqa: SLF001
        image = layer._slice.image  # noqa: SLF001
        hidden = layer._get_pt_not_disp()  # noqa: SLF001
        if sorted(displayed) != list(plane.axes) or not np.may_share_memory(
            image.raw, data
        ):
            return False
        if any(int(hidden[axis]) != plane.fixed[axis] for axis in hidden):
            return True  # another plane is on screen
        whole = tuple(
            dict(zip(plane.axes, box.slices, strict=True)).get(axis, slice(i, i + 1))
            for axis, i in enumerate(plane.fixed)
        )
        part = tuple(whole[axis] for axis in displayed)
        to_texture = layer.colormap._data_to_texture  # noqa: SLF001
        image.view[part] = to_texture(image.raw[part])
        layer._accumulate_updated_slice(whole)  # noqa: SLF001
        layer._partial_labels_refresh()  # noqa: SLF001
    except (AttributeError, KeyError, TypeError):
        return False
    return True
