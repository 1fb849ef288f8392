"""Rooms with furniture, photographed: pictures whose depth is known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from napari_clickseg.training.generators.furniture import Group, draw_piece, placed
from napari_clickseg.training.generators.raycast import (
    Camera,
    Solid,
    cast,
    facing,
    lit,
)
from napari_clickseg.training.generators.textures import (
    Floats,
    Photos,
    crop_photo,
    marble,
    plain,
    texture,
    wood,
)

#: Nothing in a room is farther away than this, in metres.
FARTHEST = 10.0
#: Sides of textures, in pixels.
_SIDE = 192
#: Textures of things; the last may be a photo. After them: walls, ceiling, floor.
_THINGS = 6
_WALLS, _CEILING, _FLOOR = _THINGS, _THINGS + 1, _THINGS + 2


@dataclass(frozen=True)
class SceneSample:
    """A picture and its depth.

    Attributes
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        RGB.
    depth : ndarray of float32, shape (H, W)
        Metres along the optical axis.
    camera : Camera
        Where it was taken from.
    solids : tuple of Solid
        What is there.
    owner : ndarray of int16, shape (H, W)
        Which of them is seen.
    """

    image: NDArray[np.uint8]
    depth: Floats
    camera: Camera
    solids: tuple[Solid, ...]
    owner: NDArray[np.int16]


def scene(
    shape: tuple[int, int], rng: Generator, photos: Photos | None = None
) -> SceneSample:
    """Photograph a room that is furnished at random.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    rng : Generator
        Source of chance; the same seed gives the same picture.
    photos : callable, optional
        Draws photos, for pictures on walls and for some surfaces.

    Returns
    -------
    SceneSample
        Depth between 0.05 m and 10 m.
    """
    square = (_SIDE, _SIDE)
    surfaces = [wood(square, rng) for _ in range(int(rng.integers(0, 4)))]
    surfaces += [texture(square, rng, photos) for _ in range(_THINGS - len(surfaces))]
    # walls, ceiling, floor
    pale = 0.12 if rng.random() < 0.7 else 0.45
    surfaces += [plain(square, rng, saturation) for saturation in (pale, 0.08)]
    floors = (marble, texture, wood, wood)
    surfaces.append(floors[int(rng.integers(len(floors)))](square, rng))
    if photos is not None:
        surfaces[_THINGS - 1] = crop_photo(photos(rng), square, rng)
    surfaces = [s * s for s in surfaces]  # nearly linear light
    while True:
        room, size = _room(rng)
        camera = _camera(shape, size, rng)
        solids = [*room, *_furnish(size, camera, rng, _THINGS)]
        depth, owner, rays = cast(camera, solids)
        # the lens against a cupboard, or nothing but a wall: little to learn
        things = np.count_nonzero(owner >= len(room)) / owner.size
        if np.median(depth) > 0.4 and (things > 0.08 or rng.random() < 0.1):
            break
    points = camera.place[:, None] + (depth * rays).reshape(3, -1)
    light = _shade(points, depth, owner, solids, surfaces, size, rng)
    return SceneSample(_photograph(light, rng), depth, camera, tuple(solids), owner)


def _room(rng: Generator) -> tuple[list[Solid], Floats]:
    """Return walls, floor and ceiling, and the room's size."""
    # large rooms more often than small ones: there is more to see in them
    wide, long = np.sqrt(rng.random(2))
    drawn = [2.2 + 4.3 * wide, 2.5 + 4.5 * long, rng.uniform(2.2, 3.2)]
    size = np.array(drawn, np.float32)
    middle = np.asarray(size / 2, np.float32)
    axes = np.eye(3, dtype=np.float32)
    walls = Solid("box", middle, middle, axes, _WALLS, float(rng.uniform(1, 3)), True)
    parts = [walls]
    thin = np.float32(0.002)
    for surface, z in ((_FLOOR, 0.0), (_CEILING, float(size[2]))):
        half = np.array([size[0] / 2, size[1] / 2, thin], np.float32)
        centre = np.array([size[0] / 2, size[1] / 2, z], np.float32)
        scale = float(rng.uniform(0.5, 3))
        parts.append(Solid("box", centre, half, axes, surface, scale, casts=False))
    parts += [_on_wall(size, rng) for _ in range(int(rng.integers(1, 6)))]
    if rng.random() < 0.4:  # skirting along two walls
        for across in (0, 1):
            half = middle * np.array([1.0, 1.0, 0.02], np.float32)
            half[across] = 0.01
            centre = np.array([size[0] / 2, size[1] / 2, half[2]], np.float32)
            centre[across] = float(rng.integers(2)) * size[across]
            parts.append(Solid("box", centre, half, axes, _CEILING, 1.0))
    return parts, size


def _on_wall(size: Floats, rng: Generator) -> Solid:
    """Return a picture, a door, a window: a thin box on a wall."""
    across = int(rng.integers(2))
    door = rng.random() < 0.25
    tall = 2.0 if door else rng.uniform(0.3, 1.4)
    wide = 0.85 if door else rng.uniform(0.3, 1.8)
    half = np.array([wide / 2, wide / 2, tall / 2], np.float32)
    half[across] = rng.uniform(0.01, 0.05)
    centre = np.array([0, 0, tall / 2 if door else rng.uniform(1.1, 1.8)], np.float32)
    centre[across] = float(rng.integers(2)) * size[across]
    centre[1 - across] = rng.uniform(0.15, 0.85) * size[1 - across]
    surface = int(rng.integers(_THINGS)) if rng.random() < 0.5 else _THINGS - 1
    axes = np.eye(3, dtype=np.float32)
    return Solid("box", centre, half, axes, surface, 0.0, casts=False)


def _camera(shape: tuple[int, int], size: Floats, rng: Generator) -> Camera:
    """Stand somewhere in the room and look across it, or down at something."""
    wide = np.radians(rng.uniform(48, 78))
    focal = shape[1] / 2 / np.tan(wide / 2)
    share = rng.uniform(0.08, 0.92, 2)
    place = np.array([*(share * size[:2]), rng.uniform(0.7, 1.8)], np.float32)
    target = rng.uniform(0.2, 0.8, 2) * size[:2]
    yaw = np.arctan2(*(target - place[:2])[::-1]) + rng.normal(0, 0.35)
    pitch = rng.normal(-0.22, 0.2)
    roll = rng.normal(0, 0.05)
    forward = np.array(
        [np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)]
    )
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    axes = np.stack([cos * right + sin * down, cos * down - sin * right, forward], 1)
    return Camera(place, axes.astype(np.float32), float(focal), shape)


def _furnish(
    size: Floats, camera: Camera, rng: Generator, surfaces: int
) -> list[Solid]:
    """Put furniture along the walls and into the room, not onto the camera."""
    found: list[Solid] = []
    for _ in range(int(rng.integers(4, 12))):
        piece = draw_piece(rng, surfaces)
        reach = max(float(np.hypot(*(s.centre + s.half)[:2])) for s in piece)
        x, y = rng.uniform(0.12, 0.88, 2) * size[:2]
        yaw = rng.uniform(0, 2 * np.pi)
        if rng.random() < 0.65:
            wall = int(rng.integers(4))
            yaw = (0, np.pi, np.pi / 2, -np.pi / 2)[wall] + rng.normal(0, 0.03)
            gap = rng.uniform(0.25, 0.5)
            x = (x, x, gap, size[0] - gap)[wall]
            y = (size[1] - gap, gap, y, y)[wall]
        if np.hypot(x - camera.place[0], y - camera.place[1]) < reach + 0.15:
            continue
        found += placed(piece, (float(x), float(y), 0.0), float(yaw))
    if rng.random() < 0.2:  # a table top before the camera, with things on it
        found += _close_up(size, camera, rng, surfaces)
    return found


def _close_up(
    size: Floats, camera: Camera, rng: Generator, surfaces: int
) -> list[Solid]:
    group = Group(rng, surfaces)
    width, depth = rng.uniform(0.8, 1.8), rng.uniform(0.5, 1.0)
    height = min(float(camera.place[2]) - 0.2, rng.uniform(0.4, 0.8))
    group.add((width, depth, 0.04), (0.0, 0.0, height - 0.04))
    group.legs(width, depth, height - 0.04, 0.06)
    group.clutter(width, depth, height, int(rng.integers(3, 12)))
    ahead = camera.axes[:2, 2] / max(float(np.hypot(*camera.axes[:2, 2])), 0.1)
    at = camera.place[:2] + ahead * (depth / 2 + rng.uniform(0.3, 0.8))
    at = np.clip(at, 0.3, size[:2] - 0.3)
    yaw = np.arctan2(ahead[1], ahead[0]) - np.pi / 2 + rng.normal(0, 0.3)
    return placed(group.solids, (float(at[0]), float(at[1]), 0.0), float(yaw))


def _shade(
    points: Floats,
    depth: Floats,
    owner: NDArray[np.int16],
    solids: list[Solid],
    surfaces: list[Floats],
    size: Floats,
    rng: Generator,
) -> Floats:
    """Return the light that reaches the camera, (H, W, 3), linear."""
    shape = depth.shape
    albedo = np.zeros((points.shape[1], 3), np.float32)
    normals = np.zeros_like(points)
    flat = owner.ravel()
    order = np.argsort(flat, kind="stable")
    ends = np.searchsorted(flat[order], np.arange(len(solids) + 1))
    for index, solid in enumerate(solids):
        mine = order[ends[index] : ends[index + 1]]
        if not mine.size:
            continue
        normal, u, v = facing(solid, points[:, mine])
        normals[:, mine] = normal
        scale = solid.scale or 1.0
        coarse = float(np.median(depth.ravel()[mine])) / (150 * scale)
        albedo[mine] = _sample(surfaces[solid.surface], u / scale, v / scale, coarse)
    light = np.full(points.shape, rng.uniform(0.15, 0.5), np.float32)
    light += 0.1 * normals[2]  # more from above than from below
    for _ in range(int(rng.integers(1, 3))):
        share = np.array([*rng.uniform(0.1, 0.9, 2), rng.uniform(0.75, 0.98)])
        light += _lamp(points, normals, shape, (share * size), solids, rng)
    for axis in range(3):  # less light reaches corners
        gap = np.minimum(points[axis], size[axis] - points[axis])
        light *= 1 - np.float32(0.3) * np.exp(-np.maximum(gap, 0) / np.float32(0.25))
    near = cv2.blur(depth, (15, 15))
    hidden = np.clip((depth - near) / np.float32(0.5), 0, 1)
    light *= 1 - np.float32(rng.uniform(0, 0.5)) * hidden.ravel()
    out = albedo * light.T
    return np.asarray(out.reshape(*shape, 3), np.float32)


def _lamp(
    points: Floats,
    normals: Floats,
    shape: tuple[int, ...],
    lamp: NDArray[np.floating],
    solids: list[Solid],
    rng: Generator,
) -> Floats:
    """Return what one lamp gives to each point; its shadows are a little soft."""
    place = lamp.astype(np.float32)
    toward = place[:, None] - points
    square = (toward**2).sum(0)
    cosine = np.maximum((toward * normals).sum(0), 0) / np.sqrt(square)
    step = 4
    some = points.reshape(3, *shape)[:, ::step, ::step]
    rough = normals.reshape(3, *shape)[:, ::step, ::step]
    lifted = (some + np.float32(0.01) * rough).reshape(3, -1)
    seen = lit(lifted, place, solids).reshape(some.shape[1:]).astype(np.float32)
    wide = cv2.resize(seen, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    tint = 1 + np.float32(0.12) * rng.standard_normal(3).astype(np.float32)
    power = rng.uniform(0.4, 1.4) * float(np.median(square))
    given = np.float32(power) * cosine * wide.ravel() / np.maximum(square, 0.3)
    return np.asarray(tint[:, None] * np.minimum(given, 3), np.float32)


def _sample(picture: Floats, u: Floats, v: Floats, coarse: float) -> Floats:
    """Look a texture up at places in repeats of it, ``(n,) -> (n, 3)``.

    ``coarse`` is the share of it that one pixel covers: far surfaces are smooth.
    """
    side = picture.shape[0]
    while coarse * side > 1.5 and side > 8:
        side //= 2
    if side < picture.shape[0]:
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        picture = np.asarray(small, np.float32)
    # mirrored at every repeat: no seams
    x = (side - 1) * np.abs((u + 1) % 2 - 1)
    y = (side - 1) * np.abs((v + 1) % 2 - 1)
    wide = 1024
    rows = -(-u.size // wide)
    pad = rows * wide - u.size
    maps = [np.pad(m.astype(np.float32), (0, pad)).reshape(rows, wide) for m in (x, y)]
    found = cv2.remap(picture, maps[0], maps[1], cv2.INTER_LINEAR)
    return np.asarray(found.reshape(-1, 3)[: u.size], np.float32)


def _photograph(light: Floats, rng: Generator) -> NDArray[np.uint8]:
    """Expose, blur, add noise and compress, as cameras do."""
    height, width = light.shape[:2]
    exposure = rng.uniform(0.3, 0.62) / max(float(np.mean(light)), 1e-3)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    cols = np.linspace(-1, 1, width, dtype=np.float32)
    falloff = 1 - np.float32(rng.uniform(0, 0.25)) * (rows**2 + cols**2) / 2
    x = light * np.float32(exposure * rng.uniform(0.4, 0.9)) * falloff[..., None]
    x *= 1 + np.float32(0.06) * rng.standard_normal(3).astype(np.float32)
    # edges are never sharper than a pixel
    x = np.asarray(cv2.GaussianBlur(x, (0, 0), rng.uniform(0.45, 1.1)), np.float32)
    noise = rng.uniform(0.002, 0.03)
    grain = rng.standard_normal(x.shape, dtype=np.float32)
    x = x + np.float32(noise) * np.sqrt(np.maximum(x, 0) + np.float32(0.02)) * grain
    out = np.sqrt(np.clip(x, 0, 1))
    image = np.rint(out * 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = int(rng.integers(40, 92))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return image
