"""Losses against values and gradients of the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_clickseg.training.losses import (
    focal_loss,
    normalized_focal_loss,
    sigmoid_bce_loss,
    soft_iou_loss,
    two_class_focal_loss,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "losses.npz"

CASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nfl_a05_g2": normalized_focal_loss,
    "nfl_default_a025_g2": lambda x, y: normalized_focal_loss(x, y, alpha=0.25),
    "nfl_maxmult4": lambda x, y: normalized_focal_loss(x, y, max_multiplier=4),
    "focal_a05": focal_loss,
    "softiou": soft_iou_loss,
    "sigmoid_bce": sigmoid_bce_loss,
}


@pytest.mark.parametrize("name", CASES)
def test_golden_values_and_gradients(name: str) -> None:
    with np.load(GOLDEN) as golden:
        logits = torch.tensor(golden["logits"], requires_grad=True)
        labels = torch.tensor(golden["labels"]).to(logits.dtype)
        value = CASES[name](logits, labels)
        value.mean().backward()
        np.testing.assert_allclose(value.detach(), golden[name], rtol=1e-5)
        np.testing.assert_allclose(
            logits.grad, golden[f"{name}_grad_of_mean"], rtol=1e-4, atol=1e-8
        )


@pytest.mark.parametrize("name", CASES)
def test_ignored_pixels_carry_no_gradient(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 8, 8, generator=generator, requires_grad=True)
    labels = torch.randint(0, 2, (2, 1, 8, 8), generator=generator).float()
    labels[:, :, :3] = -1
    CASES[name](logits, labels).sum().backward()
    assert logits.grad is not None
    assert torch.all(logits.grad[:, :, :3] == 0)
    assert torch.any(logits.grad[:, :, 3:] != 0)


def test_two_classes_as_interformer_learns() -> None:
    with np.load(GOLDEN.with_name("interformer_nfl.npz")) as golden:
        logits = torch.tensor(golden["logits"], requires_grad=True)
        labels = torch.tensor(golden["labels"])
        assert (labels == 255).any()
        value = two_class_focal_loss(logits, labels)
        value.mean().backward()
        np.testing.assert_allclose(value.detach(), golden["loss"], rtol=1e-5)
        np.testing.assert_allclose(
            logits.grad, golden["grad_of_mean"], rtol=1e-4, atol=1e-8
        )


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ"):
        normalized_focal_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4))


def test_normalised_focal_loss_gradcheck() -> None:
    """The multiplier is detached, so compare with a fixed multiplier."""
    logits = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = (torch.rand(1, 1, 4, 4) > 0.5).double()
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, labels), (logits,))
    assert torch.autograd.gradcheck(lambda x: soft_iou_loss(x, labels), (logits,))
