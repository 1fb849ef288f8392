"""Sample stacks and time series, drawn without a download; their objects are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["draw_moving_cells", "draw_nuclei_stack", "moving_cells", "nuclei_stack"]

LayerData = tuple[Any, dict[str, Any], str]


def nuclei_stack() -> list[LayerData]:
    """Return a stack of nuclei, (28, 200, 200) uint16, planes twice a pixel apart."""
    image, objects = draw_nuclei_stack()
    low, high = np.quantile(image, (0.001, 0.999))
    keywords = {
        "name": "nuclei",
        "scale": (2.0, 1.0, 1.0),
        "axis_labels": ("z", "y", "x"),
        "contrast_limits": (float(low), float(high)),
        "metadata": {"objects": objects},
    }
    return [(image, keywords, "image")]


def moving_cells() -> list[LayerData]:
    """Return cells that move and change shape, (20, 200, 240) uint16."""
    image, objects = draw_moving_cells()
    low, high = np.quantile(image, (0.001, 0.999))
    keywords = {
        "name": "moving cells",
        "contrast_limits": (float(low), float(high)),
        "axis_labels": ("t", "y", "x"),
        "metadata": {"objects": objects},
    }
    return [(image, keywords, "image")]


def draw_nuclei_stack(
    shape: tuple[int, int, int] = (28, 200, 200),
    count: int = 22,
    seed: int = 2,
    spacing: float = 2.0,
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Draw bright nuclei of all orientations, some of which touch, as a stack.

    Parameters
    ----------
    shape : (int, int, int)
        Planes, rows and columns.
    count : int
        Nuclei to try to place; fewer fit when the field is full.
    seed : int
        The same number gives the same stack.
    spacing : float
        Distance of two planes, in pixels of a plane.

    Returns
    -------
    image : uint16 array, shape ``shape``
        Photon counts on an offset. Light of other planes is in each (the blur along
        the stack is 1.6 times that within a plane), and it gets darker with depth.
    objects : int32 array, shape ``shape``
        0 background, 1..n the nuclei.
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    objects = np.zeros(shape, np.int32)
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    placed = 0
    for _ in range(count * 15):
        if placed == count:
            break
        centre = rng.uniform((2, 0, 0), (shape[0] - 2, *shape[1:]))
        radii = rng.uniform(9.0, 17.0) * np.exp(rng.normal(0, 0.18, 3))
        inside = _ellipsoid((z, y, x), centre, radii, _turned(rng), spacing)
        size = int(inside.sum())
        if size < 400 or (inside & (objects > 0)).sum() > 0.04 * size:
            continue
        placed += 1
        objects[inside & (objects == 0)] = placed
    brightness = np.concatenate([[0], rng.uniform(600, 1700, placed)])
    chromatin = ndimage.gaussian_filter(rng.normal(size=shape), (1.1, 2.2, 2.2))
    chromatin = 1 + 0.25 * chromatin / chromatin.std()
    light = brightness[objects] * chromatin
    light = ndimage.gaussian_filter(light, (2.1 / spacing, 1.3, 1.3))
    haze = 0.12 * ndimage.gaussian_filter(light, (6.0 / spacing, 14.0, 14.0))
    deeper = np.exp(-0.6 * np.arange(shape[0]) / shape[0])[:, None, None]
    counts = rng.poisson(np.maximum((light + haze) * deeper + 110, 0) / 2.0) * 2.0
    image = np.clip(counts + rng.normal(100, 8, shape), 0, 4095).astype(np.uint16)
    return image, objects


def draw_moving_cells(
    shape: tuple[int, int, int] = (20, 200, 240),
    count: int = 12,
    seed: int = 4,
    speed: float = 3.0,
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Draw bright cells that crawl, change their shape, and bleach.

    Parameters
    ----------
    shape : (int, int, int)
        Times, rows and columns.
    count : int
        Cells to try to place.
    seed : int
        The same number gives the same series.
    speed : float
        Pixels that a cell moves from one time to the next, usually.

    Returns
    -------
    image : uint16 array, shape ``shape``
    objects : int32 array, shape ``shape``
        0 background, 1..n the cells; each keeps its number.
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    objects = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[1], : shape[2]].astype(float)
    for number, each in enumerate(_crawlers(rng, shape, count, speed), start=1):
        for t, (centre, radius, ratio, turn, waves) in enumerate(each):
            blob = _cell(y - centre[0], x - centre[1], radius, ratio, turn, waves)
            objects[t][blob & (objects[t] == 0)] = number
    image = np.zeros(shape, np.uint16)
    brightness = np.concatenate([[0], rng.uniform(500, 1500, int(objects.max()))])
    still = 110 + 40 * ndimage.gaussian_filter(rng.normal(size=shape[1:]), 25) * 25
    for t, now in enumerate(objects):
        texture = ndimage.gaussian_filter(rng.normal(size=shape[1:]), 2.5)
        light = brightness[now] * (1 + 0.2 * texture / texture.std())
        light *= (
            0.6 + 0.4 * np.minimum(ndimage.distance_transform_edt(_apart(now)), 6) / 6
        )
        light = ndimage.gaussian_filter(light, 1.3) * np.exp(-0.5 * t / shape[0])
        glow = 0.1 * ndimage.gaussian_filter(light, 14.0)
        counts = rng.poisson(np.maximum(light + glow + still, 0) / 2.0) * 2.0
        noisy = counts + rng.normal(100, 8, shape[1:])
        image[t] = np.clip(noisy, 0, 4095).astype(np.uint16)
    return image, objects


def _turned(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a rotation in space."""
    turned, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(turned * np.sign(np.diag(upper)))


def _ellipsoid(
    grid: tuple[Any, Any, Any],
    centre: NDArray[np.float64],
    radii: NDArray[np.float64],
    turn: NDArray[np.float64],
    spacing: float,
) -> NDArray[np.bool_]:
    away = [(axis - at) for axis, at in zip(grid, centre, strict=True)]
    away[0] = away[0] * spacing
    total = 0.0
    for row, radius in zip(turn, radii, strict=True):
        along = sum(part * a for part, a in zip(row, away, strict=True))
        total = total + (along / radius) ** 2
    return np.asarray(total < 1)


def _crawlers(
    rng: np.random.Generator, shape: tuple[int, int, int], count: int, speed: float
) -> Iterable[list[tuple[Any, float, float, float, Any]]]:
    """Return for each cell where and how it is at each time."""
    starts: list[NDArray[np.float64]] = []
    for _ in range(count * 20):
        if len(starts) == count:
            break
        start = rng.uniform((25, 25), np.array(shape[1:]) - 25)
        if all(np.hypot(*(start - other)) > 44 for other in starts):
            starts.append(start)
    for start in starts:
        centre, heading = start.copy(), rng.uniform(0, 2 * np.pi)
        radius, ratio = rng.uniform(11, 18), np.sqrt(rng.uniform(1.0, 2.2))
        waves = rng.normal(0, 0.06, (3, 2))
        each = []
        for _ in range(shape[0]):
            each.append((centre.copy(), radius, ratio, heading, waves.copy()))
            heading += rng.normal(0, 0.25)
            step = speed * rng.uniform(0.4, 1.4)
            centre += step * np.array([np.sin(heading), np.cos(heading)])
            low, high = np.array([12.0, 12.0]), np.array(shape[1:]) - 12.0
            if ((centre < low) | (centre > high)).any():
                heading += np.pi / 2
            centre = np.clip(centre, low, high)
            waves = 0.9 * waves + rng.normal(0, 0.02, (3, 2))
            ratio = float(np.clip(ratio * np.exp(rng.normal(0, 0.04)), 1.0, 1.6))
        yield each


def _cell(
    rows: NDArray[Any],
    cols: NDArray[Any],
    radius: float,
    ratio: float,
    turn: float,
    waves: NDArray[Any],
) -> NDArray[np.bool_]:
    along = (rows * np.sin(turn) + cols * np.cos(turn)) / ratio
    across = (rows * np.cos(turn) - cols * np.sin(turn)) * ratio
    angle = np.arctan2(across, along)
    edge = np.ones_like(angle)
    for n, (even, odd) in enumerate(waves, start=2):
        edge += even * np.cos(n * angle) + odd * np.sin(n * angle)
    return np.asarray(np.hypot(along, across) < radius * edge)


def _apart(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return what is inside, with a line between cells that touch."""
    padded = np.pad(labels, 1, mode="edge")
    same = np.ones(labels.shape, bool)
    for row, col in ((0, 1), (2, 1), (1, 0), (1, 2)):
        other = padded[row : row + labels.shape[0], col : col + labels.shape[1]]
        same &= (other == labels) | (other == 0)
    return (labels > 0) & same
