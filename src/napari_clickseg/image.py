"""Any 2-D array becomes windows of RGB that a network can look at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import ImageError
from napari_clickseg.image_values import finite_within, rescale, robust_range

__all__ = ["ImageSource"]

#: Arrays in memory with at most this many pixels are converted once and kept.
CONVERT_ONCE = 2**22
#: Arrays of at most this many bytes are read whole for the signature.
SIGN_WHOLE = 2**20
#: Sampled blocks of larger arrays: blocks along each axis, pixels along a side.
SAMPLE_GRID, SAMPLE_SIDE = 4, 64
#: A last axis longer than this is taken for a spatial one, unless the caller
#: chooses channels from it.
MAX_GUESSED_CHANNELS = 32
#: About so many values of an array in memory are looked at for the contrast.
SAMPLE_VALUES = 2**20
#: Which chosen channel becomes red, green and blue.
_RGB = {1: (0, 0, 0), 2: (0, 1, 0), 3: (0, 1, 2)}


class ImageSource:
    """Windows of an image as RGB in [0, 1]; lazy arrays are read by window.

    Parameters
    ----------
    array : array-like
        ``(H, W)`` grey or ``(H, W, C)`` with any number of channels; bool, any
        integer or floating type of any byte order. NumPy, dask, zarr, h5py or
        anything else with ``shape``, ``dtype`` and slicing.
    channels : int or sequence of int, optional
        Up to three channels to show the model: one is shown as grey, two as
        magenta and green (napari's own choice for two), three as red, green,
        blue. Default: both of two, the first three of more (which leaves out
        the alpha of RGBA).
    contrast : (low, high) or one such pair per chosen channel, optional
        Values that become 0 and 1, as on screen. Default: 0 to 255 for uint8,
        0 to 1 for bool and for float colour images that lie within; else the
        0.1 and 99.9 percentiles of a sample, of all three together for colour
        (three or four channels, none chosen), otherwise of each channel.
    channel_axis : int, optional
        The axis that holds the channels. Without it, the last of three; an
        array that could as well be channels-first is refused.

    Raises
    ------
    ImageError
        If the array is no such image; the text names the next step.

    Notes
    -----
    NaN becomes 0, infinities become 0 and 1.
    """

    def __init__(
        self,
        array: Any,
        channels: int | Sequence[int] | None = None,
        contrast: Any = None,
        *,
        channel_axis: int | None = None,
    ) -> None:
        if not _is_sliceable(array):
            array = _as_array(array)
        self.array = array
        self.dtype = _check_dtype(array.dtype)
        shape = _check_shape(array.shape)
        self.channel_axis = _find_channel_axis(shape, channels, channel_axis)
        self.count = 1 if self.channel_axis is None else shape[self.channel_axis]
        height, width = (n for i, n in enumerate(shape) if i != self.channel_axis)
        self.shape: tuple[int, int] = (height, width)
        if 0 in shape:
            raise ImageError(
                f"The image is empty (shape {shape}): there is nothing to click on. "
                "Choose an image with pixels."
            )
        self.channels = _choose_channels(self.count, channels)
        # Three or four channels that nobody chose from are one colour image.
        self.colour = channels is None and self.count in (3, 4)
        self._given = _check_contrast(contrast, len(self.channels))
        self._signature: str | None = None
        self._last: tuple[Box, NDArray[np.float32]] | None = None

    @property
    def lazy(self) -> bool:
        """Whether reading may be slow (not an array in memory)."""
        return type(self.array) is not np.ndarray

    @cached_property
    def limits(self) -> NDArray[np.float64]:
        """Low and high value of each chosen channel, ``(len(channels), 2)``."""
        if self._given is not None:
            return self._given
        if self.dtype in (np.uint8, np.bool_):
            pair = (0.0, 255.0 if self.dtype == np.uint8 else 1.0)
            return np.tile(np.array(pair), (len(self.channels), 1))
        values = self._sample_values()[:, self.channels]
        if not self.colour:
            return np.array([robust_range(channel) for channel in values.T])
        low, high = robust_range(values)
        if self.dtype.kind == "f" and finite_within(values, 0, 1):
            low, high = 0.0, 1.0
        return np.tile(np.array((low, high)), (len(self.channels), 1))

    @property
    def contrast(self) -> NDArray[np.float64] | None:
        """The pairs that were given, one for each chosen channel; else None."""
        return self._given

    def shown(
        self, contrast: Any = None, channels: int | Sequence[int] | None = None
    ) -> ImageSource:
        """Return the same image with other contrast, and other channels if given."""
        if channels is None and not self.colour:
            channels = self.channels
        return ImageSource(
            self.array, channels, contrast, channel_axis=self.channel_axis
        )

    def window(self, box: Box) -> NDArray[np.float32]:
        """Return one part of the image as the model sees it.

        Parameters
        ----------
        box : Box
            Inside the image, not empty.

        Returns
        -------
        ndarray
            ``(h, w, 3)`` float32 RGB in [0, 1], C-contiguous, the caller's own.

        Raises
        ------
        ImageError
            If the box is empty or reaches outside the image.
        """
        if box.empty or box.clip(self.shape) != box:
            raise ImageError(
                f"The window {tuple(box)} is not a part of an image of shape "
                f"{self.shape}. Clip it to the image first."
            )
        held = self._held(box)
        rows, cols = box.relative_to(held[0]).slices
        return np.array(held[1][rows, cols], order="C")

    def release(self) -> None:
        """Let go of pixels that are kept to be quick; they are read again."""
        self._last = None

    def describe(self) -> dict[str, Any]:
        """Return which image it is and how it is shown, ready for JSON."""
        return {
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "signature": self.signature(),
            "channels": None if self.colour else list(self.channels),
            "contrast": None if self._given is None else self._given.tolist(),
            "channel_axis": self.channel_axis,
        }

    def signature(self) -> str:
        """Return a fingerprint of shape, type and content.

        Small arrays are read whole, others in a few blocks, so that the
        fingerprint of an image of any size takes little time. The same values
        give the same fingerprint whether they lie in memory or are lazy and in
        whichever byte order.
        """
        if self._signature is not None:
            return self._signature
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.shape} {self.count} {self.dtype.name}".encode())
        for block in self._blocks_to_sign():
            little = block.astype(block.dtype.newbyteorder("<"), copy=False)
            digest.update(np.ascontiguousarray(little).tobytes())
        self._signature = digest.hexdigest()
        return self._signature

    def _held(self, box: Box) -> tuple[Box, NDArray[np.float32]]:
        """Return a converted part that holds the box, and where it lies.

        Clicks on one object look at the same window again and again, so the
        last one is kept (the whole image where that is small).
        """
        last = self._last
        if last is not None and box.intersect(last[0]) == box:
            return last
        whole = Box.of_shape(self.shape)
        if not self.lazy and whole.area <= CONVERT_ONCE:
            box = whole
        self._last = last = (box, self._convert(box))
        return last

    def _convert(self, box: Box) -> NDArray[np.float32]:
        first, last = min(self.channels), max(self.channels)
        raw = self._read(box, slice(first, last + 1))
        low, high = self.limits[0]
        # RGB that is shown as it is needs no taking apart.
        if tuple(self.channels) == (0, 1, 2) and (self.limits == (low, high)).all():
            return rescale(raw, low, high)
        planes = [
            rescale(raw[..., channel - first], low, high)
            for channel, (low, high) in zip(self.channels, self.limits, strict=True)
        ]
        return np.stack([planes[i] for i in _RGB[len(planes)]], axis=-1)

    def _read(self, box: Box, channels: slice) -> NDArray[Any]:
        """Read ``(h, w, c)`` of the array itself, and nothing beyond it."""
        index: list[slice] = list(box.slices)
        if self.channel_axis is None:
            return np.asarray(self.array[tuple(index)])[..., np.newaxis]
        index.insert(self.channel_axis, channels)
        return np.moveaxis(np.asarray(self.array[tuple(index)]), self.channel_axis, -1)

    def _blocks(self) -> list[NDArray[Any]]:
        """Return a few blocks ``(h, w, C)`` spread evenly over the image."""
        return [self._read(box, slice(None)) for box in _spread_boxes(self.shape)]

    def _sample_values(self) -> NDArray[Any]:
        """Return values ``(n, C)`` that stand for the image.

        Memory is cheap to look at everywhere, which finds sparse bright spots;
        of lazy arrays only a few blocks are read.
        """
        if self.lazy:
            blocks = self._blocks()
        else:
            area = self.shape[0] * self.shape[1]
            step = max(1, round((area * self.count / SAMPLE_VALUES) ** 0.5))
            whole = self._read(Box.of_shape(self.shape), slice(None))
            blocks = [whole[::step, ::step]]
        return np.concatenate([block.reshape(-1, self.count) for block in blocks])

    def _blocks_to_sign(self) -> list[NDArray[Any]]:
        height, width = self.shape
        if height * width * self.count * self.dtype.itemsize <= SIGN_WHOLE:
            return [self._read(Box.of_shape(self.shape), slice(None))]
        return self._blocks()


def _is_sliceable(array: Any) -> bool:
    """Whether windows can be cut out of it as it is (a NumPy-like array)."""
    return (
        isinstance(getattr(array, "dtype", None), np.dtype)
        and hasattr(array, "shape")
        and hasattr(array, "__getitem__")
    )


def _as_array(array: Any) -> NDArray[Any]:
    try:
        return np.asarray(array)
    except ValueError as error:
        raise ImageError(
            f"The image is no array ({error}). Pass rows of the same length, for "
            "example a NumPy array."
        ) from error


def _check_shape(shape: Sequence[Any]) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in shape)
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"The image does not know its shape ({tuple(shape)}). For a dask array "
            "call image.compute_chunk_sizes() first."
        ) from error


def _check_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
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


def _find_channel_axis(
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


def _choose_channels(
    count: int, channels: int | Sequence[int] | None
) -> tuple[int, ...]:
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


def _check_contrast(contrast: Any, count: int) -> NDArray[np.float64] | None:
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


def _spread_boxes(shape: tuple[int, int]) -> Iterator[Box]:
    """Yield boxes on a grid from corner to corner; all pixels of a small image."""
    starts = [
        np.unique(
            np.linspace(0, max(0, n - SAMPLE_SIDE), SAMPLE_GRID).round().astype(int)
        )
        if n > SAMPLE_GRID * SAMPLE_SIDE
        else [0]
        for n in shape
    ]
    sides = [SAMPLE_SIDE if n > SAMPLE_GRID * SAMPLE_SIDE else n for n in shape]
    for top in starts[0]:
        for left in starts[1]:
            yield Box(
                int(top), int(left), int(top) + sides[0], int(left) + sides[1]
            ).clip(shape)
