"""What finetuning will take, told before it starts, from two measured steps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_clickseg.device import available_bytes
from napari_clickseg.errors import Cancelled
from napari_clickseg.training.finetuning.loop import Loop, Nothing
from napari_clickseg.training.finetuning.report import Forecast
from napari_clickseg.training.finetuning.running import make_fabric
from napari_clickseg.training.finetuning.work import Work

#: Interpreter, torch and what is read, beside the tensors that are counted.
BASE = 600 * 2**20
#: For what is not counted: scratch memory and fragments.
MARGIN = 1.3
#: Clicks that an object takes on average while it is measured, and how much longer a
#: click of the predictor takes than one window of a step forwards.
CLICKS, PASSES = 7, 4.0


class _Saved:
    """Counts the bytes that are kept for going back."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def total(self) -> int:
        return sum(self.seen.values())


def forecast(
    work: Work,
    *,
    device: str = "auto",
    precision: str = "auto",
    measured: int = 0,
    cancelled: Callable[[], bool] = Nothing,
) -> Forecast:
    """Measure two steps, and work out the whole.

    Parameters
    ----------
    work : Work
        What is to be learned.
    device, precision : str
        Where, see :func:`.running.make_fabric`. One process is measured, which draws
        the whole of each batch.
    measured : int
        Objects that are clicked on before and after.
    cancelled : callable
        Asked between the steps; True stops.

    Returns
    -------
    Forecast
        For an idle machine as it is now.
    """
    fabric = make_fabric(device, 1, 1, precision)
    fabric.launch()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        loop = Loop(
            fabric,
            work.network(),
            work.lesson(fabric.device, cancelled),
            work.options,
            Path(name),
        )
        setting_up = time.monotonic() - began
        if fabric.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(fabric.device)
        seconds, saved = _measure(loop, cancelled)
        memory = _memory(loop, saved)
        checking = 0.0
        if work.split.hold:
            start = time.monotonic()
            loop.validate_once(cancelled)
            checking = time.monotonic() - start
    options = work.options
    checks = 1 + options.steps // options.check_every
    window = seconds / (3 * max(1, work.settings.batch_for(work.world)) * 1.5)
    clicks = 2 * measured * CLICKS * PASSES * window
    whole = setting_up + options.steps * seconds + checks * checking + clicks
    return Forecast(
        steps=options.steps,
        seconds=whole,
        memory=memory,
        available=available_bytes(fabric.device),
        device=str(fabric.device),
    )


def _measure(loop: Loop, cancelled: Callable[[], bool]) -> tuple[float, int]:
    """Return the seconds of a step, with its share of drawing, and bytes saved."""
    counter = _Saved()
    times, drawing, rounds = [], 0.0, 0
    for number in range(2):
        if cancelled():
            raise Cancelled("Stopped while a step was being measured.")
        start = time.monotonic()
        chunks = loop.lesson.begin(number, loop.where, loop.options.accumulate)
        drawing += time.monotonic() - start
        rounds += loop.lesson.rounds(number)
        start = time.monotonic()
        if number == 0:
            hooks: Any = torch.autograd.graph.saved_tensors_hooks
            with hooks(counter.pack, lambda tensor: tensor):
                loop.step_once(chunks)
        else:
            loop.step_once(chunks)
            for chunk in chunks:
                loop.lesson.go_on(chunk, number, 0)
        times.append(time.monotonic() - start)
    return min(times) + drawing / max(rounds, 1), counter.total


def _memory(loop: Loop, saved: int) -> int:
    """Return the bytes that are needed at most on the device."""
    if loop.where.device.type == "cuda":
        return int(MARGIN * torch.cuda.max_memory_allocated(loop.where.device))
    numbers = list(loop.network.parameters()) + list(loop.network.buffers())
    weights = sum(x.numel() * x.element_size() for x in numbers)
    # weights, gradients, two moments, the average, the best, the parent, a copy
    return int(BASE + MARGIN * (saved + 8 * weights))
