"""What of a network is trained: its head, with adapters, or everything.

The fewer images, the less may change: with a handful of them a whole network learns
the images by heart.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import nn
from torch.nn.utils import parametrize

from napari_clickseg.errors import TrainingError
from napari_clickseg.models.encoders import encoder_parts
from napari_clickseg.training.finetuning.adapters import add_adapters
from napari_clickseg.training.state import RelativeGain

Parts = Literal["auto", "head", "adapters", "all"]
PARTS: tuple[Parts, ...] = get_args(Parts)
#: How the names of pretrained encoders' parameters begin, in all networks here.
ENCODERS = (
    "backbone.",
    "feature_extractor.",
    "encoder.",
    *(f"layer{n}." for n in range(8)),
    "down.",
    "inc.",
)
#: Parts of HRNet that were never pretrained: its heads.
HEADS = ("ocr_", "conv3x3_ocr", "cls_head", "aux_head")
#: What the clicks go through before the encoder; it need not change with the images,
#: and where it does not, nothing goes back through the encoder.
CLICKS = ("maps_transform.", "maps_scale")
#: Fewer images than the first: the head alone; than the second: adapters, too.
LIMITS = (8, 16)


def choose_parts(images: int, parts: Parts = "auto") -> Parts:
    """Return what is trained with so many images.

    Raises
    ------
    TrainingError
        If there are no such parts.
    """
    if parts not in PARTS:
        raise TrainingError(f"Parts are one of {', '.join(PARTS)}, not {parts!r}.")
    if parts != "auto":
        return parts
    if images < LIMITS[0]:
        return "head"
    return "adapters" if images < LIMITS[1] else "all"


def in_encoder(name: str) -> bool:
    """Whether a parameter of that name belongs to the pretrained encoder."""
    if not name.startswith(ENCODERS):
        return False
    rest = name.removeprefix("feature_extractor.")
    return not rest.startswith(HEADS)


def prepare(
    network: nn.Module, parts: Parts, learning_rate: float, encoder_factor: float
) -> list[dict[str, Any]]:
    """Freeze what stays, and group the rest by learning rate.

    Parameters
    ----------
    network : nn.Module
        Parameters of the encoder are told by their names (:data:`ENCODERS`); a network
        without such names is all head.
    parts : {"head", "adapters", "all"}
        What is trained.
    learning_rate : float
        Of the head.
    encoder_factor : float
        What the encoder gets of it.

    Returns
    -------
    list of dict
        Groups for an optimiser, each with its ``factor``.
    """
    head = [p for name, p in network.named_parameters() if not in_encoder(name)]
    if parts == "head":
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(
                not in_encoder(name) and not name.startswith(CLICKS)
            )
        head = [parameter for parameter in head if parameter.requires_grad]
    encoder = [
        (name, module)
        for name, module in network.named_modules()
        if in_encoder(f"{name}.") and not isinstance(module, nn.BatchNorm2d)
    ]
    inner = [p for name, p in network.named_parameters() if in_encoder(name)]
    learned: list[nn.Parameter] = []
    if parts == "all":
        kept = kept_modules(network)
        if not _has_norms(network):
            _make_relative([module for name, module in encoder if name not in kept])
        for name in kept:
            network.get_submodule(name).requires_grad_(False)
        learned = [
            p
            for name, p in network.named_parameters()
            if in_encoder(name) and p.requires_grad
        ]
        head = [parameter for parameter in head if parameter.requires_grad]
    else:
        for parameter in inner:
            parameter.requires_grad_(False)
        if parts == "adapters":
            learned = add_adapters(module for _, module in encoder)
    groups = [{"params": head, "lr": learning_rate, "factor": 1.0}]
    if learned:
        factor = 1.0 if parts == "adapters" else encoder_factor
        rate = learning_rate * factor
        groups.append({"params": learned, "lr": rate, "factor": factor})
    return [group for group in groups if group["params"]]


def kept_modules(network: nn.Module) -> tuple[str, ...]:
    """Name the modules that run before the first click, where they stay as they are.

    They see full resolution, where learning is dearest, and have the least to learn;
    networks whose whole encoder lies there say ``encoder_learns``.
    """
    if getattr(network, "encoder_learns", False) or not hasattr(
        network, "encode_image"
    ):
        return ()
    training = network.training
    network.eval()
    kept = [
        inner
        for part in encoder_parts(network)
        for inner, _ in network.get_submodule(part).named_modules(prefix=part)
    ]
    network.train(training)
    return tuple(kept)


def _has_norms(network: nn.Module) -> bool:
    return any(
        isinstance(module, nn.BatchNorm2d)
        for name, module in network.named_modules()
        if in_encoder(f"{name}.")
    )


def _make_relative(modules: list[nn.Module]) -> None:
    """Let filters whose batch norm is folded in learn relative to their size."""
    for module in modules:
        if isinstance(module, nn.Conv2d):
            parametrize.register_parametrization(
                module, "weight", RelativeGain(module.weight)
            )


def learning(network: nn.Module) -> tuple[int, int]:
    """Return how many numbers are trained, and how many there are."""
    counts = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return sum(n for n, on in counts if on), sum(n for n, _ in counts)
