"""Object context: the short way for one object, and the way for several."""

from __future__ import annotations

import torch
from tests.golden_weights import fill

from napari_clickseg.networks.ocr import ObjectAttention, ObjectGather


def test_gathering_weighs_each_place_by_its_region() -> None:
    torch.manual_seed(0)
    features, regions = torch.randn(2, 5, 3, 4), torch.randn(2, 3, 3, 4)
    gathered = ObjectGather()(features, regions)
    weights = regions.reshape(2, 3, 12).softmax(2)
    expected = torch.einsum("nkp,ncp->nck", weights, features.reshape(2, 5, 12))
    assert gathered.shape == (2, 5, 3, 1)
    torch.testing.assert_close(gathered[..., 0], expected)


def attention() -> ObjectAttention:
    block = ObjectAttention(8, 4)
    fill(block)
    return block


@torch.inference_mode()
def test_one_object_in_short() -> None:
    """Leaving the attention out changes nothing where there is one object."""
    torch.manual_seed(0)
    features, objects = torch.randn(2, 8, 5, 6), torch.randn(2, 8, 1, 1)
    block = attention()
    short = block(features, objects)
    block.training = True  # of this block only: batch norm stays as it is
    torch.testing.assert_close(short, block(features, objects))
    assert short.shape == features.shape


@torch.inference_mode()
def test_several_objects_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    features, objects = torch.randn(2, 8, 3, 2), torch.randn(2, 8, 4, 1)
    block = attention()
    query, key = block.f_pixel(features), block.f_object(objects)
    value = block.f_down(objects)
    mixed = torch.zeros_like(query)
    for n in range(2):
        for r, c in torch.cartesian_prod(torch.arange(3), torch.arange(2)):
            likeness = key[n, :, :, 0].T @ query[n, :, r, c] / 4**0.5
            mixed[n, :, r, c] = value[n, :, :, 0] @ likeness.softmax(0)
    torch.testing.assert_close(block(features, objects), block.f_up(mixed))
