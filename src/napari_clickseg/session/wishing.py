"""Scribbles, boxes and polygons: other ways to say where an object is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import AddClick, Click, ReplaceClicks, check_inside
from napari_clickseg.errors import ClickError, ClickSegError, MaskError
from napari_clickseg.session.changes import Change
from napari_clickseg.session.clicking import begun
from napari_clickseg.session.cutting import as_vertices, box_of
from napari_clickseg.session.editing import EditingSession
from napari_clickseg.session.edits import Edit
from napari_clickseg.session.masks import as_mask
from napari_clickseg.session.patches import Patch

__all__ = ["MOST", "SPACING", "WishingSession", "clicks_along", "pixels_inside"]

#: Clicks of a scribble lie so many pixels apart, or farther: there are at most so many.
SPACING, MOST = 12.0, 8


class WishingSession(EditingSession):
    """A session whose object in work is also made by what is drawn."""

    def add_scribble(
        self,
        path: Any,
        positive: bool = True,
        *,
        spacing: float = SPACING,
        most: int = MOST,
        predict: bool = True,
        settle: bool | None = None,
    ) -> Change:
        """Add clicks along a line, and answer them in one go.

        Parameters
        ----------
        path : array-like, shape (N, 2)
            Vertices (row, col); what lies outside of the image does not count.
        positive : bool
            Whether these pixels belong to the object.
        spacing : float
            Pixels from click to click, at least.
        most : int
            No more clicks than this, evenly spread.
        predict, settle
            As for :meth:`add_click`.

        Raises
        ------
        MaskError
            If it is no line.
        ClickError
            If no part of it lies in the image.
        """
        self._only_objects("scribble")
        places = clicks_along(path, self.shape, spacing, most)
        now = time.time()
        new = tuple(self._checked(Click(*at, positive, time=now)) for at in places)
        edit = ReplaceClicks(self.clicks, (*self.clicks, *new), together=True)
        return self._edit("scribble", edit, predict, settle)

    def add_box(
        self,
        box: Box | Sequence[float],
        *,
        predict: bool = True,
        settle: bool | None = None,
    ) -> Change:
        """Say in which box the object lies.

        The model looks at this part of the image alone: at the window that it would
        look at for an object of this size. A click into the middle of the box starts
        the object, unless there is a click in it already. Clicks that were made before
        are answered again.

        Parameters
        ----------
        box : Box or (top, left, bottom, right)
            In pixels, half-open; clipped to the image.
        predict, settle
            As for :meth:`add_click`.

        Raises
        ------
        MaskError
            If no pixel of the image is in it.
        """
        self._only_objects("box")
        inside = _as_box(box).clip(self.shape)
        if inside.empty:
            raise MaskError(
                f"The box {box!r} holds no pixel of the image of shape {self.shape}. "
                "Give (top, left, bottom, right) in pixels."
            )
        state, seed = self.state, None
        if not any(c.positive and inside.contains(*c.position) for c in self.clicks):
            middle = (
                (inside.top + inside.bottom - 1) / 2,
                (inside.left + inside.right - 1) / 2,
            )
            seed = self._checked(Click(*middle, time=time.time()))
        draft, asking = begun(state.draft.inside(inside, seed)), self.asking()
        if predict:
            draft = draft.answered(asking, settle is not False, self.visible)
        click = None if seed is None else AddClick(len(self.clicks), seed)
        return self._moments.record(
            "box",
            replace(state, draft=draft),
            asking=asking,
            edit=Edit("box", click=click, box=inside),
        )

    def add_polygon(self, vertices: Any, positive: bool = True) -> Change:
        """Start from a polygon, or add it to the mask or take it away.

        Parameters
        ----------
        vertices : array-like, shape (N, 2)
            (row, col) of three or more corners; pixels whose centre lies inside count.
        positive : bool
            Whether these pixels belong to the object.

        Raises
        ------
        MaskError
            If it holds no pixel of the image.
        """
        self._only_objects("polygon")
        mask = pixels_inside(vertices, self.shape)
        old = self.mask_of(self.state.draft)
        if old.box.empty and not positive:
            raise MaskError(
                "There is nothing yet that a polygon could be taken away from. Draw "
                "one that adds, or click inside an object first."
            )
        box = mask.box.union(old.box)
        before, drawn = old.within(box), mask.within(box)
        values = before | drawn if positive else before & ~drawn
        # As a whole, so that it follows from what is in the record alone.
        whole = as_mask(values, self.shape, box)
        draft = begun(self.state.draft.with_mask(whole))
        return self._moments.record(
            "mask",
            replace(self.state, draft=draft),
            edit=Edit("mask", patch=whole, whole=False),
        )


def clicks_along(
    path: Any, shape: tuple[int, int], spacing: float = SPACING, most: int = MOST
) -> list[tuple[float, float]]:
    """Return places along a line, evenly spread and not at its very ends.

    Parameters
    ----------
    path : array-like, shape (N, 2)
        Vertices (row, col).
    shape : (int, int)
        Of the image; what lies outside is left out.
    spacing : float
        Pixels from place to place, at least; above 0.
    most : int
        No more places than this; at least 1.

    Returns
    -------
    list of (row, col)
        No two on the same pixel.
    """
    vertices = as_vertices(path, 1, "scribble")
    if not (spacing > 0 and most >= 1):
        raise ClickError("A scribble has a spacing above 0 and one click at least.")
    steps = np.hypot(*np.diff(vertices, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    length = float(along[-1])
    count = int(min(most, max(1, round(length / spacing))))
    at = (np.arange(count) + 0.5) * length / count
    rows = np.interp(at, along, vertices[:, 0])
    cols = np.interp(at, along, vertices[:, 1])
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for row, col in zip(rows.tolist(), cols.tolist(), strict=True):
        try:
            check_inside(Click(row, col), shape)
        except ClickSegError:
            continue
        found.setdefault((round(row), round(col)), (row, col))
    if not found:
        raise ClickError(
            f"No part of the scribble lies in the image of shape {shape}. Draw over "
            "the object."
        )
    return list(found.values())


def pixels_inside(vertices: Any, shape: tuple[int, int]) -> Patch:
    """Return the pixels whose centre lies in a polygon, as a boolean patch.

    Parameters
    ----------
    vertices : array-like, shape (N, 2)
        (row, col), three or more.
    shape : (int, int)
        Of the image.

    Raises
    ------
    MaskError
        If there is none.
    """
    from skimage.draw import polygon

    corners = as_vertices(vertices, 3, "polygon")
    box = box_of(corners).clip(shape)
    mask: NDArray[np.bool_] = np.zeros(box.shape, bool)
    if not box.empty:
        rows, cols = (corners - (box.top, box.left)).T
        mask[polygon(rows, cols, shape=box.shape)] = True
    patch = Patch(box, mask).tight()
    if patch.box.empty:
        raise MaskError(
            "The polygon holds no pixel of the image. Draw it around the object."
        )
    return patch


def _as_box(given: Any) -> Box:
    try:
        numbers = [float(v) for v in given]
        top, left, bottom, right = numbers
    except (TypeError, ValueError):
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise MaskError(
            f"A box is (top, left, bottom, right) in pixels, not {given!r}."
        )
    return Box(*(int(np.floor(v + 0.5)) for v in (top, left, bottom, right)))
