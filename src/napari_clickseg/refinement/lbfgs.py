"""L-BFGS-B as f-BRS runs it (Sofiiuk et al., CVPR 2020; facts 2.6)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_clickseg.refinement.optimise import Arrays, Pause, Variables, never

if TYPE_CHECKING:
    from torch import Tensor

#: Corrections that L-BFGS-B keeps; when it is content; as published.
MEMORY, PROJECTED_GRADIENT = 20, 1e-8
#: What parameters cost, by the squares of their changes. Biases of features cost more
#: than scales; maps added to the input cost again for the mirror image.
INERTIA, BIAS = 1e-3, 10.0
#: Two masks that overlap more are the same, and the optimisation ends.
SAME_MASK = 0.99


@dataclass(frozen=True)
class Obedience:
    """How well an answer obeys.

    Parameters
    ----------
    loss : Tensor, shape ()
        To be made small, without what the parameters cost; differentiable.
    reached : bool
        Whether all clicks have what they ask for.
    mask : Tensor, shape (N, 1, h, w), bool
        The answer's masks.
    """

    loss: Tensor
    reached: bool
    mask: Tensor


Judge = Callable[["Tensor"], Obedience]


class _Paused(Exception):
    """Leaves SciPy's loop."""


class LbfgsRun:
    """One click's optimisation by SciPy's L-BFGS-B.

    It ends early, by a gradient of zero, where all clicks are obeyed or the mask is
    that of the evaluation before. The result is the answer of the smallest loss, while
    the parameters left to the next click are those where L-BFGS-B ended: as published.

    SciPy's loop cannot be left and entered again. To go on after a pause it is started
    once more and given what was computed before, which takes no time.

    Parameters
    ----------
    variables : Variables
        Layers of the kinds ``"sb"`` (features) or ``"map"`` (inputs), with the
        parameters to start from.
    judge : callable
        Says how well an answer (N, 1, h, w) obeys the clicks.
    iterations : int
        Most evaluations (``maxfun``); twice as many iterations.
    early_stop : bool
        False makes all evaluations, for measurements.
    """

    def __init__(
        self,
        variables: Variables,
        judge: Judge,
        *,
        iterations: int = 20,
        early_stop: bool = True,
    ) -> None:
        self._variables, self._judge = variables, judge
        self._iterations, self._early_stop = iterations, early_stop
        self._names = [
            [name for name, _ in layer.named_parameters()] for layer in variables.layers
        ]
        self._parameters = variables.parameters
        # Not from the parameters, which have lost SciPy's last digits.
        start = self._vector(variables.start)
        variables.load(variables.identity)
        self._zero = [each.detach().clone() for each in self._parameters]
        # What is optimised is the change of the parameters.
        self._x = start - self._vector(variables.identity)
        self._known: list[tuple[float, np.ndarray]] = []
        self._calls = 0
        self._best_x = self._x
        self._logits: Tensor | None = None
        self._mask: Tensor | None = None
        self._loss = math.inf
        self.finished = False

    @property
    def loss(self) -> float:
        """Loss of the best answer, what its parameters cost included."""
        return self._loss

    @property
    def evaluations(self) -> int:
        """How often the loss was computed."""
        return len(self._known)

    @property
    def history(self) -> list[tuple[float, float]]:
        """Loss, and sum of the gradient's absolute values, of every evaluation."""
        return [(loss, float(np.abs(slope).sum())) for loss, slope in self._known]

    @property
    def change(self) -> np.ndarray:
        """What the next click starts from, as a change of the identity; float64."""
        return self._x if self.finished else self._best_x

    @property
    def logits(self) -> Tensor:
        """The answer of the smallest loss so far, (N, 1, h, w)."""
        return self._variables.tail.output if self._logits is None else self._logits

    @property
    def arrays(self) -> Arrays:
        """Parameters that the next click starts from, float64."""
        arrays, at = [], 0
        for zeros, names in zip(self._variables.identity, self._names, strict=True):
            layer = dict(zeros)
            for name in names:
                end = at + zeros[name].size
                change = self.change[at:end].reshape(zeros[name].shape)
                layer[name], at = zeros[name] + change, end
            arrays.append(layer)
        return tuple(arrays)

    def advance(self, pause: Pause = never) -> None:
        """Go on until finished or paused, by one evaluation at least.

        What ``pause`` raises is passed on; the run may go on afterwards.
        """
        from scipy.optimize import fmin_l_bfgs_b

        if self.finished:
            return
        first = len(self._known)

        def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
            call, self._calls = self._calls, self._calls + 1
            if call < len(self._known):
                return self._known[call]
            if pause() and call > first:
                raise _Paused
            self._known.append(self._evaluate(x))
            return self._known[-1]

        self._calls = 0
        try:
            self._x, _, _ = fmin_l_bfgs_b(
                evaluate,
                self._x,
                m=MEMORY,
                factr=0,
                pgtol=PROJECTED_GRADIENT,
                maxfun=self._iterations,
                maxiter=2 * self._iterations,
            )
        except _Paused:
            return
        self.finished = True

    def _evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return loss and gradient, or a gradient of zero where that is enough."""
        self._set(x)
        with torch.enable_grad():
            logits = self._variables.logits()
            judged = self._judge(logits)
            loss = judged.loss + self._cost()
        value = float(loss.detach())
        if value < self._loss:
            self._loss, self._logits = value, logits.detach()
            self._best_x = x.copy()
        stop = judged.reached or self._stands_still(judged.mask)
        if not math.isfinite(value) or (stop and self._early_stop):
            return value, np.zeros_like(x)
        self._mask = judged.mask
        slopes = torch.autograd.grad(loss, self._parameters)
        return value, np.concatenate([_flat(slope) for slope in slopes])

    def _cost(self) -> Tensor:
        """Return what the parameters cost, which are 0 where nothing is changed."""
        costs = []
        for layer in self._variables.layers:
            if layer.kind == "map":
                costs.append(layer.whole_map.square().sum())
            else:
                costs.append(layer.scale.square().sum())
                costs.append(BIAS * layer.bias.square().sum())
        return INERTIA * functools.reduce(torch.add, costs)

    def _stands_still(self, mask: Tensor) -> bool:
        """Whether the mask is that of the evaluation before."""
        if self._mask is None:
            return False
        one, other = mask.flatten(1), self._mask.flatten(1)
        union = (one | other).sum(1).double()
        common = (one & other).sum(1).double()
        overlap = common[union > 0] / union[union > 0]
        return overlap.numel() > 0 and float(overlap.mean()) > SAME_MASK

    def _vector(self, arrays: Arrays) -> np.ndarray:
        """Return parameters one behind the other, float64."""
        flat = [
            np.asarray(layer[name], np.float64).ravel()
            for layer, names in zip(arrays, self._names, strict=True)
            for name in names
        ]
        return np.concatenate(flat)

    def _set(self, x: np.ndarray) -> None:
        """Set the parameters to the identity changed by ``x``."""
        at = 0
        with torch.no_grad():
            for parameter, zero in zip(self._parameters, self._zero, strict=True):
                change = torch.from_numpy(x[at : at + parameter.numel()]).float()
                parameter.copy_(zero + change.view_as(parameter).to(zero.device))
                at += parameter.numel()


def _flat(values: Tensor) -> np.ndarray:
    flat: np.ndarray = values.double().cpu().numpy().ravel()
    return flat
