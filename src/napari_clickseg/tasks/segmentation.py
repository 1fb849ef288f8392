"""Segmentation: one object against the rest, by positive and negative clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError


class Segmentation:
    """A click says whether its pixel belongs to the object."""

    name = "segmentation"

    def check_click(self, click: Click) -> None:
        """Refuse labels, values and radii: these models know the sign only."""
        for field in ("label", "value", "radius"):
            if getattr(click, field) is not None:
                raise ClickError(
                    f"A click for segmentation is positive or negative and has no "
                    f"{field}. Leave {field} out."
                )

    def mask(self, answer: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
        """Return the pixels above the threshold (strictly, as published)."""
        # The published evaluation compares with a Python float, in float32.
        mask: NDArray[np.bool_] = answer > np.float32(threshold)
        return mask

    def result(self, answer: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
        """Return the mask."""
        return self.mask(answer, threshold)
