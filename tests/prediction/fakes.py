"""A made-up model and a made-up giant image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass
class FakeModel:
    """Answers a blob of given radius around each click, in network pixels.

    With ``follow_image`` the answer is the part of the image that is as bright
    as the clicked pixel, so that zooming changes nothing but the sharpness.
    The answer depends a little on the column, so that mirroring shows.
    """

    radius: float = 20.0
    with_prev_mask: bool = True
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    follow_image: bool = False
    memory: int | None = None  # pixels of a batch that fit into memory
    encoded: list[tuple[int, ...]] = field(default_factory=list)
    decoded: list[dict[str, Any]] = field(default_factory=list)

    def encode(self, image: Tensor) -> Tensor:
        assert image.dtype == torch.float32
        assert 0 <= float(image.min()) <= float(image.max()) <= 1
        self.check_memory(image)
        self.encoded.append(tuple(image.shape))
        return image

    def decode(
        self, features: Tensor, points: Tensor, previous: Tensor | None
    ) -> Tensor:
        self.check_memory(features)
        self.decoded.append({"points": points, "previous": previous})
        _, _, height, width = features.shape
        rows = torch.arange(height).view(-1, 1).float()
        cols = torch.arange(width).view(1, -1).float()
        out = []
        half = points.shape[1] // 2
        for n, clicks in enumerate(points):
            logits = torch.full((height, width), -6.0) + cols / width
            for i, (row, col, _) in enumerate(clicks.tolist()):
                if max(row, col) < 0:
                    continue
                near = (rows - row) ** 2 + (cols - col) ** 2 <= self.radius**2
                if self.follow_image:
                    r = min(max(round(row), 0), height - 1)
                    c = min(max(round(col), 0), width - 1)
                    grey = features[n].mean(0)
                    near = (grey - grey[r, c]).abs() < 0.1
                logits[near] = 6.0 if i < half else -6.0
            out.append(logits)
        return torch.stack(out)[:, None]

    def check_memory(self, x: Tensor) -> None:
        if self.memory is not None and self.device.type != "cpu":
            pixels = x.shape[0] * x.shape[-2] * x.shape[-1]
            if pixels > self.memory:
                raise torch.OutOfMemoryError("fake memory is full")

    def to(self, device: Any = None, precision: Any = None) -> FakeModel:
        return FakeModel(
            self.radius,
            self.with_prev_mask,
            torch.device(device),
            self.follow_image,
            self.memory,
            self.encoded,
            self.decoded,
        )


class GiantArray:
    """A grey image of any size that exists only where it is read."""

    dtype = np.dtype(np.uint8)
    ndim = 2

    def __init__(self, shape: tuple[int, int], disk: tuple[int, int, int]) -> None:
        self.shape = shape
        self.disk = disk
        self.most_pixels = 0

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, cols = (range(n)[i] for n, i in zip(self.shape, index, strict=True))
        self.most_pixels = max(self.most_pixels, len(rows) * len(cols))
        assert self.most_pixels < 2**25, "read far too much of the image"
        row, col, radius = self.disk
        y = np.asarray(rows)[:, None]
        x = np.asarray(cols)[None, :]
        inside = (y - row) ** 2 + (x - col) ** 2 <= radius**2
        return (200 * inside + 20).astype(np.uint8)
