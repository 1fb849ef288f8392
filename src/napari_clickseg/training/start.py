"""Start MobileNetV2 from what it has learned before.

Either from the de-quantised Apache-2.0 weights, or from the backbone of one of our
own models.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from napari_clickseg.errors import TrainingError
from napari_clickseg.limits import damage
from napari_clickseg.networks.mobilenet import MobileNetV2


def load_backbone(backbone: MobileNetV2, root: Path, start: str) -> int:
    """Copy pretrained convolutions into a backbone.

    Parameters
    ----------
    backbone : MobileNetV2
        Receives the weights.
    root : Path
        Where the training data lies.
    start : str
        A ``*_dequant.pt`` file under ``root``: ``state`` with ``L{i}.weight`` and
        ``L{i}.bias`` for each layer of the source network, batch norm folded in.
        Or the name of a model that is known here and whose weights have a
        ``backbone``.

    Returns
    -------
    int
        Number of convolutions that were filled.
    """
    if not start.endswith(".pt"):
        return _from_model(backbone, start)
    path = root / start
    filters = read_filters(path)
    targets = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    for index, (target, (weight, bias)) in enumerate(
        zip(targets, filters, strict=False)
    ):
        if weight.shape != target.weight.shape or target.bias is None:
            raise TrainingError(
                f"{path}: filter {index} has shape {tuple(weight.shape)}, expected "
                f"{tuple(target.weight.shape)}; this is not a MobileNetV2 pack"
            )
        with torch.no_grad():
            target.weight.copy_(weight)
            target.bias.copy_(bias)
    return len(targets)


def read_filters(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Read the filters of a ``*_dequant.pt`` file, in order, with their biases."""
    try:
        pack = torch.load(path, map_location="cpu", weights_only=True)
        state = pack["state"]
        indices = sorted(
            int(key[1:].split(".")[0]) for key in state if key.endswith(".weight")
        )
        return [(state[f"L{i}.weight"], state[f"L{i}.bias"]) for i in indices]
    except damage(UnpicklingError) as error:
        raise TrainingError(f"starting weights {path} cannot be read: {error}") from (
            error
        )


def _from_model(backbone: MobileNetV2, name: str) -> int:
    """Copy the backbone of a known model, whose weights must be here."""
    from napari_clickseg.models.checkpoint import read_checkpoint
    from napari_clickseg.models.fetch import fetch_model

    prefix = "backbone."
    weights = {
        key.removeprefix(prefix): value
        for key, value in read_checkpoint(fetch_model(name)).state_dict.items()
        if key.startswith(prefix)
    }
    try:
        backbone.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(
            f"model {name!r} has no MobileNetV2 as its backbone to start from: {error}"
        ) from error
    return sum(key.endswith(".weight") for key in weights)
