"""Start MobileNetV2 from the de-quantised Apache-2.0 weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from napari_clickseg.errors import TrainingError
from napari_clickseg.networks.mobilenet import MobileNetV2


def load_backbone(backbone: MobileNetV2, path: Path) -> int:
    """Copy the convolutions of a weight pack, in order, into a backbone.

    Parameters
    ----------
    backbone : MobileNetV2
        Receives the weights.
    path : Path
        A ``*_dequant.pt`` file: ``state`` with ``L{i}.weight`` and ``L{i}.bias``
        for each layer of the source network, batch norm folded in.

    Returns
    -------
    int
        Number of convolutions that were filled.
    """
    try:
        pack = torch.load(path, map_location="cpu", weights_only=True)
        state = pack["state"]
    except (OSError, KeyError, RuntimeError) as error:
        raise TrainingError(f"starting weights {path} cannot be read: {error}") from (
            error
        )
    indices = sorted(
        int(key[1:].split(".")[0]) for key in state if key.endswith(".weight")
    )
    targets = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    for target, index in zip(targets, indices, strict=False):
        weight, bias = state[f"L{index}.weight"], state[f"L{index}.bias"]
        if weight.shape != target.weight.shape or target.bias is None:
            raise TrainingError(
                f"{path}: layer {index} has shape {tuple(weight.shape)}, expected "
                f"{tuple(target.weight.shape)}; this is not a MobileNetV2 pack"
            )
        with torch.no_grad():
            target.weight.copy_(weight)
            target.bias.copy_(bias)
    return len(targets)
