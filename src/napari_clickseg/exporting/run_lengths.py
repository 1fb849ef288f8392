"""COCO's drawings of objects, checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_corners", "decode_counts", "run_lengths"]


def run_lengths(given: Any, total: int) -> list[int]:
    """Return run lengths that fill an image, and no more than that.

    What draws them trusts them.

    Parameters
    ----------
    given : str, or sequence of int
        In COCO's text or as numbers; background first.
    total : int
        Number of pixels.

    Raises
    ------
    ValueError, TypeError
        If they are no such numbers, or do not fill the image.
    """
    if isinstance(given, str | bytes):
        text = given if isinstance(given, str) else given.decode("ascii")
        counts = decode_counts(text)
    else:
        counts = [int(each) for each in given]
    if any(count < 0 for count in counts) or not counts or sum(counts) != total:
        raise ValueError(f"run lengths that do not fill {total} pixels")
    return counts


def check_corners(corners: NDArray[np.float64], shape: Sequence[int]) -> None:
    """Refuse a polygon that lies farther outside than the image is large.

    Parameters
    ----------
    corners : ndarray (N, 2)
        x, y.
    shape : (int, int)
        Height and width.

    Raises
    ------
    ValueError
        If it does, or has corners that are no numbers.
    """
    far = 2 * max(1, *shape)
    if not (np.abs(corners) <= far).all():
        raise ValueError("corners that are no numbers, or far outside of the image")


def decode_counts(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed text.

    Each number is written in groups of five bits, lowest first, as characters from
    ``0``; a sixth bit says that more follow, and from the third number on it is the
    difference from the last but one.
    """
    numbers: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if shift > 64:
            raise ValueError("a run length of more than 64 bits")
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value = shift = 0
    return numbers
