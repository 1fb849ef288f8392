"""Dense losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from napari_clickseg.training.dense_losses import (
    alpha_error,
    class_loss,
    composition_error,
    depth_gradient_error,
    gradient_error,
    laplacian_error,
    scale_invariant_error,
)


def test_classes_by_hand() -> None:
    # two pixels: probabilities (1/2, 1/4, 1/4) of class 0 and (1/3, 1/3, 1/3) of 2
    chances = torch.tensor([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]])
    logits = chances.log().T.reshape(1, 3, 1, 2)
    labels = torch.tensor([[[0, 2]]])
    weights = torch.tensor([1.0, 1.0, 3.0])
    entropy = (math.log(2) + 3 * math.log(3)) / 4
    assert float(class_loss(logits, labels, weights, 0.0)) == pytest.approx(entropy)
    dice = [
        (2 * 0.5 + 1) / (0.5 + 1 / 3 + 1 + 1),
        (0 + 1) / (0.25 + 1 / 3 + 0 + 1),
        (2 / 3 + 1) / (0.25 + 1 / 3 + 1 + 1),
    ]
    both = float(class_loss(logits, labels, weights, 2.0))
    assert both == pytest.approx(entropy + 2 * (1 - sum(dice) / 3), rel=1e-5)


def test_ignored_pixels_do_not_count() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 6, 8), torch.randint(0, 3, (2, 6, 8))
    weights = torch.tensor([1.0, 2.0, 3.0])
    ignored = labels.clone()
    ignored[:, :, 4:] = -1
    changed = logits.clone()
    changed[:, :, :, 4:] += 100 * torch.randn(2, 3, 6, 4)
    one, two = (class_loss(x, ignored, weights) for x in (logits, changed))
    assert float(one) == pytest.approx(float(two))
    assert float(class_loss(logits, labels, weights)) != pytest.approx(float(one))
    right = F.one_hot(labels, 3).movedim(-1, 1) * 50.0
    assert float(class_loss(right, labels, weights)) < 1e-3


def test_alpha_counts_where_it_is_unknown() -> None:
    truth, alpha = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.3)
    unknown = torch.zeros_like(truth)
    unknown[..., :2] = 1
    alpha[..., 2:] = 9
    assert float(alpha_error(alpha, truth, unknown)) == pytest.approx(0.3, rel=1e-4)
    front, back = torch.full((1, 3, 4, 4), 0.8), torch.full((1, 3, 4, 4), 0.2)
    # alpha is 0.3 off, colours 0.6 apart
    error = composition_error(alpha, back, front, back, unknown)
    assert float(error) == pytest.approx(0.18, rel=1e-3)
    assert float(alpha_error(truth, truth, 0 * unknown)) == 0


def test_pyramids_see_errors_of_every_size() -> None:
    torch.manual_seed(0)
    truth = torch.rand(1, 1, 64, 64)
    unknown = torch.ones_like(truth)
    assert float(laplacian_error(truth, truth, unknown)) == 0
    wide = laplacian_error(truth + 0.1, truth, unknown)
    # a constant stays in the coarsest level: 16 x 16 times fewer pixels, weight 16
    assert float(wide) == pytest.approx(0.1 * 16 / 256, rel=1e-3)
    grain = truth + 0.1 * (2 * torch.randint(0, 2, truth.shape) - 1)
    assert float(laplacian_error(grain, truth, unknown)) > 10 * float(wide)


def test_gradients_forgive_a_constant() -> None:
    torch.manual_seed(0)
    truth = torch.rand(1, 1, 9, 7)
    known = torch.ones_like(truth)
    assert float(gradient_error(truth + 3, truth, known)) == pytest.approx(0, abs=1e-6)
    ramp = truth + 0.2 * torch.arange(7.0)
    # along rows every pair is 0.2 off (9 * 6 of 9 * 6 + 8 * 7 pairs)
    want = 0.2 * 54 / 110
    assert float(gradient_error(ramp, truth, known)) == pytest.approx(want, rel=1e-4)
    known[..., 3] = 0
    ramp[..., 3] = 50
    assert float(gradient_error(ramp, truth, known)) == pytest.approx(
        0.2 * 36 / 84, rel=1e-4
    )


def test_scale_invariant_error_by_hand() -> None:
    truth = torch.tensor([[[[1.0, 2.0, 4.0, 9.0]]]])
    valid = torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]])
    twice = torch.tensor([[[[2.0, 4.0, 8.0, 1.0]]]])
    half = math.log(2) * 10
    # all of it forgiven, none of it, and the usual part
    for forgiven, want in ((1.0, 0.0), (0.0, half), (0.85, half * math.sqrt(0.15))):
        error = scale_invariant_error(twice, truth, valid, forgiven)
        assert float(error) == pytest.approx(want, abs=0.02)
    gaps = torch.tensor([0.1, -0.2, 0.4])
    wrong = truth.clone()
    wrong[..., :3] *= gaps.exp()
    square, mean = float((gaps**2).mean()), float(gaps.mean())
    want = 10 * math.sqrt(square - 0.85 * mean**2)
    error = scale_invariant_error(wrong, truth, valid)
    assert float(error) == pytest.approx(want, rel=1e-3)


def test_depth_gradients_forgive_a_scale_and_see_a_step() -> None:
    torch.manual_seed(0)
    truth = 1 + torch.rand(1, 1, 16, 16)
    valid = torch.ones_like(truth)
    assert float(depth_gradient_error(3 * truth, truth, valid)) < 1e-5
    step = truth.clone()
    step[..., 8:] *= math.e
    # one of 15, 7, 3 and 1 columns of pairs is off by 1, at each of four scales;
    # as many pairs lie along columns
    want = sum(0.5 / pairs for pairs in (15, 7, 3, 1))
    assert float(depth_gradient_error(step, truth, valid)) == pytest.approx(
        want, rel=1e-3
    )


@pytest.mark.parametrize("loss", [scale_invariant_error, depth_gradient_error])
def test_depth_losses_have_finite_gradients_at_the_truth(loss) -> None:
    truth = torch.full((1, 1, 8, 8), 2.0)
    depth = truth.clone().requires_grad_()
    loss(depth, truth, torch.ones_like(truth)).backward()
    assert torch.isfinite(depth.grad).all()
