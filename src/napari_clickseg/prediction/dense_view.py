"""What a network with a value per pixel sees of an image, and the way back.

Pixels of view and image lie on each other as torch's ``align_corners=False`` has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.networks.layers import IMAGENET
from napari_clickseg.prediction.resize import to_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_clickseg.boxes import Box
    from napari_clickseg.clicks import Click
    from napari_clickseg.image import ImageSource

Size = tuple[int, int]
#: Values of all channels that are made at a time on the way back to the image.
STRIP = 2**24


@dataclass(frozen=True)
class DenseView:
    """A part of an image, and the size at which a network sees it.

    Parameters
    ----------
    box : Box
        Pixels of the image.
    size : (int, int)
        Height and width of the view.
    """

    box: Box
    size: Size

    @classmethod
    def of(cls, box: Box, max_side: int | None, multiple: int = 1) -> DenseView:
        """Return the largest view that is allowed.

        Parameters
        ----------
        box : Box
        max_side : int or None
            Longest side; None: as large as the box.
        multiple : int
            Of which both sides are multiples, the nearest ones.
        """
        scale = 1.0
        if max_side is not None:
            scale = min(1.0, max_side / max(box.shape))
        most = np.inf if max_side is None else max(multiple, max_side)

        def fitted(length: int) -> int:
            near = max(1, round(length * scale / multiple)) * multiple
            return near if near <= most else near - multiple

        return cls(box, (fitted(box.shape[0]), fitted(box.shape[1])))

    @property
    def scales(self) -> tuple[float, float]:
        """Pixels of the view per pixel of the image, along rows and columns."""
        height, width = self.box.shape
        return self.size[0] / height, self.size[1] / width

    def at_size_of(self, output: Tensor) -> DenseView:
        """Return the same box, seen at the size of an output (1, C, h, w)."""
        return DenseView(self.box, (output.shape[2], output.shape[3]))

    def place(self, row: float, col: float) -> tuple[float, float]:
        """Return where in the view a place of the image lies."""
        rows, cols = self.scales
        return (
            (row - self.box.top + 0.5) * rows - 0.5,
            (col - self.box.left + 0.5) * cols - 0.5,
        )

    def picture(self, image: ImageSource) -> Tensor:
        """Return the view of an image, (1, 3, h, w), float32 RGB in [0, 1]."""
        window = to_tensor(image.window(self.box))
        if (window.shape[2], window.shape[3]) == self.size:
            return window
        shrinks = min(self.scales) < 1
        resized = F.interpolate(
            window, self.size, mode="bilinear", align_corners=False, antialias=shrinks
        )
        return resized.clamp(0, 1)

    def labels(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return the view of a plane of the whole image, nearest neighbours."""
        part = plane[self.box.slices]
        steps = [
            np.minimum(((np.arange(n) + 0.5) * length / n).astype(int), length - 1)
            for n, length in zip(self.size, part.shape, strict=True)
        ]
        found: NDArray[Any] = part[np.ix_(*steps)]
        return found

    def back(self, output: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield an output (1, C, h, w) at the size of the box, some rows at a time.

        Yields
        ------
        rows : slice
            Of the box.
        part : Tensor, shape (1, C, rows, W)
            Bilinear, exactly as if all were resized at once.
        """
        height, width = self.box.shape
        step = max(1, STRIP // (output.shape[1] * width))
        low, high, share = _between(np.arange(height), height, output.shape[2])
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            part = output
            if output.shape[2] != height:
                weight = torch.from_numpy(share[rows]).to(output)[:, None]
                above = output[:, :, torch.from_numpy(low[rows]).to(output.device)]
                below = output[:, :, torch.from_numpy(high[rows]).to(output.device)]
                part = above * (1 - weight) + below * weight
            else:
                part = output[:, :, rows]
            if output.shape[3] != width:
                size = (part.shape[2], width)
                part = F.interpolate(part, size, mode="bilinear", align_corners=False)
            yield rows, part


def pixel(click: Click) -> tuple[int, int]:
    """Return the pixel that a click lies on."""
    return int(np.floor(click.row + 0.5)), int(np.floor(click.col + 0.5))


def corners(
    places: NDArray[np.float64], size: Size
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the four pixels, and their weights, that places are read between.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
        Rows and columns in pixels of an output.
    size : (int, int)
        Height and width of the output.

    Returns
    -------
    index, share : ndarray, shape (n, 4)
        Flat indices of pixels, and weights that add up to 1.
    """
    places = np.clip(np.asarray(places, np.float64).reshape(-1, 2), 0, None)
    places = np.minimum(places, np.array(size) - 1.0)
    low = np.floor(places).astype(np.int64)
    part = places - low
    high = np.minimum(low + 1, np.array(size) - 1)
    index, share = [], []
    for rows, by_row in ((low[:, 0], 1 - part[:, 0]), (high[:, 0], part[:, 0])):
        for cols, by_col in ((low[:, 1], 1 - part[:, 1]), (high[:, 1], part[:, 1])):
            index.append(rows * size[1] + cols)
            share.append(by_row * by_col)
    return np.stack(index, -1), np.stack(share, -1).astype(np.float32)


def network_input(
    module: nn.Module, picture: Tensor, trimap: NDArray[np.uint8] | None
) -> Tensor:
    """Return what a network is given, on its device and in its precision.

    Parameters
    ----------
    module : nn.Module
        One with ``normalises_input = False`` wants RGB normalised by ImageNet's mean
        and deviation; others take it in [0, 1].
    picture : Tensor, shape (1, 3, h, w)
        RGB in [0, 1].
    trimap : ndarray, shape (h, w), uint8, optional
        Becomes a fourth channel in [0, 1].
    """
    if getattr(module, "normalises_input", True) is False:
        mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in IMAGENET)
        picture = (picture - mean) / std
    if trimap is not None:
        plane = torch.from_numpy(trimap.astype(np.float32) / np.float32(255))
        picture = torch.cat([picture, plane[None, None]], 1)
    weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    return picture if weight is None else picture.to(weight.device, weight.dtype)


def _between(
    wanted: NDArray[np.int64], after: int, before: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the pixels before and behind, and the share of the latter."""
    places = np.maximum((wanted + 0.5) * before / after - 0.5, 0)
    low = np.minimum(np.floor(places).astype(np.int64), before - 1)
    high = np.minimum(low + 1, before - 1)
    return low, high, (places - low).astype(np.float32)
