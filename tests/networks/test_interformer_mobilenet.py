"""The small InterFormer: sizes, labels, and one encoding for all clicks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_clickseg.networks.interformer_mobilenet import InterFormerMobileNetV2


@pytest.fixture(scope="module")
def network() -> InterFormerMobileNetV2:
    torch.manual_seed(0)
    return InterFormerMobileNetV2(max_side=96, width=16, head_channels=16).eval()


def points_at(positive: list[tuple], negative: list[tuple] = ()) -> Tensor:  # type: ignore[assignment]
    half = max(1, len(positive), len(negative))
    points = torch.full((1, 2 * half, 3), -1.0)
    for start, places in ((0, positive), (half, negative)):
        for i, (row, col) in enumerate(places):
            points[0, start + i] = torch.tensor([float(row), float(col), float(i)])
    return points


@settings(max_examples=15)
@given(st.integers(1, 150), st.integers(1, 150))
def test_any_size_comes_back(
    network: InterFormerMobileNetV2, height: int, width: int
) -> None:
    with torch.no_grad():
        answer = network(torch.rand(1, 4, height, width), points_at([(0, 0)]))
    for logits in answer.values():
        assert logits.shape == (1, 1, height, width)
        assert torch.isfinite(logits).all()


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_working_sizes_are_whole_strides(
    network: InterFormerMobileNetV2, height: int, width: int
) -> None:
    tall, wide = network.working_size(height, width)
    assert tall % 32 == 0
    assert wide % 32 == 0
    assert max(tall, wide) <= 96 + 16


def test_one_encoding_serves_every_click(network: InterFormerMobileNetV2) -> None:
    image = torch.rand(1, 4, 64, 96)
    with torch.no_grad():
        features = network.encode_image(image[:, :3])
        kept = [x.clone() for x in features]
        one = network.decode_clicks(features, points_at([(20, 20)]), image[:, 3:])
        two = network.decode_clicks(features, points_at([(50, 70)]), image[:, 3:])
        blank = network.decode_clicks(
            features, points_at([(20, 20)]), torch.zeros(1, 1, 64, 96)
        )
        whole = network(image, points_at([(20, 20)]))
    assert torch.equal(one["instances"], whole["instances"])
    assert not torch.allclose(one["instances"], two["instances"])
    assert not torch.allclose(one["instances"], blank["instances"])
    for now, then in zip(features, kept, strict=True):
        assert torch.equal(now, then)


@pytest.mark.parametrize("known", [True, False])
def test_shares_of_labels(network: InterFormerMobileNetV2, known: bool) -> None:
    previous = torch.zeros(1, 1, 64, 64)
    if known:
        previous[..., :32] = 0.75
    points = points_at([(16, 16)], [(48, 48), (17, 16)])
    shares = network.shares(points, previous, (64, 64))
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 64, 64))
    assert shares[0, :, 48, 48].tolist() == [1, 0, 0, 0, 0]  # definite background
    assert shares[0, :, 16, 16].tolist() == [0.5, 0, 0, 0, 0.5]  # both were clicked
    expected = [0, 0.25, 0, 0.75, 0] if known else [0, 0, 1, 0, 0]
    assert shares[0, :, 40, 10].tolist() == expected
    assert shares[0, :, 5, 60].tolist() == ([0, 1, 0, 0, 0] if known else expected)


def test_the_first_query_knows_what_looks_like_the_clicked_place(
    network: InterFormerMobileNetV2,
) -> None:
    pyramid = [
        torch.zeros(1, c, 96 // s, 96 // s) for c, s in ((32, 4), (64, 8), (128, 16))
    ]
    for features in pyramid:  # a checkerboard of two halves that differ
        half = features.shape[-1] // 2
        features[:, ::2, :, :half] = 1
        features[:, 1::2, :, half:] = 1
    shares = network.shares(points_at([(48, 20)]), torch.zeros(1, 1, 96, 96), (96, 96))
    with torch.no_grad():
        cues = network.cues(pyramid, shares)
    assert cues.shape == (1, 14, 24, 24)
    torch.testing.assert_close(cues[:, :5].sum(1), torch.ones(1, 24, 24))
    for level in range(3):
        possible, positive, negative = cues[0, 5 + 3 * level : 8 + 3 * level]
        assert (positive[:, :8] > 0.99).all()  # as the click's own side
        assert (positive[:, 16:] < positive[:, :8]).all()
        assert not possible.any()  # nothing is known of these
        assert not negative.any()


def test_a_disk_stays_on_its_click_at_another_size(
    network: InterFormerMobileNetV2,
) -> None:
    shares = network.shares(
        points_at([(100, 50)]), torch.zeros(1, 1, 192, 192), (96, 96)
    )
    rows, cols = torch.nonzero(shares[0, 4], as_tuple=True)
    assert float(rows.float().mean()) == pytest.approx(49.75, abs=0.3)
    assert float(cols.float().mean()) == pytest.approx(24.75, abs=0.3)


def test_training_reaches_every_weight(network: InterFormerMobileNetV2) -> None:
    network.zero_grad()
    image = torch.rand(2, 4, 96, 96)
    points = points_at([(40, 40)], [(60, 60)]).expand(2, -1, -1)
    answer = network(image, points)
    blank = network(image * torch.tensor([1, 1, 1, 0]).view(1, 4, 1, 1), points)
    sum(x.sum() for x in [*answer.values(), *blank.values()]).backward()
    unreached = [
        name
        for name, weight in network.named_parameters()
        if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    network.zero_grad()
    assert unreached == []


def test_places_are_there(network: InterFormerMobileNetV2) -> None:
    for sites in network.places().values():
        for site in sites:
            network.get_submodule(site)
