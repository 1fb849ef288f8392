"""Adam with early stopping, as G-BRS optimises (Lin et al., CVPR 2022, 2.3 and 2.4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_clickseg.refinement.optimise import Arrays, Pause, Variables, never

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Judgement:
    """What an answer is worth.

    Parameters
    ----------
    loss : Tensor, shape ()
        To be made small; differentiable.
    wrong : int
        How many clicks do not have what they ask for.
    reached : bool
        Whether all clicks are close enough to their targets to stop.
    """

    loss: Tensor
    wrong: int
    reached: bool

    @property
    def rank(self) -> tuple[int, float]:
        """Smaller is better: clicks that fail first, then the loss."""
        return self.wrong, float(self.loss.detach())


#: Judges an answer against the one that the run began with (both (N, 1, h, w)).
Judge = Callable[["Tensor", "Tensor"], Judgement]


class AdamRun:
    """One click's optimisation by Adam.

    Every answer is judged before the next step, the one that the parameters of the
    click before give included: where all clicks are reached, it is the result, and no
    gradient was computed for it. After ``iterations`` steps without that, the result
    is the answer that fails the fewest clicks, among those the one of the smallest
    loss. The parameters left to the next click are those of the result.

    Parameters
    ----------
    variables : Variables
        Parameters to start from, which are those that the click before left.
    judge : callable
        Judges an answer against the first one, which is :math:`f(x, p_{prev})`.
    iterations : int
        Most steps.
    learning_rate : float
        Step size of Adam.
    early_stop : bool
        False makes all steps, for measurements.
    """

    def __init__(
        self,
        variables: Variables,
        judge: Judge,
        *,
        iterations: int = 20,
        learning_rate: float,
        early_stop: bool = True,
    ) -> None:
        self._variables, self._judge = variables, judge
        self._iterations, self._early_stop = iterations, early_stop
        self._adam = torch.optim.Adam(variables.parameters, lr=learning_rate)
        self._start: Tensor | None = None
        self._best: tuple[int, float] = (2**31, math.inf)
        self._logits: Tensor | None = None
        self._arrays: Arrays = variables.arrays()
        self.steps = 0
        self._evaluations = 0
        self.finished = False

    @property
    def evaluations(self) -> int:
        """How often the loss was computed."""
        return self._evaluations

    @property
    def loss(self) -> float:
        """Loss of the best answer."""
        return self._best[1]

    @property
    def logits(self) -> Tensor:
        """The best answer so far, (N, 1, h, w)."""
        return self._variables.tail.output if self._logits is None else self._logits

    @property
    def arrays(self) -> Arrays:
        """The parameters of the best answer."""
        return self._arrays

    def advance(self, pause: Pause = never) -> None:
        """Go on until finished or paused, by one evaluation at least.

        What ``pause`` raises is passed on; the run is as it was then and may go on.
        """
        worked = False
        while not self.finished:
            if pause() and worked:
                return
            self._evaluate()
            worked = True

    def _evaluate(self) -> None:
        """Judge the parameters as they are, and make a step."""
        variables = self._variables
        if self._start is None and variables.is_identity():
            # The network's own answer is known; it may be good enough.
            judged = self._judge(variables.tail.output, variables.tail.output)
            if judged.reached and self._early_stop:
                self._evaluations += 1
                self._take(judged, variables.tail.output)
                self.finished = True
                return
        last = self.steps == self._iterations
        with torch.set_grad_enabled(not last):
            logits = variables.logits()
            if self._start is None:
                self._start = logits.detach()
            judged = self._judge(logits, self._start)
        self._evaluations += 1
        finite = bool(torch.isfinite(judged.loss))
        reached = judged.reached and self._early_stop
        if finite and (reached or judged.rank < self._best):
            self._take(judged, logits.detach())
        if last or reached or not finite:
            self._finish()
            return
        self._adam.zero_grad(set_to_none=True)
        judged.loss.backward()
        self._adam.step()
        for layer in variables.layers:
            layer.project_()
        self.steps += 1

    def _take(self, judged: Judgement, logits: Tensor) -> None:
        self._best = judged.rank
        self._logits, self._arrays = logits, self._variables.arrays()

    def _finish(self) -> None:
        self._variables.load(self._arrays)
        self.finished = True
