"""The plain vision transformer of InterFormer, and its feature pyramid.

A ViT as pretrained by masked autoencoding (He et al., CVPR 2022), with an absolute
position embedding and, in each layer, the relative position bias of BEiT (Bao et
al., ICLR 2022). Global attention in every layer; a "simple" pyramid of transposed
convolutions on the last layer's tokens (Li et al., ECCV 2022).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 16
#: Relative position biases are kept up to this many bytes for each layer.
BIAS_BYTES = 2**26


def nearest(size: int, wanted: int) -> Tensor:
    """Return which of ``size`` places each of ``wanted`` takes its value from."""
    places = torch.arange(size, dtype=torch.float32).view(1, 1, -1)
    return F.interpolate(places, wanted, mode="nearest").flatten().long()


def resized_grid(
    side: tuple[int, int], wanted: tuple[int, int], device: torch.device
) -> Tensor:
    """Return the token of a grid that each token of another grid stands for.

    Returns
    -------
    Tensor of int64, shape (wanted[0] * wanted[1],)
        In row order, as the published code resizes with mode ``nearest``.
    """
    rows, cols = nearest(side[0], wanted[0]), nearest(side[1], wanted[1])
    return (rows[:, None] * side[1] + cols[None]).flatten().to(device)


def relative_position_index(side: tuple[int, int]) -> Tensor:
    """Return the number of the offset between any two tokens.

    The class token comes first.

    Returns
    -------
    Tensor of int64, shape (1 + h * w, 1 + h * w)
        Rows of the bias table: offsets in row order, then class to token, token
        to class, class to class.
    """
    height, width = side
    grid = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    offset = grid[:, None] - grid[None]
    numbers = (offset[..., 0] + height - 1) * (2 * width - 1) + offset[..., 1]
    numbers = numbers + width - 1
    count = (2 * height - 1) * (2 * width - 1)
    index = F.pad(numbers, (1, 0, 1, 0), value=count)
    index[1:, 0] = count + 1
    index[0, 0] = count + 2
    return index


class Attention(nn.Module):
    """Self-attention with a relative position bias.

    The bias for a grid of tokens is made once and kept for the next call.

    Parameters
    ----------
    dim, heads : int
        Channels and attention heads.
    side : (int, int)
        Grid of tokens that the bias table was made for.
    index : Tensor
        From :func:`relative_position_index`; it is part of the published weights,
        and may be one tensor for all layers.
    """

    relative_position_index: Tensor

    def __init__(
        self, dim: int, heads: int, side: tuple[int, int], index: Tensor
    ) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        offsets = (2 * side[0] - 1) * (2 * side[1] - 1) + 3
        self.relative_position_bias_table = nn.Parameter(torch.zeros(offsets, heads))
        self.register_buffer("relative_position_index", index)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self._kept: OrderedDict[tuple[object, ...], Tensor] = OrderedDict()

    def bias(self, grid: tuple[int, int]) -> Tensor:
        """Return the bias between all tokens of a grid.

        Returns
        -------
        Tensor, shape (1, heads, 1 + h * w, 1 + h * w)
        """
        table = self.relative_position_bias_table
        index = self.relative_position_index
        if grid != self.side:
            tokens = resized_grid(self.side, grid, index.device)
            tokens = F.pad(tokens + 1, (1, 0))
            index = index[tokens][:, tokens]
        # The heads' axis first, so that attention reads rows that lie together.
        return table.t()[:, index.flatten()].view(1, -1, *index.shape).contiguous()

    def kept_bias(self, grid: tuple[int, int]) -> Tensor:
        """Return the bias, from the last time where weights are not being trained."""
        table = self.relative_position_bias_table
        if torch.is_grad_enabled() and table.requires_grad:
            return self.bias(grid)
        # The version changes where weights are loaded in place.
        version = -1 if table.is_inference() else table._version  # noqa: SLF001
        key = (grid, table.dtype, table.device, table.data_ptr(), version)
        if key in self._kept:
            return self._kept[key]
        with torch.inference_mode(False), torch.no_grad():
            bias = self.bias(grid)
        self._kept.clear()
        if bias.numel() * bias.element_size() <= BIAS_BYTES:
            self._kept[key] = bias
        return bias

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens ``(N, 1 + h * w, dim)``, class token first, to the same."""
        n, tokens, dim = x.shape
        qkv = self.qkv(x).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        x = F.scaled_dot_product_attention(
            query, key, value, attn_mask=self.kept_bias(grid)
        )
        return self.proj(x.transpose(1, 2).reshape(n, tokens, dim))


class FeedForward(nn.Module):
    """Two linear layers with GELU between (keys ``layers.0.0`` and ``layers.1``)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(dim, hidden), nn.GELU()), nn.Linear(hidden, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., dim)`` to ``(..., dim)``."""
        return self.layers(x)


class Layer(nn.Module):
    """Attention and feed-forward, each scaled by a learned vector and added."""

    def __init__(
        self, dim: int, heads: int, side: tuple[int, int], index: Tensor
    ) -> None:
        super().__init__()
        self.gamma_1 = nn.Parameter(torch.ones(dim))
        self.gamma_2 = nn.Parameter(torch.ones(dim))
        self.ln1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, side, index)
        self.ln2 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = FeedForward(dim, 4 * dim)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens ``(N, 1 + h * w, dim)`` to the same."""
        x = x + self.gamma_1 * self.attn(self.ln1(x), grid)
        return x + self.gamma_2 * self.ffn(self.ln2(x))


class PatchEmbed(nn.Module):
    """Cut the image into patches of 16 x 16 pixels (key ``projection``)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, dim, PATCH, PATCH)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, dim, H / 16, W / 16)``."""
        return self.projection(image)


class SimpleFPN(nn.Module):
    """Four maps at strides 4, 8, 16 and 32 from one at stride 16.

    Parameters
    ----------
    dim : int
        Channels of the input.
    channels : sequence of int
        Channels of the four outputs.
    """

    def __init__(self, dim: int, channels: Sequence[int]) -> None:
        super().__init__()
        half, quarter = dim // 2, dim // 4
        self.rescale_ops = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(dim, half, 2, 2),
                    nn.GroupNorm(1, half),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, 2),
                    nn.GroupNorm(1, quarter),
                    *_narrow(quarter, channels[0]),
                ),
                nn.Sequential(
                    nn.ConvTranspose2d(dim, half, 2, 2),
                    nn.GroupNorm(1, half),
                    *_narrow(half, channels[1]),
                ),
                nn.Sequential(*_narrow(dim, channels[2])),
                nn.Sequential(
                    nn.Conv2d(dim, 2 * dim, 2, 2),
                    nn.GroupNorm(1, 2 * dim),
                    *_narrow(2 * dim, channels[3]),
                ),
            ]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(N, dim, h, w)`` to ``(N, channels[i], 4h / 2^i, 4w / 2^i)``."""
        return [rescale(x) for rescale in self.rescale_ops]


class ViT(nn.Module):
    """Vision transformer with a feature pyramid.

    Parameters
    ----------
    dim, depth, heads : int
        768, 12, 12 (ViT-B) or 1024, 24, 16 (ViT-L).
    channels : sequence of int
        Channels of the pyramid.
    side : (int, int)
        Grid of tokens at the size of training: 32 x 32 for 512 pixels.
    """

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        channels: Sequence[int] = (32, 64, 128, 256),
        side: tuple[int, int] = (32, 32),
    ) -> None:
        super().__init__()
        self.side = side
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side[0] * side[1], dim))
        self.patch_embed = PatchEmbed(dim)
        index = relative_position_index(side)
        self.layers = nn.ModuleList(
            Layer(dim, heads, side, index) for _ in range(depth)
        )
        self.fpn = SimpleFPN(dim, channels)

    def position(self, grid: tuple[int, int]) -> Tensor:
        """Return the position embedding ``(1, 1 + h * w, dim)`` of a grid."""
        if grid == self.side:
            return self.pos_embed
        tokens = resized_grid(self.side, grid, self.pos_embed.device)
        return self.pos_embed[:, F.pad(tokens + 1, (1, 0))]

    def tokens(self, image: Tensor) -> Tensor:
        """Return the last layer's tokens as a map.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            Normalised; sides are multiples of 16.

        Returns
        -------
        Tensor, shape (N, dim, H / 16, W / 16)
        """
        x = self.patch_embed(image)
        n, dim, *sides = x.shape
        grid = (sides[0], sides[1])
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(n, -1, -1), x], 1)
        x = x + self.position(grid)
        for layer in self.layers:
            x = layer(x, grid)
        return x[:, 1:].transpose(1, 2).reshape(n, dim, *grid)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map ``(N, 3, H, W)`` to the pyramid at strides 4, 8, 16, 32."""
        return self.fpn(self.tokens(image))


def _narrow(inp: int, out: int) -> list[nn.Module]:
    return [nn.Conv2d(inp, out, 1), nn.GroupNorm(1, out), nn.GELU()]
