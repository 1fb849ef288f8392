"""Augmentation: windows, colour, and pasting of cut-outs (OpenCV, uint8)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Labels = NDArray[np.int16]


def choose_window(
    box: tuple[int, int, int, int],
    shape: tuple[int, int],
    canvas: tuple[int, int],
    spread: tuple[float, float] | None,
    rng: Generator,
    min_side: float = 0.0,
) -> tuple[float, float, float]:
    """Choose what part of an image a canvas shows.

    Parameters
    ----------
    box : tuple of int
        Object's top, left, bottom, right.
    shape, canvas : tuple of int
        Heights and widths of the image and of the canvas.
    spread : tuple of float, optional
        Range of the window's side over the object's (log-uniform). None shows
        as much of the image as the canvas's shape allows.
    rng : Generator
        Source of chance.
    min_side : float
        Smallest side of the window in image pixels.

    Returns
    -------
    tuple of float
        Image pixels per canvas pixel, and the window's centre (row, col).
    """
    top, left, bottom, right = box
    whole = min(shape[0] / canvas[0], shape[1] / canvas[1])
    if spread is None:
        scale = whole * rng.uniform(0.75, 1.0)
    else:
        factor = np.exp(rng.uniform(np.log(spread[0]), np.log(spread[1])))
        scale = factor * max((bottom - top) / canvas[0], (right - left) / canvas[1])
        scale = max(scale, min_side / max(canvas), 1 / 10)
        scale = min(scale, whole)
    centre = []
    for low, high, size, side in (
        (top, bottom, shape[0], canvas[0] * scale),
        (left, right, shape[1], canvas[1] * scale),
    ):
        half = side / 2
        slack = max(side - (high - low), 0.3 * side) / 2
        middle = (low + high) / 2 + rng.uniform(-0.8, 0.8) * slack
        centre.append(float(np.clip(middle, half, max(size - half, half))))
    return float(scale), centre[0], centre[1]


def placement(
    canvas: tuple[int, int],
    window: tuple[float, float, float],
    angle: float,
    flip: bool = False,
) -> NDArray[np.float64]:
    """Return the affine map ``(2, 3)`` from canvas (x, y) to image (x, y).

    Pixel centres are whole numbers, as OpenCV wants them.

    Parameters
    ----------
    canvas : tuple of int
        Height and width.
    window : tuple of float
        Image pixels per canvas pixel, and the window's centre (row, col).
    angle : float
        Radians.
    flip : bool
        Mirror left and right.
    """
    scale, row, col = window
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    sign = -1.0 if flip else 1.0
    cy, cx = (canvas[0] - 1) / 2, (canvas[1] - 1) / 2
    return np.array(
        [
            [sign * cos, -sin, col - 0.5 - sign * cos * cx + sin * cy],
            [sign * sin, cos, row - 0.5 - sign * sin * cx - cos * cy],
        ]
    )


def warp(
    image: Image,
    labels: Labels,
    wanted: NDArray[np.int16],
    canvas: tuple[int, int],
    window: tuple[float, float, float],
    angle: float,
    flip: bool,
) -> tuple[Image, Labels, NDArray[np.bool_]]:
    """Cut a window, turned and flipped, onto a canvas.

    Returns
    -------
    image : ndarray of uint8, shape (H, W, 3)
    labels : ndarray of int16, shape (H, W)
        -1 outside the image.
    target : ndarray of bool, shape (H, W)
        Where an object of ``wanted`` is, its outline interpolated.
    """
    height, width = canvas
    scale = window[0]
    matrix = placement(canvas, window, angle, flip)
    if scale > 1.5:  # avoid aliasing: warpAffine has no area filter
        factor = 1.0 / scale
        size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        ratio = np.array([[size[0] / image.shape[1]], [size[1] / image.shape[0]]])
        shift = np.zeros((2, 3))
        shift[:, 2:] = 0.5 * ratio - 0.5
        coarse = matrix * ratio + shift
    else:
        small, coarse = image, matrix
    flags = cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(
        small,
        coarse,
        (width, height),
        flags=flags | cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    ids = cv2.warpAffine(
        labels,
        matrix,
        (width, height),
        flags=flags | cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=-1,
    )
    target = cv2.warpAffine(
        np.isin(labels, wanted).astype(np.float32),
        matrix,
        (width, height),
        flags=flags | cv2.INTER_LINEAR,
    )
    return out.astype(np.uint8, copy=False), ids.astype(np.int16), target > 0.5


def paste(
    image: Image,
    cutout: Image,
    rng: Generator,
    share: tuple[float, float] = (0.15, 0.75),
) -> tuple[Image, NDArray[np.bool_]]:
    """Blend an RGBA cut-out at a random place, size and angle.

    Returns
    -------
    image : ndarray, shape (H, W, 3)
    covered : ndarray of bool, shape (H, W)
        Where the cut-out's alpha is at least one half.
    """
    height, width = image.shape[:2]
    side = rng.uniform(*share) * min(height, width)
    scale = max(cutout.shape[:2]) / side
    angle = rng.normal(0, 0.35)
    window = (
        scale,
        cutout.shape[0] / 2 - rng.uniform(-0.4, 0.4) * height * scale,
        cutout.shape[1] / 2 - rng.uniform(-0.4, 0.4) * width * scale,
    )
    matrix = placement((height, width), window, angle)
    # premultiplied, so that transparent pixels lend no colour to the edge
    opacity = cutout[..., 3:].astype(np.float32) / 255
    placed = cv2.warpAffine(
        np.dstack([cutout[..., :3] * opacity, opacity]),
        matrix,
        (width, height),
        flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    alpha = placed[..., 3:]
    mixed = image * (1 - alpha) + placed[..., :3]
    return mixed.astype(np.uint8), alpha[..., 0] >= 0.5


def recolour(image: Image, rng: Generator, microscopy: bool) -> Image:
    """Change contrast, gamma, colour, sharpness and noise at random.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    rng : Generator
        Source of chance.
    microscopy : bool
        Also invert often, and never shift hues of grey images far.
    """
    x = image.astype(np.float32) / 255
    if rng.random() < 0.7:
        gamma = np.exp(rng.normal(0, 0.35 if microscopy else 0.2))
        gain = rng.uniform(0.6, 1.4)
        shift = rng.uniform(-0.15, 0.15)
        x = np.clip((x - 0.5) * gain + 0.5 + shift, 0, 1) ** gamma
    if rng.random() < (0.5 if not microscopy else 0.2):
        x = x * rng.uniform(0.8, 1.2, 3) + rng.uniform(-0.06, 0.06, 3)
    if rng.random() < 0.15:
        x = np.repeat(x @ rng.dirichlet((2, 3, 1))[:, None], 3, axis=2)
    if rng.random() < (0.25 if microscopy else 0.04):
        x = 1 - x
    if rng.random() < 0.06:
        x = x[..., rng.permutation(3)]
    if microscopy and rng.random() < 0.1:  # one dye on black
        x = x * rng.uniform(0, 1, 3)
    x = np.ascontiguousarray(x, dtype=np.float32)
    if rng.random() < 0.15:
        x = np.asarray(cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.6)), np.float32)
    if rng.random() < 0.25:
        x = x + rng.normal(0, rng.uniform(0.005, 0.06), x.shape).astype(np.float32)
    out = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.12:
        quality = int(rng.integers(30, 85))
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return out
