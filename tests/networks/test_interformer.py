"""InterFormer answers as the released implementation does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.golden_weights import state_dict_by_recipe, worst_checksum
from tests.networks.test_golden_networks import distance, load
from torch import Tensor

from napari_clickseg.networks.click_labels import (
    POSSIBLE_BACKGROUND,
    POSSIBLE_FOREGROUND,
    UNKNOWN,
    add_click,
    after_answer,
    labels_from,
    remember,
    start_labels,
)
from napari_clickseg.networks.interactive_attention import InteractiveNeck, pooled_side
from napari_clickseg.networks.interformer import InterFormer
from napari_clickseg.networks.vit import Attention, relative_position_index


def released(golden: dict[str, np.ndarray]) -> InterFormer:
    network = InterFormer()
    state = state_dict_by_recipe(network.state_dict(), golden)
    assert worst_checksum(state, golden) < 1e-6
    network.load_state_dict(state)
    return network.eval()


@torch.inference_mode()
def check_forward(golden: dict[str, np.ndarray]) -> None:
    network = released(golden)
    image = torch.from_numpy(golden["image"]).permute(2, 0, 1)[None] / 255
    labels = torch.from_numpy(golden["ref_label"])[:, 0].long()
    pyramid = network.encode_image(image)
    necks = network.neck(pyramid, labels)
    for i in range(4):
        if f"fpn{i}" in golden:
            assert distance(pyramid[i], golden[f"fpn{i}"]) < 1e-5
        assert distance(necks[i], golden[f"neck{i}"]) < 1e-5
    # What the first block asks with: features and embedded labels together.
    query = pyramid[0] + network.neck.embed(labels, pyramid[0].shape[-2:])
    assert distance(query, golden["ref_embed_out"]) < 1e-5
    # The head magnifies rounding of its inputs forty-fold (in double precision the
    # golden logits themselves are 2e-4 off), so it is held to what it is given.
    given = [torch.from_numpy(golden[f"neck{i}"]) for i in range(4)]
    assert distance(network.decode_head(given), golden["head_logits_stride4"]) < 1e-5
    assert (
        distance(network.decode_labels(pyramid, labels), golden["logits_full"]) < 5e-4
    )


def test_forward_excerpt(excerpt_dir: Path) -> None:
    check_forward(load(excerpt_dir, "interformer_light_forward"))


def test_forward_in_full(golden_dir: Path) -> None:
    check_forward(load(golden_dir, "interformer_light_forward"))


def check_labels(golden: dict[str, np.ndarray]) -> None:
    for run in range(len(golden["preds"])):
        labels = start_labels(golden["preds"].shape[2:])
        for click in range(golden["preds"].shape[1]):
            row, col, positive = golden["clicks_yx_pos"][run, click]
            labels = add_click(labels, (row, col), bool(positive))
            expected = golden["ref_labels"][run, 2 * click]
            np.testing.assert_array_equal(labels, expected)
            labels = after_answer(labels, golden["preds"][run, click])
            expected = golden["ref_labels"][run, 2 * click + 1]
            np.testing.assert_array_equal(labels, expected)


def check_planes(golden: dict[str, np.ndarray]) -> None:
    """The same labels from clicks and a remembered plane, as click networks work."""
    for run in range(len(golden["preds"])):
        plane = np.zeros(golden["preds"].shape[2:], np.float32)
        points = torch.full((1, 40, 3), -1.0)
        counts = [0, 20]
        for click in range(golden["preds"].shape[1]):
            row, col, positive = golden["clicks_yx_pos"][run, click]
            half = 0 if positive else 1
            points[0, counts[half]] = torch.tensor([float(row), float(col), click])
            counts[half] += 1
            labels = labels_from(torch.from_numpy(plane)[None, None], points)
            expected = golden["ref_labels"][run, 2 * click]
            np.testing.assert_array_equal(labels[0].numpy(), expected)
            plane = remember(plane, golden["preds"][run, click].astype(np.float32))


def test_planes_excerpt(excerpt_dir: Path) -> None:
    check_planes(load(excerpt_dir, "interformer_reflabel"))


def test_an_answer_without_object_is_an_answer() -> None:
    plane = remember(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32))
    points = torch.full((1, 2, 3), -1.0)
    labels = labels_from(torch.from_numpy(plane)[None, None], points)
    assert (labels == POSSIBLE_BACKGROUND).all()


def test_labels_excerpt(excerpt_dir: Path) -> None:
    check_labels(load(excerpt_dir, "interformer_reflabel"))


def test_labels_in_full(golden_dir: Path) -> None:
    check_labels(load(golden_dir, "interformer_reflabel"))


def test_a_pixel_changes_its_mind_in_two_steps() -> None:
    labels = after_answer(start_labels((1, 1)), np.array([[True]]))
    assert labels == POSSIBLE_FOREGROUND
    labels = after_answer(labels, np.array([[False]]))
    assert labels == UNKNOWN
    labels = after_answer(labels, np.array([[False]]))
    assert labels == POSSIBLE_BACKGROUND


def small(**changes: object) -> InterFormer:
    """Build a member of the family that tests can afford."""
    torch.manual_seed(0)
    network = InterFormer(dim=32, depth=2, heads=2, **changes)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith(("relative_position_bias_table", "neck.patch_embed")):
                weight.normal_()
    return network.eval()


def question(height: int = 72, width: int = 100) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, height, width, generator=generator)
    labels = torch.randint(0, 5, (2, height, width), generator=generator)
    return image, labels


@torch.inference_mode()
def test_any_size_is_answered_at_its_size() -> None:
    image, labels = question()
    network = small()
    pyramid = network.encode_image(image)
    assert network.decode_labels(pyramid, labels).shape == (2, 2, 72, 100)


@torch.inference_mode()
def test_clicks_are_heard_on_one_encoding() -> None:
    network, (image, labels) = small(), question()
    pyramid = network.encode_image(image)
    before = [x.clone() for x in pyramid]
    first = network.decode_labels(pyramid, labels)
    second = network.decode_labels(pyramid, torch.full_like(labels, UNKNOWN))
    assert not torch.allclose(first, second)
    torch.testing.assert_close(network.decode_labels(pyramid, labels), first)
    for now, then in zip(pyramid, before, strict=True):
        assert torch.equal(now, then)


@torch.inference_mode()
def test_only_side_branches_see_the_region() -> None:
    network = small(depths=(2, 2, 6, 3))
    image, labels = question(96, 128)
    pyramid = network.encode_image(image)
    whole = network.neck(pyramid, labels)
    part = network.neck(pyramid, labels, region=(32, 32, 96, 96))
    whole_region = network.neck(pyramid, labels, region=(0, 0, 128, 96))
    for a, b in zip(whole, whole_region, strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.allclose(whole[0], part[0])
    plain = small()
    pyramid = plain.encode_image(image)
    for a, b in zip(
        plain.neck(pyramid, labels),
        plain.neck(pyramid, labels, region=(32, 32, 96, 96)),
        strict=True,
    ):
        assert torch.equal(a, b)


@torch.inference_mode()
def test_the_bias_is_made_once_for_each_size() -> None:
    attention = Attention(8, 2, (4, 4), relative_position_index((4, 4)))
    torch.nn.init.normal_(attention.relative_position_bias_table)
    first = attention.kept_bias((3, 5))
    assert attention.kept_bias((3, 5)) is first
    assert attention.kept_bias((4, 4)).shape == (1, 2, 17, 17)
    torch.testing.assert_close(attention.kept_bias((3, 5)), first)


def test_new_weights_make_a_new_bias() -> None:
    attention = Attention(8, 2, (4, 4), relative_position_index((4, 4)))
    with torch.no_grad():
        before = attention.kept_bias((4, 4))
        attention.load_state_dict(
            {k: v + 1 for k, v in attention.state_dict().items() if "index" not in k}
            | {"relative_position_index": attention.relative_position_index}
        )
        torch.testing.assert_close(attention.kept_bias((4, 4)), before + 1)


def test_the_bias_learns() -> None:
    network, (image, labels) = small(), question(64, 64)
    network.decode_labels(network.encode_image(image), labels).sum().backward()
    gradient = network.backbone.layers[0].attn.relative_position_bias_table.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_the_class_token_has_its_own_offsets() -> None:
    index = relative_position_index((3, 2))
    count = 5 * 3
    assert index[0, 0] == count + 2
    assert (index[0, 1:] == count).all()
    assert (index[1:, 0] == count + 1).all()
    tokens = index[1:, 1:]
    assert tokens.min() == 0
    assert tokens.max() == count - 1
    assert (tokens.diagonal() == tokens[0, 0]).all()


@pytest.mark.parametrize(
    ("side", "target", "ratio", "pooled"),
    [(128, 128, 12, 11), (128, 128, 16, 8), (16, 128, 12, 8), (3, 16, 4, 3)],
)
def test_pooled_sides(side: int, target: int, ratio: int, pooled: int) -> None:
    assert pooled_side(side, target, ratio) == pooled


def test_a_variant_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="light or tiny"):
        InterFormer.variant("huge")


@torch.inference_mode()
def test_labels_are_embedded_by_their_shares() -> None:
    """Averaging one-hot planes and then embedding is the published order."""
    neck = InteractiveNeck()
    torch.nn.init.normal_(neck.patch_embed)
    labels = question(32, 48)[1]
    one_hot = torch.nn.functional.one_hot(labels, 5).float() @ neck.patch_embed
    full = torch.nn.functional.interpolate(
        one_hot.permute(0, 3, 1, 2), (8, 12), mode="bilinear"
    )
    torch.testing.assert_close(neck.embed(labels, (8, 12)), full)
