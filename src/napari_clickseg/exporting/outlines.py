"""Outlines of objects along the edges of their pixels: exact, there and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.label_blocks import is_large, joined, masks_of

__all__ = ["Polygon", "outlines"]

#: Corners (row, column) of a closed ring, the first one not repeated.
Ring = list[tuple[int, int]]
#: An outer ring, and the rings of its holes.
Polygon = tuple[Ring, list[Ring]]

#: Steps along the rows and columns: right, down, left, up.
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def outlines(labels: NDArray[np.integer]) -> Iterator[tuple[int, list[Polygon]]]:
    """Yield the polygons of each object of a label image.

    Pixels that meet only at a corner belong to different polygons.

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
        0 is background; a large one is read block by block. Pixel (0, 0) has the
        corners (0, 0) and (1, 1).

    Yields
    ------
    int, list of (ring, list of ring)
        Label, and its polygons. Corners are (row, column); going round an outer ring
        the object lies to the right, round a hole the hole lies to the left.
    """
    from scipy import ndimage

    if is_large(labels):
        for label, masks in masks_of(labels).items():
            box, mask = joined(masks)
            yield label, _polygons(mask, box.top, box.left)
        return
    ids, flat = np.unique(labels, return_inverse=True)
    numbers = flat.reshape(labels.shape)
    if ids.size and ids[0] != 0:
        numbers = numbers + 1
        ids = np.concatenate([[0], ids])
    for number, where in enumerate(ndimage.find_objects(numbers), start=1):
        if where is not None:
            mask = numbers[where] == number
            yield int(ids[number]), _polygons(mask, where[0].start, where[1].start)


def _polygons(mask: NDArray[np.bool_], top: int, left: int) -> list[Polygon]:
    """Return the polygons of one object whose array lies at this corner."""
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    polygons = []
    for part, where in enumerate(ndimage.find_objects(parts, count), start=1):
        row, col = top + where[0].start, left + where[1].start
        rings = list(_rings(parts[where] == part))
        moved = [[(r + row, c + col) for r, c in ring] for ring in rings]
        # The one that goes round most is the outer one.
        moved.sort(key=lambda ring: -abs(_area(ring)))
        polygons.append((moved[0], moved[1:]))
    return polygons


def _rings(mask: NDArray[np.bool_]) -> Iterator[Ring]:
    """Yield the rings around one connected mask."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    edges: dict[tuple[int, int], set[int]] = {}
    for direction, (rows, cols), (row, col) in (
        (0, (slice(0, -2), slice(1, -1)), (0, 0)),  # nothing above: along the top
        (1, (slice(1, -1), slice(2, None)), (0, 1)),
        (2, (slice(2, None), slice(1, -1)), (1, 1)),
        (3, (slice(1, -1), slice(0, -2)), (1, 0)),
    ):
        for r, c in np.argwhere(inside & ~padded[rows, cols]):
            edges.setdefault((int(r) + row, int(c) + col), set()).add(direction)
    while edges:
        start = min(edges)
        at, direction = start, min(edges[start])
        ring: Ring = []
        first = direction
        last = -1
        while True:
            there = edges[at]
            there.discard(direction)
            if not there:
                del edges[at]
            if direction != last:
                ring.append(at)
            step = _STEPS[direction]
            at, last = (at[0] + step[0], at[1] + step[1]), direction
            if at == start and first not in edges.get(at, ()):
                break
            # Where two pixels meet at a corner, turn right: they stay apart.
            turns = ((last + 1) % 4, last, (last + 3) % 4)
            direction = next(t for t in turns if t in edges[at])
        if last == first:  # it began in the middle of an edge
            ring.pop(0)
        yield from _simple(ring)


def _simple(ring: Ring) -> Iterator[Ring]:
    """Cut a ring where it comes back to a corner: a hole that touches the outline."""
    done: Ring = []
    places: dict[tuple[int, int], int] = {}
    for corner in ring:
        place = places.get(corner)
        if place is not None:
            yield done[place:]
            for gone in done[place:]:
                del places[gone]
            del done[place:]
        places[corner] = len(done)
        done.append(corner)
    yield done


def _area(ring: Ring) -> float:
    rows, cols = np.array(ring, float).T
    return float((rows * np.roll(cols, -1) - cols * np.roll(rows, -1)).sum() / 2)
