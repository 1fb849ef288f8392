"""A model without weights, whose answers can be foretold."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import torch
from scipy.ndimage import label
from torch import Tensor

#: In pixels of what the model sees: how far a negative click reaches.
REACH_NEGATIVE = 12.0


@dataclass
class FakeInfo:
    name: str = "fake"
    architecture: str = "fake"


class FakeModel:
    """Takes what is as bright as a positive click and hangs together with it.

    Pixels near a negative click are left out; what the previous mask had stays.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.name = "fake"
        self.info = FakeInfo()
        self.sha256 = "0" * 64
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        self.with_prev_mask = True
        self.notices: tuple[str, ...] = ()
        self.delay = delay
        self.calls = 0
        self.threads: set[str] = set()

    def to(self, **_: Any) -> FakeModel:
        return self

    def encode(self, image: Tensor) -> Tensor:
        return image.mean(dim=1, keepdim=True)

    def decode(
        self, features: Tensor, points: Tensor, previous: Tensor | None
    ) -> Tensor:
        self.calls += 1
        self.threads.add(threading.current_thread().name)
        if self.delay:
            time.sleep(self.delay)
        count, _, height, width = features.shape
        rows = torch.arange(height)[:, None].float()
        cols = torch.arange(width)[None, :].float()
        half = points.shape[1] // 2
        logits = torch.full((count, 1, height, width), -8.0)
        for n in range(count):
            gray, out = features[n, 0], logits[n, 0]
            if previous is not None:
                out[previous[n, 0] > 0.5] = 6.0
            for index, (row, col, *_order) in enumerate(points[n].tolist()):
                if row < 0:
                    continue
                away = torch.hypot(rows - row, cols - col)
                if index < half:
                    at = min(round(row), height - 1), min(round(col), width - 1)
                    parts, _count = label(((gray - gray[at]).abs() < 0.2).numpy())
                    out[torch.from_numpy(parts == parts[at])] = 6.0
                else:
                    out[away < REACH_NEGATIVE] = -8.0
        return logits
