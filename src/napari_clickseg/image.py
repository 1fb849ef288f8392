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
from napari_clickseg.image_checks import (
    as_array,
    check_colormaps,
    check_contrast,
    check_dtype,
    check_gamma,
    check_shape,
    choose_channels,
    find_channel_axis,
    is_sliceable,
)
from napari_clickseg.image_colors import add_colors
from napari_clickseg.image_levels import best_level, box_in_level, stride_for
from napari_clickseg.image_values import finite_within, rescale, robust_range

__all__ = ["ImageSource"]

#: Arrays in memory with at most this many pixels are converted once and kept.
CONVERT_ONCE = 2**22
#: Arrays of at most this many bytes are read whole for the signature.
SIGN_WHOLE = 2**20
#: Sampled blocks of larger arrays: blocks along each axis, pixels along a side.
SAMPLE_GRID, SAMPLE_SIDE = 4, 64
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
    gamma : float or one for each chosen channel
        Exponent of the values from 0 to 1, as on screen: below 1 dark parts are
        brighter.
    colormaps : sequence of array-like, optional
        For each chosen channel a table ``(N, 3)`` of red, green and blue from 0 to 1
        at evenly spaced values, the darkest first; the channels' colors are added,
        as napari does with ``blending="additive"``. Default: as under ``channels``.
    channel_axis : int, optional
        The axis that holds the channels. Without it, the last of three; an
        array that could as well be channels-first is refused.
    coarser : sequence of array-like
        The same image with fewer pixels, finest first: levels of a pyramid.

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
        gamma: float | Sequence[float] = 1.0,
        colormaps: Sequence[Any] | None = None,
        channel_axis: int | None = None,
        coarser: Sequence[Any] = (),
    ) -> None:
        if not is_sliceable(array):
            array = as_array(array)
        self.array = array
        self.dtype = check_dtype(array.dtype)
        shape = check_shape(array.shape)
        self.channel_axis = find_channel_axis(shape, channels, channel_axis)
        self.count = 1 if self.channel_axis is None else shape[self.channel_axis]
        height, width = (n for i, n in enumerate(shape) if i != self.channel_axis)
        self.shape: tuple[int, int] = (height, width)
        if 0 in shape:
            raise ImageError(
                f"The image is empty (shape {shape}): there is nothing to click on. "
                "Choose an image with pixels."
            )
        self.channels = choose_channels(self.count, channels)
        # Three or four channels that nobody chose from are one colour image.
        self.colour = channels is None and self.count in (3, 4)
        self._given = check_contrast(contrast, len(self.channels))
        self.gamma = check_gamma(gamma, len(self.channels))
        self.colormaps = check_colormaps(colormaps, len(self.channels))
        self.coarser = tuple(coarser)
        self._signature: str | None = None
        self._shown: NDArray[np.float32] | None = None
        self._last: tuple[Box, NDArray[Any]] | None = None

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
        self,
        contrast: Any = None,
        channels: int | Sequence[int] | None = None,
        gamma: float | Sequence[float] = 1.0,
        colormaps: Sequence[Any] | None = None,
    ) -> ImageSource:
        """Return the same image with other contrast, and other channels if given."""
        if channels is None and not self.colour:
            channels = self.channels
        shown = ImageSource(
            self.array,
            channels,
            contrast,
            gamma=gamma,
            colormaps=colormaps,
            channel_axis=self.channel_axis,
            coarser=self.coarser,
        )
        shown._signature = self._signature  # of the values, not of how they look
        return shown

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
        held = self._held()
        if held is not None:
            return np.array(held[box.slices], order="C")
        return self._convert(box)

    def read_ahead(self, box: Box) -> None:
        """Read a part of a lazy image once, for several windows inside of it."""
        if self.lazy and (self._last is None or box.intersect(self._last[0]) != box):
            channels = slice(min(self.channels), max(self.channels) + 1)
            self._last = box, self._read(box, channels)

    def window_for(self, box: Box, size: tuple[int, int]) -> NDArray[np.float32]:
        """Return a window for a network that sees it at another size.

        Parameters
        ----------
        box : Box
            As for :meth:`window`.
        size : (int, int)
            Height and width that the network sees.

        Returns
        -------
        ndarray
            ``(h, w, 3)`` like :meth:`window`; with fewer pixels, but at least twice
            as many as asked for, where the window is far larger than that and the image
            has coarser levels, or where it has more than 2**24 pixels.
        """
        factors = [
            (self.shape[0] / level.shape[0], self.shape[1] / level.shape[1])
            for level in self._levels
        ]
        number = best_level(box.shape, size, factors)
        if number is not None:
            level = self._levels[number]
            return level.window(box_in_level(box, factors[number], level.shape))
        step = stride_for(box.shape, size)
        return self.window(box) if step == 1 else self._convert(box, step)

    def release(self) -> None:
        """Let go of pixels that are kept to be quick; they are read again."""
        self._last = self._shown = None

    def describe(self) -> dict[str, Any]:
        """Return which image it is and how it is shown, ready for JSON."""
        found = {
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "signature": self.signature(),
            "channels": None if self.colour else list(self.channels),
            "contrast": None if self._given is None else self._given.tolist(),
            "channel_axis": self.channel_axis,
        }
        if any(each != 1 for each in self.gamma):
            found["gamma"] = list(self.gamma)
        if self.colormaps is not None:
            found["colormaps"] = [
                [list(row) for row in each] for each in self.colormaps
            ]
        return found

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

    def _held(self) -> NDArray[np.float32] | None:
        """Return a small image in memory as it is shown, converted once."""
        whole = Box.of_shape(self.shape)
        if self.lazy or whole.area > CONVERT_ONCE:
            return None
        if self._shown is None:
            self._shown = self._convert(whole)
        return self._shown

    @cached_property
    def _levels(self) -> list[ImageSource]:
        """The coarser levels, shown in the same way."""
        return [
            ImageSource(
                level,
                self.channels,
                self.limits,
                gamma=self.gamma,
                colormaps=self.colormaps,
                channel_axis=self.channel_axis,
            )
            for level in self.coarser
        ]

    def _convert(self, box: Box, step: int = 1) -> NDArray[np.float32]:
        first = min(self.channels)
        raw = self._raw(box, step)
        low, high = self.limits[0]
        # RGB that is shown as it is needs no taking apart.
        plain = self.colormaps is None and all(each == 1 for each in self.gamma)
        alike = plain and (self.limits == (low, high)).all()
        if tuple(self.channels) == (0, 1, 2) and alike:
            return rescale(raw, low, high)
        planes = [
            rescale(raw[..., channel - first], low, high)
            for channel, (low, high) in zip(self.channels, self.limits, strict=True)
        ]
        for plane, gamma in zip(planes, self.gamma, strict=True):
            if gamma != 1:
                np.power(plane, np.float32(gamma), out=plane)
        if self.colormaps is not None:
            return add_colors(planes, self.colormaps)
        return np.stack([planes[i] for i in _RGB[len(planes)]], axis=-1)

    def _raw(self, box: Box, step: int) -> NDArray[Any]:
        """Return the values of the chosen channels, and of those in between.

        Clicks on one object look at the same window again and again, so what was read
        last of a lazy image is kept.
        """
        channels = slice(min(self.channels), max(self.channels) + 1)
        if not self.lazy or step > 1:
            return self._read(box, channels, step)
        self.read_ahead(box)
        assert self._last is not None
        rows, cols = box.relative_to(self._last[0]).slices
        return self._last[1][rows, cols]

    def _read(self, box: Box, channels: slice, step: int = 1) -> NDArray[Any]:
        """Read ``(h, w, c)`` of the array itself, and nothing beyond it."""
        every = None if step == 1 else step
        index = [slice(each.start, each.stop, every) for each in box.slices]
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
