"""What a whole click costs: values and gradients by hand, through resizing and circles.

tests/tasks/test_task_losses.py holds the terms of equations 9 to 13; here they are put
together as an optimiser sees them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.prediction.dense_view import DenseView
from napari_clickseg.prediction.dense_wishes import ClickJudge, Reading, StrokeJudge
from napari_clickseg.tasks import Classes, Depth, Matting, Semantic

THREE = Classes.named(("sky", "road", "car"))
CPU = torch.device("cpu")
#: A box of 6 x 8 pixels, seen at half its size.
HALF = DenseView(Box(0, 0, 6, 8), (3, 4))


def output_of(channels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = 1, channels, 3, 4
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def judge_of(task: Any, clicks: list[Click], reach: float) -> ClickJudge:
    judge = ClickJudge(task, clicks, HALF, reach, task.weight, CPU)
    # Losses are checked in float64.
    judge.read._share = judge.read._share.double()
    judge._far = judge._far.double()
    return judge


CASES: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "semantic": (Semantic(THREE), [{"label": 2}, {"label": 3}]),
    "matting": (Matting(), [{"value": 0.2}, {"value": 0.9}]),
    "depth": (Depth(), [{"value": 2.0}, {"value": 3.5}]),
}


@pytest.mark.parametrize("kind", CASES)
def test_gradients_of_a_whole_click(kind: str) -> None:
    task, fields = CASES[kind]
    places = (1.0, 2.0), (4.0, 5.0)
    clicks = [Click(*at, radius=2, **f) for at, f in zip(places, fields, strict=True)]
    start, now = output_of(task.channels), output_of(task.channels, 1)
    judge = judge_of(task, clicks, 2.0)
    judge(start, start)
    assert gradcheck(lambda x: judge(x, start).loss, (now.requires_grad_(),))


def test_gradients_of_strokes() -> None:
    painted = np.zeros((6, 8), np.int64)  # larger than the output
    painted[1, 2:7], painted[4:6, 3] = 2, 1
    task = Semantic(THREE, "stroke")
    judge = StrokeJudge(task, painted, task.weight, CPU)
    start, now = output_of(3), output_of(3, 1)
    judge._far = judge._far.double()
    judge(start, start)
    assert gradcheck(lambda x: judge(x, start).loss, (now.requires_grad_(),))


def test_what_is_read_between_pixels() -> None:
    values = torch.arange(12, dtype=torch.float32).reshape(1, 1, 3, 4)
    # Pixel (2, 3) of the box lies at (0.75, 1.25) of the view: rows count 4, columns 1.
    reading = Reading([Click(2, 3, label=1)], HALF, CPU)
    assert float(reading(values)) == pytest.approx(4 * 0.75 + 1.25)
    # Corners have no neighbours further out.
    for place, value in (((0, 0), 0.0), ((5, 7), 11.0), ((0, 7), 3.0)):
        found = Reading([Click(*place, label=1)], HALF, CPU)(values)
        assert float(found) == value
    resized = torch.nn.functional.interpolate(
        values, (6, 8), mode="bilinear", align_corners=False
    )[0, 0]
    clicks = [Click(row, col, label=1) for row in range(6) for col in range(8)]
    found = Reading(clicks, HALF, CPU)(values)[:, 0].reshape(6, 8)
    torch.testing.assert_close(found, resized)


def test_a_click_on_alpha_by_hand() -> None:
    """Equation 11 with lambda 1000, and the mask of the newest click alone."""
    view = DenseView(Box(0, 0, 1, 3), (1, 3))
    clicks = [Click(0, 2, value=0.0), Click(0, 0, value=1.0)]
    judge = ClickJudge(Matting(), clicks, view, 1.0, 1000.0, CPU)
    start = torch.tensor([[[[0.5, 0.5, 0.5]]]])
    now = torch.tensor([[[[0.7, 0.6, 0.4]]]])
    wished = (0.4**2 + 0.3**2) / 2
    # Distances 0, 1 and 2 from the newest click, in deviations.
    far = [1 - math.exp(-(n**2) / 2) for n in (0, 1, 2)]
    held = ((0.1 * far[1]) ** 2 + (0.1 * far[2]) ** 2) / 3
    found = judge(now, start)
    assert float(found.loss) == pytest.approx(wished + 1000 * held, rel=1e-5)
    assert (found.wrong, found.reached) == (2, False)


def test_a_click_on_classes_by_hand() -> None:
    """Equation 9 with lambda 10: inside the circle nothing is held."""
    view = DenseView(Box(0, 0, 1, 4), (1, 4))
    judge = ClickJudge(Semantic(THREE), [Click(0, 0, label=3)], view, 1.0, 10.0, CPU)
    chances = [[1, 1, 2], [1, 2, 1], [6, 1, 1], [1, 1, 6]]
    now = torch.tensor(chances).float().log().T[None, :, None, :]
    before = torch.tensor([[8, 1, 1], [1, 8, 1], [1, 8, 1], [1, 1, 8]])
    start = before.float().log().T[None, :, None, :]
    found = judge(now, start)
    # The pixels at 2 and 3 are held: class 2 before, of which 1 / 8 is left, and
    # class 3, of which 6 / 8 are. That at 1 lies on the circle.
    held = (math.log(8) + math.log(8 / 6)) / 4
    assert float(found.loss) == pytest.approx(math.log(2) + 10 * held, rel=1e-5)
    assert (found.wrong, found.reached) == (0, False)


def test_a_click_on_depth_by_hand() -> None:
    """Equation 13 with lambda 0.1: a sum over the clicks."""
    view = DenseView(Box(0, 0, 1, 2), (1, 2))
    clicks = [Click(0, 0, value=2.0), Click(0, 1, value=4.0)]
    judge = ClickJudge(Depth(), clicks, view, 1.0, 0.1, CPU)
    start = torch.tensor([[[[1.0, 1.0]]]])
    now = torch.tensor([[[[1.5, 3.0]]]])
    far = 1 - math.exp(-0.5)  # of the first pixel, from the newest click
    held = (0.5 * far) ** 2 / 2
    found = judge(now, start)
    assert float(found.loss) == pytest.approx(0.25 + 1 + 0.1 * held, rel=1e-5)
    assert found.wrong == 2


def test_at_the_start_a_value_is_held_for_nothing() -> None:
    """And a class is not: the cross-entropy with it is what it is."""
    view = DenseView(Box(0, 0, 3, 4), (3, 4))
    for kind, (task, fields) in CASES.items():
        click = Click(1, 1, **fields[0])
        costs = []
        for weight in (0.0, task.weight):
            judge = ClickJudge(task, [click], view, 1.0, weight, CPU)
            output = output_of(task.channels).float()
            costs.append(float(judge(output, output).loss))
        assert (costs[1] > costs[0]) == (kind == "semantic")
