"""Resizing of windows and answers, as the published code does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_clickseg.boxes import Box

if TYPE_CHECKING:
    from napari_clickseg.image import ImageSource

Size = tuple[int, int]

#: Pixels of an image that are converted at once.
BAND = 2**19


def resize(x: Tensor, size: Size) -> Tensor:
    """Resize ``(N, C, H, W)`` bilinearly with aligned corners.

    No low-pass filter even where the image shrinks: the networks were
    published, trained and evaluated this way.
    """
    if (x.shape[-2], x.shape[-1]) == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def reduce_smoothly(x: Tensor, size: Size) -> Tensor:
    """Resize like :func:`resize`, averaging whole blocks first where it can.

    For windows that shrink to half or less, where skipping pixels would turn
    texture into noise.
    """
    factor = min(x.shape[-2] // size[0], x.shape[-1] // size[1])
    if factor >= 2:
        x = F.avg_pool2d(x, factor, ceil_mode=True)
    return resize(x, size)


def reduced_window(image: ImageSource, box: Box, size: Size) -> Tensor:
    """Return a window ``(1, 3, *size)``, like :func:`reduce_smoothly` of all of it.

    It is converted band by band, so that a large window takes little memory.
    """
    height, width = box.shape
    factor = min(height // size[0], width // size[1])
    rows = max(1, BAND // (width * factor)) * factor if factor >= 2 else height
    bands = []
    for top in range(box.top, box.bottom, rows):
        bottom = min(top + rows, box.bottom)
        band = to_tensor(image.window(Box(top, box.left, bottom, box.right)))
        if factor >= 2:
            band = F.avg_pool2d(band, factor, ceil_mode=True)
        bands.append(band)
    return resize(torch.cat(bands, dim=2), size)


def resize_map(values: np.ndarray, size: Size) -> np.ndarray:
    """Resize a map ``(h, w)`` of float32 like :func:`resize`."""
    if values.shape == size:
        return values
    tensor = torch.from_numpy(np.array(values, dtype=np.float32))[None, None]
    resized: np.ndarray = resize(tensor, size)[0, 0].numpy()
    return resized


def to_tensor(window: np.ndarray) -> Tensor:
    """Turn a window ``(h, w, 3)`` into a batch ``(1, 3, h, w)`` of its own."""
    planes = np.ascontiguousarray(window.transpose(2, 0, 1), dtype=np.float32)
    if planes is window or np.shares_memory(planes, window):
        planes = planes.copy()
    return torch.from_numpy(planes)[None]
