"""Composites whose alpha is known exactly.

An image is ``alpha F + (1 - alpha) B``. Foregrounds are computed
(:mod:`~napari_clickseg.training.generators.foregrounds`), or objects of packs whose
masks get edges as lenses make them, and perhaps hair. Noise of the camera is added to
F and B alike, which adds it to the image once, so that the equation still holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from napari_clickseg.training.augment import placement
from napari_clickseg.training.generators.foregrounds import blurred, foreground
from napari_clickseg.training.generators.strands import (
    Layer,
    hairy,
    over,
    premultiplied,
    unmultiplied,
)
from napari_clickseg.training.generators.textures import (
    Floats,
    Photos,
    background,
    noise,
    smoothstep,
)
from napari_clickseg.training.packs import Item, Pack, read_labels, read_rgb

#: What a trimap says of a pixel.
BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255
#: Alpha this close to 0 or 1 rounds to it in 8 bits.
CERTAIN = 0.5 / 255


@dataclass(frozen=True)
class MattingSample:
    """A composite and everything that it was made of.

    Attributes
    ----------
    image, foreground, background : ndarray of uint8, shape (H, W, 3)
        RGB; the foreground's colours are known outside of it, too.
    alpha : ndarray of float32, shape (H, W)
        From 0 to 1.
    trimap : ndarray of uint8, shape (H, W)
        0 background, 128 unknown, 255 foreground.
    """

    image: NDArray[np.uint8]
    foreground: NDArray[np.uint8]
    background: NDArray[np.uint8]
    alpha: Floats
    trimap: NDArray[np.uint8]


class Sources:
    """Where photos and objects come from.

    Parameters
    ----------
    packs : sequence of Pack
        Photos give backgrounds, textures and objects; cut-outs give objects. With
        none, everything is computed.
    """

    def __init__(self, packs: Sequence[Pack] = ()) -> None:
        self.photos_by_pack: list[tuple[float, tuple[Item, ...]]] = [
            (pack.spec.weight, pack.items)
            for pack in packs
            if pack.spec.kind != "cutout" and pack.spec.weight > 0
        ]
        self.cutouts: list[Path] = [
            item.image
            for pack in packs
            if pack.spec.kind == "cutout"
            for item in pack.items
        ]
        weights = np.array([weight for weight, _ in self.photos_by_pack])
        self.shares = weights / weights.sum() if len(weights) else weights

    @property
    def photos(self) -> Photos | None:
        """Draw a photo, if there are any."""
        return self._photo if self.photos_by_pack else None

    def item(self, rng: Generator) -> Item:
        """Draw a labelled photo."""
        items = self.photos_by_pack[int(rng.choice(len(self.shares), p=self.shares))][1]
        return items[int(rng.integers(len(items)))]

    def _photo(self, rng: Generator) -> NDArray[np.uint8]:
        return read_rgb(self.item(rng).image)[..., :3]


def composite(
    shape: tuple[int, int],
    rng: Generator,
    sources: Sources | None = None,
    widths: tuple[float, float] = (1.0, 22.0),
) -> MattingSample:
    """Draw a composite.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    rng : Generator
        Source of chance; the same seed gives the same sample.
    sources : Sources, optional
        Packs; without them everything is computed.
    widths : (float, float)
        See :func:`make_trimap`.

    Returns
    -------
    MattingSample
        ``image`` is the rounded blend of ``foreground`` and ``background``.
    """
    sources = sources or Sources()
    while True:
        layer = _layer(shape, rng, sources)
        # an object that lies outside, or nothing but it: nothing to learn
        if float(layer.alpha.mean()) > 0.01 and float(layer.alpha.min()) < 0.5:
            break
    if rng.random() < 0.12:
        below = _layer(shape, rng, sources)
        paint = over(premultiplied(layer), premultiplied(below))
        layer = unmultiplied(paint, layer.colour)
    behind = background(shape, rng, sources.photos)
    own, behind = _relit(layer.colour, rng), _relit(behind, rng)
    if rng.random() < 0.15:  # white fur before a white wall: hardly any contrast
        weights = np.broadcast_to(layer.alpha[..., None], own.shape)
        gap = behind.mean((0, 1)) - np.average(own, (0, 1), weights)
        own = own + np.float32(rng.uniform(0.6, 1)) * gap
    if rng.random() < 0.6:
        strength = np.float32(np.exp(rng.uniform(np.log(0.003), np.log(0.05))))
        grain = strength * rng.standard_normal((*shape, 3), dtype=np.float32)
        own, behind = own + grain, behind + grain
    front, back = _bytes(own), _bytes(behind)
    alpha = layer.alpha
    alpha[alpha < CERTAIN] = 0
    alpha[alpha > 1 - CERTAIN] = 1
    share = alpha[..., None]
    blend = share * front.astype(np.float32) + (1 - share) * back.astype(np.float32)
    return MattingSample(
        np.rint(blend).astype(np.uint8),
        front,
        back,
        alpha,
        make_trimap(alpha, rng, widths),
    )


def make_trimap(
    alpha: Floats, rng: Generator, widths: tuple[float, float] = (1.0, 22.0)
) -> NDArray[np.uint8]:
    """Mark what is unknown: all that is mixed, and a band around it.

    Parameters
    ----------
    alpha : ndarray, shape (H, W)
        From 0 to 1.
    rng : Generator
        Source of chance.
    widths : (float, float)
        Range of the band's width in pixels (log-uniform), drawn for either side;
        for some trimaps it differs from place to place, as if painted by hand.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        Never certain where alpha is neither 0 nor 1.
    """
    solid = (alpha > 0.5).astype(np.uint8)
    mixed = (alpha >= CERTAIN) & (alpha <= 1 - CERTAIN)
    kernel = np.ones((3, 3), np.uint8)
    mixed |= cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, kernel) > 0
    if not mixed.any():
        return np.where(solid > 0, FOREGROUND, BACKGROUND).astype(np.uint8)
    away = cv2.distanceTransform((~mixed).astype(np.uint8), cv2.DIST_L2, 5)
    low, high = np.log(widths)
    inward, outward = np.exp(rng.uniform(low, high, 2))
    if rng.random() < 0.4:
        cell = max(alpha.shape) / rng.uniform(2, 12)
        away = away / (0.4 + 1.2 * noise(alpha.shape, rng, cell, 2))
    trimap = np.full(alpha.shape, UNKNOWN, np.uint8)
    trimap[(solid == 0) & ~mixed & (away > outward)] = BACKGROUND
    trimap[(solid == 1) & ~mixed & (away > inward)] = FOREGROUND
    return trimap


def _layer(shape: tuple[int, int], rng: Generator, sources: Sources) -> Layer:
    draw = rng.random()
    if sources.photos is not None and draw < 0.35:
        return _labelled(shape, rng, sources)
    if sources.cutouts and draw < 0.47:
        return _cut_out(shape, rng, sources)
    return foreground(shape, rng, sources.photos)


def _placed(
    shape: tuple[int, int],
    box: tuple[int, int, int, int],
    rng: Generator,
) -> NDArray[np.float64]:
    """Draw where an object comes to lie: the map from canvas to image (x, y)."""
    top, left, bottom, right = box
    extent = max((bottom - top) / shape[0], (right - left) / shape[1])
    scale = extent / float(np.exp(rng.uniform(np.log(0.45), np.log(1.6))))
    row, col = (
        (low + high) / 2 + rng.uniform(-0.35, 0.35) * side * scale
        for low, high, side in ((top, bottom, shape[0]), (left, right, shape[1]))
    )
    angle = rng.normal(0, 0.2)
    return placement(shape, (scale, row, col), angle, bool(rng.random() < 0.5))


def _labelled(shape: tuple[int, int], rng: Generator, sources: Sources) -> Layer:
    """Take an object of a pack, with an edge as a lens would make it."""
    item = sources.item(rng)
    index, _, *box = item.objects[int(rng.integers(len(item.objects)))]
    matrix = _placed(shape, (box[0], box[1], box[2], box[3]), rng)
    size = (shape[1], shape[0])
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    photo = read_rgb(item.image)[..., :3]
    picture = cv2.warpAffine(
        photo, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    # an object cut by its photo's border goes on beyond it
    mask = (read_labels(item.mask) == index).astype(np.float32)
    mask = cv2.warpAffine(
        mask, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    smooth = cv2.GaussianBlur(mask, (0, 0), max(1.0, 1.2 / scale))
    # how far the blurred mask rises per pixel, so that the edge's width is ours
    half = rng.uniform(0.5, 1.5) * 0.4 / max(1.0, 1.2 / scale)
    shift = rng.uniform(0.0, 0.1)
    alpha = smoothstep(
        np.asarray(smooth, np.float32),
        max(0.02, 0.5 + shift - min(half, 0.4)),
        min(0.98, 0.5 + shift + min(half, 0.4)),
    )
    # colours at an object's edge are mixed with what was behind it: take inner ones
    inner = cv2.erode(
        (alpha > 0.99).astype(np.uint8),
        np.ones((3, 3), np.uint8),
        iterations=int(np.clip(round(2 / scale), 1, 6)),
    )
    colours = np.asarray(picture, np.float32) / np.float32(255)
    layer = Layer(spread_colours(colours, inner > 0), alpha)
    if rng.random() < 0.45:
        layer = hairy(layer, rng, "fur" if rng.random() < 0.6 else "hair")
    return blurred(layer, rng)


def _cut_out(shape: tuple[int, int], rng: Generator, sources: Sources) -> Layer:
    """Take a cut-out with the alpha that it brings."""
    path = sources.cutouts[int(rng.integers(len(sources.cutouts)))]
    picture = read_rgb(path)
    if picture.shape[2] != 4:
        picture = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    height, width = picture.shape[:2]
    matrix = _placed(shape, (0, 0, height, width), rng)
    opacity = picture[..., 3:].astype(np.float32) / 255
    paint = cv2.warpAffine(
        np.dstack([picture[..., :3] / np.float32(255) * opacity, opacity]),
        matrix,
        (shape[1], shape[0]),
        flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    layer = unmultiplied(
        np.asarray(paint, np.float32), np.zeros((*shape, 3), np.float32)
    )
    layer = Layer(spread_colours(layer.colour, layer.alpha > 0.1), layer.alpha)
    if rng.random() < 0.2:
        layer = hairy(layer, rng, "fur")
    return blurred(layer, rng)


def spread_colours(colours: Floats, known: NDArray[np.bool_]) -> Floats:
    """Give every pixel the colour of the nearest known one.

    Parameters
    ----------
    colours : ndarray, shape (H, W, 3)
    known : ndarray of bool, shape (H, W)
        With none, the colours stay.
    """
    if not known.any():
        return colours
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros(int(labels.max()) + 1, np.int64)
    flat = np.flatnonzero(known)
    places[labels.ravel()[flat]] = flat
    out = colours.reshape(-1, 3)[places[labels]]
    soft = cv2.blur(out, (5, 5))
    return np.asarray(np.where(known[..., None], out, soft), np.float32)


def _relit(colours: Floats, rng: Generator) -> Floats:
    """Change brightness, contrast and tint at random."""
    if rng.random() < 0.3:
        return colours
    gain, shift = rng.uniform(0.65, 1.35), rng.uniform(-0.12, 0.12)
    tint = rng.uniform(0.9, 1.1, 3).astype(np.float32)
    out = np.clip((colours - 0.5) * np.float32(gain) + np.float32(0.5 + shift), 0, 1)
    return np.asarray(np.clip(out * tint, 0, 1), np.float32)


def _bytes(colours: Floats) -> NDArray[np.uint8]:
    return np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
