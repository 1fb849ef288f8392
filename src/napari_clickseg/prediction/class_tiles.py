"""A network for classes asked about a plane of any size, tile by tile.

Tiles overlap and pass into each other, so that no seam shows; what is kept of them is
one byte for each class that is asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.prediction.dense_view import DenseView
from napari_clickseg.tasks.proposals import as_bytes

if TYPE_CHECKING:
    from napari_clickseg.image import ImageSource

#: Side of a tile as the network sees it.
TILE = 768
#: Tiles overlap by this part of their side.
OVERLAP = 1 / 4


@dataclass(frozen=True, eq=False)
class Step:
    """Where a tile lies along one axis, and how much it counts there.

    Parameters
    ----------
    start, length : int
    weights : ndarray of float32, shape (length,)
        Those of all tiles add up to 1 everywhere.
    """

    start: int
    length: int
    weights: NDArray[np.float32]


def steps(length: int, side: int) -> list[Step]:
    """Return tiles along an axis: all of one side, evenly spread.

    What is a little longer than a tile is one tile all the same.
    """
    if length <= side * (1 + OVERLAP):
        return [Step(0, length, np.ones(length, np.float32))]
    overlap = max(1, round(side * OVERLAP))
    count = max(2, -(-(length - overlap) // max(1, side - overlap)))
    starts = [round(x) for x in np.linspace(0, length - side, count)]
    places, found = np.arange(side), []
    for i, start in enumerate(starts):
        weights = np.ones(side, np.float32)
        if i:
            weights = _rising(places + start, start, starts[i - 1] + side, overlap)
        if i + 1 < len(starts):
            after = starts[i + 1]
            weights = weights * (
                1 - _rising(places + start, after, start + side, overlap)
            )
        found.append(Step(start, side, weights))
    return found


def _rising(
    places: NDArray[np.int64], begin: int, end: int, overlap: int
) -> NDArray[np.float32]:
    """Return how much the later of two tiles counts, from 0 to 1.

    It rises in the middle of what both see, over half of the least overlap: near its
    rim a tile has seen too little.
    """
    middle, reach = (begin + end) / 2, max(0.5, overlap / 4)
    share = (places + 0.5 - middle) / (2 * reach) + 0.5
    return np.clip(share, 0, 1).astype(np.float32)


def asking(
    model: Any,
    image: ImageSource,
    box: Box,
    scale: float = 1.0,
    channels: Sequence[int] = (0, 1),
    *,
    tile: int = TILE,
) -> Generator[tuple[int, int], None, NDArray[np.uint8]]:
    """Ask a network about a part of an image.

    Parameters
    ----------
    model : DenseModel
        Of semantic classes.
    image : ImageSource
    box : Box
        Which part.
    scale : float
        Pixels that the network sees for each pixel of the image.
    channels : sequence of int
        Which classes are asked for.
    tile : int
        Side of what the network sees at once, in its own pixels.

    Yields
    ------
    (int, int)
        Tiles done and in total, after each.

    Returns
    -------
    ndarray of uint8, shape (len(channels), *box.shape)
        Probabilities, 0 to 255.
    """
    height, width = box.shape
    side = max(8, round(tile / scale))
    rows, columns = steps(height, side), steps(width, side)
    planes = np.empty((len(channels), height, width), np.uint8)
    done, total = 0, len(rows) * len(columns)
    # What the tiles of this row say; the next row sees some of it as well.
    strip = np.zeros((len(channels), rows[0].length, width), np.float32)
    for number, row in enumerate(rows):
        for column in columns:
            part = Box(
                box.top + row.start,
                box.left + column.start,
                box.top + row.start + row.length,
                box.left + column.start + column.length,
            )
            where = slice(column.start, column.start + column.length)
            weight = row.weights[:, None] * column.weights
            strip[:, :, where] += _asked(model, image, part, scale, channels) * weight
            done += 1
            yield done, total
        last = number + 1 == len(rows)
        ready = row.length if last else rows[number + 1].start - row.start
        planes[:, row.start : row.start + ready] = as_bytes(strip[:, :ready])
        if not last:
            rest = strip[:, ready:].copy()
            strip[:] = 0
            strip[:, : rest.shape[1]] = rest
    return planes


@torch.inference_mode()
def _asked(
    model: Any, image: ImageSource, part: Box, scale: float, channels: Sequence[int]
) -> NDArray[np.float32]:
    """Return the probabilities of one tile, (len(channels), h, w)."""
    multiple = int(getattr(model.network, "multiple", 1))
    height, width = (
        max(1, round(length * scale / multiple)) * multiple for length in part.shape
    )
    logits = model.run(DenseView(part, (height, width)).picture(image))
    if (logits.shape[2], logits.shape[3]) != part.shape:
        shrinks = logits.shape[2] > part.shape[0]
        logits = F.interpolate(
            logits, part.shape, mode="bilinear", align_corners=False, antialias=shrinks
        )
    values: NDArray[np.float32] = logits.softmax(1)[0, list(channels)].cpu().numpy()
    return values
