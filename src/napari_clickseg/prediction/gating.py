"""Which of a finetuned model's two experts answers: asked of the image, not of a view.

See :mod:`napari_clickseg.models.gate`. Zoomed-in windows of one object are not judged
one by one, or an object might be begun by one expert and ended by the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from napari_clickseg.boxes import Box
from napari_clickseg.prediction.resize import reduce_smoothly, to_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_clickseg.clicks import Click
    from napari_clickseg.image import ImageSource

#: Longest side of what is judged, in pixels of the image, and as it is judged.
FIELD, SIDE = 2048, 448


def field_of(shape: tuple[int, int], clicks: Sequence[Click]) -> Box:
    """Return the part of an image that is judged: all of it, where it is not large.

    Of a large one a part around an object's first click, in steps of half its size, so
    that the answer depends on the image and that click alone.
    """
    if max(shape) <= FIELD or not clicks:
        return Box(0, 0, FIELD, FIELD).clip(shape)
    step = FIELD // 2
    sides = []
    for side, at in zip(shape, (clicks[0].row, clicks[0].col), strict=True):
        low = round((at - step) / step) * step
        low = int(np.clip(low, 0, max(0, side - FIELD)))
        sides.append((low, min(side, low + FIELD)))
    (top, bottom), (left, right) = sides
    return Box(top, left, bottom, right)


def overview(window: np.ndarray) -> Tensor:
    """Return a window as it is judged.

    Parameters
    ----------
    window : ndarray, shape (H, W, 3)
        RGB in [0, 1].

    Returns
    -------
    Tensor, shape (1, 3, h, w)
        The longer side is 448.
    """
    height, width = window.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(32, round(height * scale)), max(32, round(width * scale)))
    return reduce_smoothly(to_tensor(window), size)


class Experts:
    """Chooses the expert for an image, once for each part of it.

    Parameters
    ----------
    model : Model
        The model that was asked for; without a gate it answers itself.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._image: ImageSource | None = None
        self._chosen: dict[Box, Any] = {}

    def suited(self, image: ImageSource, clicks: Sequence[Click]) -> Any:
        """Return what answers these clicks."""
        if getattr(self.model, "gate", None) is None:
            return self.model
        if image is not self._image:
            self._image, self._chosen = image, {}
        box = field_of(image.shape, clicks)
        if box not in self._chosen:
            self._chosen[box] = self.model.suited(overview(image.window(box)))
        return self._chosen[box]

    def forget(self) -> None:
        """Drop what was found of the last image."""
        self._image, self._chosen = None, {}
