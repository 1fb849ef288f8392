"""Click networks run in one go, as published; and folded with care."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_clickseg.errors import ModelError
from napari_clickseg.models.optimise import fold_batch_norm
from napari_clickseg.networks.layers import IMAGENET, Normalise

# Folding moves the last digits of float32 numbers; more means it went wrong.
_FOLDING_TOLERANCE = 1e-3


@torch.inference_mode()
def run_network(
    network: nn.Module,
    image: Tensor,
    points: Tensor,
    previous: Tensor | None = None,
) -> Tensor:
    """Run a click network in one go, as published.

    Parameters
    ----------
    network : nn.Module
        In float32 on the CPU.
    image : Tensor, shape (N, 3, H, W)
        RGB in [0, 1].
    points, previous
        See :meth:`Model.decode`.

    Returns
    -------
    Tensor, shape (N, 1, H, W)
        Logits.
    """
    if not getattr(network, "normalises_input", True):
        image = Normalise(*IMAGENET)(image)
    if network.with_prev_mask:
        if previous is None:
            previous = torch.zeros_like(image[:, :1])
        image = torch.cat([image, previous], 1)
    points = points[..., : int(getattr(network, "point_columns", 3))]
    logits: Tensor = network(image, points)["instances"]
    return logits


def fold_carefully(
    network: nn.Module, name: str, answer: Callable[[], Tensor] | None = None
) -> None:
    """Fold batch norm and make sure that the answer stays the same.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode; its weights change.
    name : str
        Of the model, for messages.
    answer : callable, optional
        Runs the network once on something small and returns logits; by default on an
        image with a click.
    """
    steps = torch.linspace(0, 1, 3 * 65 * 65)
    image = (0.5 + 0.5 * torch.sin(900 * steps)).view(1, 3, 65, 65)
    points = torch.tensor([[[32.0, 30.0, 0.0], [-1.0, -1.0, -1.0]]])
    answers: list[Tensor] = []

    def run() -> None:
        answers.append(
            run_network(network, image, points) if answer is None else answer()
        )

    fold_batch_norm(network, run)
    run()
    before, after = answers[0], answers[-1]
    scale = float(before.abs().max().clamp(min=1))
    gap = float((before - after).abs().max())
    if not gap <= _FOLDING_TOLERANCE * scale:
        raise ModelError(
            f"The network of {name} does not survive folding its batch norm (its "
            f"answer moved by {gap:.3g}). Load it with optimise=False, and please "
            "report it."
        )
