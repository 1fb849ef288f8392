"""What the optimisers share: layers in front of a network's tail, and how they go.

A run is made for one click. It can be stopped between two evaluations of the loss and
goes on where it stopped; at any time it knows the best answer so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from napari_clickseg.refinement.layers import RefinementLayer
    from napari_clickseg.refinement.tail import Tail

#: Parameters of all layers, as arrays.
Arrays = tuple[Mapping[str, np.ndarray], ...]
#: Asked before every evaluation; True: that is enough for now. May raise to cancel.
Pause = Callable[[], bool]


def never() -> bool:
    """Do not pause."""
    return False


class Variables:
    """The parameters that a run changes, and the answer that follows from them.

    Parameters
    ----------
    tail : Tail
        What depends on the refined features.
    layers : sequence of RefinementLayer
        One for each of ``tail.features``, with identity parameters.
    """

    def __init__(self, tail: Tail, layers: Sequence[RefinementLayer]) -> None:
        self.tail, self.layers = tail, tuple(layers)
        #: What the parameters are where nothing is changed.
        self.identity = self.arrays()
        #: What was loaded last, as it was given.
        self.start: Arrays = self.identity

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All parameters, layer by layer."""
        return [each for layer in self.layers for each in layer.parameters()]

    def arrays(self) -> Arrays:
        """Return copies of the parameters."""
        return tuple(layer.arrays() for layer in self.layers)

    def load(self, arrays: Arrays) -> None:
        """Set the parameters."""
        self.start = arrays
        for layer, values in zip(self.layers, arrays, strict=True):
            layer.load_arrays(dict(values))

    def is_identity(self) -> bool:
        """Whether the layers change nothing."""
        return all(
            np.array_equal(now[name], then[name])
            for now, then in zip(self.arrays(), self.identity, strict=True)
            for name in then
        )

    def logits(self) -> Tensor:
        """Return the answer (N, 1, h, w) with the parameters as they are."""
        # Layers, not features: one site may lie behind another.
        return self.tail(*self.layers)

    def answer(self) -> Tensor:
        """Return the same without a record for gradients."""
        if self.is_identity():
            return self.tail.output
        with torch.no_grad():
            return self.logits()


class Run(Protocol):
    """An optimisation for one click."""

    finished: bool

    @property
    def evaluations(self) -> int:
        """How often the loss was computed."""
        ...  # pragma: no cover

    @property
    def loss(self) -> float:
        """Loss of the best answer so far."""
        ...  # pragma: no cover

    @property
    def logits(self) -> Tensor:
        """The best answer so far, (N, 1, h, w)."""
        ...  # pragma: no cover

    @property
    def arrays(self) -> Arrays:
        """Parameters that the next click starts from."""
        ...  # pragma: no cover

    def advance(self, pause: Pause = never) -> None:
        """Go on until finished or paused, by one evaluation at least."""
        ...  # pragma: no cover
