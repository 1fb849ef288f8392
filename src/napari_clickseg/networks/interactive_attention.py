"""I-MSA: the interactive decoder neck of InterFormer (Huang et al., ICCV 2023).

Queries come from what is known of the object (features with the click labels added,
then passed from stage to stage), keys and values from the image's features, pooled
to a few tokens at four sizes, so that attention stays cheap on large maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.networks.layers import adaptive_max

HEADS = (1, 2, 4, 8)
MLP_RATIOS = (8, 8, 4, 4)
POOL_RATIOS = ((12, 16, 20, 24), (6, 8, 10, 12), (3, 4, 5, 6), (1, 2, 3, 4))
#: Side of the maps in training, from which the sizes of the pooled maps follow.
TARGET_SIDES = (128, 64, 32, 16)
#: Rows of the attention matrix that are in work at a time, for the cache's sake.
QUERIES = 1024


def pooled_side(side: int, target: int, ratio: int) -> int:
    """Return how long a side is after pooling.

    As released: the size that the pooled map had in training, made a divisor-like
    part of the side.
    """
    wanted = min(target / ratio, side)
    return round(side / round(side / wanted))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return scaled dot-product attention, ``(N, heads, tokens, channels)`` each.

    Many queries on few keys: in bfloat16 on a processor a softmax over some rows at a
    time is quicker than torch's fused kernel, by a third or more.
    """
    quicker = query.dtype == torch.bfloat16 and query.device.type == "cpu"
    if not quicker or torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value)
    key = (key * key.shape[-1] ** -0.5).transpose(-1, -2).contiguous()
    value = value.contiguous()
    parts = [
        torch.softmax(rows @ key, -1, dtype=torch.float32).to(value.dtype) @ value
        for rows in query.split(QUERIES, 2)
    ]
    return torch.cat(parts, 2)


class PoolingAttention(nn.Module):
    """Attention of every place to a pyramid of pooled places.

    Parameters
    ----------
    dim, heads : int
        Channels and attention heads.
    ratios : sequence of int
        How far keys and values are pooled; 1 is not pooled.
    target : int
        Side of the map in training.
    """

    def __init__(
        self, dim: int, heads: int, ratios: Sequence[int], target: int
    ) -> None:
        super().__init__()
        self.heads, self.ratios, self.target = heads, tuple(ratios), target
        self.query_proj = nn.Linear(dim, dim)
        self.key_value_proj = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.dconvs = nn.ModuleList(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim) for _ in ratios
        )

    def pool(self, source: Tensor) -> Tensor:
        """Map ``(N, dim, h, w)`` to tokens ``(N, T, dim)``."""
        height, width = source.shape[-2:]
        parts = []
        for ratio, conv in zip(self.ratios, self.dconvs, strict=True):
            part = source
            if ratio != 1:
                size = (
                    pooled_side(height, self.target, ratio),
                    pooled_side(width, self.target, ratio),
                )
                part = adaptive_max(source, size)
            part = part + conv(part)
            parts.append(part.flatten(2))
        return self.norm(torch.cat(parts, 2).transpose(1, 2))

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Ask with ``x``, answer from ``source``; both ``(N, dim, h, w)``."""
        n, dim, height, width = x.shape
        query = self.query_proj(x.flatten(2).transpose(1, 2))
        query = query.view(n, -1, self.heads, dim // self.heads).transpose(1, 2)
        pairs = self.key_value_proj(self.pool(source))
        pairs = pairs.view(n, -1, 2, self.heads, dim // self.heads)
        key, value = pairs.permute(2, 0, 3, 1, 4).unbind(0)
        answer = attend(query, key, value)
        answer = self.proj(answer.transpose(1, 2).reshape(n, -1, dim))
        return answer.transpose(1, 2).reshape(n, dim, height, width)


class PoolingBlock(nn.Module):
    """Pooling attention, then a convolutional feed-forward part."""

    def __init__(
        self, dim: int, heads: int, mlp_ratio: int, ratios: Sequence[int], target: int
    ) -> None:
        super().__init__()
        hidden = mlp_ratio * dim
        self.norm1 = nn.GroupNorm(1, dim)
        self.norm_kv = nn.GroupNorm(1, dim)
        self.attn = PoolingAttention(dim, heads, ratios, target)
        self.norm2 = nn.GroupNorm(1, dim)
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, hidden, 1),
            nn.Hardswish(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.Hardswish(),
            nn.Conv2d(hidden, dim, 1),
        )

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """Return ``(N, dim, h, w)``; without a source, ``x`` asks itself."""
        source = x if source is None else source
        x = x + self.attn(self.norm1(x), self.norm_kv(source))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Halve a map: 3 x 3 neighbours side by side, norm, linear."""

    def __init__(self, inp: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(9 * inp)
        self.reduction = nn.Linear(9 * inp, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inp, h, w)`` to ``(N, out, ceil(h / 2), ceil(w / 2))``."""
        n, dim, *sides = x.shape
        height, width = ((side + 1) // 2 for side in sides)
        # Weights are channel by channel, what lies in memory is place by place: it
        # is quicker to turn the weights.
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        places = [
            x[:, row : row + 2 * height - 1 : 2, col : col + 2 * width - 1 : 2]
            for row in range(3)
            for col in range(3)
        ]
        x = torch.cat(places, 3).view(n, height * width, 9 * dim)

        def by_place(weight: Tensor) -> Tensor:
            return weight.unflatten(-1, (dim, 9)).transpose(-1, -2).flatten(-2)

        scale, shift = by_place(self.norm.weight), by_place(self.norm.bias)
        x = F.layer_norm(x, x.shape[-1:], scale, shift, self.norm.eps)
        x = F.linear(x, by_place(self.reduction.weight)).transpose(1, 2)
        return x.reshape(n, -1, height, width)


class Stage(nn.Module):
    """Blocks at one stride, then the step to the next."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if downsample is not None:
            self.downsample = downsample

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """Run the blocks; the first one reads from ``source``."""
        for block in self.blocks:
            x, source = block(x, source), None
        return x


class InteractiveNeck(nn.Module):
    """Interactive multi-scale attention over a feature pyramid.

    Parameters
    ----------
    channels : sequence of int
        Of the pyramid.
    depths : sequence of int
        Blocks of each stage that pass their result on.
    refine_depths : sequence of int
        Blocks of each stage on a side branch, which alone see a region of
        interest.
    labels : int
        Kinds of click labels.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 256),
        depths: Sequence[int] = (1, 1, 2, 1),
        refine_depths: Sequence[int] = (0, 0, 0, 0),
        labels: int = 5,
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Parameter(torch.zeros(labels, channels[0]))
        self.stages = nn.ModuleList()
        self.refine_stages = nn.ModuleList()
        following: list[int | None] = [*channels[1:], None]
        for i, dim in enumerate(channels):

            def block(i: int = i, dim: int = dim) -> PoolingBlock:
                return PoolingBlock(
                    dim, HEADS[i], MLP_RATIOS[i], POOL_RATIOS[i], TARGET_SIDES[i]
                )

            after = following[i]
            down = None if after is None else PatchMerging(dim, after)
            self.stages.append(Stage([block() for _ in range(depths[i])], down))
            if any(refine_depths):
                more = [block() for _ in range(refine_depths[i])]
                self.refine_stages.append(Stage(more, None))
        for i, dim in enumerate(channels):
            self.add_module(f"norm{i}", nn.GroupNorm(1, dim))

    def embed(self, labels: Tensor, size: Sequence[int]) -> Tensor:
        """Turn click labels into features.

        Parameters
        ----------
        labels : Tensor of int64, shape (N, H, W)
            See :mod:`napari_clickseg.networks.click_labels`.
        size : sequence of int
            Height and width of the finest pyramid level.

        Returns
        -------
        Tensor, shape (N, C, *size)
        """
        rows, bottom = _between(labels.shape[-2], size[0], labels.device)
        cols, right = _between(labels.shape[-1], size[1], labels.device)
        kinds = torch.arange(len(self.patch_embed), device=labels.device)
        shares = torch.zeros((), device=labels.device)
        # Only the four pixels around each place are looked at, not the whole map.
        for row, down in zip(rows, (1 - bottom, bottom), strict=True):
            line = labels[:, row]
            for col, across in zip(cols, (1 - right, right), strict=True):
                here = line[:, None, :, col] == kinds.view(1, -1, 1, 1)
                shares = shares + here * (down[:, None] * across)
        return self._features(shares)

    def embed_shares(self, shares: Tensor, size: Sequence[int]) -> Tensor:
        """Turn shares of each label, ``(N, K, H, W)``, into features.

        Resizing comes first: the same by linearity, and there is never a map of
        features at full size.
        """
        return self._features(F.interpolate(shares, tuple(size), mode="bilinear"))

    def _features(self, shares: Tensor) -> Tensor:
        shares = shares.to(self.patch_embed.dtype).permute(0, 2, 3, 1)
        return (shares @ self.patch_embed).permute(0, 3, 1, 2)

    def forward(
        self,
        pyramid: Sequence[Tensor],
        labels: Tensor,
        region: tuple[int, int, int, int] | None = None,
    ) -> list[Tensor]:
        """Return refined maps of the pyramid's shapes.

        Parameters
        ----------
        pyramid : sequence of Tensor
            Image features at strides 4, 8, 16 and 32.
        labels : Tensor of int64, shape (N, H, W)
            Click labels at the image's size.
        region : (left, top, right, bottom), optional
            In image pixels, multiples of 32: the only part that the blocks on the
            side branch look at.
        """
        query = pyramid[0] + self.embed(labels, pyramid[0].shape[-2:])
        return self.refine(query, pyramid, region)

    def decode(self, pyramid: Sequence[Tensor], shares: Tensor) -> list[Tensor]:
        """Do the same from shares of each label, ``(N, K, H, W)``."""
        query = pyramid[0] + self.embed_shares(shares, pyramid[0].shape[-2:])
        return self.refine(query, pyramid)

    def refine(
        self,
        x: Tensor,
        pyramid: Sequence[Tensor],
        region: tuple[int, int, int, int] | None = None,
    ) -> list[Tensor]:
        """Run the stages from the first query on; see :meth:`forward`."""
        outputs = []
        for i, (stage, source) in enumerate(zip(self.stages, pyramid, strict=True)):
            x = stage(x, source)
            side = x
            if len(self.refine_stages):
                side = _refined(self.refine_stages[i], x, region, 4 * 2**i)
            outputs.append(getattr(self, f"norm{i}")(side))
            if i + 1 < len(self.stages):
                x = stage.get_submodule("downsample")(x)
        return outputs


def _between(
    side: int, wanted: int, device: torch.device
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return between which pixels the places of a resized side lie, and how far.

    Bilinear resizing with corners not aligned, as ``F.interpolate`` does it.
    """
    places = (torch.arange(wanted, device=device) + 0.5) * (side / wanted) - 0.5
    places = places.clamp(min=0)
    first = places.long().clamp(max=side - 1)
    return (first, (first + 1).clamp(max=side - 1)), places - first


def _refined(
    stage: nn.Module,
    x: Tensor,
    region: tuple[int, int, int, int] | None,
    stride: int,
) -> Tensor:
    """Run the blocks of the side branch, on the region alone if there is one."""
    if region is None:
        refined: Tensor = stage(x)
        return refined
    left, top, right, bottom = (side // stride for side in region)
    whole = x.clone()
    whole[..., top:bottom, left:right] = stage(x[..., top:bottom, left:right])
    return whole
