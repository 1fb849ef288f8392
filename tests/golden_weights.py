"""Weights by recipe, so that golden numbers need no weight files.

Every tensor is drawn from a generator seeded with its own name; what the
golden file lists (batch norm statistics, last biases) replaces the drawn
values afterwards.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn


def draw(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the values of one entry of a state dict, float32."""
    random = np.random.RandomState(zlib.crc32(key.encode()))
    name = key.rsplit(".", 1)[-1]
    if name == "scale" and shape == (1,):
        values = np.full(shape, 0.5)
    elif name in ("gamma_1", "gamma_2"):
        values = np.full(shape, 0.3)
    elif name in ("relative_position_bias_table", "pos_embed", "cls_token"):
        values = 0.1 * random.standard_normal(shape)
    elif name == "running_var":
        values = random.uniform(0.5, 1.5, shape)
    elif len(shape) >= 2:
        values = np.sqrt(1 / np.prod(shape[1:])) * random.standard_normal(shape)
    elif name == "weight":
        values = random.uniform(0.5, 1.5, shape)
    else:
        values = 0.1 * random.standard_normal(shape)
    return values.astype(np.float32)


def state_dict_by_recipe(
    shapes: Mapping[str, Tensor], golden: Mapping[str, np.ndarray] | None = None
) -> dict[str, Tensor]:
    """Fill the entries of ``shapes`` by the recipe.

    Parameters
    ----------
    shapes : mapping of str to Tensor
        A network's ``state_dict()``; only shapes and dtypes count.
    golden : mapping, optional
        A golden file with ``bn_keys``, ``bn_sizes`` and ``bn_values``.
    """
    state = {}
    for key, tensor in shapes.items():
        if tensor.is_floating_point():
            state[key] = torch.from_numpy(draw(key, tuple(tensor.shape)))
        elif key.endswith("relative_position_index"):
            state[key] = tensor
        else:
            state[key] = torch.zeros_like(tensor, device="cpu")
    if golden is not None:
        ends = np.cumsum(golden["bn_sizes"])
        pieces = np.split(golden["bn_values"], ends[:-1])
        for key, values in zip(golden["bn_keys"], pieces, strict=True):
            old = state[str(key)]
            state[str(key)] = torch.from_numpy(values.copy()).reshape(old.shape)
    return state


def fill(network: nn.Module, golden: Mapping[str, np.ndarray] | None = None) -> None:
    """Give a network the recipe's weights and switch it to evaluation."""
    network.load_state_dict(state_dict_by_recipe(network.state_dict(), golden))
    network.eval()


def settle(network: nn.Module, run: Callable[[], object]) -> None:
    """Give batch norm the statistics of one run, as the golden files of the dense
    networks did: then these need not be kept.

    Parameters
    ----------
    network : nn.Module
        In evaluation, and so afterwards; only its batch norm is trained meanwhile.
    run : callable
        Calls the network once.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        run()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def worst_checksum(
    state: Mapping[str, Tensor], golden: Mapping[str, np.ndarray]
) -> float:
    """Largest deviation from the recorded sums, relative to the size of each."""
    worst = 0.0
    for key, total, absolute in zip(
        golden["ck_keys"], golden["ck_sum"], golden["ck_abs"], strict=True
    ):
        values = state[str(key)].double()
        scale = max(1.0, float(absolute))
        worst = max(
            worst,
            abs(float(values.sum()) - float(total)) / scale,
            abs(float(values.abs().sum()) - float(absolute)) / scale,
        )
    return worst


#: The golden numbers come from AVX-512 kernels. Others add up in another order: deep
#: networks then differ in float32 by some 1e-3 of logits (measured with AVX2).
ROUNDING = 1.0 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 50.0
