"""Depths as a surface that can be turned in napari's 3-D view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.own_layers import MARK

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Surface

__all__ = ["add_surface", "surface_of"]

#: Most vertices along the longer side.
MOST_VERTICES = 700
#: How deep the scene is drawn, in parts of its longer side.
RELIEF = 0.45
#: Between neighbours whose depths differ by more than this part there is a gap, as
#: between an object and what lies behind it.
GAP = 0.12


def surface_of(
    depths: NDArray[Any], rgb: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Return vertices, triangles and colours of a map of depths.

    Parameters
    ----------
    depths : ndarray, shape (H, W)
        Above 0; what is not finite or not above 0 has no surface.
    rgb : ndarray, shape (H, W, 3), in [0, 1]

    Returns
    -------
    vertices : ndarray, shape (n, 3)
        Depth (drawn :data:`RELIEF` deep), row, column; in pixels.
    faces : ndarray, shape (m, 3)
    colours : ndarray, shape (n, 4)
    """
    step = max(1, int(np.ceil(max(depths.shape) / MOST_VERTICES)))
    rows = np.arange(0, depths.shape[0], step)
    cols = np.arange(0, depths.shape[1], step)
    z = np.asarray(depths, np.float32)[np.ix_(rows, cols)]
    colours = np.asarray(rgb, np.float32)[np.ix_(rows, cols)]
    known = np.isfinite(z) & (z > 0)
    low, high = (
        (float(z[known].min()), float(z[known].max())) if known.any() else (0.0, 1.0)
    )
    tall = RELIEF * max(depths.shape) / max(high - low, 1e-6)
    y, x = np.meshgrid(rows, cols, indexing="ij")
    # Near is towards the eye: napari looks along the first axis.
    vertices = np.stack([np.where(known, (z - low) * tall, 0), y, x], -1)
    index = np.arange(z.size, dtype=np.int32).reshape(z.shape)
    a, b = index[:-1, :-1], index[:-1, 1:]
    c, d = index[1:, :-1], index[1:, 1:]
    faces = np.concatenate(
        [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    )
    corners = z.ravel()[faces]
    whole = known.ravel()[faces].all(1)
    with np.errstate(invalid="ignore"):
        near = corners.max(1) - corners.min(1) <= GAP * corners.max(1)
    faces = faces[whole & near]
    opaque = np.concatenate([colours, np.ones((*colours.shape[:2], 1))], -1)
    return (
        vertices.reshape(-1, 3).astype(np.float32),
        faces,
        opaque.reshape(-1, 4).astype(np.float32),
    )


def add_surface(
    viewer: ViewerModel,
    image: Image,
    name: str,
    rgb: NDArray[Any],
    depths: NDArray[Any],
) -> Surface:
    """Add the surface, in the colours of the image."""
    vertices, faces, colours = surface_of(depths, rgb)
    scale = [float(s) for s in np.asarray(image.scale)[-2:]]
    return viewer.add_surface(
        (vertices, faces, np.ones(len(vertices), np.float32)),
        vertex_colors=colours,
        name=name,
        metadata={MARK: "Surface"},
        scale=(float(np.mean(scale)), *scale),
        translate=(0.0, *(float(t) for t in np.asarray(image.translate)[-2:])),
        shading="none",
    )
