"""What a model has made of windows, kept for the clicks that follow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor

#: Encoded windows kept: a window and its mirror image, for two views.
KEPT = 4
#: Features of larger inputs are not kept.
KEEP_PIXELS = 2**20
#: Models that encode once keep as many windows as fit into this.
KEPT_BYTES = 2**28


class Kept:
    """The features used last, those of the windows that are asked for again.

    Of most models a few windows are kept, if they are not large. Of one that encodes
    once they are kept by bytes; the newest one always is, however large.
    """

    def __init__(self) -> None:
        self._features: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._features)

    def clear(self) -> None:
        """Drop everything."""
        self._features.clear()
        self.bytes = 0

    def get(self, key: Any) -> Any:
        """Return the features of a window, None if they are not there."""
        if key not in self._features:
            return None
        self._features.move_to_end(key)
        return self._features[key][0]

    def put(self, key: Any, features: Any, pixels: int, *, once: bool) -> None:
        """Keep the features of a window.

        Parameters
        ----------
        key : hashable
        features : object
        pixels : int
            Of the window, as the model sees it.
        once : bool
            Whether the model encodes once.
        """
        if not once and pixels > KEEP_PIXELS:
            return
        if key in self._features:
            self.bytes -= self._features.pop(key)[1]
        size = bytes_of(getattr(features, "content", features))
        self._features[key] = features, size
        self.bytes += size
        while len(self) > 1 and (self.bytes > KEPT_BYTES if once else len(self) > KEPT):
            self.bytes -= self._features.popitem(last=False)[1][1]


def bytes_of(content: Any) -> int:
    """Return the bytes of all tensors in lists, tuples and dictionaries."""
    if isinstance(content, Tensor):
        return content.numel() * content.element_size()
    if isinstance(content, Mapping):
        content = content.values()
    elif not isinstance(content, list | tuple):
        return 0
    return sum(bytes_of(each) for each in content)
