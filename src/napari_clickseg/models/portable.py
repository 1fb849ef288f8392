"""A model as one function of tensors, for programs that are not this one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from napari_clickseg.networks.layers import IMAGENET


class Portable(nn.Module):
    """A network whose input is RGB in [0, 1] and whose answer needs no more work.

    Click networks answer ``(image, points, previous)`` with the probability of the
    object. The others answer ``(image,)``, IndexNet ``(image, trimap)``: with the
    probability of each class, alpha in [0, 1], or depth in metres.

    Parameters
    ----------
    network : nn.Module
        In float32 on the CPU; changed to evaluation mode.
    task : str
        What it is for.
    """

    def __init__(self, network: nn.Module, task: str) -> None:
        super().__init__()
        self.network, self.task = network.eval().requires_grad_(False), task
        usual = task in ("segmentation", "semantic")
        self.normalises = bool(getattr(network, "normalises_input", usual))
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in IMAGENET)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what it is given, in order."""
        if self.task == "segmentation":
            return ("image", "points", "previous")
        return ("image", "trimap") if self.task == "matting" else ("image",)

    @property
    def output(self) -> str:
        """Name of what it answers."""
        names = {"segmentation": "probability", "semantic": "classes"}
        return names.get(self.task, "alpha" if self.task == "matting" else "depth")

    def forward(self, image: Tensor, *others: Tensor) -> Tensor:
        """Answer.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1].
        *others : Tensor
            Clicks: ``points`` (N, 2P, 3), rows of row, column and order, the positive
            half first, -1 unused; ``previous`` (N, 1, H, W), the answer before, zeros
            at first. Matting: ``trimap`` (N, 1, H, W), 0, 0.5 or 1.
        """
        if not self.normalises:
            mean, std = self.get_buffer("mean"), self.get_buffer("std")
            image = (image - mean) / std
        network: Any = self.network
        if self.task == "segmentation":
            points, previous = others
            points = points[..., : int(getattr(network, "point_columns", 3))]
            if getattr(network, "with_prev_mask", True):
                image = torch.cat([image, previous], 1)
            return torch.sigmoid(network(image, points)["instances"])
        if self.task == "matting":
            answer: Tensor = network(torch.cat([image, others[0]], 1))
            return answer.clamp(0, 1)
        answer = network(image)
        return answer.softmax(1) if self.task == "semantic" else answer


def example_inputs(
    portable: Portable, size: tuple[int, int] = (256, 256), seed: int = 0
) -> tuple[Tensor, ...]:
    """Return a picture that means something, and a click on it.

    Parameters
    ----------
    portable : Portable
        Says what it wants.
    size : (int, int)
        Height and width; multiples of 32 suit all networks.
    seed : int
        Of the picture.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.linspace(-1, 1, size[0])[:, None]
    cols = torch.linspace(-1, 1, size[1])[None]
    disk = torch.sigmoid(20 * (0.45 - (rows**2 + cols**2).sqrt()))
    noise = 0.1 * torch.rand((1, 3, *size), generator=generator)
    image = (0.2 + 0.6 * disk[None, None] + noise).clamp(0, 1)
    found: dict[str, Tensor] = {"image": image}
    points = torch.full((1, 4, 3), -1.0)
    points[0, 0] = torch.tensor([size[0] / 2, size[1] / 2, 0.0])
    found["points"] = points
    # Not nothing: bioimageio.core takes an input of zeros for a mistake.
    found["previous"] = 0.5 * disk[None, None]
    trimap = torch.where(disk > 0.98, 1.0, torch.where(disk < 0.02, 0.0, 0.5))
    found["trimap"] = trimap[None, None]
    return tuple(found[name] for name in portable.inputs)


def build_portable(architecture: str, config: dict[str, Any], task: str) -> Portable:
    """Build a network by name, for programs that load its weights themselves.

    Parameters
    ----------
    architecture : str
        A key of :data:`~napari_clickseg.models.architectures.ARCHITECTURES`.
    config : dict
        Arguments of its class.
    task : str
        What it is for.
    """
    from napari_clickseg.models.architectures import ARCHITECTURES

    return Portable(ARCHITECTURES[architecture](**config), task)
