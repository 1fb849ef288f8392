"""Objects of label images that are too large for memory, read block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError
from napari_clickseg.label_blocks import blocks_of, joined, masks_of
from napari_clickseg.memory import DENSE_PIXELS
from napari_clickseg.session.masks import as_labels
from napari_clickseg.session.objects import (
    MAX_EXTENT,
    Objects,
    SegmentedObject,
    check_label,
)
from napari_clickseg.session.patches import Patch

__all__ = ["check_small", "differing_blocks", "objects_of"]


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
    found = masks_of(labels)
    return Objects(
        SegmentedObject(check_label(label), _certain(masks))
        for label, masks in found.items()
    )


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


def _certain(masks: Sequence[tuple[Box, NDArray[np.bool_]]]) -> Patch:
    """Return the pixels of an object from its parts in several blocks."""
    box, mask = joined(masks, MAX_EXTENT)
    return Patch(box, np.where(mask, np.uint8(255), np.uint8(0)))
