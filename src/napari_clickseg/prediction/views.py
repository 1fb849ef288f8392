"""Where the network looks, and the way there and back.

The zoom-in of f-BRS (Sofiiuk et al., CVPR 2020) as its published evaluation
and that of RITM (Sofiiuk et al., 2021) do it, number for number, but as pure
functions: a view follows from the clicks and the state after the click before.
Only boxes and coordinates are handled here; no pixel of the image is touched,
so an image may be as large as it likes.

Published boxes include their last row and column; :class:`Box` does not. The
comments say where that matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_clickseg.boxes import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_clickseg.clicks import Click
    from napari_clickseg.prediction.settings import PredictionSettings, PredictorState

Size = tuple[int, int]

#: Unless as published, windows are enlarged at most so many times.
MAGNIFY = 4.0


@dataclass(frozen=True, slots=True)
class View:
    """A window of the image and the size at which the network sees it.

    Parameters
    ----------
    box : Box
        Pixels of the image that the network sees.
    size : (int, int)
        Height and width after resizing.
    paste : Box
        Pixels that the answer covers. The same as ``box`` but for one case,
        see :meth:`ZoomIn.view`.
    roi : Box or None
        The window to store for the clicks that follow.
    changed : bool
        Whether the stored window was replaced.
    """

    box: Box
    size: Size
    paste: Box
    roi: Box | None
    changed: bool

    def project(self, positions: np.ndarray) -> np.ndarray:
        """Move positions of the image to the resized window.

        Parameters
        ----------
        positions : ndarray, shape (n, 2)
            Rows and columns in image coordinates.

        Returns
        -------
        ndarray, shape (n, 2), float64
            Fractional, and outside of the window where a click is.
        """
        return project(positions, self.box, self.size)

    def unproject(self, positions: np.ndarray) -> np.ndarray:
        """Move positions of the resized window back to the image."""
        origin = np.array([self.box.top, self.box.left], dtype=np.float64)
        factor = np.array(self.box.shape, dtype=np.float64) / np.array(self.size)
        return np.asarray(positions, dtype=np.float64) * factor + origin


def project(positions: np.ndarray, box: Box, size: Size) -> np.ndarray:
    """Move positions ``(n, 2)`` of the image into a window resized to ``size``."""
    origin = np.array([box.top, box.left], dtype=np.float64)
    relative = np.asarray(positions, dtype=np.float64).reshape(-1, 2) - origin
    if size == box.shape:
        return relative
    return np.array(size, dtype=np.float64) * relative / np.array(box.shape)


def mirror(positions: np.ndarray, width: int) -> np.ndarray:
    """Move positions ``(n, 2)`` of a window to its left-right mirror image."""
    mirrored = np.array(positions, dtype=np.float64)
    mirrored[:, 1] = width - mirrored[:, 1] - 1
    return mirrored


def fit_size(shape: Size, target: int | tuple[int, int]) -> Size:
    """Return the size of a window after resizing.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the window.
    target : int or (int, int)
        The longer side afterwards, or the exact height and width.
    """
    if not isinstance(target, int):
        return int(target[0]), int(target[1])
    scale = target / max(shape)
    # round() takes halves to the even neighbour, as published; a very thin
    # window keeps its last row.
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def limit_size(size: Size, longest: int | None) -> Size:
    """Return a size whose longer side is at most ``longest``."""
    if longest is None or max(size) <= longest:
        return size
    return fit_size(size, longest)


def expand_box(box: Box, ratio: float, min_size: int | None = None) -> Box:
    """Enlarge a box about its centre.

    Parameters
    ----------
    box : Box
        The box.
    ratio : float
        Factor for both sides.
    min_size : int, optional
        Smallest height and width before rounding.

    Returns
    -------
    Box
        Possibly beyond the image; rounding may add a pixel to a side.
    """

    def stretch(first: int, last: int) -> tuple[int, int]:
        centre = 0.5 * (first + last)
        length = ratio * (last - first + 1)
        if min_size is not None:
            length = max(length, min_size)
        return round(centre - 0.5 * length), round(centre + 0.5 * length)

    top, bottom = stretch(box.top, box.bottom - 1)
    left, right = stretch(box.left, box.right - 1)
    return Box(top, left, bottom + 1, right + 1)


def box_iou(one: Box, other: Box) -> float:
    """Return the product of the boxes' overlaps along rows and along columns.

    Not the IoU of their areas: each axis has its own intersection over the
    hull of both intervals, as published.
    """

    def overlap(first: int, end: int, other_first: int, other_end: int) -> float:
        common = max(0, min(end, other_end) - max(first, other_first))
        hull = max(end, other_end) - min(first, other_first)
        return common / max(1e-6, hull)

    rows = overlap(one.top, one.bottom, other.top, other.bottom)
    return rows * overlap(one.left, one.right, other.left, other.right)


def mask_box(mask: np.ndarray, origin: Box | None = None) -> Box | None:
    """Return the smallest box around the true pixels, or None if there are none.

    Parameters
    ----------
    mask : ndarray, shape (h, w), bool
        The mask.
    origin : Box, optional
        Where the mask was cut out.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    cols = np.flatnonzero(mask.any(axis=0))
    top, left = (0, 0) if origin is None else (origin.top, origin.left)
    return Box(
        top + int(rows[0]),
        left + int(cols[0]),
        top + int(rows[-1]) + 1,
        left + int(cols[-1]) + 1,
    )


def pixel_of(click: Click, shape: Size) -> tuple[int, int]:
    """Return the pixel a click lies on, the nearest one where it is outside."""
    row = min(max(math.floor(click.row + 0.5), 0), shape[0] - 1)
    col = min(max(math.floor(click.col + 0.5), 0), shape[1] - 1)
    return row, col


def clicks_box(clicks: Sequence[Click], shape: Size) -> Box | None:
    """Return the smallest box around the positive clicks' pixels, or None."""
    pixels = [pixel_of(click, shape) for click in clicks if click.positive]
    if not pixels:
        return None
    rows, cols = zip(*pixels, strict=True)
    return Box(min(rows), min(cols), max(rows) + 1, max(cols) + 1)


def _leaves(click: Click, roi: Box) -> bool:
    """Whether a click lies outside a window, or in its last row or column.

    The last row and column count as outside, as published.
    """
    return not (
        roi.top <= click.row < roi.bottom - 1 and roi.left <= click.col < roi.right - 1
    )


@dataclass(frozen=True, slots=True)
class ZoomIn:
    """The published zoom-in, without any state of its own.

    Parameters
    ----------
    skip_clicks, target_size, expansion_ratio, min_crop_size : see
        :class:`~napari_clickseg.prediction.settings.PredictionSettings`.
    recompute_thresh_iou, prob_threshold : float
        Likewise.
    magnify : float or None
        Windows are enlarged at most so many times; None: as much as it takes, as
        published.
    forget_lost : bool
        Drop the stored window once nothing of the answer is left. Published is
        False: then the network sees the whole image, yet its answer is squeezed
        into the stored window, which helps nobody but repeats the numbers.
    """

    skip_clicks: int = 1
    target_size: int | tuple[int, int] = 400
    expansion_ratio: float = 1.4
    min_crop_size: int = 200
    recompute_thresh_iou: float = 0.5
    prob_threshold: float = 0.5
    magnify: float | None = None
    forget_lost: bool = False

    @classmethod
    def of(cls, settings: PredictionSettings) -> ZoomIn:
        """Return the zoom-in that the settings describe."""
        published = settings.first_look == "published"
        return cls(
            settings.skip_clicks,
            settings.target_size,
            settings.expansion_ratio,
            settings.min_crop_size,
            settings.recompute_thresh_iou,
            settings.zoom_prob_threshold,
            None if published else MAGNIFY,
            forget_lost=not published,
        )

    def wanted_roi(
        self,
        state: PredictorState,
        clicks: Sequence[Click],
        shape: Size,
    ) -> Box | None:
        """Return the window that the last answer and the clicks ask for.

        None where the last answer holds no object (or there is none).
        """
        if state.probability is None or state.box is None:
            return None
        found = mask_box(state.probability > self.prob_threshold, state.box)
        if found is None:
            return None
        clicked = clicks_box(clicks, shape)
        if clicked is not None:
            found = found.union(clicked)
        smallest = self.min_crop_size
        if state.min_crop is not None:
            smallest = min(smallest, state.min_crop)
        return expand_box(found, self.expansion_ratio, smallest).clip(shape)

    def view(self, state: PredictorState, clicks: Sequence[Click], shape: Size) -> View:
        """Return where to look for the newest click.

        Parameters
        ----------
        state : PredictorState
            After the click before.
        clicks : sequence of Click
            All clicks, the newest last.
        shape : (int, int)
            Height and width of the image.
        """
        whole = Box.of_shape(shape)
        if len(clicks) <= self.skip_clicks:
            return View(whole, shape, state.roi or whole, state.roi, changed=False)
        wanted = self.wanted_roi(state, clicks, shape)
        if wanted is None:
            if self.skip_clicks >= 0:
                stored = None if self.forget_lost else state.roi
                return View(whole, shape, stored or whole, stored, changed=False)
            wanted = whole
        roi = state.roi
        changed = (
            roi is None
            or any(click.positive and _leaves(click, roi) for click in clicks)
            or box_iou(wanted, roi) < self.recompute_thresh_iou
        )
        if roi is None or changed:
            roi = wanted
        return View(roi, self.size_of(roi), roi, roi, changed)

    def size_of(self, roi: Box) -> Size:
        """Return the size at which the network sees a window."""
        size = fit_size(roi.shape, self.target_size)
        if self.magnify is not None:
            size = limit_size(size, max(1, round(self.magnify * max(roi.shape))))
        return size

    def wants_second_pass(self, state: PredictorState, shape: Size) -> bool:
        """Whether an answer that came from the whole image is worth a zoom.

        Only where no window is stored and no click is skipped: True if the
        window of the found object is small against the image
        (``check_possible_recalculation`` of the published code).

        Parameters
        ----------
        state : PredictorState
            After the answer.
        shape : (int, int)
            Height and width of the image.
        """
        if state.probability is None or state.roi is not None or self.skip_clicks > 0:
            return False
        wanted = self.wanted_roi(state, (), shape)
        return wanted is not None and box_iou(wanted, Box.of_shape(shape)) < 0.5


@dataclass(frozen=True, slots=True)
class LongestSide:
    """The whole image, reduced where its longer side exceeds ``max_size``.

    Without ``max_size`` the image is seen as it is.
    """

    max_size: int | None = None

    def view(self, shape: Size) -> View:
        """Return the view of an image of this height and width."""
        whole = Box.of_shape(shape)
        size = limit_size(shape, self.max_size)
        reduced = size != shape
        return View(whole, size, whole, whole if reduced else None, changed=reduced)
