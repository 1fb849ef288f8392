"""What users give for an image and for how it is shown, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import ImageError
from napari_clickseg.image_colors import Table

__all__ = [
    "as_array",
    "check_colormaps",
    "check_contrast",
    "check_dtype",
    "check_gamma",
    "check_shape",
    "choose_channels",
    "find_channel_axis",
    "is_sliceable",
]

#: A last axis longer than this is taken for a spatial one, unless the caller
#: chooses channels from it.
MAX_GUESSED_CHANNELS = 32
#: Color maps have no more colors than that.
MOST_COLORS = 65_536


def is_sliceable(array: Any) -> bool:
    """Whether windows can be cut out of it as it is (a NumPy-like array)."""
    return (
        isinstance(getattr(array, "dtype", None), np.dtype)
        and hasattr(array, "shape")
        and hasattr(array, "__getitem__")
    )


def as_array(array: Any) -> NDArray[Any]:
    """Return a list of rows, or the like, as an array."""
    try:
        return np.asarray(array)
    except ValueError as error:
        raise ImageError(
            f"The image is no array ({error}). Pass rows of the same length, for "
            "example a NumPy array."
        ) from error


def check_shape(shape: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape, if the array knows it."""
    try:
        return tuple(int(size) for size in shape)
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"The image does not know its shape ({tuple(shape)}). For a dask array "
            "call image.compute_chunk_sizes() first."
        ) from error


def check_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type, if it holds real numbers."""
    if dtype.kind == "c":
        raise ImageError(
            f"The image holds complex numbers ({dtype}). Choose a real image, for "
            "example its magnitude np.abs(image) or phase np.angle(image)."
        )
    if dtype.kind not in "buif":
        raise ImageError(
            f"The image holds {dtype} values. Convert it to numbers first, for "
            "example with np.asarray(image, dtype=float)."
        )
    return dtype


def find_channel_axis(
    shape: tuple[int, ...],
    channels: int | Sequence[int] | None,
    channel_axis: int | None,
) -> int | None:
    """Return which axis holds channels, or None for a grey image."""
    if len(shape) not in (2, 3):
        raise ImageError(
            f"An image of shape {shape} has {len(shape)} axes; a session works on one "
            "2-D plane, (H, W) or (H, W, C). Cut the plane out first, for example "
            "image[t, z]."
        )
    if channel_axis is not None:
        if len(shape) == 2 or not -3 <= channel_axis < 3:
            raise ImageError(
                f"An image of shape {shape} has no channel axis {channel_axis}. Leave "
                "channel_axis out for a grey image; for three axes it is 0, 1 or 2."
            )
        return channel_axis % 3
    if len(shape) == 2:
        return None
    first, last = shape[0], shape[2]
    if last > 4 and first < last and first <= MAX_GUESSED_CHANNELS:
        raise ImageError(
            f"An image of shape {shape} looks like (channels, rows, columns) or like "
            "a stack of planes. If the first axis holds channels, pass "
            "channel_axis=0; if it is a stack, cut out one plane, for example "
            "image[0]; if the last axis holds channels, pass channel_axis=2."
        )
    if last > MAX_GUESSED_CHANNELS and channels is None:
        raise ImageError(
            f"An image of shape {shape} seems to have three spatial axes; a session "
            "works on one 2-D plane. Cut the plane out first, for example image[0], "
            f"or, if these are {last} channels, choose up to three with channels=."
        )
    return 2


def choose_channels(
    count: int, channels: int | Sequence[int] | None
) -> tuple[int, ...]:
    """Return up to three numbers of channels, none of them negative."""
    if channels is None:
        return tuple(range(min(count, 3)))
    try:
        given = np.atleast_1d(np.asarray(channels))
        chosen = tuple(int(c) for c in given) if given.dtype.kind in "ui" else ()
    except (TypeError, ValueError):
        chosen = ()
    if not 1 <= len(chosen) <= 3 or any(not -count <= c < count for c in chosen):
        raise ImageError(
            f"channels={channels!r} does not fit an image with {count} channel(s). "
            f"Choose one to three numbers from 0 to {count - 1}, for example "
            f"channels={tuple(range(min(count, 3)))}."
        )
    return tuple(c % count for c in chosen)


def check_contrast(contrast: Any, count: int) -> NDArray[np.float64] | None:
    """Return low and high of each chosen channel, or None where none are given."""
    if contrast is None:
        return None
    try:
        pairs = np.atleast_2d(np.asarray(contrast, dtype=np.float64))
    except (TypeError, ValueError):
        pairs = np.empty((0, 0))
    if pairs.shape not in ((1, 2), (count, 2)):
        raise ImageError(
            f"contrast={contrast!r} is neither one pair (low, high) nor one pair for "
            f"each of the {count} chosen channel(s)."
        )
    if not (np.isfinite(pairs).all() and (pairs[:, 0] < pairs[:, 1]).all()):
        raise ImageError(
            f"contrast={contrast!r}: each pair is (low, high), finite, with low below "
            "high."
        )
    return np.broadcast_to(pairs, (count, 2)).copy()


def check_gamma(gamma: Any, count: int) -> tuple[float, ...]:
    """Return the exponent of each chosen channel."""
    try:
        values = np.atleast_1d(np.asarray(gamma, dtype=np.float64))
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    if (
        values.shape not in ((1,), (count,))
        or not np.isfinite(values).all()
        or not (values > 0).all()
    ):
        raise ImageError(
            f"gamma={gamma!r} is neither one number above 0 nor one for each of the "
            f"{count} chosen channel(s). Leave it out for 1."
        )
    return tuple(float(v) for v in np.broadcast_to(values, (count,)))


def check_colormaps(colormaps: Any, count: int) -> tuple[Table, ...] | None:
    """Return the color table of each chosen channel, or None where none are given."""
    if colormaps is None:
        return None
    try:
        tables = [np.asarray(each, dtype=np.float64) for each in colormaps]
    except (TypeError, ValueError):
        tables = []
    if len(tables) != count or not all(map(_is_table, tables)):
        raise ImageError(
            f"colormaps={_short(colormaps)} is not one table of colors for each of the "
            f"{count} chosen channel(s): rows of red, green and blue from 0 to 1, at "
            "least two, the first for the darkest value. Green, for example, is "
            "[(0, 0, 0), (0, 1, 0)]."
        )
    return tuple(tuple(map(tuple, table.tolist())) for table in tables)


def _is_table(table: NDArray[np.float64]) -> bool:
    if table.ndim != 2 or table.shape[1] != 3 or not 2 <= len(table) <= MOST_COLORS:
        return False
    return bool(((table >= 0) & (table <= 1)).all())  # NaN is neither


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
