"""A picture of what was clicked and what came of it."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.image import ImageSource

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from napari_clickseg.clicks import Click

# Told apart by people with red-green blindness, too; the sign is drawn as well.
POSITIVE = (0, 158, 115)
NEGATIVE = (213, 60, 0)
WHITE = (255, 255, 255)


def draw_overlay(
    image: Any,
    labels: ArrayLike,
    clicks: Iterable[Click] = (),
    *,
    opacity: float = 0.4,
) -> NDArray[np.uint8]:
    """Draw objects and clicks over an image.

    Parameters
    ----------
    image : ImageSource or array (H, W) or (H, W, C)
        Shown with the contrast that the model sees.
    labels : array (H, W) of int
        0 background, each object in a colour of its own with an outline.
    clicks : iterable of Click
        Drawn as discs, green with a plus or red with a minus.
    opacity : float
        How much of the colour covers an object, 0 to 1.

    Returns
    -------
    array (H, W, 3) of uint8
    """
    source = image if isinstance(image, ImageSource) else ImageSource(image)
    labels = np.asarray(labels)
    rgb = source.window(Box.of_shape(source.shape)) * 255.0
    colours = _colours(labels)
    inside = labels != 0
    tint = colours[np.searchsorted(colours[:, 0], labels[inside]), 1:]
    rgb[inside] = (1 - opacity) * rgb[inside] + opacity * tint
    outline = _outline(labels)
    rgb[outline] = colours[np.searchsorted(colours[:, 0], labels[outline]), 1:]
    pixels: NDArray[np.uint8] = np.clip(np.round(rgb), 0, 255).astype(np.uint8)
    radius = max(4, round(max(source.shape) / 110))
    for click in clicks:
        _draw_click(pixels, click, radius)
    return pixels


def write_overlay(
    path: str | os.PathLike[str],
    image: Any,
    labels: ArrayLike,
    clicks: Iterable[Click] = (),
) -> Path:
    """Write :func:`draw_overlay` as a picture; the ending says which kind."""
    from PIL import Image

    from napari_clickseg.errors import ImageError

    path = Path(path)
    if path.suffix.lower() not in {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"}:
        raise ImageError(
            f"The overlay cannot be written as {path.name}: end the name in .png or "
            ".jpg."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_overlay(image, labels, clicks)).save(path)
    return path


def label_colour(label: int) -> tuple[int, int, int]:
    """Return a strong colour; neighbouring labels get very different ones."""
    # Steps of the golden ratio around the hue circle never come close to each other.
    hue = (0.58 + (label - 1) * 0.618033988749895) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _colours(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return rows of label, red, green, blue, sorted by label."""
    ids = np.unique(labels)
    return np.array([[label, *label_colour(int(label))] for label in ids], np.float64)


def _outline(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the object pixels that touch something else."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        one = np.moveaxis(labels, axis, 0)
        touching = np.moveaxis(edge, axis, 0)
        differs = one[1:] != one[:-1]
        touching[1:] |= differs
        touching[:-1] |= differs
    outline: NDArray[np.bool_] = edge & (labels != 0)
    return outline


def _draw_click(pixels: NDArray[np.uint8], click: Click, radius: int) -> None:
    row, col = round(click.row), round(click.col)
    reach = radius + 1
    top, left = max(0, row - reach), max(0, col - reach)
    window = pixels[top : row + reach + 1, left : col + reach + 1]
    rows, cols = np.ogrid[: window.shape[0], : window.shape[1]]
    down, right = rows + top - row, cols + left - col
    distance = down**2 + right**2
    window[distance <= (radius + 1) ** 2] = WHITE
    window[distance <= radius**2] = POSITIVE if click.positive else NEGATIVE
    arm, thick = round(radius * 0.6), max(0, radius // 6)
    sign = (np.abs(down) <= thick) & (np.abs(right) <= arm)
    if click.positive:
        sign = sign | ((np.abs(right) <= thick) & (np.abs(down) <= arm))
    window[sign] = WHITE
