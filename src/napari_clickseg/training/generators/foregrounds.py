"""Foregrounds that are computed: bodies, glass, lace, smoke, cloth, plants."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from napari_clickseg.training.generators.strands import (
    Layer,
    draw,
    grow,
    hairy,
    over,
    premultiplied,
    shades,
    unmultiplied,
)
from napari_clickseg.training.generators.textures import (
    Floats,
    Photos,
    colour,
    coordinates,
    mix,
    noise,
    smoothstep,
    texture,
    waves,
)

Shape = tuple[int, int]


def outline(shape: Shape, rng: Generator, share: tuple[float, float]) -> Floats:
    """Draw a round, bumpy shape at a random place.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    rng : Generator
        Source of chance.
    share : (float, float)
        Range of the radius as a share of the longer side.

    Returns
    -------
    ndarray of float32, shape (H, W)
        Coverage, with edges a pixel wide.
    """
    height, width = shape
    size = max(shape)
    t = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radius = np.ones_like(t)
    rough = rng.uniform(0.05, 0.4)
    for k in range(1, 9):
        radius += rough / k * rng.normal() * np.cos(k * t + rng.uniform(0, 6.3))
    radius = np.maximum(radius, 0.15) * size * rng.uniform(*share)
    if rng.random() < 0.25:  # with corners: things that people made
        corners = int(rng.integers(3, 7))
        radius /= np.maximum(np.cos((t % (2 * np.pi / corners)) - np.pi / corners), 0.3)
    wide, angle = rng.uniform(0.6, 1.6), rng.uniform(0, np.pi)
    x, y = radius * np.cos(t) * wide, radius * np.sin(t) / wide
    row = height * rng.uniform(0.2, 0.9) + x * np.sin(angle) + y * np.cos(angle)
    col = width * rng.uniform(0.15, 0.85) + x * np.cos(angle) - y * np.sin(angle)
    canvas = np.zeros((height * 2, width * 2), np.uint8)
    path = np.stack([col * 2, row * 2], axis=1) * 16
    cv2.fillPoly(canvas, [path.astype(np.int32)], 255, cv2.LINE_AA, 4)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def body(shape: Shape, rng: Generator, photos: Photos | None) -> Layer:
    """Draw a textured solid, shaded as if it were round."""
    alpha = outline(shape, rng, (0.12, 0.4))
    for _ in range(int(rng.choice(3, p=(0.55, 0.3, 0.15)))):
        alpha = np.maximum(alpha, outline(shape, rng, (0.06, 0.2)))
    skin = texture(shape, rng, photos)
    if rng.random() < 0.6:
        soft = cv2.GaussianBlur(alpha, (0, 0), max(shape) * rng.uniform(0.02, 0.08))
        down = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=5)
        right = cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=5)
        angle = rng.uniform(0, 2 * np.pi)
        slope = np.cos(angle) * down + np.sin(angle) * right
        slope = slope / max(float(np.abs(slope).max()), 1e-6)
        skin = skin * (1 + np.float32(rng.uniform(0.2, 0.7)) * slope)[..., None]
    return Layer(np.asarray(np.clip(skin, 0, 1), np.float32), alpha)


def hair(shape: Shape, rng: Generator, photos: Photos | None) -> Layer:
    """Draw a body with long hair."""
    return hairy(body(shape, rng, photos), rng, "hair")


def fur(shape: Shape, rng: Generator, photos: Photos | None) -> Layer:
    """Draw a body with fur, perhaps in two coats."""
    layer = hairy(body(shape, rng, photos), rng, "fur")
    return hairy(layer, rng, "fur") if rng.random() < 0.3 else layer


def plant(shape: Shape, rng: Generator, photos: Photos | None) -> Layer:
    """Grass, twigs or whiskers that grow from a few places, without a body."""
    del photos
    size = max(shape)
    paint = np.zeros((*shape, 4), np.float32)
    tones = shades(colour(rng, 0.7), rng)
    for _ in range(int(rng.integers(1, 4))):
        count = int(rng.integers(10, 140))
        spot = rng.uniform(0.1, 0.95, 2) * shape
        places = spot + rng.normal(0, size * rng.uniform(0.005, 0.12), (count, 2))
        angles = np.full(count, rng.uniform(0, 2 * np.pi))
        lines = grow(
            places.astype(np.float32),
            angles.astype(np.float32),
            size * rng.uniform(0.15, 0.5),
            rng,
            points=9,
            spread=float(rng.choice([0.25, 0.6, 2.0])),
            curl=float(rng.uniform(0.1, 1.0)),
        )
        thick = float(np.exp(rng.uniform(np.log(0.4), np.log(6.0)))) * size / 320
        paint = over(draw(shape, lines, tones, thick), paint)
        if rng.random() < 0.5:  # twigs from the middle of the branches
            roots = lines[:, rng.integers(3, 9)]
            more = grow(
                roots,
                angles.astype(np.float32),
                size * rng.uniform(0.04, 0.15),
                rng,
                points=5,
                spread=1.0,
            )
            paint = over(draw(shape, more, tones, thick * 0.5), paint)
    mean = np.asarray(tones.mean(0) / 255, np.float32)
    return unmultiplied(paint, np.broadcast_to(mean, (*shape, 3)).copy())


def glass(shape: Shape, rng: Generator, photos: Photos | None) -> Layer:
    """Draw a clear solid: faint inside, denser at its rim, with glints; half full."""
    inside = outline(shape, rng, (0.2, 0.42))
    deep = cv2.distanceTransform((inside > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    size = max(shape)
    faint, dense = rng.uniform(0.02, 0.4), rng.uniform(0.4, 1.0)
    alpha = faint + (dense - faint) * np.exp(-deep / (size * rng.uniform(0.004, 0.05)))
    tint = mix(
        noise(shape, rng, size / rng.uniform(1, 6), 3),
        np.clip(colour(rng) + 0.3, 0, 1).astype(np.float32),
        colour(rng),
    )
    u, v = coordinates(shape, rng, bend=size * rng.uniform(0.05, 0.4))
    streak = waves(u, size / rng.uniform(1, 5)) * waves(v, size / rng.uniform(0.4, 2))
    low = rng.uniform(0.6, 0.85)
    glint = smoothstep(streak, low, min(1.0, low + rng.uniform(0.05, 0.3)))
    glint = glint * np.float32(rng.uniform(0.2, 1))
    alpha = np.maximum(alpha, glint)
    skin = mix(glint, tint, np.ones(3, np.float32))
    if rng.random() < 0.35:  # what it holds is opaque, or nearly
        level = smoothstep(
            v - np.float32(np.quantile(v, rng.uniform(0.3, 0.8))), -1, 1
        ) * np.float32(rng.uniform(0.7, 1))
        skin = mix(level, skin, texture(shape, rng, photos))
        alpha = np.maximum(alpha, level)
    return Layer(skin, np.asarray(np.clip(alpha * inside, 0, 1), np.float32))


def lace(shape: Shape, rng: Generator, photos: Photos | None) -> Layer:
    """Cloth with holes, a net, leaves with gaps: a pattern cut from a body."""
    size = max(shape)
    alpha = outline(shape, rng, (0.25, 0.5))
    u, v = coordinates(shape, rng, bend=size * rng.uniform(0, 0.2))
    period = size / rng.uniform(6, 50)
    kind = int(rng.integers(3))
    if kind == 0:
        field = waves(u, period) * waves(v, period * rng.uniform(0.6, 1.6))
    elif kind == 1:  # a net: threads along both
        field = np.minimum(waves(u, period), waves(v, period))
    else:
        field = noise(shape, rng, period, 3, 0.6)
    cut = float(np.quantile(field, rng.uniform(0.2, 0.75)))
    # an edge a pixel or so wide, whatever the pattern's slope
    slope = max(2.0 / period, 0.02) * rng.uniform(0.7, 2.5)
    holes = smoothstep(np.asarray(field, np.float32), cut, cut + slope)
    if rng.random() < 0.4:  # nearly all of it is thread
        holes = 1 - holes
    thin = np.float32(rng.choice([0.0, 0.0, rng.uniform(0.05, 0.5)]))
    part = smoothstep(noise(shape, rng, size / 2, 2), 0.3, 0.45)
    pattern = np.maximum(thin, holes)
    if rng.random() < 0.5:
        pattern = 1 - part * (1 - pattern)
    return Layer(texture(shape, rng, photos), np.asarray(alpha * pattern, np.float32))


def smoke(shape: Shape, rng: Generator, photos: Photos | None) -> Layer:
    """Smoke, steam, spray or flame: soft everywhere, of nearly one colour."""
    del photos
    size = max(shape)
    cloud = noise(shape, rng, size / rng.uniform(1.5, 6), 6, rng.uniform(0.45, 0.65))
    u, v = coordinates(shape, rng)
    shift = np.float32(size * rng.uniform(0, 0.3))
    across, along = (noise(shape, rng, size / 3, 3) - 0.5 for _ in range(2))
    rows, cols = np.indices(shape, dtype=np.float32)
    swirled = cv2.remap(
        cloud,
        cols + shift * across,
        rows + shift * along,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    wide = size * rng.uniform(0.1, 0.4)
    middle = rng.uniform(0.2, 0.8, 2) * (np.ptp(u), np.ptp(v))
    du = (u - u.min() - middle[0]) / wide
    dv = (v - v.min() - middle[1]) / (wide * rng.uniform(0.7, 3))
    fall = np.exp(-(du**2) - dv**2)
    alpha = np.clip(swirled * rng.uniform(0.9, 1.8) - rng.uniform(0.1, 0.5), 0, 1)
    alpha = np.clip(alpha * fall * rng.uniform(0.8, 2.2), 0, rng.uniform(0.5, 1))
    tone = colour(rng, 0.15 if rng.random() < 0.75 else 0.9)
    light = np.clip(tone + 0.4, 0, 1).astype(np.float32)
    return Layer(mix(cloud, tone, light), np.asarray(alpha, np.float32))


def veil(shape: Shape, rng: Generator, photos: Photos | None) -> Layer:
    """Thin cloth in folds, denser where it lies double."""
    size = max(shape)
    alpha = outline(shape, rng, (0.25, 0.5))
    u, _ = coordinates(shape, rng, bend=size * rng.uniform(0.1, 0.6))
    fold = waves(u, size / rng.uniform(1.5, 9)) ** rng.uniform(0.5, 3)
    low = rng.uniform(0.1, 0.7)
    density = low + (rng.uniform(low, 1.0) - low) * fold
    skin = texture(shape, rng, photos) * (0.75 + 0.25 * fold[..., None])
    return Layer(
        np.asarray(np.clip(skin, 0, 1), np.float32),
        np.asarray(alpha * density, np.float32),
    )


def soften(layer: Layer, rng: Generator) -> Layer:
    """Blur a layer as a lens out of focus does, here more than there."""
    paint = premultiplied(layer)
    sigma = float(np.exp(rng.uniform(np.log(0.5), np.log(7.0))))
    sigma = max(0.5, sigma * max(layer.alpha.shape) / 320)
    soft = np.asarray(cv2.GaussianBlur(paint, (0, 0), sigma), np.float32)
    if rng.random() < 0.4:
        share = noise(layer.alpha.shape, rng, max(layer.alpha.shape), 1)
        soft = np.asarray(paint + share[..., None] * (soft - paint), np.float32)
    return unmultiplied(soft, layer.colour)


def moved(layer: Layer, rng: Generator) -> Layer:
    """Blur a layer along a line, as if it had moved."""
    paint = premultiplied(layer)
    height, width = layer.alpha.shape
    length = max(height, width) * rng.uniform(0.02, 0.16)
    angle = rng.uniform(0, np.pi)
    still = paint
    for _ in range(5):  # halves, quarters, ... : 32 places along the line
        length /= 2
        dx, dy = length * np.cos(angle), length * np.sin(angle)
        matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        shifted = cv2.warpAffine(
            paint, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        paint = np.asarray((paint + shifted) / 2, np.float32)
    if rng.random() < 0.4:
        share = noise((height, width), rng, max(height, width), 1)
        share = smoothstep(share, 0.3, 0.7)[..., None]
        paint = np.asarray(still + share * (paint - still), np.float32)
    return unmultiplied(paint, layer.colour)


Kind = Callable[[Shape, Generator, Photos | None], Layer]
#: What there is, and how often it is drawn.
KINDS: dict[str, tuple[Kind, float]] = {
    "body": (body, 0.12),
    "hair": (hair, 0.25),
    "fur": (fur, 0.2),
    "plant": (plant, 0.1),
    "glass": (glass, 0.1),
    "lace": (lace, 0.1),
    "smoke": (smoke, 0.07),
    "veil": (veil, 0.06),
}


def foreground(shape: Shape, rng: Generator, photos: Photos | None = None) -> Layer:
    """Draw any foreground; some are out of focus, some have moved."""
    kinds, shares = zip(*KINDS.values(), strict=True)
    weights = np.array(shares) / sum(shares)
    layer = kinds[int(rng.choice(len(kinds), p=weights))](shape, rng, photos)
    return blurred(layer, rng)


def blurred(layer: Layer, rng: Generator) -> Layer:
    """Leave a layer sharp, or let it be out of focus or have moved."""
    draw_ = rng.random()
    if draw_ < 0.25:
        return soften(layer, rng)
    if draw_ < 0.38:
        return moved(layer, rng)
    return layer
