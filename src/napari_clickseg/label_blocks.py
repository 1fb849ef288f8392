"""Label images that are too large for memory, read block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError
from napari_clickseg.memory import DENSE_PIXELS
from napari_clickseg.plane_view import tiles_of

__all__ = ["SIDE", "blocks_of", "by_label", "is_large", "joined", "masks_of", "moved"]

#: Side of a block, in pixels.
SIDE = 2048
#: Labels above this are found by sorting rather than through a table.
_TABLE_LIMIT = 2**22


def is_large(labels: Any) -> bool:
    """Whether a label image (H, W) should not be made one array."""
    shape = tuple(getattr(labels, "shape", ()))
    if len(shape) != 2 or isinstance(labels, np.ndarray):
        return False
    return hasattr(labels, "parts") or int(shape[0]) * int(shape[1]) > DENSE_PIXELS


def blocks_of(labels: Any, shape: tuple[int, int], side: int = SIDE) -> Iterator[Box]:
    """Yield the boxes of a grid in which there may be a label, row by row.

    Parameters
    ----------
    labels : array-like of int, shape (H, W)
        One that knows where it is empty says so with ``parts(side)``, such as a
        :class:`~napari_clickseg.plane_view.PlaneView`.
    shape : (int, int)
    side : int
        Of a block.
    """
    parts = getattr(labels, "parts", None)
    yield from tiles_of(Box.of_shape(shape), side) if parts is None else parts(side)


def by_label(labels: NDArray[Any]) -> Iterator[tuple[int, Box, NDArray[np.bool_]]]:
    """Yield each label of an array with the smallest box around it and its pixels.

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
        0 is background.
    """
    from scipy import ndimage

    ids, values = None, labels
    if values.max(initial=0) > _TABLE_LIMIT:
        ids, flat = np.unique(values, return_inverse=True)
        values = flat.reshape(labels.shape) + (ids[0] != 0)
    elif values.dtype == np.bool_:
        values = values.astype(np.uint8)
    for i, where in enumerate(ndimage.find_objects(values), start=1):
        if where is None:
            continue
        rows, cols = where
        box = Box(rows.start, cols.start, rows.stop, cols.stop)
        label = i if ids is None else int(ids[i - (ids[0] != 0)])
        yield label, box, values[where] == i


def masks_of(labels: Any) -> dict[int, list[tuple[Box, NDArray[np.bool_]]]]:
    """Return the pixels of each label, in parts where it lies in several blocks.

    Parameters
    ----------
    labels : array-like of int, shape (H, W)
        Read block by block.
    """
    found: dict[int, list[tuple[Box, NDArray[np.bool_]]]] = {}
    shape = int(labels.shape[0]), int(labels.shape[1])
    for block in blocks_of(labels, shape):
        values = np.asarray(labels[block.slices])
        if values.any():
            for label, box, mask in by_label(values):
                found.setdefault(label, []).append((moved(box, block), mask))
    return dict(sorted(found.items()))


def joined(
    masks: Sequence[tuple[Box, NDArray[np.bool_]]], most: int = 2**29
) -> tuple[Box, NDArray[np.bool_]]:
    """Return one mask of several parts, and the box around it.

    Raises
    ------
    MaskError
        If that has more pixels than ``most``.
    """
    whole = masks[0][0]
    for box, _ in masks[1:]:
        whole = whole.union(box)
    if whole.area > most:
        raise MaskError(
            f"One object would reach over {whole.shape[0]:,} x {whole.shape[1]:,} "
            f"pixels, but the smallest box around an object may have {most:,} pixels. "
            "Give pixels that lie far apart different labels."
        )
    if len(masks) == 1:
        return masks[0]
    out: NDArray[np.bool_] = np.zeros(whole.shape, np.bool_)
    for box, mask in masks:
        out[box.relative_to(whole).slices] |= mask
    return whole, out


def moved(box: Box, origin: Box) -> Box:
    """Return a box of an array that was cut out at ``origin`` in its coordinates."""
    return Box(
        box.top + origin.top,
        box.left + origin.left,
        box.bottom + origin.top,
        box.right + origin.left,
    )
