"""Resizing of windows and answers, as the published code does it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


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
