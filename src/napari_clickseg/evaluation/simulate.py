"""The simulated annotator of the published click benchmark.

The next click goes where the answer is most wrong: into the middle of the widest
region of missing or of superfluous pixels. The rule is the one of the released
evaluation code of f-BRS (Sofiiuk et al., 2020) and RITM (Sofiiuk et al., 2021);
the first computes the distances in double, the second in single precision. For two
classes it is also equation 14 of G-BRS (Lin et al., 2022): the class with the deepest
error, and in it the deepest pixel; that paper adds the radius of attention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_clickseg.clicks import Click
from napari_clickseg.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, DTypeLike, NDArray

BACKGROUND = 0
OBJECT = 1
IGNORE = -1


def iou(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return intersection over union on the pixels that count.

    Parameters
    ----------
    truth : array (H, W) of int
        1 object, 0 background, -1 pixels that are not scored.
    prediction : array (H, W) of bool
        The mask to score.

    Returns
    -------
    float
        In [0, 1]; NaN where neither mask has a pixel that counts.
    """
    truth, prediction = _pair(truth, prediction)
    wanted = truth == OBJECT
    counted = prediction & (truth != IGNORE)
    overlap = int(np.count_nonzero(wanted & counted))
    union = int(np.count_nonzero(wanted | counted))
    return overlap / union if union else float("nan")


class SimulatedAnnotator:
    """Clicks into the middle of the largest error, as the published benchmark does.

    Parameters
    ----------
    truth : array (H, W) of int
        1 object, 0 background, -1 pixels that are neither clicked nor scored.
    distance_dtype : dtype
        Precision in which distances are compared: ``float32`` (RITM, the default)
        or ``float64`` (f-BRS). Only distances beyond about two thousand pixels
        can be told apart by one and not by the other.
    radii : bool
        Give each click the radius that the region of its error has, see
        :func:`attention_radius`.

    Notes
    -----
    In short: the missing pixels and the superfluous pixels are two masks; each
    has a distance to its complement, where the outside of the image counts as
    complement. Pixels clicked before are then set to zero. The larger of the two
    maxima decides the sign, a tie is a negative click, and of several pixels with
    the maximum the first in row order is clicked. With no error left this gives a
    negative click on pixel (0, 0), which a run that stops at its goal never asks
    for.
    """

    def __init__(
        self,
        truth: ArrayLike,
        *,
        distance_dtype: DTypeLike = np.float32,
        radii: bool = False,
    ) -> None:
        self.truth: NDArray[np.int8] = np.asarray(truth).astype(np.int8, copy=False)
        if self.truth.ndim != 2 or self.truth.size == 0:
            raise MaskError(
                "The reference mask must be one plane (H, W) with pixels, "
                f"but has shape {self.truth.shape}."
            )
        self.clicks: list[Click] = []
        self.radii = radii
        self._dtype = np.dtype(distance_dtype)
        self._wanted = self.truth == OBJECT
        self._unwanted = self.truth == BACKGROUND

    def next_click(self, prediction: ArrayLike | None = None) -> Click:
        """Return the next click, and remember it.

        Parameters
        ----------
        prediction : array (H, W) of bool, optional
            The answer so far; absent before the first click.
        """
        click = self.find(prediction) or Click(0, 0, positive=False)
        self.clicks.append(click)
        return click

    def find(self, prediction: ArrayLike | None = None) -> Click | None:
        """Return what the next click would be; None: nothing is left to click.

        Parameters
        ----------
        prediction : array (H, W) of bool, optional
            The answer so far; absent before the first click.
        """
        if prediction is None:
            predicted = np.zeros(self.truth.shape, bool)
        else:
            predicted = _pair(self.truth, prediction)[1]
        errors = self._wanted & ~predicted, self._unwanted & predicted
        missing, surplus = (
            deepest(error, self.clicks, self._dtype) for error in errors
        )
        positive = missing[0] > surplus[0]
        depth, row, col = missing if positive else surplus
        if depth == 0.0:
            return None
        radius = None
        if self.radii:
            radius = attention_radius(errors[0 if positive else 1], row, col)
        return Click(float(row), float(col), positive=bool(positive), radius=radius)


def deepest(
    error: NDArray[np.bool_],
    clicks: Iterable[Click] = (),
    dtype: DTypeLike = np.float64,
) -> tuple[float, int, int]:
    """Return the largest distance inside an error mask, and its first pixel.

    Parameters
    ----------
    error : array (H, W) of bool
    clicks : iterable of Click
        On whole pixels; those do not count.
    dtype : dtype
        Precision in which distances are compared.

    Returns
    -------
    distance : float
        To the nearest pixel that is correct or outside the image; 0 where no pixel
        is left.
    row, col : int
        Of several such pixels the first in row order.
    """
    rows = np.flatnonzero(error.any(axis=1))
    if rows.size == 0:
        return 0.0, 0, 0
    cols = np.flatnonzero(error.any(axis=0))
    # Every pixel outside this box is correct or outside the image, and one of
    # the ring around the box is always the nearest of them: the distances
    # equal those of the whole padded image, at a fraction of the cost.
    top, left = int(rows[0]), int(cols[0])
    window = error[top : rows[-1] + 1, left : cols[-1] + 1]
    distance = ndimage.distance_transform_edt(np.pad(window, 1))[1:-1, 1:-1]
    distance = distance.astype(dtype, copy=False)
    for click in clicks:
        row, col = int(click.row) - top, int(click.col) - left
        if 0 <= row < distance.shape[0] and 0 <= col < distance.shape[1]:
            distance[row, col] = 0.0
    first = int(distance.argmax())
    depth = float(distance.flat[first])
    if depth == 0.0:
        return 0.0, 0, 0
    row, col = divmod(first, distance.shape[1])
    return depth, top + row, left + col


def attention_radius(error: NDArray[np.bool_], row: int, col: int) -> float:
    """Return how far the error around a click reaches (G-BRS, section 3.1).

    Parameters
    ----------
    error : array (H, W) of bool
        Pixels of one class that the answer gets wrong.
    row, col : int
        The click, on one of them.

    Returns
    -------
    float
        Largest Euclidean distance in pixels from the click to a pixel of the
        connected region (diagonals connect) that it lies in: a circle of that
        radius holds all of it. At least 1.
    """
    regions, _ = ndimage.label(error, structure=np.ones((3, 3), bool))
    rows, cols = np.nonzero(regions == regions[row, col])
    return max(1.0, float(np.sqrt(((rows - row) ** 2 + (cols - col) ** 2).max())))


def _pair(
    truth: ArrayLike, prediction: ArrayLike
) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    truth = np.asarray(truth)
    prediction = np.asarray(prediction, dtype=bool)
    if truth.shape != prediction.shape:
        raise MaskError(
            f"The answer has shape {prediction.shape}, the reference mask "
            f"{truth.shape}: both must cover the same image."
        )
    return truth, prediction
