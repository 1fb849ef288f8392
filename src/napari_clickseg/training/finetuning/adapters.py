"""Low-rank adapters: a filter may change only by a product of two thin matrices.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (ICLR 2022), for
convolutions and linear layers. What was learned is added to the filters in the end, so
that the network has the same weights by name and costs the same to run.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """Add ``up @ down`` to a filter that stays as it is.

    Parameters
    ----------
    weight : Tensor, shape (O, I, ...)
        The filter.
    rank : int
        Of the change.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight.shape[0], weight[0].numel()
        size = float(weight.detach().pow(2).mean().sqrt())
        down = torch.randn(rank, inputs, dtype=weight.dtype, device=weight.device)
        self.down = nn.Parameter(down / inputs**0.5)
        # zero, so that nothing changes at the start
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        #: As large as the filter, so that one learning rate fits all of them.
        self.scale = size * inputs**0.5

    def forward(self, weight: Tensor) -> Tensor:
        """Return the filter with its change."""
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def add_adapters(modules: Iterable[nn.Module], rank: int = 8) -> list[nn.Parameter]:
    """Put an adapter into each layer that is large enough for one.

    Parameters
    ----------
    modules : iterable of nn.Module
        Convolutions (but depthwise ones, which have no rank to speak of) and linear
        layers get one; others stay as they are.
    rank : int
        Of each change.

    Returns
    -------
    list of nn.Parameter
        What there is to learn. The filters themselves no longer learn.
    """
    learned: list[nn.Parameter] = []
    for module in modules:
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        weight = module.weight
        if min(weight.shape[0], weight[0].numel()) < 2 * rank:
            continue
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            continue
        weight.requires_grad_(False)
        adapter = LowRank(weight, rank)
        parametrize.register_parametrization(module, "weight", adapter)
        learned += list(adapter.parameters())
    return learned


def take_up(network: nn.Module) -> nn.Module:
    """Make what parametrizations say the weights themselves, in place."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return network
