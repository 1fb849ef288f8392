"""Masks and label images as users give them, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError
from napari_clickseg.session.objects import MAX_LABEL
from napari_clickseg.session.patches import Patch


def as_mask(mask: Any, shape: tuple[int, int], box: Box | None = None) -> Patch:
    """Return the mask of one object.

    Parameters
    ----------
    mask : array-like
        Of the shape of the image, or of ``box`` where one is given: boolean, or
        numbers with 0 for background and one other value for the object.
    shape : (int, int)
        Of the image.
    box : Box, optional
        The part of the image that the mask covers.

    Raises
    ------
    MaskError
        If it has another shape, or holds several objects.
    """
    array, box = _placed(mask, shape, box, "mask")
    if array.dtype != np.bool_:
        if array.dtype.kind not in "uif":
            raise MaskError(
                f"A mask is boolean or holds numbers, not {array.dtype}. Pass "
                "mask.astype(bool), or labels == label."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise MaskError(
                "The mask holds NaN or infinite values, which are neither object nor "
                "background. Pass a boolean mask, for example probability > 0.5."
            )
        values = np.unique(array[array != 0])
        if values.size > 1:
            raise MaskError(
                f"The mask holds {values.size} values besides 0, but a session works "
                "on one object. Pass one of them, for example labels == "
                f"{values[0]:g}, or probability > 0.5; to start from all objects "
                "use set_labels."
            )
        array = array != 0
    return Patch(box, array)


def as_labels(labels: Any, shape: tuple[int, int], box: Box | None = None) -> Patch:
    """Return a label image, or the part of it in ``box``, as int32.

    Raises
    ------
    MaskError
        If it has another shape, is not of whole numbers, or holds a label below
        0 or above what int32 holds.
    """
    array, box = _placed(labels, shape, box, "label image")
    if array.dtype.kind not in "bui":
        raise MaskError(
            f"A label image holds whole numbers, not {array.dtype}. Pass "
            "labels.astype(int)."
        )
    if array.size and (array.min() < 0 or array.max() > MAX_LABEL):
        raise MaskError(
            f"Labels go from 1 to {MAX_LABEL}, 0 is background; this label image "
            f"goes from {array.min()} to {array.max()}. Renumber it, for example "
            "with skimage.segmentation.relabel_sequential."
        )
    return Patch(box, array.astype(np.int32))


def _placed(
    array: Any, shape: tuple[int, int], box: Box | None, what: str
) -> tuple[NDArray[Any], Box]:
    array = np.asarray(array)
    if box is None:
        box = Box.of_shape(shape)
    elif box.clip(shape) != box:
        raise MaskError(
            f"The box {tuple(box)} reaches outside the image of shape {shape}. Clip "
            "it, and the array in it, to the image."
        )
    if array.shape != box.shape:
        raise MaskError(
            f"The {what} has shape {array.shape}, but the image (or box) has shape "
            f"{box.shape}. Pass one of that shape, in rows and columns."
        )
    return array, box
