"""Clicks as maps of the image's size (RITM, facts of the released code).

Two ways are published: disks around the clicks (RITM) and the distance to the
nearest click (f-BRS).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Squared distance that stands for "no such click".
FAR = 1e6


class DistMaps(nn.Module):
    """Draw positive and negative clicks as two maps.

    Parameters
    ----------
    norm_radius : float
        Disks: their radius in pixels. Distances: where they begin to level out.
    use_disks : bool
        Disks of value 1 on 0, or ``tanh(2 d / norm_radius)`` with ``d`` the
        distance to the nearest click (about 1 everywhere without a click).

    Notes
    -----
    Clicks are not rounded: a crop that was resized has them between pixels.
    A pixel lies in a disk where the squared distance is at most the squared
    radius.
    """

    def __init__(self, norm_radius: float = 5, use_disks: bool = True) -> None:
        super().__init__()
        if not norm_radius > 0:
            raise ValueError(f"norm_radius must be positive, not {norm_radius}.")
        self.norm_radius = norm_radius
        self.use_disks = use_disks

    def forward(self, image: Tensor, points: Tensor) -> Tensor:
        """Draw the clicks.

        Parameters
        ----------
        image : Tensor, shape (N, C, H, W)
            Only its height and width count.
        points : Tensor, shape (N, 2P, 2 or more)
            Rows of row and column in pixels; further columns are ignored. The
            first P are positive, the last P negative. A row with no coordinate
            of 0 or more is unused.

        Returns
        -------
        Tensor, shape (N, 2, H, W)
            float32: positive map, negative map.
        """
        if points.ndim != 3 or points.shape[1] % 2 or points.shape[2] < 2:
            raise ValueError(
                "points must have the shape (N, 2P, 2 or more): P positive rows, "
                f"then P negative ones; this has {tuple(points.shape)}."
            )
        # In half precision clicks would move by pixels. In float64 distances are
        # rounded once, after the subtraction, as in the published code: its points
        # between pixels are float64, its maps float32.
        where = points[..., :2]
        if where.dtype != torch.float64:
            where = where.float()
        unused = (where.amax(-1) < 0)[..., None]
        height, width = image.shape[-2:]
        by_row = self._squared(height, where[..., 0:1]).masked_fill(unused, FAR)
        by_col = self._squared(width, where[..., 1:2]).masked_fill(unused, 0.0)
        squared = self._nearest(by_row, by_col)
        if self.use_disks:
            return (squared <= self.norm_radius**2).float()
        return squared.sqrt().mul(2).tanh()

    def _squared(self, length: int, at: Tensor) -> Tensor:
        """Squared distance along one axis: (N, 2P, 1) to (N, 2P, length)."""
        pixels = torch.arange(length, dtype=at.dtype, device=at.device)
        distance = (pixels - at).float()
        if not self.use_disks:
            distance = distance / self.norm_radius
        return distance * distance

    @staticmethod
    def _nearest(by_row: Tensor, by_col: Tensor) -> Tensor:
        """Smallest squared distance per sign, (N, 2, H, W).

        Click after click: all at once would need P times the memory.
        """
        n, rows = by_row.shape[:2]
        by_row = by_row.view(n, 2, rows // 2, -1, 1)
        by_col = by_col.view(n, 2, rows // 2, 1, -1)
        nearest = by_row[:, :, 0] + by_col[:, :, 0]
        for i in range(1, rows // 2):
            nearest = torch.minimum(nearest, by_row[:, :, i] + by_col[:, :, i])
        return nearest
