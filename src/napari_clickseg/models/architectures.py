"""Every network that a file may ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import nn

__all__ = ["ARCHITECTURES", "LazyNetwork"]


@dataclass(frozen=True, slots=True)
class LazyNetwork:
    """A network class that is imported when it is first built."""

    module: str
    name: str

    def load(self) -> type[nn.Module]:
        """Import the class."""
        return getattr(import_module(self.module), self.name)

    def __call__(self, **config: Any) -> nn.Module:
        """Build the network."""
        return self.load()(**config)

    def made(self, network: nn.Module) -> bool:
        """Whether a network is of exactly this class."""
        kind = type(network)
        return (kind.__module__, kind.__qualname__) == (self.module, self.name)


#: Every network that a file may ask for. Nothing else is ever built from one.
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "ritm": LazyNetwork("napari_clickseg.networks.ritm", "RITM"),
    "fbrs": LazyNetwork("napari_clickseg.networks.fbrs", "FBRS"),
    "ritm-mobilenetv2": LazyNetwork(
        "napari_clickseg.networks.ritm_mobilenet", "RITMMobileNetV2"
    ),
    "interformer": LazyNetwork("napari_clickseg.networks.interformer", "InterFormer"),
    "interformer-mobilenetv2": LazyNetwork(
        "napari_clickseg.networks.interformer_mobilenet", "InterFormerMobileNetV2"
    ),
    "unet": LazyNetwork("napari_clickseg.networks.unet", "UNet"),
    "semantic-mobilenetv2": LazyNetwork(
        "napari_clickseg.networks.semantic_mobilenet", "SemanticMobileNetV2"
    ),
    "multiscale-hrnet": LazyNetwork(
        "napari_clickseg.networks.multiscale", "MultiScaleHRNet"
    ),
    "indexnet": LazyNetwork("napari_clickseg.networks.indexnet", "IndexNet"),
    "bts": LazyNetwork("napari_clickseg.networks.bts", "BTS"),
}
