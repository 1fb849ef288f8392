"""Cut an object in pieces along a line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError
from napari_clickseg.session.patches import Patch

__all__ = ["as_vertices", "cut", "pixels_along"]

#: Pieces of fewer pixels, which a line sheds where it grazes an edge, stay with their
#: neighbour.
CRUMB = 4
#: No vertex may be farther out, in pixels.
FARTHEST = 10**6
_TOUCHING = np.ones((3, 3), bool)


def as_vertices(given: Any, least: int, what: str) -> NDArray[np.float64]:
    """Return vertices ``(N, 2)`` in (row, col).

    Parameters
    ----------
    given : array-like, shape (N, 2)
    least : int
        So many are needed.
    what : str
        What they make, for the message.

    Raises
    ------
    MaskError
        If they are none.
    """
    try:
        vertices = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        vertices = np.empty(0)
    if vertices.ndim != 2 or vertices.shape[1] != 2 or len(vertices) < least:
        raise MaskError(
            f"A {what} is {least} or more vertices (row, col), an array of shape "
            f"(N, 2), not one of shape {vertices.shape}."
        )
    if not (np.abs(vertices) <= FARTHEST).all():
        raise MaskError(
            f"A vertex of the {what} is no number, or far outside of the image. Give "
            "(row, col) in pixels of the image."
        )
    return vertices


def pixels_along(vertices: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pixels ``(N, 2)`` under a line; each shares an edge with the next.

    So regions on both sides of it do not even touch at a corner.
    """
    parts = []
    for start, end in itertools.pairwise(vertices):
        steps = max(1, int(np.ceil(4 * np.abs(end - start).max())))
        along = np.linspace(0.0, 1.0, steps + 1)[:, None]
        parts.append(start + along * (end - start))
    # Pixel i spans [i - 0.5, i + 0.5).
    pixels = np.floor(np.concatenate(parts) + 0.5).astype(np.int64)
    moved = np.abs(np.diff(pixels, axis=0)).sum(axis=1)
    pixels = pixels[np.concatenate([[True], moved > 0])]
    diagonal = np.flatnonzero(np.abs(np.diff(pixels, axis=0)).all(axis=1))
    corners = np.stack([pixels[diagonal + 1, 0], pixels[diagonal, 1]], axis=1)
    return np.insert(pixels, diagonal + 1, corners, axis=0)


def cut(mask: Patch, line: Sequence[Any] | NDArray[Any]) -> list[Patch]:
    """Return the pieces of an object that a line leaves, the largest first.

    Parameters
    ----------
    mask : Patch of bool
        The object.
    line : array-like, shape (N, 2)
        Vertices (row, col) of a line through it, from outside to outside.

    Returns
    -------
    list of Patch of bool
        At least two, each connected (corners connect) but for crumbs. Together they
        have every pixel of the object: those under the line go to the nearest piece.

    Raises
    ------
    MaskError
        If the line leaves it in one piece.
    """
    vertices = as_vertices(line, 2, "line")
    box = mask.box
    pixels = pixels_along(vertices) - (box.top, box.left)
    inside = (pixels >= 0).all(axis=1) & (pixels < box.shape).all(axis=1)
    rows, cols = pixels[inside].T
    under = np.zeros(box.shape, bool)
    under[rows, cols] = True
    if not (under & mask.values).any() and not _passes(mask.values, under):
        raise MaskError(
            "The line does not touch the object. Draw it across, from outside to "
            "outside."
        )
    pieces, count = ndimage.label(mask.values & ~under, _TOUCHING)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    crumbs = np.flatnonzero(sizes < CRUMB)
    crumbs = crumbs[crumbs > 0]
    if len(crumbs) < count:
        pieces[np.isin(pieces, crumbs)] = 0
    kept = [n for n in np.unique(pieces) if n]
    if len(kept) < 2:
        raise MaskError(
            "The line does not separate the object: it stays in one piece. Draw the "
            "line all the way through, from outside to outside."
        )
    nearest = ndimage.distance_transform_edt(
        pieces == 0, return_distances=False, return_indices=True
    )
    owners = np.where(mask.values, pieces[tuple(nearest)], 0)
    found = [Patch(box, owners == number).tight() for number in kept]
    return sorted(
        found, key=lambda each: (-int(np.count_nonzero(each.values)), each.box)
    )


def _passes(mask: NDArray[np.bool_], under: NDArray[np.bool_]) -> bool:
    """Whether a line runs between islands of an object."""
    _, islands = ndimage.label(mask, _TOUCHING)
    return bool(under.any()) and islands > 1


def box_of(vertices: NDArray[np.float64]) -> Box:
    """Return the smallest box around vertices ``(N, 2)``, not clipped."""
    low = np.floor(vertices.min(axis=0) + 0.5).astype(int)
    high = np.floor(vertices.max(axis=0) + 0.5).astype(int) + 1
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
