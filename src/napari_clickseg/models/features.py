"""What a model has made of an image before any click."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Features:
    """What a model has made of an image before any click; opaque to others.

    Attributes
    ----------
    content : object
        Whatever the network's ``encode_image`` returned.
    size : tuple of int
        Height and width of the image.
    batch : int
        Number of images.
    """

    content: Any
    size: tuple[int, int]
    batch: int
