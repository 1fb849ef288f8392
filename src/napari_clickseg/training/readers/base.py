"""What all readers of labelled images have in common."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray


class Reader(ABC):
    """Labelled images by number, each read when it is asked for.

    A reader promises nothing about what it finds: whoever uses one checks each image
    and leaves out what cannot be used
    (:mod:`napari_clickseg.training.finetuning.checking`).
    """

    #: Name of the layout, as users give it.
    layout: ClassVar[str]
    #: What to call each image in messages; as long as the reader.
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def image(self, index: int) -> Any:
        """Return an image, ``(H, W)`` or ``(H, W, C)``, perhaps a lazy array."""

    @abstractmethod
    def labels(self, index: int) -> NDArray[Any]:
        """Return what is labelled: ``(H, W)``, or ``(L, H, W)`` where objects overlap.

        Whole numbers, 0 background and 1 and up the objects; or values.
        """

    def channel_axis(self, index: int) -> int | None:
        """Return the axis of an image that holds channels, where that is known."""
        del index
        return None

    def contrast(self, index: int) -> Any:
        """Return which values a model is shown as 0 and 1; None for the usual ones."""
        del index
        return None

    def group(self, index: int) -> str:
        """Return what must not be divided between learning and validation."""
        return self.names[index]

    def fingerprint(self, index: int) -> str:
        """Return a hash of an image's content."""
        from napari_clickseg.image import ImageSource

        source = ImageSource(self.image(index), channel_axis=self.channel_axis(index))
        return source.signature()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} images>"


def file_hash(path: Path) -> str:
    """Return a hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def plain(labels: NDArray[Any]) -> NDArray[Any]:
    """Drop axes of length one before the last two."""
    while labels.ndim > 2 and labels.shape[0] == 1:
        labels = labels[0]
    return np.asarray(labels)
