"""What finetuning tells while it runs and when it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.training.finetuning.checking import Problem

Phase = Literal[
    "preparing", "measuring before", "learning", "measuring after", "saving"
]


@dataclass(frozen=True)
class Validation:
    """How well the model does on what was held aside, at one step.

    Parameters
    ----------
    step : int
        Optimiser steps so far; 0 is the model as it was.
    loss, score : float
        Mean over the held windows; the score is the IoU for clicks, else the task's.
    noc : float or None
        Clicks to an IoU of 0.85 on the held windows.
    """

    step: int
    loss: float
    score: float
    noc: float | None = None


@dataclass(frozen=True)
class FinetuneProgress:
    """What a caller is told now and then.

    Parameters
    ----------
    phase : str
        What is being done.
    step, steps : int
        Optimiser steps so far and in all.
    fraction : float
        How much of the whole is over, 0 to 1.
    seconds_left : float or None
        Of the whole; None as long as it is not known.
    loss, score : float or None
        Of the last step; the score is named by ``score_name``.
    validation : Validation or None
        The newest one, given once.
    """

    phase: Phase
    step: int
    steps: int
    fraction: float
    seconds_left: float | None = None
    loss: float | None = None
    score: float | None = None
    score_name: str = "IoU"
    validation: Validation | None = None

    @property
    def text(self) -> str:
        """One line for people."""
        if self.phase != "learning":
            return self.phase.capitalize()
        text = f"Step {self.step} of {self.steps}"
        if self.loss is not None:
            text += f", loss {self.loss:.3f}"
        if self.score is not None:
            text += f", {self.score_name} {self.score:.3f}"
        if self.seconds_left is not None:
            text += f", {time_text(self.seconds_left)} left"
        return text


OnProgress = Callable[[FinetuneProgress], None]


@dataclass(frozen=True)
class Scores:
    """A model on the objects held aside, by the published annotator.

    Parameters
    ----------
    objects : int
        How many.
    noc85, noc90 : float or None
        Mean number of clicks to that IoU, at most 20; None for tasks without clicks.
    iou1 : float or None
        Mean IoU after one click.
    score, score_name : float, str
        For other tasks: what is measured there.
    """

    objects: int
    noc85: float | None = None
    noc90: float | None = None
    iou1: float | None = None
    score: float | None = None
    score_name: str = "NoC@85"

    @property
    def text(self) -> str:
        """The figures in a line."""
        if self.noc85 is not None:
            return (
                f"{self.noc85:.2f} clicks to an IoU of 0.85, {self.noc90:.2f} to 0.90; "
                f"IoU {self.iou1:.3f} after one click"
            )
        return f"{self.score_name} {self.score:.3f}"


@dataclass(frozen=True)
class Example:
    """One object held aside, as the model answered before and after.

    Parameters
    ----------
    name : str
        Of the object.
    image : ndarray of uint8, shape (H, W, 3)
    truth, before, after : ndarray of bool, shape (H, W)
    clicks : tuple of (row, col, positive)
        Those that both answers were given.
    """

    name: str
    image: NDArray[np.uint8] = field(repr=False)
    truth: NDArray[np.bool_] = field(repr=False)
    before: NDArray[np.bool_] = field(repr=False)
    after: NDArray[np.bool_] = field(repr=False)
    clicks: tuple[tuple[int, int, bool], ...]


OnExamples = Callable[[tuple[Example, ...]], None]


@dataclass(frozen=True)
class Forecast:
    """What finetuning will take, worked out from a few measured steps.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    seconds : float
        Of everything, measuring included.
    memory : int
        Bytes of working memory (of the device) that it will need at most.
    available : int or None
        Bytes that are free there now.
    device : str
        Where it will run.
    """

    steps: int
    seconds: float
    memory: int
    available: int | None
    device: str

    @property
    def enough_memory(self) -> bool:
        """Whether the memory will do; True where that is not known."""
        return self.available is None or self.memory < self.available

    @property
    def text(self) -> str:
        """The forecast in a sentence."""
        text = (
            f"About {time_text(self.seconds)} and {self.memory / 2**30:.1f} GiB of "
            f"memory on {self.device} for {self.steps} steps."
        )
        if not self.enough_memory and self.available is not None:
            text += (
                f" Only {self.available / 2**30:.1f} GiB are free: close other "
                "programs or choose a smaller batch."
            )
        return text


@dataclass(frozen=True)
class FinetuneResult:
    """A finetuned model, and how it came about.

    Parameters
    ----------
    name : str
        By which :func:`napari_clickseg.load_model` finds it.
    info : ModelInfo
        As it is listed.
    path : Path
        The weight file.
    card : dict
        What is written in it: parent, data, settings, versions, figures.
    before, after : Scores or None
        On what was held aside; None where nothing was, or it was not asked for.
    history : tuple of (step, loss)
        Of every step.
    validations : tuple of Validation
        In order.
    problems : tuple of Problem
        Images that were left out, and why.
    examples : tuple of Example
        A few objects held aside.
    seconds : float
        Time it took.
    """

    name: str
    info: ModelInfo
    path: Path
    card: dict[str, Any] = field(repr=False)
    before: Scores | None
    after: Scores | None
    history: tuple[tuple[int, float], ...] = field(repr=False)
    validations: tuple[Validation, ...] = field(repr=False)
    problems: tuple[Problem, ...] = ()
    examples: tuple[Example, ...] = field(default=(), repr=False)
    seconds: float = 0.0

    @property
    def headline(self) -> str:
        """What came out, without figures."""
        text = f"{self.name} is ready after {time_text(self.seconds)}."
        if self.after is None:
            text += " Nothing was held aside to measure it on."
        return text

    @property
    def text(self) -> str:
        """What came out, in a few sentences."""
        text = self.headline
        if self.before is None or self.after is None:
            return text
        count = self.after.objects
        return (
            f"{text} On {count} object{'s' * (count != 1)} held aside: before "
            f"{self.before.text}; now {self.after.text}."
        )


def time_text(seconds: float) -> str:
    """Return a time as people say it: "40 s", "6 min", "1 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
