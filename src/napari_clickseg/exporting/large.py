"""Objects of images that are too large for memory, written part by part."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_clickseg import __version__
from napari_clickseg.boxes import Box
from napari_clickseg.errors import ExportError
from napari_clickseg.label_blocks import SIDE, blocks_of
from napari_clickseg.plane_view import tiles_of

__all__ = [
    "check_large",
    "coarser",
    "smallest_type",
    "write_tiled",
    "write_zarr_levels",
]

#: Side of a tile of a TIFF file, and of a chunk.
TILE = 512
#: The coarsest level of a pyramid has at most so many pixels a side.
COARSEST = 1024


def check_large(labels: Any) -> Any:
    """Return a large label image (H, W), not read yet.

    Raises
    ------
    ExportError
        If it is none.
    """
    if np.dtype(labels.dtype).kind not in "bui":
        raise ExportError(
            f"Objects are written from whole numbers, not from {labels.dtype}."
        )
    return labels


def smallest_type(labels: Any) -> np.dtype[Any]:
    """Return the smallest type that holds all labels, which are looked through."""
    shape = tuple(labels.shape)
    largest = max(
        (
            int(np.max(labels[box.slices], initial=0))
            for box in blocks_of(labels, shape)
        ),
        default=0,
    )
    kind = np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32
    return np.dtype(kind)


def write_tiled(
    file: BinaryIO, labels: Any, dtype: Any, tags: dict[str, Any] | None = None
) -> None:
    """Write labels as one page of tiles, deflated; empty ones cost next to nothing.

    Parameters
    ----------
    file : file
        Open for reading and writing bytes.
    labels : array-like of int, shape (H, W)
        Read in blocks.
    dtype : dtype
        What the file holds.
    tags : dict, optional
        For ``tifffile``, such as the resolution.
    """
    import tifffile

    shape, dtype = tuple(labels.shape), np.dtype(dtype)
    size = shape[0] * shape[1] * dtype.itemsize
    with tifffile.TiffWriter(file, bigtiff=size > 2**32 - 2**25) as writer:
        writer.write(
            _packed_tiles(labels, shape, dtype),
            shape=shape,
            dtype=dtype,
            tile=(TILE, TILE),
            compression="zlib",
            photometric="minisblack",
            software=f"napari-clickseg {__version__}",
            **(tags or {}),
        )


def write_zarr_levels(
    create: Any, labels: Any, dtype: Any, *, side: int = COARSEST
) -> list[tuple[int, int]]:
    """Write labels as levels of detail, each half the side of the one before.

    Parameters
    ----------
    create : callable
        ``(name, shape)`` makes an array of zeros, whose chunks of zeros take no room.
    labels : array-like of int, shape (H, W)
        Read in blocks.
    dtype : dtype
    side : int
        Longest side of the coarsest level, at most.

    Returns
    -------
    list of (int, int)
        The shapes of the levels.
    """
    shape = int(labels.shape[0]), int(labels.shape[1])
    array = create("0", shape)
    touched = []
    for box in blocks_of(labels, shape):
        block = np.asarray(labels[box.slices])
        if block.any():
            array[box.slices] = block.astype(dtype)
            touched.append(box)
    shapes = [shape]
    while max(shapes[-1]) > side:
        finer, shape = array, (-(-shape[0] // 2), -(-shape[1] // 2))
        array = create(str(len(shapes)), shape)
        shapes.append(shape)
        halves = {(box.top // 2 // SIDE, box.left // 2 // SIDE) for box in touched}
        touched = []
        for row, col in sorted(halves):
            top, left = row * SIDE, col * SIDE
            box = Box(top, left, top + SIDE, left + SIDE).clip(shape)
            fine = Box(*(2 * n for n in box)).clip(finer.shape)
            array[box.slices] = coarser(np.asarray(finer[fine.slices]))
            touched.append(box)
    return shapes


def coarser(labels: NDArray[Any]) -> NDArray[Any]:
    """Return half as many pixels a side: of each four the largest label."""
    height, width = labels.shape
    padded = np.pad(labels, ((0, height % 2), (0, width % 2)))
    rows = np.maximum(padded[::2], padded[1::2])
    return np.maximum(rows[:, ::2], rows[:, 1::2])


def _packed_tiles(
    labels: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[bytes]:
    """Yield the tiles of a file, row by row, packed; all empty ones are the same."""
    empty = zlib.compress(bytes(TILE * TILE * dtype.itemsize), 4)
    filled: set[tuple[int, int]] = set()
    for box in blocks_of(labels, (shape[0], shape[1])):
        filled.update((tile.top, tile.left) for tile in tiles_of(box, TILE))
    known: dict[Box, NDArray[Any]] = {}
    for tile in tiles_of(Box.of_shape(shape), TILE):
        if (tile.top, tile.left) not in filled:
            yield empty
            continue
        # Wide strips are read once for a row of tiles.
        strip = Box(tile.top, tile.left // SIDE * SIDE, tile.bottom, 0)
        strip = strip._replace(right=min(strip.left + SIDE, shape[1]))
        if strip not in known:
            known = {strip: np.asarray(labels[strip.slices]).astype(dtype)}
        part = known[strip][:, tile.left - strip.left : tile.right - strip.left]
        if not part.any():
            yield empty
            continue
        whole = np.zeros((TILE, TILE), dtype)
        whole[: part.shape[0], : part.shape[1]] = part
        yield zlib.compress(whole.tobytes(), 4)
