"""PNG: what Pillow cannot write (16 bits of more than grey) is put together here.

The format is that of the PNG specification (ISO/IEC 15948): chunks with a checksum,
and rows, each with the filter that leaves the smallest differences, deflated.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colour type of the format, by number of channels.
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
#: Filtered at once, in bytes: a bound on memory.
_BLOCK = 2**24
#: Higher levels of deflate take several times as long for a few per cent.
LEVEL = 3


def encode(pixels: NDArray[Any], colours: NDArray[np.uint8] | None = None) -> bytes:
    """Return the bytes of a PNG file.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, shape (H, W) or (H, W, C)
        Grey; or of 2 to 4 channels: grey with alpha, RGB, RGB with alpha (straight).
    colours : ndarray of uint8, shape (N, 3), optional
        Makes a palette file of grey uint8: pixels are its rows.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype == np.uint8 or pixels.ndim == 2:
        return _by_pillow(pixels, colours)
    return _encode_deep(pixels)


def _by_pillow(pixels: NDArray[Any], colours: NDArray[np.uint8] | None) -> bytes:
    from PIL import Image

    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    picture = Image.fromarray(np.ascontiguousarray(native))
    if colours is not None:
        picture.putpalette(np.ascontiguousarray(colours).tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=LEVEL)
    return file.getvalue()


def _encode_deep(pixels: NDArray[Any]) -> bytes:
    """Return a PNG of 16 bits a channel."""
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    packer = zlib.compressobj(LEVEL)
    data, above = [], np.zeros(width * channels * 2, np.uint8)
    rows = max(1, _BLOCK // (width * channels * 2))
    for top in range(0, height, rows):
        part = np.ascontiguousarray(pixels[top : top + rows], ">u2")
        lines = part.view(np.uint8).reshape(len(part), -1)
        packed = packer.compress(_filtered(lines, above, channels * 2).tobytes())
        data.append(_chunk(b"IDAT", packed))
        above = lines[-1]
    data.append(_chunk(b"IDAT", packer.flush()))
    end = _chunk(b"IEND", b"")
    return b"".join((_SIGNATURE, _chunk(b"IHDR", head), *data, end))


def _filtered(
    lines: NDArray[np.uint8], above: NDArray[np.uint8], step: int
) -> NDArray[np.uint8]:
    """Return rows with their filters: none, to the left, or upwards.

    Parameters
    ----------
    lines : ndarray, shape (n, bytes)
    above : ndarray, shape (bytes,)
        The row before the first one.
    step : int
        Bytes of a pixel.
    """
    left = lines.copy()
    left[:, step:] -= lines[:, :-step]
    up = lines - np.concatenate([above[None], lines[:-1]])
    tried = (lines, left, up)
    # Differences count as signed bytes: 255 is -1.
    sums = [
        np.minimum(each, np.negative(each)).sum(1, dtype=np.int64) for each in tried
    ]
    best = np.argmin(sums, axis=0)
    found = np.empty((len(lines), lines.shape[1] + 1), np.uint8)
    found[:, 0] = best
    for number, each in enumerate(tried):
        chosen = best == number
        found[chosen, 1:] = each[chosen]
    return found


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
