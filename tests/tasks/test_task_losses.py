"""Equations 9 to 13 of G-BRS: values and gradients by hand, and gradcheck."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from napari_clickseg.clicks import Click
from napari_clickseg.tasks import Classes, Depth, Matting, Segmentation, Semantic
from napari_clickseg.tasks.regression import held_loss, squared_errors
from napari_clickseg.tasks.semantic import (
    classes_loss,
    cross_entropy,
    kept_classes,
    painted_classes,
)

THREE = Classes.named(("sky", "road", "car"))
LOG = math.log


def logits_of(*rows: list[float]) -> Tensor:
    """Logits whose softmax is these numbers over their sum."""
    return torch.tensor(rows, dtype=torch.float64).log()


def test_equation_9_refinement_by_hand() -> None:
    task = Semantic(THREE)
    # Probabilities 1/4 1/4 1/2 and 1/8 1/8 6/8.
    values = logits_of([1, 1, 2], [1, 1, 6]).requires_grad_()
    clicks = [Click(0, 0, label=2), Click(3, 3, label=3)]
    targets = task.targets(clicks, values)
    assert targets.tolist() == [1, 2]
    loss = task.refinement_loss(values, targets)
    assert float(loss.detach()) == pytest.approx((LOG(4) + LOG(8 / 6)) / 2)
    loss.backward()
    # The softmax minus one at the target, over the number of clicks.
    by_hand = [[1 / 4, -3 / 4, 1 / 2], [1 / 8, 1 / 8, -2 / 8]]
    assert values.grad is not None
    np.testing.assert_allclose(values.grad, np.array(by_hand) / 2, atol=1e-12)


def test_equation_9_consistency_by_hand() -> None:
    # Three pixels; classes before: 2, 0, 1. The last one lies in the circle.
    before = logits_of([1, 1, 2], [9, 1, 1], [1, 3, 1]).T[None, :, None, :]
    now = logits_of([1, 1, 2], [2, 1, 1], [1, 1, 8]).T[None, :, None, :]
    now = now.clone().requires_grad_()
    far = torch.tensor([[1.0, 1.0, 0.0]])
    task = Semantic(THREE)
    held = task.held(before, far)
    assert held.tolist() == [[[2, 0, -100]]]
    loss = task.consistency_loss(held, now, far)
    # All three pixels count below the line.
    assert float(loss.detach()) == pytest.approx((LOG(2) + LOG(2)) / 3)
    loss.backward()
    assert now.grad is not None
    by_hand = [[1 / 4, 1 / 4, -1 / 2], [-1 / 2, 1 / 4, 1 / 4], [0, 0, 0]]
    found = now.grad[0, :, 0].T
    np.testing.assert_allclose(found, np.array(by_hand) / 3, atol=1e-12)


def test_equation_10_by_hand() -> None:
    output = logits_of([1, 1, 2], [9, 1, 1], [1, 1, 8], [1, 1, 1]).T
    output = output.reshape(1, 3, 2, 2).clone().requires_grad_()
    # Label 1 is channel 0; two pixels are not painted.
    painted = torch.tensor([[1, 0], [3, 0]])
    loss = classes_loss(output, painted_classes(painted))
    assert float(loss.detach()) == pytest.approx((LOG(4) + LOG(10 / 8)) / 4)
    loss.backward()
    assert output.grad is not None
    by_hand = [[-3 / 4, 1 / 4, 1 / 2], [0, 0, 0], [0.1, 0.1, -0.2], [0, 0, 0]]
    found = output.grad.reshape(3, 4).T
    np.testing.assert_allclose(found, np.array(by_hand) / 4, atol=1e-12)
    assert float(classes_loss(output.detach(), painted_classes(painted * 0))) == 0


def test_equation_11_by_hand() -> None:
    task = Matting()
    values = torch.tensor([[0.2], [0.9], [0.5]], dtype=torch.float64)
    values.requires_grad_()
    clicks = [Click(0, 0, value=0.6), Click(0, 1), Click(0, 2, positive=False)]
    targets = task.targets(clicks, values)
    assert targets.tolist() == pytest.approx([0.6, 1.0, 0.0])
    loss = task.refinement_loss(values, targets)
    assert float(loss.detach()) == pytest.approx((0.16 + 0.01 + 0.25) / 3)
    loss.backward()
    assert values.grad is not None
    expected = np.array([-0.8, -0.2, 1.0]) / 3
    np.testing.assert_allclose(values.grad[:, 0], expected, atol=1e-12)

    before = torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=torch.float64)[None, None]
    now = torch.tensor([[0.2, 0.2], [0.1, 0.9]], dtype=torch.float64)[None, None]
    now.requires_grad_()
    far = torch.tensor([[1.0, 0.5], [0.5, 0.2]], dtype=torch.float64)
    loss = task.consistency_loss(task.held(before, far), now, far)
    # The mask is inside the square.
    assert float(loss.detach()) == pytest.approx((0.1**2 + 0 + 0.1**2 + 0.1**2) / 4)
    loss.backward()
    assert now.grad is not None
    # 2 far^2 (now - before) over the number of pixels.
    expected = np.array([[0.2, 0], [0.25 * -0.4, 0.04 * 1.0]]) / 4
    np.testing.assert_allclose(now.grad[0, 0], expected, atol=1e-12)


@pytest.mark.parametrize("task", [Matting("push"), Depth("push")])
def test_equation_12_by_hand(task: Matting | Depth) -> None:
    start = torch.tensor([[0.30]], dtype=torch.float64)
    for sign, target, slope in ((True, 0.4, -0.2), (False, 0.2, 0.2)):
        values = start.clone().requires_grad_()
        targets = task.targets([Click(1, 1, sign)], start)
        assert targets.tolist() == pytest.approx([target])
        loss = task.refinement_loss(values, targets)
        assert float(loss.detach()) == pytest.approx(0.01)
        loss.backward()
        assert values.grad is not None
        assert float(values.grad) == pytest.approx(slope)
    assert (task.iterations, task.weight, task.remembers) == (1, 0.0, False)


def test_pushes_stay_where_values_can_be() -> None:
    start = torch.tensor([[0.97], [0.02]])
    clicks = [Click(0, 0), Click(1, 1, positive=False)]
    assert Matting("push").targets(clicks, start).tolist() == [1.0, 0.0]
    found = Depth("push", largest=1.0).targets(clicks, start)
    assert found.tolist() == [1.0, 0.0]
    found = Depth("push", push=0.5).targets(clicks, start)
    assert found.tolist() == pytest.approx([1.47, 0.0])


def test_equation_13_by_hand() -> None:
    task = Depth()
    values = torch.tensor([[2.0], [5.5]], dtype=torch.float64, requires_grad=True)
    clicks = [Click(0, 0, value=2.5), Click(0, 1, value=4.0)]
    loss = task.refinement_loss(values, task.targets(clicks, values))
    # A sum, where equation 11 has a mean.
    assert float(loss.detach()) == pytest.approx(0.25 + 2.25)
    loss.backward()
    assert values.grad is not None
    np.testing.assert_allclose(values.grad[:, 0], [-1.0, 3.0])
    before, now = torch.zeros(1, 1, 1, 2), torch.tensor([[[[2.0, 4.0]]]])
    far = torch.tensor([[1.0, 0.5]])
    assert float(task.consistency_loss(before, now, far)) == pytest.approx(4.0)


def test_the_weights_of_the_paper() -> None:
    tasks = [Segmentation(), Semantic(THREE), Semantic(THREE, "stroke"), Matting()]
    assert [task.weight for task in tasks] == [100, 10, 1, 1000]
    assert (Depth().weight, Depth().top_k) == (0.1, 256)
    assert all(task.iterations == 20 and task.remembers for task in tasks)
    assert Depth().iterations == 20
    assert [t.channels for t in (*tasks, Depth())] == [1, 3, 3, 1, 1]


def test_gradients_of_all_losses() -> None:
    torch.manual_seed(3)
    values = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([0, 2, 1, 2])
    assert gradcheck(lambda v: cross_entropy(v, classes), (values,))
    output = torch.randn(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    before = torch.randn(1, 3, 3, 4, dtype=torch.float64)
    far = (torch.rand(3, 4, dtype=torch.float64) > 0.4).double()
    kept = kept_classes(before, far)
    assert gradcheck(lambda o: classes_loss(o, kept), (output,))
    painted = torch.randint(0, 4, (3, 4))
    wanted = painted_classes(painted)
    assert gradcheck(lambda o: classes_loss(o, wanted), (output,))
    matte = torch.rand(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    far = torch.rand(3, 4, dtype=torch.float64)
    assert gradcheck(lambda m: held_loss(before[:, :1], m, far), (matte,))
    single = torch.randn(4, 1, dtype=torch.float64, requires_grad=True)
    values_of = torch.randn(4, dtype=torch.float64)
    assert gradcheck(lambda v: squared_errors(v, values_of), (single,))


def test_the_two_ways_to_cross_entropy_agree() -> None:
    torch.manual_seed(4)
    output = torch.randn(1, 3, 5, 6)
    painted = torch.randint(0, 4, (5, 6))
    on = painted > 0
    expected = cross_entropy(output[0][:, on].T, painted[on] - 1).sum() / 30
    found = classes_loss(output, painted_classes(painted))
    assert float(found) == pytest.approx(float(expected))


def test_segmentation_as_a_task_is_what_it_was() -> None:
    task = Segmentation()
    values = torch.tensor([[0.25], [-0.5], [3.0]])
    clicks = [Click(0, 0), Click(0, 1, positive=False), Click(0, 2)]
    targets = task.targets(clicks, values)
    assert targets.tolist() == [1, -1, 1]
    expected = 0.75**2 + 0.5**2
    assert float(task.refinement_loss(values, targets)) == pytest.approx(expected)
    assert task.obeyed(values, targets).tolist() == [True, True, True]
    assert task.reached(values, targets)
    assert not task.reached(values - 0.1, targets)
    now, far = torch.ones(1, 1, 2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert float(task.consistency_loss(0 * now, now, far)) == 0.25
    assert task.activation(torch.zeros(1, 1, 1, 1)).item() == 0.5
