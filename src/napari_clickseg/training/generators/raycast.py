"""Ray casting of boxes, ellipsoids and cylinders: where each pixel's ray ends.

Every solid is a unit cube, ball or tube in coordinates of its own, so that a ray's
parameter is the same there and in the world. Rays go one unit along the optical axis
per unit of their parameter: the parameter *is* the depth. Lengths are in metres; the
world's third axis points up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.training.generators.textures import Floats

#: Nothing closer to the camera is seen.
NEAR = 0.05
#: What is thinner than this (half of it, in two directions) throws no shadow.
_SLIGHT = 0.04
Form = Literal["box", "ball", "tube"]


@dataclass(frozen=True)
class Solid:
    """A box, an ellipsoid, or an upright elliptic cylinder, anyhow turned.

    Attributes
    ----------
    form : {"box", "ball", "tube"}
    centre : ndarray, shape (3,)
    half : ndarray, shape (3,)
        Half the size along each axis of its own.
    axes : ndarray, shape (3, 3)
        Its own axes in the world, as columns.
    surface : int
        Number of its texture.
    scale : float
        Metres that one repeat of the texture covers; 0 stretches it over the solid.
    hollow : bool
        Seen from within: a room.
    casts : bool
        Whether it throws a shadow.
    """

    form: Form
    centre: Floats
    half: Floats
    axes: Floats
    surface: int = 0
    scale: float = 1.0
    hollow: bool = False
    casts: bool = True

    def inward(self) -> Floats:
        """Return the matrix from world vectors to unit coordinates, (3, 3)."""
        return np.asarray(self.axes.T / self.half[:, None], np.float32)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes
    ----------
    place : ndarray, shape (3,)
    axes : ndarray, shape (3, 3)
        Right, down and forward in the world, as columns.
    focal : float
        In pixels.
    shape : (int, int)
        Height and width of the image.
    """

    place: Floats
    axes: Floats
    focal: float
    shape: tuple[int, int]

    def rays(self) -> Floats:
        """Return each pixel's ray in the world, ``(3, H, W)``, one along the axis."""
        height, width = self.shape
        rows = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / self.focal
        cols = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / self.focal
        own = np.ones((3, height, width), np.float32)
        own[0], own[1] = cols[None, :], rows[:, None]
        return np.asarray(np.tensordot(self.axes, own, 1), np.float32)

    def window(self, solid: Solid) -> tuple[slice, slice] | None:
        """Return rows and columns that a solid can appear in; None for none."""
        signs = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1))).reshape(3, 8)
        corners = solid.centre[:, None] + solid.axes @ (solid.half[:, None] * signs)
        x, y, depth = self.axes.T @ (corners - self.place[:, None])
        height, width = self.shape
        if depth.max() < NEAR:
            return None
        if depth.min() < NEAR:
            return slice(0, height), slice(0, width)
        found = []
        for values, size in ((y, height), (x, width)):
            at = values / depth * self.focal + (size - 1) / 2
            low, high = max(0, int(at.min()) - 1), min(size, int(at.max()) + 3)
            if low >= high:
                return None
            found.append(slice(low, high))
        return found[0], found[1]


def _interval(form: Form, start: Floats, rays: Floats) -> tuple[Floats, Floats]:
    """Return where rays enter and leave a unit solid; entry above exit: never."""
    rays = rays + np.float32(1e-12)  # never zero
    if form == "box":
        once = 1 / rays
        middle, reach = -start * once, np.abs(once)
        return (middle - reach).max(0), (middle + reach).min(0)
    n = 3 if form == "ball" else 2
    a = np.maximum((rays[:n] ** 2).sum(0), 1e-12)
    b = (rays[:n] * start[:n]).sum(0)
    c = (start[:n] ** 2).sum(0) - 1
    inside = b * b - a * c
    root = np.sqrt(np.maximum(inside, 0))
    enter, leave = (-b - root) / a, (-b + root) / a
    enter = np.where(inside > 0, enter, np.inf)
    if form == "tube":
        one, two = (-1 - start[2]) / rays[2], (1 - start[2]) / rays[2]
        enter = np.maximum(enter, np.minimum(one, two))
        leave = np.minimum(leave, np.maximum(one, two))
    return enter, leave


def meet(solid: Solid, start: Floats, rays: Floats) -> Floats:
    """Return the parameter at which rays meet a solid.

    Parameters
    ----------
    solid : Solid
    start : ndarray, shape (3,) or (3, n)
        Where rays begin.
    rays : ndarray, shape (3, n)
        Their directions; the parameter is in units of their length.

    Returns
    -------
    ndarray of float32, shape (n,)
        Infinite where they miss it.
    """
    inward = solid.inward()
    first = start[:, None] if start.ndim == 1 else start
    own = inward @ (first - solid.centre[:, None])
    enter, leave = _interval(solid.form, own, inward @ rays)
    if solid.hollow:
        return np.asarray(leave, np.float32)
    hit = (leave > enter) & (enter > NEAR / 10)
    return np.asarray(np.where(hit, enter, np.inf), np.float32)


def cast(
    camera: Camera, solids: list[Solid]
) -> tuple[Floats, NDArray[np.int16], Floats]:
    """Look at solids.

    Returns
    -------
    depth : ndarray of float32, shape (H, W)
        Along the optical axis, in metres; infinite where there is nothing.
    owner : ndarray of int16, shape (H, W)
        Index of the solid that is seen, -1 for none.
    rays : ndarray of float32, shape (3, H, W)
        The point that is seen is ``camera.place + depth * rays``.
    """
    rays = camera.rays()
    depth = np.full(camera.shape, np.inf, np.float32)
    owner = np.full(camera.shape, -1, np.int16)
    for index, solid in enumerate(solids):
        window = camera.window(solid)
        if window is None:
            continue
        part = rays[(slice(None), *window)]
        found = meet(solid, camera.place, part.reshape(3, -1)).reshape(part.shape[1:])
        found[found < NEAR] = np.inf
        nearer = found < depth[window]
        depth[window][nearer] = found[nearer]
        owner[window][nearer] = index
    return depth, owner, rays


def facing(solid: Solid, points: Floats) -> tuple[Floats, Floats, Floats]:
    """Return normals and surface coordinates at points of a solid.

    Parameters
    ----------
    solid : Solid
    points : ndarray, shape (3, n)
        In the world, on its surface.

    Returns
    -------
    normals : ndarray, shape (3, n)
        Unit vectors, away from the solid, or into it where it is hollow.
    u, v : ndarray, shape (n,)
        In metres along the surface; from 0 to 1 where ``solid.scale`` is 0.
    """
    own = solid.inward() @ (points - solid.centre[:, None])
    metres = solid.half if solid.scale else np.full(3, 0.5, np.float32)
    if solid.form == "ball":
        normals = own
        u = np.arctan2(own[1], own[0]) * metres[0]
        v = np.arcsin(np.clip(own[2], -1, 1)) * metres[2]
    elif solid.form == "tube":
        cap = np.abs(own[2]) > np.hypot(own[0], own[1])
        normals = np.where(cap, np.array([[0], [0], [1]]) * np.sign(own[2]), own)
        normals[2] = np.where(cap, normals[2], 0)
        u = np.where(cap, own[0], np.arctan2(own[1], own[0])) * metres[0]
        v = np.where(cap, own[1] * metres[1], own[2] * metres[2])
    else:
        side = np.abs(own).argmax(0)
        pick = np.arange(own.shape[1])
        normals = np.zeros_like(own)
        normals[side, pick] = np.sign(own[side, pick])
        across = np.where(side == 0, 1, 0)
        along = np.where(side == 2, 1, 2)
        u = own[across, pick] * metres[across]
        v = own[along, pick] * metres[along]
    if not solid.scale:
        u, v = u + 0.5, v + 0.5
    world = solid.axes @ (normals / solid.half[:, None])
    world = world / np.maximum(np.sqrt((world**2).sum(0)), 1e-9)
    if solid.hollow:
        world = -world
    return (
        np.asarray(world, np.float32),
        np.asarray(u, np.float32),
        np.asarray(v, np.float32),
    )


def lit(points: Floats, lamp: Floats, solids: list[Solid]) -> NDArray[np.bool_]:
    """Tell which points, (3, n), a lamp at a place, (3,), can see."""
    toward = lamp[:, None] - points
    dark = np.zeros(points.shape[1], bool)
    for solid in solids:
        if solid.hollow or not solid.casts or np.sort(solid.half)[1] < _SLIGHT:
            continue
        found = meet(solid, points, toward)
        dark |= (found > 0.01) & (found < 0.98)
    return ~dark
