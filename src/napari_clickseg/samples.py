"""Sample images, without a download: photos, and made-up fields and a room.

The photos ship with scikit-image. The others are drawn here, always the same, so that
what is right is known: microscope fields come with the labels that were drawn (in the
layer's ``metadata["objects"]``), the room with its depth, for trying out and for tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "draw_fluorescence",
    "draw_phase_contrast",
    "fluorescence",
    "phase_contrast",
    "photo",
    "portrait",
    "room",
]

LayerData = tuple[Any, dict[str, Any], str]


def photo() -> list[LayerData]:
    """Return a photo of a cat, (300, 451, 3) uint8 (CC0, by Stéfan van der Walt)."""
    from skimage import data

    return [(data.chelsea(), {"name": "cat"}, "image")]


def portrait() -> list[LayerData]:
    """Return a portrait, (512, 512, 3) uint8 (NASA, public domain): hair to matte."""
    from skimage import data

    return [(data.astronaut(), {"name": "portrait"}, "image")]


def room() -> list[LayerData]:
    """Return a computed room, (360, 480, 3) uint8, whose depth is known.

    In metres, in the layer's ``metadata["depth"]``.
    """
    from napari_clickseg.training.generators.scenes import scene

    made = scene((360, 480), np.random.default_rng(4))
    return [(made.image, {"name": "room", "metadata": {"depth": made.depth}}, "image")]


def fluorescence() -> list[LayerData]:
    """Return a field of stained nuclei, (512, 512) uint16."""
    image, objects = draw_fluorescence()
    low, high = np.percentile(image, (0.5, 99.9))
    keywords = {
        "name": "nuclei",
        "colormap": "gray",
        "contrast_limits": (float(low), float(high)),
        "metadata": {"objects": objects},
    }
    return [(image, keywords, "image")]


def phase_contrast() -> list[LayerData]:
    """Return a field of cells as phase contrast shows them, (512, 640) uint8."""
    image, objects = draw_phase_contrast()
    return [(image, {"name": "cells", "metadata": {"objects": objects}}, "image")]


def draw_fluorescence(
    shape: tuple[int, int] = (512, 512), count: int = 60, seed: int = 3
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Draw bright nuclei on an uneven dark background.

    Parameters
    ----------
    shape : (int, int)
        Height and width in pixels.
    count : int
        Nuclei to try to place; fewer fit when the field is full.
    seed : int
        The same number gives the same picture.

    Returns
    -------
    image : uint16 array, shape ``shape``
        Photon counts on an offset, 12 bits used.
    objects : int32 array, shape ``shape``
        0 background, 1..n the nuclei.
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    objects = _place_blobs(rng, shape, count, (11.0, 19.0), stretch=1.5, gap=2)
    inside = objects > 0
    brightness = rng.uniform(700, 1900, objects.max() + 1)
    depth = np.minimum(ndimage.distance_transform_edt(inside), 7.0) / 7.0
    chromatin = ndimage.gaussian_filter(rng.normal(size=shape), 2.2)
    chromatin = 1 + 0.28 * chromatin / chromatin.std()
    light = brightness[objects] * inside * (0.55 + 0.45 * depth) * chromatin
    light = ndimage.gaussian_filter(light, 1.3)
    glow = 0.10 * ndimage.gaussian_filter(light, 14.0)
    rows, cols = np.mgrid[: shape[0], : shape[1]] / max(shape)
    background = 130 + 90 * np.exp(-((rows - 0.4) ** 2 + (cols - 0.55) ** 2) / 0.18)
    counts = rng.poisson(np.maximum(light + glow + background, 0) / 2.0) * 2.0
    image = np.clip(counts + rng.normal(100, 6, shape), 0, 4095).astype(np.uint16)
    return image, objects


def draw_phase_contrast(
    shape: tuple[int, int] = (512, 640), count: int = 42, seed: int = 5
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Draw spread cells with dark bodies and bright halos on grey.

    Parameters and results are as of :func:`draw_fluorescence`, the image uint8.
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    objects = _place_blobs(rng, shape, count, (16.0, 30.0), stretch=2.4, gap=5)
    inside = objects > 0
    depth = ndimage.distance_transform_edt(inside)
    body = ndimage.gaussian_filter(np.minimum(depth, 9.0) / 9.0, 1.2)
    # What a phase plate does: it lets the low frequencies of the phase through
    # wrongly, which draws a bright rim outside of every cell.
    halo = ndimage.gaussian_filter(body, 5.0) - 0.55 * body
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 2.0)
    texture *= inside * 0.045 / texture.std()
    nuclei = np.zeros(shape)
    for row, col in ndimage.center_of_mass(
        inside, objects, range(1, objects.max() + 1)
    ):
        nuclei[int(row), int(col)] = 1.0
    nuclei = ndimage.gaussian_filter(nuclei, 4.0)
    nuclei /= max(float(nuclei.max()), 1e-9)
    rows, cols = np.mgrid[: shape[0], : shape[1]] / max(shape)
    uneven = 0.07 * np.sin(2.3 * rows + 1.1) * np.cos(3.1 * cols - 0.4)
    grey = 0.44 + 0.60 * halo - 0.12 * body + texture + 0.14 * nuclei * inside + uneven
    grey = ndimage.gaussian_filter(grey, 0.7) + rng.normal(0, 0.015, shape)
    return (np.clip(grey, 0, 1) * 255).astype(np.uint8), objects


def _place_blobs(
    rng: np.random.Generator,
    shape: tuple[int, int],
    count: int,
    radii: tuple[float, float],
    stretch: float,
    gap: int,
) -> NDArray[np.int32]:
    """Draw wavy ellipses that stay ``gap`` pixels apart, numbered from 1."""
    from scipy import ndimage

    objects = np.zeros(shape, np.int32)
    taken = np.zeros(shape, bool)
    reach = int(radii[1] * stretch) + gap + 1
    rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(float)
    near = ndimage.generate_binary_structure(2, 1)
    placed = 0
    for _ in range(count * 12):
        if placed == count:
            break
        centre = rng.integers((0, 0), shape)
        radius = rng.uniform(*radii)
        turn, ratio = rng.uniform(0, np.pi), np.sqrt(rng.uniform(1.0, stretch))
        along = (rows * np.cos(turn) + cols * np.sin(turn)) / ratio
        across = (cols * np.cos(turn) - rows * np.sin(turn)) * ratio
        angle = np.arctan2(across, along)
        wave = np.ones_like(angle)
        for waves, height in zip((2, 3, 4), rng.normal(0, 0.05, 3), strict=True):
            wave += height * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
        blob = np.hypot(along, across) < radius * wave
        inner, outer = _overlap(centre - reach, blob.shape, shape)
        blob = blob[inner]
        if blob.sum() < radius**2 or (blob & taken[outer]).any():
            continue
        placed += 1
        objects[outer][blob] = placed
        taken[outer] |= ndimage.binary_dilation(blob, near, iterations=gap)
    return objects


def _overlap(
    corner: NDArray[np.int64], patch: tuple[int, ...], shape: tuple[int, int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a patch at ``corner`` and a field overlap, in both."""
    low = np.maximum(corner, 0)
    high = np.minimum(corner + patch, shape)
    inner = tuple(
        slice(a - c, b - c) for a, b, c in zip(low, high, corner, strict=True)
    )
    outer = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return inner, outer
