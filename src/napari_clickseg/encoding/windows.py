"""Which windows of an image are encoded ahead of time, and the settings to match.

They are those of the pyramid that prediction keeps to
(:mod:`napari_clickseg.prediction.tiles`): the whole image at one size, which is how
InterFormer is meant to be used, and if wanted all finer tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from napari_clickseg.boxes import Box
from napari_clickseg.errors import ModelError, SettingsError
from napari_clickseg.prediction import tiles as pyramid
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.prediction.views import Size

#: An image with more windows is not prepared.
MOST_WINDOWS = 100_000
#: Longest side of a window for models that do not say: InterFormer's training.
SIDE = 512


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an image, the size a model sees it at, and whether mirrored."""

    box: Box
    size: Size
    flipped: bool = False


def side_of(model: Any) -> int:
    """Return the longest side of a model's windows, by default :data:`SIDE`."""
    return int(getattr(model, "tile_side", SIDE))


def prepared_settings(
    side: int,
    settings: PredictionSettings | None = None,
    *,
    tiles: bool = False,
    flip: bool = False,
) -> PredictionSettings:
    """Return settings under which every click asks for what was prepared.

    Parameters
    ----------
    side : int
        Longest side of the windows that were encoded.
    settings : PredictionSettings, optional
        What else is to hold.
    tiles : bool
        Whether tiles were encoded, too: then the model looks closer where an object
        is small. Otherwise every click sees the whole image.
    flip : bool
        Whether mirror images were encoded, too: then answers are averaged.
    """
    settings = settings or PredictionSettings()
    look = settings.first_look
    if not tiles:
        look = "published"
    elif look == "published":
        look = "search"
    return replace(
        settings,
        windows="tiles",
        tile_side=side,
        magnify=1,
        zoom_in=tiles,
        first_look=look,
        max_size=side,
        flip=flip,
    )


def check_count(shape: Size, side: int) -> None:
    """Refuse an image with more windows than can be kept in a list.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    side : int
        Longest side of a window.

    Raises
    ------
    ModelError
        With the size that would do.
    """
    # Tiles of the finest level overlap by half; coarser ones add a third.
    about = 4 / 3 * 4 * shape[0] * shape[1] / side**2
    if about > MOST_WINDOWS:
        most = int((MOST_WINDOWS * 3 / 16) ** 0.5 * side)
        raise ModelError(
            f"An image of {shape[0]:,} x {shape[1]:,} pixels has about {about:,.0f} "
            f"windows to prepare; {MOST_WINDOWS:,} can be, as of {most:,} x {most:,} "
            "pixels. Click without preparing: each click then encodes what it needs."
        )


def windows_of(
    shape: Size,
    side: int,
    *,
    tiles: bool = False,
    flip: bool = False,
    within: Box | None = None,
) -> Iterator[Window]:
    """Yield the windows of an image to encode, coarse to fine.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    side : int
        Longest side of a window for the model.
    tiles : bool
        Also the finer levels of the pyramid. Images of more than 2**24 pixels are
        never seen as a whole: of them there are tiles in any case.
    flip : bool
        Each window as its mirror image, too.
    within : Box, optional
        Only windows that share a pixel with it.
    """
    if side < 32:
        raise SettingsError(f"A side of {side} pixels shows nothing: give 32 or more.")
    tiles = tiles or Box.of_shape(shape).area > pyramid.WHOLE_PIXELS
    for tile in pyramid.tiles(shape, side, within):
        if tile.level and not tiles:
            return
        window = Window(tile.box, tile.size)
        yield window
        if flip:
            yield replace(window, flipped=True)
