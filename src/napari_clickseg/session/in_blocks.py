"""Objects of label images that are too large for memory, read block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError
from napari_clickseg.memory import DENSE_PIXELS
from napari_clickseg.plane_view import tiles_of
from napari_clickseg.session.masks import as_labels
from napari_clickseg.session.objects import (
    Objects,
    SegmentedObject,
    check_extent,
    split,
)
from napari_clickseg.session.patches import NOWHERE, Patch

__all__ = ["SIDE", "blocks_of", "check_small", "differing_blocks", "objects_of"]

#: Side of a block, in pixels.
SIDE = 2048


def objects_of(labels: Any, shape: tuple[int, int]) -> Objects:
    """Return the objects of a label image, as if each had been painted.

    Parameters
    ----------
    labels : array-like of int, shape (H, W)
        0 is background. A large one is read in blocks; where it has ``parts()``, such
        as a :class:`~napari_clickseg.plane_view.PlaneView`, only in those.
    shape : (int, int)
        Of the image.

    Raises
    ------
    MaskError
        If it is no label image of that shape, or an object reaches too far.
    """
    if shape[0] * shape[1] <= DENSE_PIXELS and not hasattr(labels, "parts"):
        return Objects().repainted(as_labels(labels, shape))
    if tuple(getattr(labels, "shape", ())) != shape:
        raise MaskError(
            f"The label image has shape {getattr(labels, 'shape', None)}, the image "
            f"{shape}. Pass one of that shape, in rows and columns."
        )
    found: dict[int, list[Patch]] = {}
    for box in blocks_of(labels, shape):
        block = as_labels(np.asarray(labels[box.slices]), box.shape)
        if not block.values.any():
            continue
        for label, mask in split(Patch(box, block.values)):
            found.setdefault(label, []).append(mask)
    return Objects(
        SegmentedObject(label, _certain(masks)) for label, masks in found.items()
    )


def blocks_of(labels: Any, shape: tuple[int, int]) -> Iterator[Box]:
    """Yield the boxes of a label image in which there may be something."""
    parts = getattr(labels, "parts", None)
    yield from tiles_of(Box.of_shape(shape), SIDE) if parts is None else parts()


def differing_blocks(new: Any, old: Any) -> Iterator[tuple[Box, NDArray[Any]]]:
    """Yield where two planes differ, and what the new one holds there.

    Parameters
    ----------
    new, old : array-like, shape (H, W)
        Masks (0 or not) or labels; large ones are compared block by block, and what was
        yielded may be written into ``old`` meanwhile.
    """
    shape = tuple(old.shape)
    flags = np.dtype(old.dtype) == np.bool_
    if isinstance(new, np.ndarray) and isinstance(old, np.ndarray):
        boxes = [Box.of_shape(shape)]
    else:
        boxes = sorted({*blocks_of(new, shape), *blocks_of(old, shape)})
    for whole in boxes:
        block, known = np.asarray(new[whole.slices]), np.asarray(old[whole.slices])
        box = Box.around((block != 0) != known if flags else block != known)
        if not box.empty:
            place = Box(
                whole.top + box.top,
                whole.left + box.left,
                whole.top + box.bottom,
                whole.left + box.right,
            )
            yield place, block[box.slices]


def check_small(box: Box, what: str) -> None:
    """Refuse an array for a plane that is too large for one.

    Raises
    ------
    MaskError
        With what to do instead.
    """
    if box.area > DENSE_PIXELS:
        raise MaskError(
            f"{what} of {box.shape[0]:,} x {box.shape[1]:,} pixels is too large to be "
            f"compared with what there is (at most {DENSE_PIXELS:,} pixels). Pass the "
            "part that changed, and where it lies as box=."
        )


def _certain(masks: Iterable[Patch]) -> Patch:
    """Return the pixels of an object from its parts in several blocks."""
    masks = list(masks)
    box = NOWHERE
    for mask in masks:
        box = box.union(mask.box)
    check_extent(box)
    values: NDArray[np.uint8] = np.zeros(box.shape, np.uint8)
    for mask in masks:
        rows, cols = mask.box.relative_to(box).slices
        values[rows, cols][mask.values] = 255
    return Patch(box, values)
