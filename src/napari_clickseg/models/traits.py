"""What sets one network apart from another, for those who ask its model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from napari_clickseg.models.registry import ModelInfo

#: Longest side of windows for networks that do not say: InterFormer's training.
TILE_SIDE = 512


class Traits:
    """What a network says of itself, with defaults for those that say nothing."""

    info: ModelInfo
    network: nn.Module
    _tuned: Mapping[str, float]

    @property
    def encodes_once(self) -> bool:
        """Whether encoding an image takes much longer than answering a click."""
        return bool(getattr(self.network, "encodes_once", False))

    @property
    def reduces_to(self) -> int | None:
        """Longest side that the network works at; larger windows it reduces itself."""
        side = getattr(self.network, "max_side", None)
        return None if side is None else int(side)

    @property
    def tile_side(self) -> int:
        """Longest side at which such a model sees a part of an image."""
        return self.reduces_to or TILE_SIDE

    @property
    def magnifies(self) -> float:
        """How far tiles may be enlarged: by more than 1 where encoding is quick."""
        return float(getattr(self.network, "magnifies", 1.0))

    @property
    def refines_region(self) -> bool:
        """Whether :meth:`decode` may be told to refine but a region."""
        return bool(getattr(self.network, "refines_region", False))

    @property
    def click_radius(self) -> float:
        """Radius of the disk that stands for a click, where one is made of it."""
        return float(getattr(self.network, "click_radius", 0.0))

    @property
    def remembers(self) -> bool:
        """Whether ``previous`` is not the last answer but what is made of all."""
        return hasattr(self.network, "remember")

    def remember(self, known: np.ndarray, probability: np.ndarray) -> np.ndarray:
        """Return what is remembered after an answer, where :attr:`remembers` is true.

        Parameters
        ----------
        known : ndarray, shape (H, W), in [0, 1]
            What was remembered before it; zeros alone for nothing.
        probability : ndarray, shape (H, W)
            The answer.
        """
        remembered: np.ndarray = self.network.remember(known, probability)  # type: ignore[operator]
        return remembered

    @property
    def places(self) -> Mapping[str, tuple[str, ...]]:
        """Where refinement inserts its layers, by method.

        Keys are ``"rgb"``, ``"distmap"``, ``"f-brs-a"`` to ``"f-brs-c"`` and
        ``"g-brs"``; what the registry says of the last goes before the network's
        own word.
        """
        own = getattr(self.network, "places", None)
        places = dict(own()) if own is not None else {}
        if self.info.refine_at:
            places["g-brs"] = self.info.refine_at
        return places

    @property
    def learning_rates(self) -> Mapping[str, float]:
        """Adam's step size that was found best, by method.

        The registry's, and above them what was found on this machine
        (:mod:`napari_clickseg.models.tuned`).
        """
        return {**self.info.learning_rates, **self._tuned}
