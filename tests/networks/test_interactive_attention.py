"""The quick ways of InterFormer's decoder give what the plain ones do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.networks.click_labels import (
    DEFINITE_BACKGROUND,
    DEFINITE_FOREGROUND,
    labels_from,
)
from napari_clickseg.networks.interactive_attention import (
    QUERIES,
    InteractiveNeck,
    PatchMerging,
    attend,
)


@pytest.mark.parametrize("tokens", [7, QUERIES, 2 * QUERIES + 3])
@torch.inference_mode()
def test_attention_in_bfloat16_is_as_near_as_torchs(tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 2, tokens, 32, generator=generator)
    key, value = torch.randn(2, 2, 2, 50, 32, generator=generator).unbind(0)
    exact = F.scaled_dot_product_attention(query, key, value)
    half = [x.bfloat16() for x in (query, key, value)]
    quick = attend(*half)
    assert quick.dtype == torch.bfloat16
    assert float((quick.float() - exact).norm() / exact.norm()) < 1e-2
    assert torch.equal(attend(query, key, value), exact)  # as it is in float32


def test_attention_can_be_learned_from() -> None:
    query = torch.randn(1, 1, 4, 8, dtype=torch.bfloat16, requires_grad=True)
    attend(query, query, query).sum().backward()
    assert query.grad is not None


@pytest.mark.parametrize("sides", [(8, 6), (7, 5), (1, 2)])
@torch.inference_mode()
def test_patches_merge_channel_by_channel(sides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    merging = PatchMerging(4, 6)
    torch.nn.init.normal_(merging.norm.weight)
    torch.nn.init.normal_(merging.norm.bias)
    x = torch.randn(2, 4, *sides)
    # The layout of the weights: all nine neighbours of a channel, then the next one.
    patches = F.unfold(x, 3, padding=1, stride=2).transpose(1, 2)
    expected = merging.reduction(merging.norm(patches)).transpose(1, 2)
    found = merging(x)
    assert found.shape[2:] == ((sides[0] + 1) // 2, (sides[1] + 1) // 2)
    torch.testing.assert_close(found.flatten(2), expected)


@given(
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    wanted=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 99),
)
@torch.inference_mode()
def test_labels_are_looked_up_where_the_map_is_resized(
    sides: tuple[int, int], wanted: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    neck = InteractiveNeck((8, 8, 8, 8))
    neck.patch_embed.copy_(torch.randn(5, 8, generator=generator))
    labels = torch.randint(0, 5, (2, *sides), generator=generator)
    planes = F.one_hot(labels, 5).permute(0, 3, 1, 2).float()
    expected = neck.embed_shares(planes, wanted)
    torch.testing.assert_close(
        neck.embed(labels, wanted), expected, rtol=1e-4, atol=1e-4
    )


def test_of_two_disks_that_meet_the_later_one_counts() -> None:
    plane = torch.zeros(1, 1, 20, 20)
    for order, label in (((0, 1), DEFINITE_BACKGROUND), ((1, 0), DEFINITE_FOREGROUND)):
        points = torch.tensor([[[9.0, 9.0, order[0]], [9.0, 12.0, order[1]]]])
        assert labels_from(plane, points)[0, 9, 10] == label


def test_a_disk_reaches_to_its_rim_and_not_beyond_the_image() -> None:
    points = torch.tensor([[[0.5, 19.0, 0.0], [-1.0, -1.0, -1.0]]])
    labels = labels_from(torch.zeros(1, 1, 30, 20), points)[0]
    rows, cols = torch.nonzero(labels == DEFINITE_FOREGROUND, as_tuple=True)
    rim = ((rows - 0.5) ** 2 + (cols - 19.0) ** 2).sqrt()
    assert float(rim.max()) <= 5
    assert (int(rows.max()), int(cols.min())) == (5, 15)
