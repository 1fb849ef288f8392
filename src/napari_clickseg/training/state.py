"""What a training run must remember to go on after it was stopped."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_clickseg.errors import TrainingError
from napari_clickseg.training.recipe import Schedule


class RelativeGain(nn.Module):
    """Scale each filter by the size it started with.

    Folding batch norm into a convolution leaves filters of very different
    size; Adam's steps have one size for all. Learning the filter relative to
    its start makes one learning rate fit all of them.
    """

    gain: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rms = weight.detach().pow(2).mean((1, 2, 3), keepdim=True).sqrt()
        self.register_buffer("gain", rms.clamp_min(1e-5) * 10)

    def forward(self, relative: Tensor) -> Tensor:
        """Return the filter."""
        return relative * self.gain

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the relative filter of a filter."""
        return weight / self.gain


class MovingAverage:
    """Exponential moving average of parameters and buffers."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {
            key: value.detach().clone() for key, value in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` steps (faster at the start)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            mine = self.values[key]
            if mine.dtype.is_floating_point:
                mine.lerp_(value.to(mine.dtype), 1 - decay)
            else:
                mine.copy_(value)


def learning_rate_factor(step: int, progress: float, schedule: Schedule) -> float:
    """Linear rise, then a half cosine to zero over ``progress`` in [0, 1]."""
    rise = min(1.0, (step + 1) / max(1, schedule.warmup_steps))
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill leaves the old or the new one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint written by :func:`save_state`."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(
            f"checkpoint {path} cannot be read ({error}); delete it to start anew"
        ) from error
    return state


def plain_weights(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with every relative filter turned into a plain one."""
    marker = ".parametrizations.weight."
    plain = {}
    for key, value in values.items():
        if marker not in key:
            plain[key] = value
        elif key.endswith(".original"):
            module = key.split(marker)[0]
            plain[f"{module}.weight"] = value * values[f"{module}{marker}0.gain"]
    return plain
