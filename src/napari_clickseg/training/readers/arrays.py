"""Arrays in memory, as the layers of a viewer hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import TrainingError
from napari_clickseg.training.readers.base import Reader, plain


class Arrays(Reader):
    """Images and labels that are arrays, in memory or lazy.

    Parameters
    ----------
    images : array or sequence of arrays
        One ``(H, W)`` or ``(H, W, C)``, or many of them.
    labels : array or sequence of arrays
        As many, ``(H, W)``.
    names : sequence of str, optional
        What to call them.
    contrast : sequence, optional
        Of each image the values that are shown as 0 and 1, as
        :class:`~napari_clickseg.image.ImageSource` takes them.

    Raises
    ------
    TrainingError
        If there are not as many labels as images.
    """

    layout: ClassVar[str] = "arrays"

    def __init__(
        self,
        images: Any,
        labels: Any,
        names: Sequence[str] | None = None,
        contrast: Sequence[Any] | None = None,
    ) -> None:
        self._images = _several(images)
        self._labels = _several(labels)
        count = len(self._images)
        if len(self._labels) != count:
            raise TrainingError(
                f"There are {count} images and {len(self._labels)} arrays of labels; "
                "give one for each image, in the same order."
            )
        if names is not None and len(names) != count:
            raise TrainingError(f"There are {count} images and {len(names)} names.")
        if contrast is not None and len(contrast) != count:
            raise TrainingError(f"There are {count} images and {len(contrast)} ranges.")
        self._contrast = contrast
        self.names = (
            tuple(names)
            if names is not None
            else tuple(f"image {n}" for n in range(1, count + 1))
        )

    def image(self, index: int) -> Any:
        """Return an image as it was given."""
        return self._images[index]

    def contrast(self, index: int) -> Any:
        """Return what was given for an image."""
        return None if self._contrast is None else self._contrast[index]

    def labels(self, index: int) -> NDArray[Any]:
        """Return its labels, read now."""
        return plain(np.asarray(self._labels[index]))


def _several(given: Any) -> list[Any]:
    """Return a list of arrays; one array is a list of one."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        return list(given)
    if not hasattr(given, "shape"):
        raise TrainingError(
            f"Images and labels are arrays, or lists of arrays, not "
            f"{type(given).__name__}."
        )
    return [given]
