"""Classes, alpha and depth made to obey clicks, with tiny random networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.prediction.dense_nets import Tiny

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import (
    Cancelled,
    ClickError,
    ClickSegError,
    MaskError,
    ModelError,
    RefinementError,
    SettingsError,
)
from napari_clickseg.image import ImageSource
from napari_clickseg.networks.bts import BTS
from napari_clickseg.networks.indexnet import IndexNet
from napari_clickseg.networks.multiscale import MultiScaleHRNet
from napari_clickseg.prediction.dense import DensePredictor, refine_dense
from napari_clickseg.prediction.dense_settings import DenseSettings
from napari_clickseg.prediction.dense_view import DenseView, corners
from napari_clickseg.refinement.settings import RefinementSettings
from napari_clickseg.tasks import Classes, Depth, Matting, Segmentation, Semantic
from napari_clickseg.tasks.trimap import from_mask

FOUR = Classes.named(("a", "b", "c", "d"))
METHODS = ("g-brs-sb", "g-brs-bmsb", "g-brs-bmsb-m", "g-brs-bmconv", "rgb-brs")
RATE = 0.05


def picture(seed: int = 0, shape: tuple[int, int] = (40, 50)) -> ImageSource:
    values = np.random.default_rng(seed).integers(0, 255, (*shape, 3), np.uint8)
    return ImageSource(values)


def settings(method: str = "g-brs-bmconv", **options: Any) -> DenseSettings:
    usual = {"method": method, "learning_rate": RATE, "correct": False}
    return DenseSettings(**{**usual, **options})


# The view --------------------------------------------------------------------


def test_views_are_as_large_as_they_may_be() -> None:
    box = Box(0, 0, 100, 300)
    assert DenseView.of(box, None).size == (100, 300)
    assert DenseView.of(box, 150).size == (50, 150)
    assert DenseView.of(box, 1000).size == (100, 300)
    assert DenseView.of(box, None, 32).size == (96, 288)
    assert DenseView.of(box, 150, 32).size == (64, 128)
    assert DenseView.of(Box(5, 5, 7, 8), 64, 32).size == (32, 32)


@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.integers(0, 99),
)
def test_clicks_read_what_comes_back(
    shape: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    """A pixel of the resized output is what is read between four of the output."""
    torch.manual_seed(seed)
    output = torch.randn(1, 2, *size)
    view = DenseView(Box(3, 4, 3 + shape[0], 4 + shape[1]), size)
    back = torch.cat([part for _, part in view.back(output)], 2)
    whole = F.interpolate(output, shape, mode="bilinear", align_corners=False)
    torch.testing.assert_close(back, whole, atol=1e-5, rtol=1e-5)
    rng = np.random.default_rng(seed)
    row, col = int(rng.integers(shape[0])), int(rng.integers(shape[1]))
    index, share = corners(np.array([view.place(3 + row, 4 + col)]), size)
    assert share.sum() == pytest.approx(1)
    read = (output[0].flatten(1)[:, index[0]] * torch.from_numpy(share[0])).sum(-1)
    torch.testing.assert_close(read, whole[0, :, row, col], atol=1e-4, rtol=1e-4)


def test_strips_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_clickseg.prediction.dense_view.STRIP", 400)
    output = torch.randn(1, 3, 11, 17)
    view = DenseView(Box(0, 0, 37, 53), (11, 17))
    parts = list(view.back(output))
    assert len(parts) > 5
    whole = F.interpolate(output, (37, 53), mode="bilinear", align_corners=False)
    torch.testing.assert_close(torch.cat([p for _, p in parts], 2), whole)


def test_labels_of_a_view_are_the_nearest() -> None:
    plane = np.arange(24).reshape(4, 6)
    assert DenseView(Box(0, 0, 4, 6), (4, 6)).labels(plane).tolist() == plane.tolist()
    half = DenseView(Box(0, 0, 4, 6), (2, 3)).labels(plane)
    assert half.tolist() == [[7, 9, 11], [19, 21, 23]]
    part = DenseView(Box(1, 1, 3, 3), (4, 4)).labels(plane)
    assert part[0].tolist() == [7, 7, 8, 8]


# Classes ---------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_class_click_is_obeyed_or_named(method: str) -> None:
    image, net = picture(), Tiny(outputs=4)
    predictor = DensePredictor(net, Semantic(FOUR), settings(method))
    before = predictor.predict(image)
    assert before.state is None
    clicks: list[Click] = []
    state, last = None, before
    for row, col in ((8, 9), (30, 40), (20, 25)):
        label = int(last.result[row, col]) % 4 + 1  # another class than it has
        clicks.append(Click(row, col, label=label, radius=8))
        last = predictor.predict(image, clicks, state)
        state = last.state
        wrong = [
            i
            for i, c in enumerate(clicks)
            if last.result[int(c.row), int(c.col)] != c.label
        ]
        assert list(last.disobeyed) == wrong
        assert bool(last.notices) == bool(wrong)
        assert last.evaluations > 1
    assert last.result.dtype == np.uint8
    assert last.values.shape == (4, 40, 50)
    np.testing.assert_allclose(last.values.sum(0), 1, atol=1e-5)
    # Mixed channels can do what scales alone may not.
    if method == "g-brs-bmconv":
        assert not last.disobeyed


def test_without_refinement_clicks_are_named() -> None:
    image, net = picture(), Tiny(outputs=4)
    free = refine_dense(net, image, Semantic(FOUR), settings=settings("none"))
    wrong = int(free.result[5, 5]) % 4 + 1
    right = int(free.result[9, 9])
    clicks = [Click(5, 5, label=wrong), Click(9, 9, label=right)]
    found = refine_dense(net, image, Semantic(FOUR), clicks, None, settings("none"))
    assert found.disobeyed == (0,)
    assert "Click 1 is not obeyed" in found.notices[0]
    # Where nothing is refined, nothing is corrected either.
    options = settings("none", correct=True)
    kept = refine_dense(net, image, Semantic(FOUR), clicks, None, options)
    np.testing.assert_array_equal(kept.result, free.result)
    np.testing.assert_array_equal(found.result, free.result)


@pytest.mark.parametrize(
    ("task", "click", "outputs"),
    [
        (Semantic(FOUR), {"label": 3}, 4),
        (Matting(), {"value": 0.9}, 1),
        (Depth(), {"value": 1.5}, 1),
    ],
    ids=["semantic", "matting", "depth"],
)
def test_consistency_keeps_what_is_far(
    task: Any, click: dict[str, Any], outputs: int
) -> None:
    image, net = picture(), Tiny(outputs=outputs)
    clicks = [Click(8, 8, radius=6, **click)]
    changes = []
    for weight in (0.0, None):
        options = settings("g-brs-bmconv", consistency=weight, early_stop=False)
        predictor = DensePredictor(net, task, options)
        start = predictor.predict(image)
        if task.name == "semantic":
            label = int(start.result[8, 8]) % 4 + 1
            clicks = [replace(clicks[0], label=label)]
        found = predictor.predict(image, clicks)
        rows, cols = np.indices(found.result.shape)
        far = np.hypot(rows - 8, cols - 8) > 18
        change = np.abs(found.values - start.values).mean(0)
        if task.name == "semantic":
            change = (found.result != start.result).astype(float)
        changes.append(change[far].mean())
    # The weight of depth is small: it keeps less.
    assert changes[1] < changes[0] * (0.97 if task.name == "depth" else 0.6)


class Coarse(Tiny):
    """Answers at half the size; Tiny resizes that."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(super().forward(image), 2)


class Resized(Coarse):
    """The same answer at full size."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = super().forward(image)
        return F.interpolate(x, image.shape[2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("mode", ["click", "stroke"])
def test_a_coarse_answer_is_judged_as_if_it_were_resized(mode: Any) -> None:
    image, found = picture(), []
    for net in (Coarse(outputs=4), Resized(outputs=4)):
        options = settings("g-brs-bmconv", consistency=0.0, early_stop=False)
        predictor = DensePredictor(net, Semantic(FOUR, mode), options)
        start = predictor.predict(image)
        if mode == "stroke":
            painted = np.zeros(start.result.shape, np.uint8)
            painted[7, 5:20], painted[20:30, 31] = 4, 2  # a pixel wide
            found.append(predictor.predict(image, painted=painted))
            continue
        # On corners, on an edge and inside.
        places = [(0, 0), (39, 49), (17, 0), (8, 13)]
        labels = [int(start.result[place]) % 4 + 1 for place in places]
        pairs = zip(places, labels, strict=True)
        clicks = [Click(*place, label=label) for place, label in pairs]
        found.append(predictor.predict(image, clicks))
        wrong = [
            index
            for index, (place, label) in enumerate(zip(places, labels, strict=True))
            if found[-1].result[place] != label
        ]
        assert list(found[-1].disobeyed) == wrong
    coarse, full = found
    assert coarse.values.shape == full.values.shape == (4, 40, 50)
    np.testing.assert_array_equal(coarse.result, full.result)
    np.testing.assert_allclose(coarse.values, full.values, atol=1e-4)
    for ours, theirs in zip(coarse.state.arrays, full.state.arrays, strict=True):
        for name, values in ours.items():
            np.testing.assert_allclose(values, theirs[name], atol=1e-4)


def test_what_is_far_from_a_click_is_held_in_a_coarse_answer() -> None:
    image, net = picture(), Coarse(outputs=4)
    changes = []
    for weight in (0.0, None):
        options = settings("g-brs-bmconv", consistency=weight, early_stop=False)
        predictor = DensePredictor(net, Semantic(FOUR), options)
        start = predictor.predict(image).result
        clicks = [Click(8, 8, label=int(start[8, 8]) % 4 + 1, radius=6)]
        rows, cols = np.indices(start.shape)
        far = np.hypot(rows - 8, cols - 8) > 18
        changed = predictor.predict(image, clicks).result != start
        changes.append(changed[far].mean())
    assert changes[1] < 0.6 * changes[0]


def test_strokes_paint_classes() -> None:
    image, net = picture(), Tiny(outputs=4)
    task = Semantic(FOUR, "stroke")
    predictor = DensePredictor(net, task, settings(iterations=40))
    free = predictor.predict(image)
    painted = np.zeros((40, 50), np.uint8)
    painted[5:12, 5:20] = 4
    painted[25:30, 30:45] = 2
    on = painted > 0
    before = (free.result[on] == painted[on]).mean()
    found = predictor.predict(image, painted=painted)
    after = (found.result[on] == painted[on]).mean()
    assert after > before + 0.6
    again = predictor.predict(image, state=found.state)
    np.testing.assert_array_equal(again.result, found.result)
    nothing = predictor.predict(image, painted=painted * 0)
    np.testing.assert_array_equal(nothing.result, free.result)


# Values ----------------------------------------------------------------------


def scene() -> tuple[ImageSource, np.ndarray]:
    mask = np.zeros((40, 50), bool)
    mask[10:30, 12:38] = True
    return picture(3), from_mask(mask, 6, 6)


@pytest.mark.parametrize("method", ["g-brs-bmsb", "g-brs-bmconv", "rgb-brs"])
def test_alpha_comes_close_to_what_was_clicked(method: str) -> None:
    image, trimap = scene()
    net = Tiny(inputs=4)
    predictor = DensePredictor(net, Matting(), settings(method, iterations=60))
    clicks = [
        Click(10, 20, value=0.7, radius=5),
        Click(29, 30, radius=5),
        Click(20, 12, positive=False, radius=5),
    ]
    state, found = None, None
    for count in (1, 2, 3):
        found = predictor.predict(image, clicks[:count], state, trimap=trimap)
        state = found.state
        wanted = Matting().click_values(clicks[:count])
        for index, (click, value) in enumerate(zip(clicks, wanted, strict=False)):
            off = abs(float(found.result[int(click.row), int(click.col)]) - value)
            assert (off <= 0.05 + 1e-6) == (index not in found.disobeyed)
    assert found is not None
    assert method == "rgb-brs" or not found.disobeyed
    assert found.trimap is not None
    assert (found.result[trimap == 0] == 0).all()
    assert (found.result[trimap == 255] == 1).all()
    assert found.result.dtype == np.float32


def test_a_click_opens_the_trimap() -> None:
    image, trimap = scene()
    predictor = DensePredictor(Tiny(inputs=4), Matting(), settings(iterations=60))
    click = Click(2, 2, value=0.6, radius=4)
    assert trimap[2, 2] == 0
    found = predictor.predict(image, [click], trimap=trimap)
    assert found.trimap is not None
    assert found.trimap[2, 2] == 128
    assert found.result[2, 2] == pytest.approx(0.6, abs=0.051)
    assert found.result[2, 12] == 0
    # Undo: without the click the trimap is what it was.
    back = predictor.predict(image, (), trimap=trimap)
    assert (back.result[trimap == 0] == 0).all()


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("task", [Matting("push"), Depth("push", push=0.05)])
@pytest.mark.parametrize("rate", [0.0005, 0.0125, 0.3])
def test_a_push_moves_by_what_it_says(task: Any, positive: bool, rate: float) -> None:
    image, net = picture(), Tiny()
    net.head.bias.fill_(0.5)
    predictor = DensePredictor(net, task, settings(learning_rate=rate))
    state, before = None, predictor.predict(image).result[17, 22]
    assert 0.2 < before < 0.8
    for _ in range(2):
        found = predictor.predict(image, [Click(17, 22, positive)], state)
        moved = (found.result[17, 22] - before) * (1 if positive else -1)
        assert moved == pytest.approx(task.push, rel=0.11)
        assert not found.disobeyed
        state, before = found.state, found.result[17, 22]


def test_a_push_as_published_is_one_step_of_adam() -> None:
    image, net = picture(), Tiny()
    net.head.bias.fill_(0.5)
    options = settings("g-brs-sb", learning_rate=1e-3, exact_push=False)
    predictor = DensePredictor(net, Matting("push"), options)
    found = predictor.predict(image, [Click(17, 22)])
    assert found.state is not None
    assert found.evaluations == 2
    steps = np.concatenate([v.ravel() for v in found.state.arrays[0].values()])
    # Every parameter moves by the learning rate, up or down (those that matter).
    used = np.abs(steps) > 1e-6
    assert used.mean() > 0.9
    np.testing.assert_allclose(np.abs(steps[used]), 1e-3, rtol=0.01)


@pytest.mark.parametrize("largest", [None, 10.0])
def test_depth_comes_close_to_what_was_clicked(largest: float | None) -> None:
    image = picture()
    net = Tiny(largest=largest, width=16)
    if largest is None:
        net.head.bias.fill_(4.0)
    task = Depth(largest=largest, top_k=8)
    predictor = DensePredictor(net, task, settings(iterations=80))
    clicks = [Click(8, 9, value=3.0, radius=10), Click(30, 40, value=6.5, radius=10)]
    found = predictor.predict(image, clicks[:1])
    found = predictor.predict(image, clicks, found.state)
    for click in clicks:
        depth = float(found.result[int(click.row), int(click.col)])
        assert depth == pytest.approx(click.value, rel=0.05)
    assert not found.disobeyed
    assert found.state is not None
    # Half of the channels are left as they are.
    assert found.state.arrays[0]["channels"].shape == (8,)
    if largest is not None:
        assert found.result.max() <= largest
        with pytest.raises(ClickError, match="up to 10"):
            predictor.predict(image, [Click(1, 1, value=11.0)])


# The last resort ---------------------------------------------------------------


def test_clicks_that_fail_get_their_surroundings() -> None:
    """One iteration at a tiny rate changes nothing: only the last resort is left."""
    image, net = picture(), Tiny(outputs=4)
    options = settings(iterations=1, learning_rate=1e-9, correct=True)
    free = refine_dense(net, image, Semantic(FOUR)).result
    wanted = [int(free[r, c]) % 4 + 1 for r, c in ((10, 10), (10, 12), (0, 49))]
    wanted[1] = wanted[0] % 4 + 1
    clicks = [
        Click(10, 10, label=wanted[0]),
        Click(10, 12, label=wanted[1]),
        Click(0, 49, label=wanted[2]),
    ]
    found = refine_dense(net, image, Semantic(FOUR), clicks, settings=options)
    assert found.disobeyed
    assert found.corrected == found.disobeyed
    assert "a few pixels" in found.notices[0]
    for click in clicks:
        assert found.result[int(click.row), int(click.col)] == click.label
    changed = found.result != free
    rows, cols = np.indices(free.shape)
    away = np.min([np.hypot(rows - c.row, cols - c.col) for c in clicks], 0)
    assert not changed[away >= 4].any()
    assert changed.sum() > 6
    # As near as two clicks are, neither changes the other's pixel.
    assert found.result[2, 47] == wanted[2]


@pytest.mark.parametrize("task", [Matting(), Depth()])
def test_values_that_fail_get_their_surroundings(task: Any) -> None:
    image, net = picture(), Tiny()
    net.head.bias.fill_(0.4)
    options = settings(iterations=1, learning_rate=1e-9, correct=True)
    free = refine_dense(net, image, task).result
    clicks = [Click(10, 10, value=0.9), Click(10, 13, value=0.05)]
    found = refine_dense(net, image, task, clicks, settings=options)
    assert found.corrected == found.disobeyed == (0, 1)
    for click in clicks:
        assert found.result[10, int(click.col)] == pytest.approx(click.value)
    change = np.abs(found.result - free)
    rows, cols = np.indices(free.shape)
    away = np.min([np.hypot(rows - 10, cols - c) for c in (10, 13)], 0)
    assert change[away >= 4].max() == 0
    # It fades with the distance.
    assert change[6, 10] < change[8, 10] < change[10, 10]
    assert found.result.min() >= 0


# States ----------------------------------------------------------------------


def test_older_states_take_back_what_came_after() -> None:
    image, net = picture(), Tiny(outputs=4)
    predictor = DensePredictor(net, Semantic(FOUR), settings())
    clicks = [Click(8, 9, label=2, radius=8), Click(30, 40, label=3, radius=8)]
    first = predictor.predict(image, clicks[:1])
    second = predictor.predict(image, clicks, first.state)
    again = predictor.predict(image, clicks, first.state)
    np.testing.assert_array_equal(again.values, second.values)
    # Without clicks a state is answered as it is.
    same = predictor.predict(image, (), first.state)
    np.testing.assert_allclose(same.values, first.values, atol=1e-6)
    assert first.state is not None
    with pytest.raises(ValueError, match="read-only"):
        first.state.arrays[0]["bias"][...] = 0
    other = DensePredictor(net, Semantic(FOUR), settings("g-brs-sb"))
    fresh = other.predict(image, (), first.state)
    assert fresh.state is None
    np.testing.assert_allclose(fresh.values, other.predict(image).values)


def test_the_network_runs_once_for_an_image() -> None:
    image, net = picture(), Tiny(outputs=4)
    predictor = DensePredictor(net, Semantic(FOUR), settings())
    first = predictor.predict(image, [Click(8, 9, label=2)])
    runs = net.runs
    predictor.predict(image, [Click(8, 9, label=2), Click(9, 30, label=1)], first.state)
    assert net.runs == runs
    predictor.predict(picture(1))
    assert net.runs > runs


def test_a_part_of_a_large_image() -> None:
    image, net = picture(shape=(90, 120)), Tiny(outputs=4)
    predictor = DensePredictor(net, Semantic(FOUR), settings())
    box = Box(20, 30, 60, 80)
    outside = Click(5, 5, label=1)
    inside = Click(40, 50, label=2, radius=8)
    found = predictor.predict(image, [outside, inside], box=box)
    assert found.result.shape == (40, 50)
    assert found.result[20, 20] == 2
    assert 0 not in found.disobeyed
    # The parameters move along with the view.
    wider = predictor.predict(image, (), found.state, box=Box(10, 20, 80, 100))
    assert wider.result[30, 30] == 2
    with pytest.raises(ClickSegError, match="no part"):
        predictor.predict(image, box=Box(0, 0, 91, 50))


def test_views_smaller_than_the_image() -> None:
    image = picture(shape=(90, 121))
    net = Tiny(outputs=4, multiple=16)
    options = settings(max_side=64)
    clicks = [Click(70, 100, label=3, radius=20)]
    found = refine_dense(net, image, Semantic(FOUR), clicks, settings=options)
    assert found.values.shape == (4, 48, 64)
    assert found.result.shape == (90, 121)
    assert found.result[70, 100] == 3


def test_the_newest_of_two_clicks_on_a_pixel_counts() -> None:
    image, net = picture(), Tiny(outputs=4)
    clicks = [Click(8, 9, label=1, radius=8), Click(8.3, 8.8, label=2, radius=8)]
    found = refine_dense(net, image, Semantic(FOUR), clicks, settings=settings())
    assert found.result[8, 9] == 2
    assert not found.disobeyed


def test_time_that_runs_out_and_stops() -> None:
    image, net = picture(), Tiny()
    clicks = [Click(8, 9, value=0.9, radius=8)]
    calm = DensePredictor(net, Matting(), settings(early_stop=False))
    whole = calm.predict(image, clicks)
    hasty = DensePredictor(net, Matting(), settings(early_stop=False, time_budget=1e-9))
    found = hasty.predict(image, clicks)
    assert (found.settled, found.evaluations) == (False, 1)
    for _ in range(30):
        if found.settled:
            break
        found = hasty.predict(image, clicks)
    assert found.evaluations == whole.evaluations == 21
    np.testing.assert_array_equal(found.result, whole.result)
    with pytest.raises(Cancelled):
        calm.predict(image, clicks, whole.state, cancelled=lambda: True)


# What does not fit -----------------------------------------------------------


def test_what_is_refused() -> None:
    image, net = picture(), Tiny(outputs=4)
    semantic = Semantic(FOUR)
    with pytest.raises(SettingsError, match="Predictor"):
        DensePredictor(net, Segmentation())
    with pytest.raises(ModelError, match="4 channels"):
        refine_dense(net, image, Matting())
    with pytest.raises(ClickError, match="label"):
        refine_dense(net, image, semantic, [Click(1, 1)])
    with pytest.raises(ClickError, match="outside"):
        refine_dense(net, image, semantic, [Click(99, 1, label=1)])
    with pytest.raises(SettingsError, match="stroke mode"):
        refine_dense(net, image, semantic, painted=np.zeros((40, 50), int))
    stroke = Semantic(FOUR, "stroke")
    with pytest.raises(MaskError, match="shape"):
        refine_dense(net, image, stroke, painted=np.zeros((4, 5), int))
    with pytest.raises(SettingsError, match="Paint"):
        refine_dense(net, image, stroke, [Click(1, 1, label=1)])
    with pytest.raises(SettingsError, match="Only matting"):
        refine_dense(net, image, semantic, trimap=np.zeros((40, 50)))
    with pytest.raises(MaskError, match="trimap has shape"):
        refine_dense(Tiny(4), image, Matting(), trimap=np.zeros((4, 5)))
    bare = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)).eval()
    with pytest.raises(RefinementError, match="does not say"):
        refine_dense(bare, image, semantic)
    found = refine_dense(bare, image, semantic, settings=settings(at="input"))
    assert found.result.shape == (40, 50)
    with pytest.raises(ModelError, match="output="):
        refine_dense(bare, image, semantic, places=["0"], output=lambda x: [x])
    for wrong in (
        {"method": "f-brs-b"},
        {"method": "distmap-brs"},
        {"method": "nothing"},
        {"iterations": 0},
        {"learning_rate": -1},
        {"consistency": -1},
        {"max_side": 3},
    ):
        with pytest.raises(SettingsError):
            DenseSettings(**wrong)  # type: ignore[arg-type]
    predictor = DensePredictor(Tiny(), Matting())
    predictor.task = Matting("push")
    with pytest.raises(SettingsError, match="answers matting"):
        predictor.task = Depth()


def test_settings_of_other_tasks() -> None:
    found = DenseSettings.of(RefinementSettings("g-brs-sb", iterations=7))
    assert (found.kind, found.iterations, found.consistency) == ("sb", 7, None)
    assert DenseSettings.of(RefinementSettings(consistency=3.0)).consistency == 3
    assert DenseSettings.of("g-brs-bmsb", max_side=64).max_side == 64
    assert DenseSettings().reach(None, (100, 300)) == 30
    assert DenseSettings(radius=5).reach(None, (100, 300)) == 5
    assert DenseSettings(radius=5).reach(7, (100, 300)) == 7


# The published networks, with random weights -----------------------------------


@pytest.mark.parametrize("method", ["g-brs-bmconv", "rgb-brs"])
def test_published_networks(method: str) -> None:
    torch.manual_seed(0)
    image = picture(shape=(64, 96))
    options = settings(method, iterations=3)
    hrnet = MultiScaleHRNet(4, width=8, ocr_width=16, small=True).eval()
    predictor = DensePredictor(hrnet, Semantic(FOUR), options)
    wrong = int(predictor.predict(image).result[20, 30]) % 4 + 1
    found = predictor.predict(image, [Click(20, 30, label=wrong)])
    assert found.result.shape == (64, 96)
    assert found.evaluations > 1
    bts = BTS("mobilenetv2", size=32).eval()
    predictor = DensePredictor(bts, Depth(largest=10), options)
    before = predictor.predict(image).result
    found = predictor.predict(image, [Click(20, 30, value=9.0)])
    assert abs(found.result[20, 30] - 9) < abs(before[20, 30] - 9)
    matte = IndexNet("o2o", separable=True, context=32).eval()
    mask = np.zeros((64, 96), bool)
    mask[20:50, 20:70] = True
    trimap = from_mask(mask)
    predictor = DensePredictor(matte, Matting(), options)
    with pytest.raises(SettingsError, match="needs a trimap"):
        predictor.predict(image)
    before = predictor.predict(image, trimap=trimap).values[0]
    found = predictor.predict(image, [Click(20, 30, value=0.8)], trimap=trimap)
    assert abs(found.result[20, 30] - 0.8) < abs(before[20, 30] - 0.8)
