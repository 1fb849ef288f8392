"""InterFormer's image encoder run the way the released code runs it.

Written from its description, on the weights of our network: float32, attention as two
matrix products with a softmax between, and the relative position bias gathered (and
for other sizes than that of training resized) anew in every layer of every call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from napari_clickseg.networks.interformer import MULTIPLE

if TYPE_CHECKING:
    from torch import Tensor

    from napari_clickseg.networks.interformer import InterFormer
    from napari_clickseg.networks.vit import Attention

Grid = tuple[int, int]


def released_bias(attention: Attention, grid: Grid) -> Tensor:
    """Gather the bias of one layer, ``(heads, tokens, tokens)``."""
    index = attention.relative_position_index
    bias = attention.relative_position_bias_table[index.flatten()]
    bias = bias.view(*index.shape, -1).permute(2, 0, 1).contiguous()
    if grid == attention.side:
        return bias
    patches = _resize_last(bias[:, 1:, 1:], attention.side, grid)
    patches = _resize_last(patches.transpose(1, 2), attention.side, grid)
    to_class = _resize_last(bias[:, :1, 1:], attention.side, grid)
    from_class = _resize_last(bias[:, 1:, :1].transpose(1, 2), attention.side, grid)
    top = torch.cat([bias[:, :1, :1], to_class], 2)
    rest = torch.cat([from_class.transpose(1, 2), patches.transpose(1, 2)], 2)
    return torch.cat([top, rest], 1)


def _resize_last(values: Tensor, side: Grid, grid: Grid) -> Tensor:
    """Resize the last axis, which counts the places of a grid, to another grid."""
    planes = F.interpolate(values.unflatten(-1, side), grid, mode="nearest")
    return planes.flatten(-2)


def released_attention(attention: Attention, x: Tensor, grid: Grid) -> Tensor:
    """Attend as the released code does; ``x`` is ``(N, tokens, dim)``."""
    n, tokens, dim = x.shape
    qkv = attention.qkv(x).reshape(n, tokens, 3, attention.heads, -1)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    query = query * (dim // attention.heads) ** -0.5
    weights = query @ key.transpose(-2, -1)
    weights = (weights + released_bias(attention, grid)[None]).softmax(-1)
    answer = (weights @ value).transpose(1, 2).reshape(n, tokens, dim)
    mapped: Tensor = attention.proj(answer)
    return mapped


@torch.inference_mode()
def released_encode(network: InterFormer, image: Tensor) -> list[Tensor]:
    """Return what ``network.encode_image`` does, in the released way.

    Parameters
    ----------
    network : InterFormer
        In float32.
    image : Tensor, shape (N, 3, H, W)
        RGB in [0, 1].
    """
    vit = network.backbone
    image = network.normalization(image)
    height, width = image.shape[-2:]
    image = F.pad(image, (0, -width % MULTIPLE, 0, -height % MULTIPLE))
    x = vit.patch_embed(image)
    n, dim, *sides = x.shape
    grid = (sides[0], sides[1])
    position = vit.pos_embed
    if grid != vit.side:
        patches = position[:, 1:].transpose(1, 2)
        patches = _resize_last(patches, vit.side, grid).transpose(1, 2)
        position = torch.cat([position[:, :1], patches], 1)
    x = torch.cat([vit.cls_token.expand(n, -1, -1), x.flatten(2).transpose(1, 2)], 1)
    x = x + position
    for layer in vit.layers:
        x = x + layer.gamma_1 * released_attention(layer.attn, layer.ln1(x), grid)
        x = x + layer.gamma_2 * layer.ffn(layer.ln2(x))
    x = x[:, 1:].transpose(1, 2).reshape(n, dim, *grid)
    pyramid: list[Tensor] = vit.fpn(x)
    return pyramid
