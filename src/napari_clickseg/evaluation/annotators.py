"""Simulated annotators of the tasks with classes or values (G-BRS, section 3.1).

Each clicks into the middle of the widest error, says what the reference has there, and
gives the click the radius that the error has. All of it is deterministic.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy import ndimage

from napari_clickseg.clicks import Click
from napari_clickseg.errors import MaskError
from napari_clickseg.evaluation.simulate import attention_radius, deepest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Side of the square that errors of values are dilated with, before their radius is
#: measured.
DILATION = 15
#: Bins of the histogram that Otsu's threshold is found in.
BINS = 256


class Annotator(Protocol):
    """Finds the next click, and remembers those it made."""

    clicks: list[Click]

    def find(self, prediction: ArrayLike) -> Click | None:
        """Return what the next click would be; None: nothing is left to click."""
        ...  # pragma: no cover

    def next_click(self, prediction: ArrayLike) -> Click | None:
        """Return the next click, and remember it; None: nothing is left to click."""
        ...  # pragma: no cover


class _Remembering:
    """Keeps the clicks, so that none comes twice on one pixel."""

    def __init__(self) -> None:
        self.clicks: list[Click] = []

    def find(self, prediction: ArrayLike) -> Click | None:
        """Return what the next click would be; None: nothing is left to click."""
        raise NotImplementedError

    def next_click(self, prediction: ArrayLike) -> Click | None:
        """Return the next click, and remember it; None: nothing is left to click."""
        click = self.find(prediction)
        if click is not None:
            self.clicks.append(click)
        return click


class SemanticAnnotator(_Remembering):
    """Clicks into the widest region of one class that was not recognised.

    Parameters
    ----------
    truth : array (H, W) of int
        Labels of classes from 1; 0 and below: pixels that are neither clicked nor
        scored.

    Notes
    -----
    Equation 14: for each class, the pixels that belong to it but have another label
    are a mask; that with the largest distance to its complement is chosen, and of it
    the pixel with that distance. Of several classes or pixels the first counts. Pixels
    clicked before are left out, as in the published click benchmark.
    """

    def __init__(self, truth: ArrayLike) -> None:
        super().__init__()
        self.truth = _plane(truth, "iu")

    def find(self, prediction: ArrayLike) -> Click | None:
        """Return the next click: a label, and a radius in pixels.

        Parameters
        ----------
        prediction : array (H, W) of int
            Labels of the answer.
        """
        wrong = (self.truth > 0) & (_same(self.truth, prediction) != self.truth)
        best: tuple[float, int, int, int] | None = None
        for label in np.unique(self.truth[wrong]):
            depth, row, col = deepest(wrong & (self.truth == label), self.clicks)
            if depth > 0 and (best is None or depth > best[0]):
                best = depth, row, col, int(label)
        if best is None:
            return None
        _, row, col, label = best
        radius = attention_radius(wrong & (self.truth == label), row, col)
        return Click(row, col, label=label, radius=radius)


class ValueAnnotator(_Remembering):
    """Clicks into the widest region where values are clearly too low or too high.

    Parameters
    ----------
    truth : array (H, W) of float
        Reference values; NaN: pixels that are neither clicked nor scored.
    valid : array (H, W) of bool, optional
        Other pixels that do not count, such as what a trimap knows.
    tolerance : float
        Errors up to this are none.
    signs : bool
        Clicks say up or down (push mode), not which value.

    Notes
    -----
    Otsu's threshold of the absolute errors tells what is clearly wrong; errors of
    either sign are a mask of their own, and of both the deepest pixel is clicked
    (equation 14). A radius that only just covers such a mask leaves no room for the
    repair, so the mask is dilated by a square of 15 before it is measured.
    """

    def __init__(
        self,
        truth: ArrayLike,
        valid: ArrayLike | None = None,
        *,
        tolerance: float = 0.0,
        signs: bool = False,
    ) -> None:
        super().__init__()
        self.truth = _plane(truth, "iuf").astype(np.float64)
        self.valid = np.isfinite(self.truth)
        if valid is not None:
            self.valid &= _same(self.truth, valid).astype(bool)
        self.tolerance, self.signs = tolerance, signs

    def find(self, prediction: ArrayLike) -> Click | None:
        """Return the next click: a value or a sign, and a radius in pixels.

        Parameters
        ----------
        prediction : array (H, W) of float
            Values of the answer; where they are not finite the error is infinite.
        """
        values = _same(self.truth, prediction).astype(np.float64)
        missing = np.where(self.valid, self.truth, 0) - np.where(self.valid, values, 0)
        missing = np.nan_to_num(missing, nan=np.inf, posinf=np.inf, neginf=-np.inf)
        size = np.abs(missing)
        wrong = self.valid & (size > self.tolerance)
        if not wrong.any():
            return None
        limit = otsu(size[self.valid & np.isfinite(size)])
        clear = wrong & (size > limit)
        if not clear.any():  # every error is the same
            clear = wrong
        masks = clear & (missing > 0), clear & (missing < 0)
        found = [deepest(mask, self.clicks) for mask in masks]
        chosen = 0 if found[0][0] >= found[1][0] else 1
        depth, row, col = found[chosen]
        if depth == 0:
            return None
        wide = ndimage.binary_dilation(masks[chosen], np.ones((DILATION, DILATION)))
        radius = attention_radius(wide, row, col)
        if self.signs:
            return Click(row, col, positive=chosen == 0, radius=radius)
        value = float(self.truth[row, col])
        return Click(row, col, value=value, radius=radius)


def otsu(values: NDArray[Any]) -> float:
    """Return Otsu's threshold of some numbers (Otsu, 1979).

    Parameters
    ----------
    values : array of float, any shape
        Finite.

    Returns
    -------
    float
        Above it lies the upper class. It is the centre of the last bin of the lower
        class, of 256 between the smallest and the largest number; where all are the
        same, that number. Infinity where there are none.
    """
    values = np.asarray(values, np.float64).ravel()
    if not values.size:
        return math.inf
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low
    counts, edges = np.histogram(values, BINS, (low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    weights = counts / values.size
    below, above = weights.cumsum()[:-1], weights[::-1].cumsum()[::-1][1:]
    sums = (weights * centres).cumsum()[:-1]
    means = sums / below, ((weights * centres).sum() - sums) / above
    # Of several equally good thresholds the first.
    return float(centres[int((below * above * (means[0] - means[1]) ** 2).argmax())])


def _plane(truth: ArrayLike, kinds: str) -> NDArray[Any]:
    found = np.asarray(truth)
    if found.ndim != 2 or found.size == 0 or found.dtype.kind not in kinds:
        raise MaskError(
            "The reference must be one plane (H, W) of numbers with pixels, but has "
            f"type {found.dtype} and shape {found.shape}."
        )
    return found


def _same(truth: NDArray[Any], other: ArrayLike) -> NDArray[Any]:
    found = np.asarray(other)
    if found.shape != truth.shape:
        raise MaskError(
            f"The answer has shape {found.shape}, the reference {truth.shape}: both "
            "must cover the same image."
        )
    return found
