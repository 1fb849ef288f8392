"""Which windows of an image are encoded ahead of time, and the settings to match.

Where a click will fall is not known beforehand, so only windows can be prepared that
do not depend on it: the whole image at one size, which is how InterFormer is meant to
be used; and of images with much more detail than that, tiles at full resolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from napari_clickseg.boxes import Box
from napari_clickseg.errors import SettingsError
from napari_clickseg.prediction.predictor import WHOLE_PIXELS
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.prediction.views import Size, limit_size

#: Longest side of the whole image for models that do not say: InterFormer's training.
SIDE = 512


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an image, the size a model sees it at, and whether mirrored."""

    box: Box
    size: Size
    flipped: bool = False


def side_of(model: Any) -> int:
    """Return the longest side that images are reduced to for a model.

    What its network reduces larger inputs to anyway, else :data:`SIDE`.
    """
    side = getattr(getattr(model, "network", model), "max_side", None)
    return SIDE if side is None else int(side)


def prepared_settings(
    side: int, settings: PredictionSettings | None = None, *, flip: bool = False
) -> PredictionSettings:
    """Return settings under which every click asks for the prepared whole image.

    No window is cut out, and nothing is averaged with the mirror image unless that
    was prepared, too.

    Parameters
    ----------
    side : int
        Longest side that the image was encoded at.
    settings : PredictionSettings, optional
        What else is to hold.
    flip : bool
        Whether the mirror image was encoded, too.
    """
    return replace(
        settings or PredictionSettings(),
        zoom_in=False,
        first_look="published",
        max_size=side,
        flip=flip,
    )


def windows_of(
    shape: Size, side: int, *, tiles: bool = False, flip: bool = False
) -> Iterator[Window]:
    """Yield the windows of an image to encode.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    side : int
        Longest side of the whole image for the model; also the side of tiles.
    tiles : bool
        Also tiles at full resolution, where the image is larger than one. Images of
        more than 2**24 pixels are never seen as a whole: of them there are tiles only.
    flip : bool
        Each window as its mirror image, too.
    """
    if side < 32:
        raise SettingsError(f"A side of {side} pixels shows nothing: give 32 or more.")
    whole = Box.of_shape(shape)
    parts = [Window(whole, limit_size(shape, side))]
    if whole.area > WHOLE_PIXELS:
        parts, tiles = [], True
    if tiles and max(shape) > side:
        parts += [Window(box, box.shape) for box in tiles_of(shape, side)]
    for part in parts:
        yield part
        if flip:
            yield replace(part, flipped=True)


def tiles_of(shape: Size, side: int) -> list[Box]:
    """Return tiles that overlap by half, the last ones flush with the border.

    Every pixel that is at least a quarter of a tile away from the image's border is
    as far away from the border of some tile.
    """
    rows, cols = (_starts(length, side) for length in shape)
    return [
        Box(top, left, top + min(side, shape[0]), left + min(side, shape[1]))
        for top in rows
        for left in cols
    ]


def tile_at(shape: Size, side: int, row: float, col: float) -> Box:
    """Return the tile in whose middle a position is, as nearly as there is one."""
    top, left = (
        min(_starts(length, side), key=lambda n: abs(n + (side - 1) / 2 - place))
        for length, place in zip(shape, (row, col), strict=True)
    )
    return Box(top, left, top + min(side, shape[0]), left + min(side, shape[1]))


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    last = length - side
    return [*range(0, last, side // 2), last]
