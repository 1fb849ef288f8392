"""Where to look, if it has to be a tile of the fixed pyramid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_clickseg.boxes import Box
from napari_clickseg.errors import ClickError
from napari_clickseg.prediction import first_look
from napari_clickseg.prediction.tiles import Tile, around, snap, tiles
from napari_clickseg.prediction.views import Size, box_iou, clicks_box, expand_box

#: Overlap of two answers' boxes above which both have found the same object.
SAME = 0.5

if TYPE_CHECKING:
    import numpy as np

    from napari_clickseg.clicks import Click


def first_tile(
    clicks: Sequence[Click],
    shape: Size,
    side: int,
    look: Callable[[Sequence[Tile]], Sequence[np.ndarray]],
    *,
    around_object: float,
    within: Box | None = None,
    magnify: float = 1.0,
) -> Tile:
    """Return the tile that suits the clicked object best.

    The model is asked on one tile of each level. The most credible answer tells how
    large the object is; the finest of these tiles that shows it with its surroundings
    is taken, if the model finds it there, too.

    Parameters
    ----------
    clicks : sequence of Click
        Clicks so far.
    shape, side, magnify
        As for :func:`~napari_clickseg.prediction.tiles.tiles`.
    look : callable
        Takes tiles, returns the model's logits on each.
    around_object : float
        The tile is to hold the object enlarged so many times about its centre.
    within : Box, optional
        What the canvas shows: no tile is larger, but for the smallest.
    """
    inside = _clicked(clicks, shape)
    row = (inside.top + inside.bottom - 1) / 2
    col = (inside.left + inside.right - 1) / 2
    found = [
        t
        for t in around(row, col, shape, side, magnify=magnify)
        if _holds(t.box, inside)
    ]
    if not any(click.positive for click in clicks):
        return found[0]  # there is no object to fit
    field = Box(0, 0, 0, 0) if within is None else within.clip(shape)
    if not field.empty:
        small = [t for t in found if max(t.box.shape) <= max(field.shape)]
        found = small or found[-1:]
    if not found:
        return _readable(snap(inside, shape, side, magnify=magnify), inside)
    if len(found) == 1:
        return found[0]
    found.reverse()  # small to large
    boxes = [tile.box for tile in found]
    judged = first_look.judge(boxes, look(found), clicks, shape)
    best = max(range(len(found)), key=lambda i: judged[i].score)
    best_box = judged[best].object_box
    if best_box is None:
        return found[-1]
    wanted = expand_box(best_box.union(inside), around_object).clip(shape)
    for tile, each in zip(found, judged, strict=True):
        there = each.object_box
        same = there is not None and box_iou(there, best_box) > SAME
        if same and _holds(tile.box, wanted):
            return tile
    return found[best]


def visible_tile(
    clicks: Sequence[Click],
    field: Box,
    shape: Size,
    side: int,
    magnify: float = 1.0,
) -> Tile | None:
    """Return the finest tile with all that the canvas shows, None if that is nothing.

    Parameters
    ----------
    clicks : sequence of Click
        Clicks so far, which are to be seen in any case.
    field : Box
        What the canvas shows, image pixels; may reach beyond the image.
    shape, side, magnify
        As for :func:`~napari_clickseg.prediction.tiles.tiles`.
    """
    box = field.clip(shape)
    if box.empty:
        return None
    inside = _clicked(clicks, shape)
    return _readable(snap(box.union(inside), shape, side, magnify=magnify), inside)


def next_tile(
    last: Box | None,
    wanted: Box,
    clicks: Sequence[Click],
    shape: Size,
    side: int,
    threshold: float,
    magnify: float = 1.0,
) -> Tile:
    """Return the tile for a window that the last answer and the clicks ask for.

    Parameters
    ----------
    last : Box or None
        The tile of the last answer. It stays if it holds what is wanted, unless that
        has become small in it.
    wanted : Box
        The window.
    clicks : sequence of Click
        Clicks so far.
    shape, side, magnify
        As for :func:`~napari_clickseg.prediction.tiles.tiles`.
    threshold : float
        Overlap of ``wanted`` with ``last`` below which it has become small.
    """
    found = snap(wanted, shape, side, magnify=magnify)
    if last is not None and _holds(last, wanted.clip(shape)):
        # A small image is one tile on several levels: it is seen as large as can be.
        same = [t for t in tiles(shape, side, last, magnify=magnify) if t.box == last]
        if same and (
            found.level <= same[-1].level or box_iou(wanted, last) >= threshold
        ):
            return same[-1]
    inside = clicks_box(clicks, shape)
    return found if inside is None else _readable(found, inside)


def _clicked(clicks: Sequence[Click], shape: Size) -> Box:
    """Return the box around the positive clicks, else around the first one."""
    box = clicks_box(clicks, shape)
    if box is None and clicks:
        box = clicks_box([replace(clicks[0], positive=True)], shape)
    return Box.of_shape(shape) if box is None else box


def _holds(box: Box, inside: Box) -> bool:
    return box.intersect(inside) == inside


def _readable(tile: Tile, inside: Box) -> Tile:
    """Refuse clicks that no window of a huge image holds."""
    if not _holds(tile.box, inside):
        raise ClickError(
            f"The clicks of this object ask for a window of {inside.shape[0]} x "
            f"{inside.shape[1]} pixels, more than may be read at once. Undo the last "
            "click, or work on a smaller version of the image."
        )
    return tile
