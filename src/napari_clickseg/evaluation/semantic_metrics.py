"""How good a class map is: mean IoU over classes, and pixel accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.errors import MaskError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def confusion(
    truth: ArrayLike, prediction: ArrayLike, classes: int
) -> NDArray[np.int64]:
    """Count pixels by their class and by the class they were given.

    Confusions of several images may be added up.

    Parameters
    ----------
    truth : array (H, W) of int
        Labels from 1; others are not counted.
    prediction : array (H, W) of int
        Labels from 1; another one, such as 0, counts as wrong.
    classes : int
        How many there are.

    Returns
    -------
    array (classes, classes + 1) of int64
        True class by predicted class; the last column is "none of them".

    Raises
    ------
    MaskError
        If the two have not the same shape.
    """
    wanted, found = np.asarray(truth), np.asarray(prediction)
    if wanted.shape != found.shape:
        raise MaskError(
            f"The answer has shape {found.shape}, the reference {wanted.shape}: both "
            "must cover the same image."
        )
    counted = (wanted >= 1) & (wanted <= classes)
    rows = wanted[counted].astype(np.int64) - 1
    cols = found[counted].astype(np.int64) - 1
    cols[(cols < 0) | (cols >= classes)] = classes
    flat = np.bincount(rows * (classes + 1) + cols, minlength=classes * (classes + 1))
    return flat.reshape(classes, classes + 1).astype(np.int64)


def class_ious(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return intersection over union of every class; NaN where it occurs nowhere.

    Parameters
    ----------
    counts : array (classes, classes + 1)
        From :func:`confusion`.
    """
    square = counts[:, :-1]
    both = np.diag(square).astype(np.float64)
    union = counts.sum(1) + square.sum(0) - both
    return np.divide(both, union, out=np.full(len(both), np.nan), where=union > 0)


def mean_iou(counts: NDArray[Any]) -> float:
    """Return the mean IoU over the classes that occur, in truth or answer.

    In [0, 1]; NaN where no pixel counts.
    """
    ious = class_ious(counts)
    return float(np.nanmean(ious)) if np.isfinite(ious).any() else float("nan")


def pixel_accuracy(counts: NDArray[Any]) -> float:
    """Return the part of the counted pixels whose class is right; NaN for none."""
    total = int(counts.sum())
    return float(np.diag(counts[:, :-1]).sum()) / total if total else float("nan")


def semantic_scores(
    truth: ArrayLike, prediction: ArrayLike, classes: int
) -> dict[str, float]:
    """Return ``miou`` and ``accuracy`` of one image, both in [0, 1]."""
    counts = confusion(truth, prediction, classes)
    return {"miou": mean_iou(counts), "accuracy": pixel_accuracy(counts)}
