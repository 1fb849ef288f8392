"""What each task asks of clicks, when it stops, where it pays attention."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError, SessionError, SettingsError
from napari_clickseg.tasks import (
    TASKS,
    Classes,
    Depth,
    Matting,
    Segmentation,
    Semantic,
    SemanticClass,
    Task,
    make_task,
)
from napari_clickseg.tasks.attention import beyond, outside_of
from napari_clickseg.tasks.class_lists import (
    CAMVID,
    CELLS,
    CITYSCAPES,
    PALETTE,
    colours_for,
)
from napari_clickseg.tasks.semantic import check_painted

THREE = Classes.named(("sky", "road", "car"))
ALL: list[Task] = [
    Segmentation(),
    Semantic(THREE),
    Semantic(THREE, "stroke"),
    Matting(),
    Matting("push"),
    Depth(),
    Depth("push"),
    Depth(largest=10.0),
]


def test_every_task_can_be_made_by_its_name() -> None:
    assert set(TASKS) == {"segmentation", "semantic", "matting", "depth"}
    assert make_task("matting", mode="push") == Matting("push")
    assert make_task("semantic", classes=THREE).channels == 3
    with pytest.raises(SessionError, match="classes"):
        make_task("semantic")
    with pytest.raises(SessionError, match="painting"):
        make_task("painting")


@pytest.mark.parametrize(
    ("task", "click"),
    [
        (Semantic(THREE), Click(0, 0, label=3, radius=4)),
        (Matting(), Click(0, 0, value=0.0)),
        (Matting(), Click(0, 0, value=1.0, radius=9)),
        (Matting(), Click(0, 0, positive=False)),
        (Matting("push"), Click(0, 0, positive=False)),
        (Depth(), Click(0, 0, value=120.0)),
        (Depth(largest=10), Click(0, 0, value=10.0)),
        (Depth("push"), Click(0, 0)),
    ],
)
def test_clicks_that_mean_something(task: Task, click: Click) -> None:
    task.check_click(click)


@pytest.mark.parametrize(
    ("task", "click", "says"),
    [
        (Semantic(THREE), Click(0, 0), "no label.*1 sky, 2 road, 3 car"),
        (Semantic(THREE), Click(0, 0, label=4), "label 4"),
        (Semantic(THREE), Click(0, 0, label=1, value=2.0), "Leave value out"),
        (Semantic(THREE), Click(0, 0, False, label=1), "right class"),
        (Matting(), Click(0, 0, label=1), "Leave label out"),
        (Matting(), Click(0, 0, value=1.2), "from 0"),
        (Matting(), Click(0, 0, value=-0.1), "from 0"),
        (Matting(), Click(0, 0, False, value=0.3), "one of them"),
        (Matting("push"), Click(0, 0, value=0.3), "push mode"),
        (Depth(), Click(0, 0), "in m"),
        (Depth(unit="um"), Click(0, 0), "in um"),
        (Depth(), Click(0, 0, value=0.0), "above 0"),
        (Depth(largest=10), Click(0, 0, value=10.1), "up to 10"),
        (Depth(), Click(0, 0, False, value=2.0), "push mode"),
        (Depth("push"), Click(0, 0, value=2.0), "push mode"),
        (Depth(), Click(0, 0, label=2, value=2.0), "Leave label out"),
    ],
)
def test_clicks_that_mean_nothing(task: Task, click: Click, says: str) -> None:
    with pytest.raises(ClickError, match=says):
        task.check_click(click)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Semantic(THREE, "push"),
        lambda: Semantic(THREE, stop_at=0),
        lambda: Matting("stroke"),
        lambda: Matting(push=0),
        lambda: Matting(tolerance=0.001),
        lambda: Depth("stroke"),
        lambda: Depth(largest=-1),
        lambda: Depth(stop_at=0.2),
    ],
)
def test_options_that_make_no_sense(make: object) -> None:
    with pytest.raises(SettingsError):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("task", ALL, ids=lambda t: f"{t.name}-{t.mode}")
def test_a_loss_of_nothing_left_is_reached_and_obeyed(task: Task) -> None:
    """At its targets every task is content, and a step away it is not."""
    start = torch.full((1, task.channels), 0.4)
    fields = {"semantic": {"label": 2}, "matting": {}, "depth": {"value": 2.0}}
    extra = {} if task.mode == "push" else fields.get(task.name, {})
    clicks = [Click(1, 1, **extra)]  # type: ignore[arg-type]
    task.check_click(clicks[0])
    targets = task.targets(clicks, start)
    if task.name == "semantic":
        content = torch.tensor([[-9.0, 9.0, -9.0]])
        other = torch.tensor([[9.0, -9.0, -9.0]])
    else:
        content, other = targets[:, None].clone(), targets[:, None] - 2.0
    assert task.reached(content, targets)
    assert task.obeyed(content, targets).all()
    assert not task.reached(other, targets)
    assert not task.obeyed(other, targets).any()
    least = float(task.refinement_loss(content, targets))
    assert least < 1e-6 < float(task.refinement_loss(other, targets))
    # Where nothing changes there is nothing to hold, but for classes.
    output = torch.rand(1, task.channels, 4, 4)
    far = torch.from_numpy(task.attention((1, 1), (2, 2), (4, 4)))
    assert far.dtype == torch.float32
    cost = float(task.consistency_loss(task.held(output, far), output, far))
    assert cost > 0 if task.name == "semantic" else cost == 0


def test_almost_is_obeyed_but_not_reached() -> None:
    targets = torch.tensor([1.0])
    near = torch.tensor([[0.96]])
    assert Matting().obeyed(near, targets).all()
    assert not Matting().reached(near, targets)
    # Depth counts in parts of the depth.
    far = torch.tensor([[7.7]])
    assert Depth().obeyed(far, torch.tensor([8.0])).all()
    assert not Depth().obeyed(torch.tensor([[0.7]]), targets).any()
    # A push is obeyed as soon as it moves the right way, not too far.
    push = Matting("push")
    start = torch.tensor([[0.5]])
    wanted = push.targets([Click(0, 0)], start)
    moved = torch.tensor([[0.5], [0.51], [0.69], [0.71], [0.49]])
    said = [bool(push.obeyed(value[None], wanted)) for value in moved]
    assert said == [False, True, True, False, False]


def test_results() -> None:
    answer = np.zeros((3, 2, 2), np.float32)
    answer[1, 0] = answer[2, 1, 1] = 1
    labels = Semantic(THREE).result(answer)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[2, 2], [1, 3]]
    many = Classes.named(str(n) for n in range(300))
    assert Semantic(many).result(np.eye(300)[:, None]).max() == 300
    assert Matting().result(np.array([[-0.1, 1.2]])).tolist() == [[0, 1]]
    assert Depth().result(np.array([[3.5]])).dtype == np.float32
    assert Depth().activation(torch.tensor([-1.0, 50.0])).tolist() == [0, 50]
    assert Depth(largest=10).activation(torch.tensor([50.0])).tolist() == [10]


@given(
    st.tuples(st.floats(-3, 12), st.floats(-3, 12)),
    st.tuples(st.floats(0.5, 6), st.floats(0.5, 6)),
)
def test_attention_is_free_at_the_click_and_held_far_away(
    centre: tuple[float, float], radii: tuple[float, float]
) -> None:
    size = (9, 11)
    hard, soft = outside_of(centre, radii, size), beyond(centre, radii, size)
    assert hard.shape == soft.shape == size
    assert soft.min() >= 0
    assert soft.max() <= 1
    # A circle holds what the spot holds by 1 - exp(-1/2) or more.
    assert ((soft > 1 - math.exp(-0.5) + 1e-6) <= hard).all()
    rows, cols = np.indices(size)
    squares = ((rows - centre[0]) / radii[0]) ** 2 + (
        (cols - centre[1]) / radii[1]
    ) ** 2
    np.testing.assert_allclose(soft, 1 - np.exp(-squares / 2), atol=1e-6)


def test_class_lists() -> None:
    assert len(CITYSCAPES) == 19
    assert CITYSCAPES.of(14).name == "car"
    assert CITYSCAPES.label("traffic light") == 7
    assert len(CAMVID) == 11
    assert CAMVID.of(1).name == "sky"
    assert [entry.shown for entry in CELLS] == [False, True, True]
    colours = CELLS.colours()
    assert colours[0] == colours[None] == (0, 0, 0, 0)
    assert colours[1][3] == 0
    assert colours[2] == (*(value / 255 for value in PALETTE[0]), 1.0)
    back = Classes.from_dict(json.loads(json.dumps(CELLS.to_dict())))
    assert back == CELLS
    for wrong in ({}, {"classes": [{"label": 1}]}, {"classes": 3}):
        with pytest.raises(SettingsError, match="classes"):
            Classes.from_dict(wrong)
    gap = THREE.to_dict()
    gap["classes"][0]["label"] = 7
    with pytest.raises(SettingsError, match="count"):
        Classes.from_dict(gap)
    with pytest.raises(SettingsError, match="twice"):
        Classes.named(("a", "a"))
    with pytest.raises(SettingsError, match="two classes"):
        Classes.named(("a",))
    with pytest.raises(SettingsError, match="colour"):
        SemanticClass("a", (0, 0, 256))
    with pytest.raises(SettingsError, match="no class 'bus'"):
        THREE.label("bus")


@given(st.integers(0, 90))
def test_colours_differ(count: int) -> None:
    colours = colours_for(count)
    assert len(set(colours)) == len(colours) == count


def test_palette_is_told_apart_without_one_kind_of_cone() -> None:
    """Simulated after Machado et al. (2009), full deficiency, in linear RGB."""
    simulated = {
        "protan": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deutan": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
    }
    from skimage.color import rgb2lab

    srgb = np.array(PALETTE[:8]) / 255
    linear = np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    for matrix in simulated.values():
        seen = np.clip(linear @ np.array(matrix).T, 0, 1)
        back = np.where(
            seen > 0.0031308, 1.055 * seen ** (1 / 2.4) - 0.055, 12.92 * seen
        )
        lab = rgb2lab(back[None])[0]
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
        assert apart[np.triu_indices(8, 1)].min() > 10


def test_strokes_are_labels_of_classes() -> None:
    painted = np.array([[0, 3]], np.uint8)
    assert check_painted(painted, THREE).dtype == np.int64
    for wrong, says in (
        (np.array([[4]]), "label 4"),
        (np.array([[-1]]), "label -1"),
        (np.array([[0.5]]), "Labels layer"),
        (np.zeros((2, 2, 2), int), "one plane"),
    ):
        with pytest.raises(ClickError, match=says):
            check_painted(wrong, THREE)


@pytest.mark.parametrize(
    "module", ["tasks", "tasks.trimap", "prediction.dense_settings"]
)
def test_what_windows_need_brings_no_torch(module: str) -> None:
    code = f"import sys, napari_clickseg.{module}; print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
