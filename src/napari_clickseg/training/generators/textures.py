"""Noise, colours and textures: what surfaces and backgrounds are made of.

Colours are float32 RGB in [0, 1]; everything is drawn from the generator that is
handed in, so that a seed gives the same picture again.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float32]
#: Draws a photo, uint8 ``(H, W, 3)``.
Photos = Callable[[Generator], NDArray[np.uint8]]


def noise(
    shape: tuple[int, int],
    rng: Generator,
    cell: float,
    octaves: int = 4,
    persistence: float = 0.5,
    stretch: float = 1.0,
) -> Floats:
    """Sum smooth random fields, each half as coarse as the one before.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    rng : Generator
        Source of chance.
    cell : float
        Pixels between the random values of the coarsest field.
    octaves : int
        How many fields.
    persistence : float
        Weight of each field relative to the one before.
    stretch : float
        Widen the cells along the columns.

    Returns
    -------
    ndarray of float32, shape (H, W)
        From 0 to 1, both reached.
    """
    height, width = shape
    total = np.zeros(shape, np.float32)
    weight = 1.0
    for _ in range(octaves):
        rows = max(2, int(height / cell) + 2)
        cols = max(2, int(width / (cell * stretch)) + 2)
        field = rng.random((rows, cols), dtype=np.float32)
        total += weight * cv2.resize(
            field, (width, height), interpolation=cv2.INTER_CUBIC
        )
        weight *= persistence
        cell /= 2
        if cell < 1:
            break
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), np.float32)


def colour(rng: Generator, saturation: float = 0.45) -> Floats:
    """Draw a colour, RGB ``(3,)``; most are rather grey, as in photos."""
    hue = rng.uniform(0, 360)
    strength = float(np.clip(rng.beta(1.2, 2.2) * 2 * saturation, 0, 1))
    value = float(np.clip(rng.beta(1.6, 1.3), 0.02, 1))
    pixel = np.array([[[hue, strength, value]]], np.float32)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0], np.float32)


def smoothstep(x: Floats, low: float, high: float) -> Floats:
    """Rise smoothly from 0 below ``low`` to 1 above ``high``."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def mix(share: Floats, first: Floats, second: Floats) -> Floats:
    """Blend two colours or pictures by ``share`` (H, W) of the second."""
    part = share[..., None]
    return np.asarray(first + part * (second - first), np.float32)


def coordinates(
    shape: tuple[int, int], rng: Generator, bend: float = 0.0
) -> tuple[Floats, Floats]:
    """Return turned pixel coordinates, bent by up to ``bend`` pixels."""
    rows, cols = np.indices(shape, dtype=np.float32)
    angle = float(rng.uniform(0, np.pi))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = cos * cols + sin * rows, cos * rows - sin * cols
    if bend:
        cell = max(shape) / rng.uniform(1.5, 5)
        u = u + np.float32(bend) * (noise(shape, rng, cell, 2) - 0.5)
        v = v + np.float32(bend) * (noise(shape, rng, cell, 2) - 0.5)
    return u, v


def waves(x: Floats, period: float) -> Floats:
    """Return 0 to 1 and back over each ``period``."""
    return np.asarray(0.5 + 0.5 * np.sin(x * np.float32(2 * np.pi / period)))


def crop_photo(
    photo: NDArray[np.uint8], shape: tuple[int, int], rng: Generator
) -> Floats:
    """Cut a random part of a photo, mirrored or not, at a random scale."""
    height, width = photo.shape[:2]
    fit = min(height / shape[0], width / shape[1])
    scale = fit * rng.uniform(0.55, 1.0)
    tall = max(1, min(height, round(shape[0] * scale)))
    wide = max(1, min(width, round(shape[1] * scale)))
    top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
    part = np.ascontiguousarray(photo[top : top + tall, left : left + wide, :3])
    if rng.random() < 0.5:
        part = np.ascontiguousarray(part[:, ::-1])
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    out = cv2.resize(part, (shape[1], shape[0]), interpolation=method)
    return np.asarray(out, np.float32) / np.float32(255)


def stripes(shape: tuple[int, int], rng: Generator) -> Floats:
    """Draw bands of two colours: cloth, blinds, wood."""
    size = max(shape)
    u, v = coordinates(shape, rng, bend=size * rng.uniform(0, 0.15))
    period = size / rng.uniform(3, 40)
    share = waves(u, period)
    if rng.random() < 0.4:
        share = share * waves(v, period * rng.uniform(0.5, 2))
    if rng.random() < 0.5:
        share = smoothstep(share, 0.35, 0.65)
    return mix(share, colour(rng), colour(rng))


def tiles(shape: tuple[int, int], rng: Generator) -> Floats:
    """Draw bricks, boards or checks with joints between."""
    u, v = coordinates(shape, rng)
    size = max(shape) / rng.uniform(3, 16)
    tall = size * rng.choice([0.25, 0.5, 1.0])
    row = np.floor(v / np.float32(tall))
    shift = rng.choice([0.0, 0.5]) * row
    across = u / np.float32(size) + shift
    col = np.floor(across)
    # a value for each tile, from its numbers
    value = np.sin(row * 12.99 + col * 78.23 + rng.uniform(0, 9)) * 43758.5
    value = np.asarray(value - np.floor(value), np.float32)
    edge = np.minimum(
        (0.5 - np.abs(across - col - 0.5)) * size,
        (0.5 - np.abs(v / tall - row - 0.5)) * tall,
    )
    base = mix(value * np.float32(rng.uniform(0.1, 0.9)), colour(rng), colour(rng))
    line = smoothstep(np.asarray(edge, np.float32), 0.3, rng.uniform(1, 3))
    return mix(line, colour(rng), base)


def marble(shape: tuple[int, int], rng: Generator) -> Floats:
    """Blend three colours by noise."""
    size = max(shape)
    first = noise(shape, rng, size / rng.uniform(1, 20), 5, rng.uniform(0.35, 0.8))
    second = noise(shape, rng, size / rng.uniform(1, 8), 3, 0.5, rng.uniform(1, 6))
    base = mix(first, colour(rng), colour(rng))
    return mix(smoothstep(second, 0.3, 0.7), base, colour(rng))


def wood(shape: tuple[int, int], rng: Generator) -> Floats:
    """Draw brown boards with grain along the columns."""
    size = max(shape)
    grain = noise(shape, rng, size / rng.uniform(8, 50), 4, 0.6, rng.uniform(5, 15))
    hue, strong, value = (
        rng.uniform(12, 38),
        rng.uniform(0.2, 0.75),
        rng.uniform(0.15, 0.9),
    )
    ends = [[hue, strong, value], [hue, strong, value * rng.uniform(0.5, 0.9)]]
    light, dark = cv2.cvtColor(np.array([ends], np.float32), cv2.COLOR_HSV2RGB)[0]
    out = mix(grain, np.asarray(light, np.float32), np.asarray(dark, np.float32))
    if rng.random() < 0.5:
        board = np.arange(shape[0]) // max(2, int(size / rng.uniform(3, 12)))
        tone = 1 + 0.25 * np.sin(board * 12.99 + rng.uniform(0, 9))
        out = out * tone.astype(np.float32)[:, None, None]
    return np.asarray(np.clip(out, 0, 1), np.float32)


def plain(shape: tuple[int, int], rng: Generator, saturation: float = 0.45) -> Floats:
    """Draw one colour with a little grain, or a gradient of two."""
    first = colour(rng, saturation)
    second = np.asarray(first * rng.uniform(0.7, 1.2), np.float32)
    if rng.random() < 0.4:
        second = colour(rng, saturation)
    u, _ = coordinates(shape, rng)
    share = (u - u.min()) / max(float(np.ptp(u)), 1.0)
    out = mix(np.asarray(share, np.float32), first, np.asarray(second, np.float32))
    grain = noise(shape, rng, max(shape) / rng.uniform(4, 60), 3)
    out *= 1 + np.float32(rng.uniform(0, 0.25)) * (grain[..., None] - 0.5)
    return np.asarray(np.clip(out, 0, 1), np.float32)


def lights(shape: tuple[int, int], rng: Generator) -> Floats:
    """Bright disks out of focus on a dim gradient."""
    out = plain(shape, rng) * np.float32(rng.uniform(0.2, 0.8))
    height, width = shape
    glow = np.zeros((height, width, 3), np.float32)
    size = max(shape)
    for _ in range(int(rng.integers(4, 40))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        radius = int(size * rng.uniform(0.01, 0.09)) + 1
        tone = colour(rng, 0.8) * rng.uniform(0.2, 1)
        cv2.circle(glow, centre, radius, tuple(float(c) for c in tone), -1)
    glow = np.asarray(cv2.blur(glow, (5, 5)), np.float32)
    return np.asarray(np.clip(out + glow, 0, 1), np.float32)


def texture(
    shape: tuple[int, int], rng: Generator, photos: Photos | None = None
) -> Floats:
    """Draw any surface: computed, or a piece of a photo.

    Returns
    -------
    ndarray of float32, shape (H, W, 3)
        RGB in [0, 1].
    """
    draw = rng.random()
    if photos is not None and draw < 0.35:
        return crop_photo(photos(rng), shape, rng)
    kinds = (marble, plain, stripes, tiles)
    kind = kinds[int(rng.choice(4, p=(0.4, 0.3, 0.18, 0.12)))]
    return kind(shape, rng)


def background(
    shape: tuple[int, int], rng: Generator, photos: Photos | None = None
) -> Floats:
    """Draw what lies behind an object: a photo, sharp or not, or a texture."""
    draw = rng.random()
    if photos is not None and draw < 0.75:
        out = crop_photo(photos(rng), shape, rng)
    else:
        kinds = (marble, plain, stripes, tiles, lights)
        kind = kinds[int(rng.choice(5, p=(0.35, 0.25, 0.1, 0.1, 0.2)))]
        out = kind(shape, rng)
    if rng.random() < 0.35:
        sigma = max(shape) * rng.uniform(0.003, 0.03)
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), sigma), np.float32)
    return out
