"""Which images a finetuned model is for, and what answers on all others.

A network that learns from a few images of one kind gets worse on other kinds. So its
file may hold the weights of its parent, too, and a *gate*: a small classifier that
tells by the first features of an image whether it looks like those that were learned
from. This is the expert gate of Aljundi et al. (CVPR 2017), with two experts and
a logistic regression in the place of their autoencoders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_clickseg.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_clickseg.models.checkpoint import Checkpoint

#: What tensors of a file that belong to a gate, or to the other weights, begin with.
GATE, ELSEWHERE = "__gate__.", "__elsewhere__."


@dataclass(frozen=True)
class Gate:
    """Tells images like those that were learned from.

    Parameters
    ----------
    weights : Tensor, shape (2 C,), float32
        Of the mean and the standard deviation of each feature channel.
    bias : Tensor, shape ()
        The decision is that the weighted sum and this are above 0.
    """

    weights: Tensor
    bias: Tensor

    def score(self, content: Any) -> float:
        """Return the logarithm of the odds that an image is of the kind.

        Parameters
        ----------
        content : Tensor or object with ``features``
            What the parent's ``encode_image`` makes of an image, (1, C, h, w).

        Raises
        ------
        CheckpointError
            If the features are not those that the gate was made for.
        """
        seen = summary(content).to(self.weights)
        if seen.shape[-1] != len(self.weights):
            raise CheckpointError(
                f"has a gate for {len(self.weights) // 2} feature channels, and its "
                f"network has {seen.shape[-1] // 2}. Is the file unchanged?"
            )
        return float((seen @ self.weights + self.bias).mean())

    def tensors(self) -> dict[str, Tensor]:
        """Return it as tensors of a weight file."""
        return {f"{GATE}weights": self.weights, f"{GATE}bias": self.bias}


def summary(content: Any) -> Tensor:
    """Return mean and standard deviation of each channel, (N, 2 C), float32.

    Parameters
    ----------
    content : Tensor or object with ``features``
        Features of an image, (N, C, h, w).

    Raises
    ------
    CheckpointError
        If there is no such thing in it.
    """
    features = getattr(content, "features", content)
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise CheckpointError("has a gate, and its network no features to look at.")
    flat = features.float().flatten(2)
    return torch.cat([flat.mean(2), flat.std(2, correction=0)], 1)


def shortest(weights: Tensor) -> Tensor:
    """Return weights in float16 where nothing is lost by it."""
    if not weights.is_floating_point():
        return weights
    half = weights.half()
    return half if torch.equal(half.to(weights), weights) else weights


def with_elsewhere(gate: Gate, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a weight file holds beside the network's own weights."""
    others = {f"{ELSEWHERE}{name}": value for name, value in weights.items()}
    return gate.tensors() | others


def read_gate(checkpoint: Checkpoint) -> tuple[Gate, Checkpoint] | None:
    """Return the gate of a file and what answers elsewhere, None if it has none.

    Returns
    -------
    gate : Gate
    elsewhere : Checkpoint
        The same network with the other weights; those that a file does not name are
        the same in both.

    Raises
    ------
    CheckpointError
        If there is but half of it, or it does not fit.
    """
    beside = checkpoint.beside
    if not beside:
        return None
    gate = {n.removeprefix(GATE): x for n, x in beside.items() if n.startswith(GATE)}
    weights = {
        name.removeprefix(ELSEWHERE): value
        for name, value in beside.items()
        if name.startswith(ELSEWHERE)
    }
    where = f"{checkpoint.path} has a damaged gate:"
    if set(gate) != {"weights", "bias"} or not weights:
        raise CheckpointError(f"{where} parts of it are missing.")
    numbers, bias = gate["weights"], gate["bias"]
    if (
        numbers.ndim != 1
        or bias.ndim != 0
        or not len(numbers)
        or len(numbers) % 2
        or not (numbers.is_floating_point() and bias.is_floating_point())
        or not bool(torch.isfinite(numbers).all() and torch.isfinite(bias))
    ):
        raise CheckpointError(f"{where} its numbers make no sense.")
    strange = [name for name in weights if name not in checkpoint.state_dict]
    if strange:
        raise CheckpointError(f"{where} it names unknown weights ({strange[0]}).")
    elsewhere = replace(
        checkpoint, state_dict={**checkpoint.state_dict, **weights}, beside={}
    )
    return Gate(numbers.float(), bias.float()), elsewhere
