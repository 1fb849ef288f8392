"""Height maps as a microscope sees them from above: sharp where they are in focus.

The unit of length is the width of the picture: who knows it in micrometres knows the
depth in micrometres.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from napari_clickseg.training.generators.textures import (
    Floats,
    Photos,
    colour,
    coordinates,
    marble,
    mix,
    noise,
    smoothstep,
    texture,
    waves,
)

#: Distance from the lens to the middle of the relief, in widths of the picture.
WORKING_DISTANCE = 1.5


@dataclass(frozen=True)
class ReliefSample:
    """A picture of a relief and its depth.

    Attributes
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        RGB, most without colour.
    depth : ndarray of float32, shape (H, W)
        From the lens, in widths of the picture; around 1.5.
    """

    image: NDArray[np.uint8]
    depth: Floats


def relief(
    shape: tuple[int, int], rng: Generator, photos: Photos | None = None
) -> ReliefSample:
    """Draw a relief, light it from a side, and focus on one of its heights.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    rng : Generator
        Source of chance; the same seed gives the same sample.
    photos : callable, optional
        Draws photos, for some surfaces.
    """
    height = _heights(shape, rng)
    width = shape[1]
    tall = float(np.exp(rng.uniform(np.log(0.06), np.log(0.5))))  # in widths
    level = height * np.float32(tall * width)
    down = cv2.Sobel(level, cv2.CV_32F, 0, 1, ksize=3) / 8
    right = cv2.Sobel(level, cv2.CV_32F, 1, 0, ksize=3) / 8
    steep = 1 / np.sqrt(1 + down**2 + right**2)
    angle, rise = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 1.3)
    lamp = np.array([np.sin(angle), np.cos(angle), np.tan(rise)])
    lamp /= np.linalg.norm(lamp)
    lambert = (lamp[2] - lamp[0] * down - lamp[1] * right) * steep
    light = rng.uniform(0.1, 0.5) + np.clip(lambert, 0, 1)
    if rng.random() < 0.4:  # gloss: light mirrored straight up
        half = lamp + np.array([0.0, 0.0, 1.0])
        half /= np.linalg.norm(half)
        mirror = (half[2] - half[0] * down - half[1] * right) * steep
        light = light + rng.uniform(0.2, 1) * np.clip(mirror, 0, 1) ** rng.uniform(
            8, 60
        )
    if rng.random() < 0.3:  # as electrons do: steep is bright
        light = rng.uniform(0.3, 0.6) / np.maximum(steep, 0.15) ** rng.uniform(0.4, 1)
    # pits are darker than peaks
    pit = cv2.blur(height, (25, 25)) - height
    light = light * (1 - rng.uniform(0, 0.8) * np.clip(pit * 3, 0, 0.8))
    skin = _skin(shape, rng, photos)
    sharp = np.asarray(skin * light[..., None], np.float32)
    image = _focused(sharp, height, rng)
    image *= np.float32(rng.uniform(0.35, 0.75) / max(float(image.mean()), 1e-3))
    strength = np.float32(rng.uniform(0.003, 0.05))
    image = image + strength * rng.standard_normal(image.shape, dtype=np.float32)
    depth = WORKING_DISTANCE + np.float32(tall) * (0.5 - height)
    return ReliefSample(
        np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8),
        np.asarray(depth, np.float32),
    )


def _heights(shape: tuple[int, int], rng: Generator) -> Floats:
    """Return heights in [0, 1]: hills, grains, cells, steps, grooves or wells."""
    size = max(shape)
    ground = noise(shape, rng, size / rng.uniform(1, 3), 2)
    fine = noise(shape, rng, size / rng.uniform(5, 30), 4, rng.uniform(0.3, 0.6))
    kind = int(rng.integers(5))
    if kind == 0:
        top = fine
    elif kind == 1:
        top = _domes(shape, rng)
    elif kind == 2:  # terraces, as etched or layered
        steps = int(rng.integers(2, 7))
        scaled = noise(shape, rng, size / rng.uniform(2, 6), 3) * steps
        whole = np.floor(scaled)
        edge = smoothstep(np.asarray(scaled - whole, np.float32), 0.85, 1.0)
        top = np.asarray((whole + edge) / steps, np.float32)
    elif kind == 3:  # grooves and grids, as made
        u, v = coordinates(shape, rng, bend=size * rng.uniform(0, 0.1))
        period = size / rng.uniform(3, 14)
        field = waves(u, period)
        if rng.random() < 0.5:
            field = np.minimum(field, waves(v, period))
        top = smoothstep(field, 0.35, rng.uniform(0.5, 0.9))
    else:  # ridges: folds of tissue, cracks
        top = 1 - np.abs(2 * noise(shape, rng, size / rng.uniform(2, 8), 4) - 1)
    total = top + np.float32(rng.uniform(0, 0.8)) * ground
    total = total + np.float32(rng.uniform(0, 0.12)) * fine
    total = cv2.GaussianBlur(total, (0, 0), size * rng.uniform(0.003, 0.012))
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), np.float32)


def _domes(shape: tuple[int, int], rng: Generator) -> Floats:
    """Return round bodies that lie on and beside one another."""
    height, width = shape
    size = max(shape)
    out = np.zeros(shape, np.float32)
    radius = size * rng.uniform(0.03, 0.16)
    for _ in range(int(np.clip(0.6 * size**2 / (3 * radius**2), 5, 90))):
        r = float(radius * np.exp(rng.normal(0, 0.25)))
        row, col = rng.uniform(0, height), rng.uniform(0, width)
        top, left = max(0, int(row - r)), max(0, int(col - r))
        rows = np.arange(top, min(height, int(row + r) + 2), dtype=np.float32)
        cols = np.arange(left, min(width, int(col + r) + 2), dtype=np.float32)
        square = (rows[:, None] - row) ** 2 + (cols - col) ** 2
        dome = np.sqrt(np.maximum(r * r - square, 0)) / radius
        part = out[top : top + rows.size, left : left + cols.size]
        np.maximum(part, dome, out=part)
    return out


def _skin(shape: tuple[int, int], rng: Generator, photos: Photos | None) -> Floats:
    """Return the surface's own brightness: most often grey and finely grained."""
    if rng.random() < 0.3:
        return texture(shape, rng, photos)
    grain = noise(shape, rng, max(shape) / rng.uniform(20, 120), 3, 0.7)
    tone = np.full(3, rng.uniform(0.4, 0.9), np.float32)
    if rng.random() < 0.4:
        tone = colour(rng)
    base = mix(grain, np.asarray(tone / 2, np.float32), tone)
    if rng.random() < 0.3:
        base = mix(noise(shape, rng, max(shape) / 4, 3), base, marble(shape, rng))
    return base


def _focused(sharp: Floats, height: Floats, rng: Generator) -> Floats:
    """Blur each pixel by how far it lies from the plane in focus."""
    focus = np.float32(rng.uniform(0, 1))
    strongest = np.float32(rng.uniform(0.5, 7.0) * max(height.shape) / 320)
    blur = np.abs(height - focus) * strongest
    sigmas = [0.0, 0.8, 2.0, 4.5]
    levels = [sharp, *(cv2.GaussianBlur(sharp, (0, 0), s) for s in sigmas[1:])]
    out = np.zeros_like(sharp)
    for i, level in enumerate(levels):
        low = sigmas[i - 1] if i else -1.0
        high = sigmas[i + 1] if i + 1 < len(sigmas) else np.inf
        rise = (blur - low) / (sigmas[i] - low)
        fall = (high - blur) / (high - sigmas[i]) if np.isfinite(high) else 1.0
        share = np.clip(np.minimum(rise, fall), 0, 1)
        out += np.asarray(share, np.float32)[..., None] * level
    return out
