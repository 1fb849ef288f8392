"""Hair and fur: many thin lines that taper, drawn fine and then reduced."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from napari_clickseg.training.generators.textures import Floats

#: Strands are drawn this many times larger.
FINE = 3
#: Parts of a pixel that OpenCV's coordinates keep, as a power of two.
_SHIFT = 4


@dataclass(frozen=True)
class Layer:
    """Something to lay over a background.

    Attributes
    ----------
    colour : ndarray of float32, shape (H, W, 3)
        Its own colours in [0, 1], known outside of it too.
    alpha : ndarray of float32, shape (H, W)
        How much it covers, from 0 to 1.
    """

    colour: Floats
    alpha: Floats


def premultiplied(layer: Layer) -> Floats:
    """Return colours times alpha, and alpha, ``(H, W, 4)``."""
    alpha = layer.alpha[..., None]
    return np.concatenate([layer.colour * alpha, alpha], axis=2)


def unmultiplied(paint: Floats, fallback: Floats) -> Layer:
    """Return the layer of premultiplied paint; ``fallback`` where there is none."""
    alpha = np.clip(paint[..., 3], 0, 1)
    some = (alpha > 0.02)[..., None]
    colours = paint[..., :3] / np.maximum(alpha, 0.02)[..., None]
    colours = np.where(some, np.clip(colours, 0, 1), fallback)
    return Layer(np.asarray(colours, np.float32), np.asarray(alpha, np.float32))


def over(above: Floats, below: Floats) -> Floats:
    """Lay premultiplied paint over other paint (Porter and Duff, 1984)."""
    return np.asarray(above + (1 - above[..., 3:]) * below, np.float32)


def rim(alpha: Floats, rng: Generator, count: int) -> tuple[Floats, Floats]:
    """Draw places on the outline and the directions that lead outward.

    Returns
    -------
    ndarray of float32, shape (n, 2)
        Rows and columns; ``n`` is 0 where there is no outline.
    ndarray of float32, shape (n,)
        Angles; 0 leads to larger columns, a quarter turn to larger rows.
    """
    inside = (alpha > 0.5).astype(np.uint8)
    # the border of the picture is no outline
    inner = cv2.erode(inside, np.ones((3, 3), np.uint8))
    found = np.flatnonzero(inside - inner)
    if found.size == 0:
        return np.zeros((0, 2), np.float32), np.zeros(0, np.float32)
    chosen = found[rng.integers(found.size, size=count)]
    rows, cols = np.divmod(chosen, alpha.shape[1])
    soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 5)
    down = cv2.Sobel(soft, cv2.CV_32F, 0, 1)[rows, cols]
    right = cv2.Sobel(soft, cv2.CV_32F, 1, 0)[rows, cols]
    places = np.stack([rows, cols], axis=1).astype(np.float32)
    return places, np.asarray(np.arctan2(-down, -right), np.float32)


def grow(
    places: Floats,
    angles: Floats,
    length: float,
    rng: Generator,
    *,
    points: int = 8,
    spread: float = 0.3,
    curl: float = 0.5,
    wind: tuple[float, float] = (0.0, 0.0),
) -> Floats:
    """Let a strand grow from each place.

    Parameters
    ----------
    places, angles : ndarray, shapes (n, 2) and (n,)
        Roots and first directions.
    length : float
        Mean length in pixels; strands differ by half of it.
    rng : Generator
        Source of chance.
    points : int
        Points of each strand.
    spread, curl : float
        Standard deviation of the first direction, and of the whole turn.
    wind : (float, float)
        Direction that all bend to, and how far.

    Returns
    -------
    ndarray of float32, shape (n, points, 2)
        Rows and columns.
    """
    n = len(places)
    start = angles + rng.normal(0, spread, n)
    # neighbours curl alike: locks, not a brush
    lock = np.sin(places @ rng.normal(0, 0.05, 2) + rng.uniform(0, 6)) * curl
    turn = lock + rng.normal(0, 0.4 * curl, n)
    t = np.linspace(0, 1, points)
    wave = 0.25 * curl * np.sin(t * rng.uniform(2, 9) + rng.uniform(0, 6, (n, 1)))
    heading = start[:, None] + turn[:, None] * t + wave
    heading = heading + wind[1] * t * np.sin(wind[0] - heading)
    step = length * np.exp(rng.normal(0, 0.4, n)) / (points - 1)
    moves = np.stack([np.sin(heading), np.cos(heading)], axis=2) * step[:, None, None]
    moves[:, 0] = 0
    return np.asarray(places[:, None] + np.cumsum(moves, axis=1), np.float32)


def draw(
    shape: tuple[int, int],
    lines: Floats,
    colours: NDArray[np.uint8],
    thickness: float,
) -> Floats:
    """Draw tapering lines, as premultiplied paint.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    lines : ndarray, shape (n, points, 2)
        Rows and columns in pixels.
    colours : ndarray of uint8, shape (m, 3)
        Line ``i`` has colour ``i % m``.
    thickness : float
        At the root, in pixels; the tip is at a third of a pixel at most.

    Returns
    -------
    ndarray of float32, shape (H, W, 4)
    """
    height, width = shape
    canvas = np.zeros((height * FINE, width * FINE, 4), np.uint8)
    fixed = ((lines[..., ::-1] + 0.5) * FINE - 0.5) * (1 << _SHIFT)
    whole = np.clip(fixed, -(2**24), 2**24).astype(np.int32)
    points = lines.shape[1]
    parts = 3
    cuts = [round(i * (points - 1) / parts) for i in range(parts + 1)]
    for i, tone in enumerate(colours):
        mine = whole[i :: len(colours)]
        paint = (*(int(c) for c in tone), 255)
        for part in range(parts):
            wide = thickness * FINE * (1 - part / parts)
            section = mine[:, cuts[part] : cuts[part + 1] + 1]
            cv2.polylines(
                canvas,
                list(section),
                False,
                paint,
                max(1, round(wide)),
                cv2.LINE_AA,
                _SHIFT,
            )
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def shades(base: Floats, rng: Generator, count: int = 12) -> NDArray[np.uint8]:
    """Draw colours around one, or around each of several, ``(n, 3)``."""
    base = np.atleast_2d(base)
    picked = base[rng.integers(len(base), size=count)]
    light = np.exp(rng.normal(0, rng.uniform(0.05, 0.35), (count, 1)))
    tint = rng.normal(0, 0.02, (count, 3))
    return (np.clip(picked * light + tint, 0, 1) * 255).astype(np.uint8)


def hairy(layer: Layer, rng: Generator, kind: str) -> Layer:
    """Let hair or fur grow from a layer's outline, in its colours.

    Parameters
    ----------
    layer : Layer
        What it grows from.
    rng : Generator
        Source of chance.
    kind : {"hair", "fur"}
        Long strands from some of the outline, or short ones all around.
    """
    shape = layer.alpha.shape
    size = max(shape)
    if kind == "fur":
        count = int(rng.integers(400, 1300))
        length = size * float(np.exp(rng.uniform(np.log(0.03), np.log(0.2))))
        spread, curl, points = rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.7), 5
    else:
        count, length = int(rng.integers(60, 600)), size * rng.uniform(0.08, 0.4)
        spread, curl, points = rng.uniform(0.1, 0.8), rng.uniform(0.2, 2.0), 9
    places, angles = rim(layer.alpha, rng, count)
    if not len(places):
        return layer
    if kind == "hair" and rng.random() < 0.6:
        # a head, not a hedgehog: hair where one side is
        side = rng.uniform(0, 2 * np.pi)
        keep = np.cos(angles - side) > rng.uniform(-0.7, 0.5)
        if keep.sum() > 20:
            places, angles = places[keep], angles[keep]
    # some roots lie deeper, so that strands cover the outline
    reach = length * (rng.uniform(0.2, 1.5) if kind == "fur" else 0.25)
    depth = rng.exponential(reach, len(places))[:, None]
    toward = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    places = np.asarray(places - toward * depth, np.float32)
    wind = (float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 1.2)))
    lines = grow(
        places,
        angles,
        length,
        rng,
        points=points,
        spread=spread,
        curl=curl,
        wind=wind,
    )
    rows = np.clip(places[:, 0].astype(int), 0, shape[0] - 1)
    cols = np.clip(places[:, 1].astype(int), 0, shape[1] - 1)
    own = layer.colour[rows, cols]
    tones = shades(own[: min(len(own), 40)], rng, 14)
    thickness = float(rng.uniform(0.3, 1.2) * size / 320)
    paint = draw(shape, lines, tones, thickness)
    if rng.random() < 0.3:
        paint *= np.float32(rng.uniform(0.5, 1))
    mean = np.asarray(tones.mean(0) / 255, np.float32)
    near = cv2.blur(over(paint, premultiplied(layer)), (9, 9))
    beside = near[..., :3] / np.maximum(near[..., 3:], 0.02)
    fallback = np.where(near[..., 3:] > 0.02, np.clip(beside, 0, 1), mean)
    return unmultiplied(over(paint, premultiplied(layer)), fallback)
