"""Images and labels as learning wants them, read when needed, kept while they fit."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import TrainingError
from napari_clickseg.image import ImageSource
from napari_clickseg.training.finetuning.checking import (
    VALUE_TASKS,
    Entry,
    whole_numbers,
)
from napari_clickseg.training.readers.base import Reader

logger = logging.getLogger(__name__)
#: Bytes of images and labels that are kept.
KEEP = 2**30


class Picture(NamedTuple):
    """One image, read.

    Attributes
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        As a model is shown it.
    labels : ndarray, shape (L, H, W)
        int16, -1 where unknown: objects by their number in the entry, from 1, or
        classes. Or float32 values, NaN where unknown.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int16] | NDArray[np.float32]


class Pictures:
    """Reads a reader's images and keeps the last ones.

    Parameters
    ----------
    reader : Reader
        Where they come from.
    task : str
        What the labels are.
    ignore : int, optional
        Label of pixels that do not count.
    hidden : mapping, optional
        Numbers of objects that are not to be learned from, by image number. Their
        pixels count as unknown.
    keep : int
        Bytes to keep.
    """

    def __init__(
        self,
        reader: Reader,
        task: str = "segmentation",
        ignore: int | None = None,
        hidden: Mapping[int, frozenset[int]] | None = None,
        keep: int = KEEP,
    ) -> None:
        self.reader, self.task, self.ignore = reader, task, ignore
        self.hidden, self.keep = hidden or {}, keep
        self._kept: OrderedDict[int, Picture] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, entry: Entry) -> Picture:
        """Return an image and its labels.

        Raises
        ------
        TrainingError
            If the file can no longer be read; names the image.
        """
        kept = self._kept.get(entry.index)
        if kept is not None:
            self._kept.move_to_end(entry.index)
            return kept
        try:
            picture = self._read(entry)
        except Exception as error:
            raise TrainingError(
                f"{entry.name} could be read before and cannot be any more: {error}"
            ) from error
        self._kept[entry.index] = picture
        self._bytes += picture.image.nbytes + picture.labels.nbytes
        while self._bytes > self.keep and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.image.nbytes + old.labels.nbytes
        return picture

    def image_of(self, entry: Entry) -> NDArray[np.uint8]:
        """Read an image as a model is shown it, ``(H, W, 3)``."""
        reader = self.reader
        source = ImageSource(
            reader.image(entry.index),
            contrast=reader.contrast(entry.index),
            channel_axis=reader.channel_axis(entry.index),
        )
        rgb = source.window(Box.of_shape(source.shape))
        return np.asarray(rgb * 255 + 0.5).astype(np.uint8)

    def _read(self, entry: Entry) -> Picture:
        image = self.image_of(entry)
        raw = np.asarray(self.reader.labels(entry.index))
        raw = raw if raw.ndim == 3 else raw[np.newaxis]
        if self.task in VALUE_TASKS:
            return Picture(image, as_values(raw, self.task))
        labels = whole_numbers(raw)
        unknown = labels < 0
        if self.ignore is not None:
            unknown |= labels == self.ignore
        if self.task == "segmentation":
            labels = number_objects(labels, entry)
            for number in self.hidden.get(entry.index, ()):
                unknown |= labels == number + 1
        labels[unknown] = -1
        return Picture(image, labels.astype(np.int16))


def number_objects(labels: NDArray[np.int32], entry: Entry) -> NDArray[np.int32]:
    """Return labels numbered as an entry's objects are, from 1; the rest is 0."""
    out = np.zeros_like(labels)
    most = np.iinfo(np.int16).max
    for layer, plane in enumerate(labels):
        numbers = {
            one.label: number
            for number, one in enumerate(entry.objects[:most], start=1)
            if one.layer == layer
        }
        if not numbers:
            continue
        known = np.array(sorted(numbers))
        place = np.searchsorted(known, plane).clip(max=len(known) - 1)
        new = np.array([numbers[label] for label in known.tolist()], dtype=np.int32)
        out[layer] = np.where(known[place] == plane, new[place], 0)
    return out


def as_values(raw: NDArray[np.generic], task: str) -> NDArray[np.float32]:
    """Return alpha in [0, 1], or depth in metres with NaN where there is none.

    Whole numbers are taken as they are usually stored: alpha as a share of the type's
    largest value, depth in millimetres.
    """
    values = raw.astype(np.float32)
    if task == "matting":
        if raw.dtype.kind in "iu":
            whole: Any = raw.dtype
            values /= float(np.iinfo(whole).max)
        return np.clip(values, 0, 1)
    if raw.dtype.kind in "iu":
        values /= 1000
    values[~(values > 0) | ~np.isfinite(values)] = np.nan
    return values
