"""Refinement layers: few parameters that bend features, and at first do nothing.

Equations 3 to 6 of G-BRS (Lin et al., CVPR 2022). With m the features, s and b a
scale and a bias per channel, b_m a bias map, w_c its weight per channel:

* ``sb`` (eq. 3; also the layer of f-BRS): m s + b
* ``bmsb`` (eq. 4): (m + b_m w_c) s + b
* ``bmsb-m`` (eq. 5): w (m s + b) + (1 - w) (m + b_m w_c)
* ``bmconv`` (eq. 6): (m + beta b_m w_c) w_conv + b_conv
* ``map``: m plus a map of its own shape (RGB-BRS, DistMap-BRS)

Scale and convolution are kept as their difference from one and from the identity
matrix. That changes no gradient, and makes the layer the identity bit for bit at
the start, whatever arithmetic a GPU multiplies matrices in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from napari_clickseg.boxes import Box
from napari_clickseg.errors import RefinementError

LayerKind = Literal["sb", "bmsb", "bmsb-m", "bmconv", "map"]
#: Every kind of layer by name.
LAYERS: tuple[LayerKind, ...] = get_args(LayerKind)
#: Amplifies the gradient of bmconv's bias map (G-BRS, equation 6).
BETA = 10.0
#: Channels that are refined where there are very many (G-BRS, section 2.4.4).
TOP_K = 256


class RefinementLayer(nn.Module):
    """A layer that is the identity until its parameters are optimised.

    Parameters
    ----------
    kind : str
        One of :data:`LAYERS`.
    shape : tuple of int
        Batch, channels, height and width of the features.
    mirrored : bool
        The second half of the batch shows the first half's mirror images (columns
        reversed); it gets the same maps, mirrored.
    beta : float
        Factor of bmconv's bias map.
    channels : Tensor of int64, shape (k,), optional
        Only these channels are refined; the others stay bit for bit.

    Attributes
    ----------
    scale : Parameter, shape (k,)
        s - 1 (sb, bmsb, bmsb-m).
    bias : Parameter, shape (k,)
        b, or b_conv.
    map : Parameter, shape (n, 1, H, W), or (n, k, H, W) for "map"
        b_m; n is the batch, half of it where it is mirrored.
    map_weight : Parameter, shape (k,)
        w_c (bmsb, bmsb-m, bmconv).
    mix : Parameter, shape ()
        w (bmsb-m).
    conv : Parameter, shape (k, k)
        w_conv - I, output by input channels (bmconv).
    whole_map : Tensor, shape (N, 1 or k, H, W)
        The maps of all images of the batch, as they were last used.
    """

    scale: nn.Parameter
    bias: nn.Parameter
    map: nn.Parameter
    map_weight: nn.Parameter
    mix: nn.Parameter
    conv: nn.Parameter
    channels: Tensor | None
    whole_map: Tensor

    def __init__(
        self,
        kind: str,
        shape: tuple[int, int, int, int],
        *,
        mirrored: bool = False,
        beta: float = BETA,
        channels: Tensor | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        if kind not in LAYERS:
            raise RefinementError(
                f"There is no refinement layer {kind!r}. Choose one of "
                f"{', '.join(map(repr, LAYERS))}."
            )
        batch, width, height, columns = shape
        if mirrored and batch % 2:
            raise RefinementError(
                f"A mirrored batch has an even number of images, not {batch}."
            )
        self.kind = kind
        self.shape = shape
        self.mirrored = mirrored
        self.beta = beta
        self.register_buffer("channels", channels)
        k = width if channels is None else len(channels)
        n = batch // 2 if mirrored else batch
        zeros = {"device": device, "dtype": torch.float32}
        if kind in ("sb", "bmsb", "bmsb-m"):
            self.scale = nn.Parameter(torch.zeros(k, **zeros))  # type: ignore[arg-type]
        if kind == "bmconv":
            self.conv = nn.Parameter(torch.zeros(k, k, **zeros))  # type: ignore[arg-type]
        if kind != "map":
            self.bias = nn.Parameter(torch.zeros(k, **zeros))  # type: ignore[arg-type]
        if kind != "sb":
            planes = k if kind == "map" else 1
            blank = torch.zeros(n, planes, height, columns, **zeros)  # type: ignore[arg-type]
            self.map = nn.Parameter(blank)
        if kind in ("bmsb", "bmsb-m", "bmconv"):
            self.map_weight = nn.Parameter(torch.ones(k, **zeros))  # type: ignore[arg-type]
        if kind == "bmsb-m":
            self.mix = nn.Parameter(torch.full((), 0.5, **zeros))  # type: ignore[arg-type]

    def forward(self, feature: Tensor) -> Tensor:
        """Refine features.

        Parameters
        ----------
        feature : Tensor, shape (N, C, H, W)
            Any float dtype; computed in float32 at least, returned as it came.

        Returns
        -------
        Tensor, shape (N, C, H, W)
        """
        if tuple(feature.shape) != self.shape:
            raise RefinementError(
                f"This layer was made for features of the shape {self.shape}, not "
                f"{tuple(feature.shape)}. Make a new one, and carry its maps over "
                "with resampled()."
            )
        first = next(self.parameters())
        m = feature.to(torch.promote_types(feature.dtype, first.dtype))
        if self.channels is None:
            return self._refined(m).to(feature.dtype)
        chosen = self._refined(m.index_select(1, self.channels))
        return feature.index_copy(1, self.channels, chosen.to(feature.dtype))

    def _refined(self, m: Tensor) -> Tensor:
        if self.kind == "map":
            return m + self._map()
        if self.kind == "sb":
            return self._scaled(m)
        change = self._map() * _per_channel(self.map_weight)
        if self.kind == "bmsb":
            return self._scaled(m + change)
        if self.kind == "bmsb-m":
            # w g1 + (1 - w) g2, but exact where both are the same.
            return torch.lerp(m + change, self._scaled(m), self.mix.to(m.dtype))
        m = m + self.beta * change
        # A product with a matrix, channels last: no convolution, whose TF32 mode
        # is on by default.
        rows = m.permute(0, 2, 3, 1)
        mixed = nn.functional.linear(rows, self.conv.to(m.dtype), self.bias.to(m.dtype))
        return m + mixed.permute(0, 3, 1, 2)

    def _scaled(self, m: Tensor) -> Tensor:
        # Repeated, not broadcast: gradients then add up in the order in which they do
        # in the published code, and L-BFGS-B makes much of the last digits.
        scale, bias = (
            each.view(1, -1, 1, 1).repeat(m.shape[0], 1, 1, 1)
            for each in (1 + self.scale, self.bias)
        )
        return m * scale + bias

    def _map(self) -> Tensor:
        """Return the maps of the whole batch."""
        whole = torch.cat([self.map, self.map.flip(3)]) if self.mirrored else self.map
        # What they cost is part of the same graph (L-BFGS-B).
        self.whole_map = whole
        return whole

    @torch.no_grad()
    def project_(self) -> None:
        """Move w of bmsb-m back into [0, 1]; called after every optimiser step."""
        if self.kind == "bmsb-m":
            self.mix.nan_to_num_(0.5).clamp_(0, 1)

    @staticmethod
    def resampled(
        arrays: Mapping[str, np.ndarray], old: Box, new: Box, size: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        """Carry arrays to another view, see :func:`resampled`."""
        return resampled(arrays, old, new, size)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return copies of the parameters, float32, and of the chosen channels."""
        result = {
            name: value.detach().to("cpu", torch.float32).numpy().copy()
            for name, value in self.named_parameters()
        }
        if self.channels is not None:
            result["channels"] = self.channels.cpu().numpy().copy()
        return result

    @torch.no_grad()
    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take parameters from :meth:`arrays` of a layer of the same shape.

        Raises
        ------
        RefinementError
            If they belong to another kind of layer, or other shapes.
        """
        parameters = dict(self.named_parameters())
        chosen = arrays.get("channels")
        expected = parameters.keys() | (
            set() if self.channels is None else {"channels"}
        )
        if arrays.keys() != expected:
            raise RefinementError(
                f"These are not the parameters of this {self.kind} layer: it has "
                f"{', '.join(sorted(expected))}, they are {', '.join(sorted(arrays))}."
            )
        for name, parameter in parameters.items():
            if tuple(arrays[name].shape) != tuple(parameter.shape):
                raise RefinementError(
                    f"{name} of this {self.kind} layer has the shape "
                    f"{tuple(parameter.shape)}, not {tuple(arrays[name].shape)}. "
                    "Carry it to the new view with resampled() first."
                )
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(np.array(arrays[name])))
        if chosen is not None and self.channels is not None:
            self.channels.copy_(torch.from_numpy(np.array(chosen)))


def make_layer(
    kind: str,
    feature: Tensor,
    *,
    mirrored: bool = False,
    beta: float = BETA,
    top_k: int | None = None,
) -> RefinementLayer:
    """Make a layer for features, on their device, with float32 parameters.

    Parameters
    ----------
    kind : str
        One of :data:`LAYERS`.
    feature : Tensor, shape (N, C, H, W)
    mirrored, beta
        See :class:`RefinementLayer`.
    top_k : int, optional
        Refine only so many channels, those of the largest mean (G-BRS, 2.4.4).
    """
    channels = None
    if top_k is not None and top_k < feature.shape[1]:
        with torch.no_grad():
            mean = feature.to(torch.promote_types(feature.dtype, torch.float32))
            channels = mean.mean((0, 2, 3)).topk(top_k).indices.sort().values
    n, c, h, w = feature.shape
    return RefinementLayer(
        kind,
        (n, c, h, w),
        mirrored=mirrored,
        beta=beta,
        channels=None if channels is None else channels.clone(),
        device=feature.device,
    )


def resampled(
    arrays: Mapping[str, np.ndarray], old: Box, new: Box, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Carry position maps to another view; channel parameters stay.

    Parameters
    ----------
    arrays : mapping
        From :meth:`RefinementLayer.arrays`.
    old, new : Box
        What the two views show of the image.
    size : (int, int)
        Height and width of the features in the new view.

    Returns
    -------
    dict
        The same with ``map`` sampled bilinearly; zero outside the old view.
    """
    result = {name: np.array(value) for name, value in arrays.items()}
    if "map" in result and not (old == new and result["map"].shape[2:] == size):
        maps = result["map"]
        rows = _sampling(maps.shape[2], size[0], old.slices[0], new.slices[0])
        cols = _sampling(maps.shape[3], size[1], old.slices[1], new.slices[1])
        result["map"] = np.ascontiguousarray(rows @ maps @ cols.T, dtype=np.float32)
    return result


def _sampling(before: int, after: int, old: slice, new: slice) -> np.ndarray:
    """Matrix (after, before) that samples an axis; cells have their own centres."""
    position = new.start + (np.arange(after) + 0.5) * (new.stop - new.start) / after
    cell = (position - old.start) * before / (old.stop - old.start) - 0.5
    inside = (position >= old.start) & (position <= old.stop)
    cell = np.clip(cell, 0, before - 1)
    low = np.minimum(np.floor(cell).astype(int), max(before - 2, 0))
    high = np.minimum(low + 1, before - 1)
    matrix = np.zeros((after, before), np.float32)
    np.add.at(matrix, (np.arange(after), low), 1 - (cell - low))
    np.add.at(matrix, (np.arange(after), high), cell - low)
    return matrix * inside[:, None]


def _per_channel(values: Tensor) -> Tensor:
    return values[:, None, None]
