"""A lesson: what a batch is, what is asked of the network, and how wrong it was.

The loop (:mod:`napari_clickseg.training.finetuning.loop`) knows nothing of clicks,
classes, alpha or depth; it is given a lesson, which does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Where:
    """Which of several processes this is.

    Parameters
    ----------
    rank, world : int
        Number of this process, and how many there are.
    device : torch.device
        What it computes on.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - it never changes


class Lesson(ABC):
    """How one kind of network learns.

    Parameters
    ----------
    seed : int
        Seed of everything that is drawn.
    """

    #: What the second number of a step is called.
    score_name: ClassVar[str] = "score"
    #: Whether a larger score is better.
    larger: ClassVar[bool] = True

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @abstractmethod
    def wrap(self, network: nn.Module) -> nn.Module:
        """Return a module whose ``forward`` answers what this lesson asks."""

    @abstractmethod
    def begin(self, number: int, where: Where, chunks: int) -> Sequence[Any]:
        """Draw batch ``number`` and return it in as many chunks, on the device."""

    def rounds(self, number: int) -> int:
        """Return for how many steps a batch is kept."""
        del number
        return 1

    @abstractmethod
    def ask(self, student: nn.Module, chunk: Any) -> tuple[Tensor, float]:
        """Return the loss of a chunk, with its graph, and a score."""

    def go_on(self, chunk: Any, number: int, round_number: int) -> None:
        """Change a chunk after a step, for the next one."""
        del chunk, number, round_number

    @abstractmethod
    def validate(
        self, student: nn.Module, where: Where, stop: Callable[[], bool]
    ) -> dict[str, float] | None:
        """Return ``loss``, ``score`` and perhaps ``noc`` on what was held aside.

        None where nothing was, or ``stop`` said so.
        """
