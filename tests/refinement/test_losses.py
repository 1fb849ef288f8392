"""Losses of refinement: published numbers, the paper's equations, gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.golden_files import read_golden
from torch.autograd import gradcheck

from napari_clickseg.refinement.wishes import (
    PointWishes,
    SquareWishes,
    averaged,
    outside_of,
)
from napari_clickseg.tasks.segmentation import (
    brs_mask_loss,
    click_distances,
    click_loss,
    consistency_loss,
    middle_logit,
)

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def test_published_loss_and_gradient(excerpt_dir: Path) -> None:
    golden = read_golden(excerpt_dir / "losses.npz")
    probability = torch.from_numpy(golden["brs_prob"]).requires_grad_()
    squares = (torch.from_numpy(golden[f"brs_{sign}"]) for sign in ("pos", "neg"))
    loss, missing, surplus = brs_mask_loss(probability, *squares)
    assert loss.item() == pytest.approx(float(golden["brs_loss"]), rel=1e-6)
    found = [float(missing), float(surplus)]
    assert found == pytest.approx(golden["brs_fmax"].tolist(), rel=1e-6)
    loss.backward()
    assert probability.grad is not None
    np.testing.assert_allclose(
        probability.grad.numpy(), golden["brs_grad"], rtol=1e-5, atol=1e-9
    )


def test_published_loss_without_clicks_of_one_sign() -> None:
    probability = torch.full((1, 1, 4, 4), 0.3)
    squares = torch.zeros(1, 1, 4, 4)
    squares[..., 1:3, 1:3] = 1
    loss, missing, surplus = brs_mask_loss(probability, squares, squares * 0)
    assert float(loss) == pytest.approx(0.49, rel=1e-4)
    assert float(missing) == pytest.approx(0.7)
    assert float(surplus) == 0


def test_equation_8_by_hand() -> None:
    values = torch.tensor([0.25, 3.0, -4.0, -0.5, 1.0])
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0, -1.0])
    # Logits beyond the target cost nothing, on either side.
    assert click_distances(values, signs).tolist() == [0.75, 0, 0, 0.5, 2.0]
    expected = 0.75**2 + 0.5**2 + 2.0**2
    assert float(click_loss(values, signs)) == pytest.approx(expected)
    # With another threshold the targets lie around its logit.
    middle = math.log(0.8 / 0.2)
    assert middle_logit(0.8) == pytest.approx(middle)
    moved = click_distances(values + middle, signs, 0.8)
    assert moved.tolist() == pytest.approx([0.75, 0, 0, 0.5, 2.0], abs=1e-6)


def test_equation_7_by_hand() -> None:
    before = torch.zeros(1, 1, 2, 3)
    now = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[None, None]
    outside = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])[None, None]
    # All pixels count below the line, not only those outside.
    expected = 100 * (1 + 9 + 36) / 6
    found = consistency_loss(before, now, outside, 100)
    assert float(found) == pytest.approx(expected)


def test_gradients_of_all_losses() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 5, 6, generator=generator, dtype=torch.float64)
    logits.requires_grad_()
    square = (torch.rand(2, 1, 5, 6, generator=generator) > 0.7).double()
    assert gradcheck(
        lambda x: brs_mask_loss(torch.sigmoid(x), square, 1 - square)[0], logits
    )
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    assert gradcheck(lambda x: click_loss(x.flatten()[:3], signs), logits)
    before = torch.randn(2, 1, 5, 6, generator=generator, dtype=torch.float64)
    assert gradcheck(lambda x: consistency_loss(before, x, square, 100.0), logits)


def test_attention_is_a_circle_around_the_click() -> None:
    outside = outside_of((10, 12), (5, 5), (30, 40))
    inside = np.argwhere(~outside)
    assert len(inside) == 81  # as many pixels as a disk of radius 5 has
    assert (np.hypot(*(inside - [10, 12]).T) <= 5).all()
    # Resized to another form, the circle of the image is an ellipse.
    wide = np.argwhere(~outside_of((10, 12), (2, 8), (30, 40)))
    assert wide[:, 1].min() == 4
    assert wide[:, 0].min() == 8


def test_points_read_the_averaged_answer_between_pixels() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 1, 6, 8, generator=generator)
    mean = 0.5 * (logits[0, 0] + logits[1, 0].flip(1))
    assert torch.equal(averaged(logits)[0, 0], mean)
    positions = np.array([[2.0, 3.0], [4.5, 6.25], [5.0, 7.0]])
    wishes = PointWishes(
        positions, [True, False, True], np.ones((6, 8), bool), 0.0, 0.5, CPU
    )
    expected = [
        float(mean[2, 3]),
        float(0.5 * (0.75 * (mean[4, 6] + mean[5, 6]) + 0.25 * (mean[4:, 7].sum()))),
        float(mean[5, 7]),
    ]
    assert wishes.values(averaged(logits)).tolist() == pytest.approx(expected, abs=1e-6)


def test_points_are_reached_below_0_8_and_beyond_their_target() -> None:
    def judged(values: list[float]) -> tuple[int, bool]:
        answer = torch.tensor(values)[None, None, None]
        positions = np.array([[0.0, i] for i in range(len(values))])
        signs = [True, False][: len(values)]
        outside = np.ones((1, len(values)), bool)
        wishes = PointWishes(positions, signs, outside, 100.0, 0.5, CPU)
        verdict = wishes(answer, answer)
        return verdict.wrong, verdict.reached

    assert judged([0.21, -0.21]) == (0, True)
    assert judged([0.19, -0.21]) == (0, False)
    assert judged([9.0, -9.0]) == (0, True)
    assert judged([-0.1, 0.1]) == (2, False)


@pytest.mark.parametrize("published", [False, True])
def test_squares_at_the_border_are_cut_off(published: bool) -> None:
    at = [np.array([[0.0, 0.0], [5.0, 9.4], [3.0, 4.0]])]
    wishes = SquareWishes(at, [True] * 3, (6, 10), 0.49, CPU, published=published)
    mask = wishes._positive[0, 0].numpy()
    expected = np.zeros((6, 10))
    expected[:2, :2] = expected[4:, 8:] = expected[2:5, 3:6] = 1
    assert np.array_equal(mask, expected)
    assert not wishes._negative.any()


def test_squares_beyond_the_border() -> None:
    at = [np.array([[-7.6, 4.0], [2.0, 30.0]])]
    mended = SquareWishes(at, [True] * 2, (12, 10), 0.49, CPU)
    assert not mended._positive.any()
    published = SquareWishes(at, [True] * 2, (12, 10), 0.49, CPU, published=True)
    rows, cols = np.nonzero(published._positive[0, 0].numpy())
    assert set(rows) == {3, 4, 5}  # 12 - 8, and one more on either side
    assert set(cols) == {3, 4, 5}
