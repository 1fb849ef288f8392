"""Sessions of semantic classes, alpha and depth, with small random networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.prediction.dense_nets import Tiny
from torch import nn

import napari_clickseg as cs
from napari_clickseg.clicks import Click
from napari_clickseg.errors import (
    Cancelled,
    ClickError,
    MaskError,
    ModelError,
    SessionError,
    SettingsError,
)
from napari_clickseg.models.dense_model import DenseModel
from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.networks.bts import BTS
from napari_clickseg.networks.indexnet import IndexNet
from napari_clickseg.networks.multiscale import MultiScaleHRNet
from napari_clickseg.networks.semantic_mobilenet import SemanticMobileNetV2
from napari_clickseg.prediction.dense_settings import DenseSettings
from napari_clickseg.refinement.settings import RefinementSettings
from napari_clickseg.session import ClickSession
from napari_clickseg.session.dense_session import DenseSession

SHAPE = (64, 96)
IMAGE = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8)
MASK = np.zeros(SHAPE, bool)
MASK[20:44, 30:60] = True
QUICK = DenseSettings(iterations=3, learning_rate=0.05)
#: Real networks, and a field of a click for each task.
NETWORKS: dict[str, tuple[str, Any]] = {
    "pyramid": ("semantic", lambda: SemanticMobileNetV2(3)),
    "scales": ("semantic", lambda: MultiScaleHRNet(3, small=True, width=8)),
    "indexnet": ("matting", lambda: IndexNet("o2o", separable=True)),
    "bts": ("depth", lambda: BTS("mobilenetv2", 128)),
}
WISHES = {"semantic": {"label": 2}, "matting": {"value": 0.6}, "depth": {"value": 3.0}}


def model(network: nn.Module, task: str) -> DenseModel:
    info = ModelInfo("random", task, "?", "", "CC0", "")
    return DenseModel(network.eval(), info, precision="float32")


def tiny(task: str) -> DenseModel:
    made = {
        "semantic": lambda: Tiny(outputs=4),
        "matting": lambda: Tiny(inputs=4),
        "depth": lambda: Tiny(largest=10.0),
    }
    network = made[task]()
    network.needs_trimap = task == "matting"
    network.config = {"max_depth": 10.0} if task == "depth" else {}
    return model(network, task)


def session(task: str, mode: str = "click", **options: Any) -> Any:
    options.setdefault("settings", QUICK)
    made = cs.ClickSession(tiny(task), task=task, mode=mode, **options)
    made.set_image(IMAGE[:32, :40])
    if task == "matting":
        made.trimap_from_mask(MASK[16:48, 24:64])
    return made


def kept(made: Any) -> dict[str, Any]:
    """Return everything that undo has to bring back."""
    found = {"result": made.result.copy(), "clicks": made.clicks}
    if made.trimap is not None:
        found["trimap"] = made.trimap.copy()
    if made.painted is not None:
        found["painted"] = made.painted.copy()
    found.update({f"kept {n}": np.array(a) for n, a in made.committed.items()})
    return found


def same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


# Real networks -----------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_clicks_save_load_move_and_replay(name: str, tmp_path: Path) -> None:
    task, build = NETWORKS[name]
    torch.manual_seed(4)
    answering = model(build(), task)
    made: Any = cs.ClickSession(answering, task=task, settings=QUICK)
    assert isinstance(made, DenseSession)
    made.set_image(IMAGE)
    if task == "matting":
        made.trimap_from_mask(MASK, band=6)
    else:
        made.start_from_model()
    own = made.result.copy()
    wish = WISHES[task]
    for position in ((21, 40), (42, 50)):
        if task == "semantic":  # another class than it has
            wish = {"label": int(made.result[position]) % 3 + 1}
        change = made.add_click(position, **wish)
        assert change.clicks == made.clicks
        assert change.bbox is not None
        part = change.result
        np.testing.assert_array_equal(part, made.result[change.bbox.slices])
        found = float(made.result[position])
        wanted = float(next(iter(wish.values())))
        obeyed = abs(found - wanted) <= (0 if task == "semantic" else 0.05 * wanted)
        assert obeyed or len(made.clicks) - 1 in change.unsatisfied
    assert made.result.shape == SHAPE
    assert (made.result != own).any()

    made.move_click(0, (30, 31))
    fresh: Any = cs.ClickSession(answering, task=task, settings=QUICK)
    fresh.set_image(IMAGE)
    if task == "matting":
        fresh.trimap_from_mask(MASK, band=6)
    for click in made.clicks:
        fresh.add_click(click)
    np.testing.assert_array_equal(made.result, fresh.result)

    number = made.commit()
    made.reopen(number) if task == "depth" else made.undo()
    path = made.save(tmp_path / "session.clickseg")
    again: Any = cs.ClickSession.load(path, model=answering)
    assert isinstance(again, DenseSession)
    same(kept(made), kept(again))
    assert again.options == made.options
    again.add_click((35, 35), **wish)
    made.add_click((35, 35), **wish)
    np.testing.assert_array_equal(again.result, made.result)
    same(kept(again.replay()), kept(again))


# Any edits -----------------------------------------------------------------------

ROWS, COLS = st.integers(0, 31), st.integers(0, 39)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "move", "remove", "trimap", "paint", "commit"]),
        ROWS,
        COLS,
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=6,
)


def edit(made: Any, kind: str, row: int, col: int, wish: int) -> None:
    task, stroke = made.options["task"], made.mode == "stroke"
    if stroke or kind == "paint":
        labels = np.zeros((3, 4), np.uint8)
        labels[:, 1:] = min(wish, 3)
        if stroke or task == "matting":
            row, col = min(row, 29), min(col, 36)
            if task != "matting" or made.trimap is not None:
                made.paint(labels, (row, col, row + 3, col + 4))
    elif kind == "add" or not made.clicks:
        fields: dict[str, Any] = {"label": wish}
        if made.mode == "push":
            fields = {"positive": wish > 2}
        elif task != "semantic":
            fields = {"value": wish / 4}
        if task != "matting" or made.trimap is not None:
            made.add_click((row, col), **fields)
    elif kind == "move":
        made.move_click(wish % len(made.clicks), (row, col))
    elif kind == "remove":
        made.remove_click(wish % len(made.clicks))
    elif kind == "trimap" and task == "matting":
        trimap = made.trimap.copy()
        trimap[row, col] = 128
        made.set_trimap(trimap)
    elif kind == "commit":
        made.commit()


@pytest.mark.parametrize(
    ("task", "mode"),
    [
        ("semantic", "click"),
        ("semantic", "stroke"),
        ("matting", "click"),
        ("matting", "push"),
        ("depth", "click"),
        ("depth", "push"),
    ],
)
@given(edits=EDITS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_undo_and_replay_after_any_edits(
    task: str, mode: str, edits: list[tuple[str, int, int, int]]
) -> None:
    made = session(task, mode)
    moments = [kept(made)]
    for each in edits:
        before = made.change
        edit(made, *each)
        if made.change is not before:
            moments.append(kept(made))
    for earlier in reversed(moments[:-1]):
        made.undo()
        same(kept(made), earlier)
    for later in moments[1:]:
        made.redo()
        same(kept(made), later)
    same(kept(made.replay()), kept(made))
    same({"r": made.replay().result}, {"r": made.result})


def test_pushes_are_answered_one_by_one() -> None:
    quick, slow = session("depth", "push"), session("depth", "push")
    quick.start_from_model()
    slow.start_from_model(predict=False)
    for row, up in ((5, True), (20, False), (20, False)):
        before = float(quick.result[row, 10])
        quick.add_click((row, 10), up)
        step = float(quick.result[row, 10]) - before
        assert step == pytest.approx(0.1 if up else -0.1, abs=0.02)
        slow.add_click((row, 10), up, predict=False)
    assert slow.pending
    slow.update()
    np.testing.assert_array_equal(slow.result, quick.result)


def test_strokes_that_nobody_waited_for_are_answered_together() -> None:
    made = session("semantic", "stroke")
    for row in (3, 9):
        strokes = np.zeros((32, 40), int)
        strokes[row, 4:20] = row // 3
        made.paint(strokes, predict=False)
    made.update()
    assert made.painted[3, 5] == 1
    assert made.painted[9, 5] == 3
    assert len(made.state.draft.steps) == 1
    at_once = session("semantic", "stroke")
    at_once.paint(made.painted)
    np.testing.assert_array_equal(made.result, at_once.result)
    longer = session("semantic", "stroke", settings=replace(QUICK, iterations=20))
    longer.paint(made.painted)
    assert (longer.result[9, 4:20] == 3).all()
    assert (longer.result != start_of(made)).any()


def start_of(made: Any) -> Any:
    return cs.predict(IMAGE[:32, :40], [], model=made.model, task="semantic")


def test_without_clicks_the_network_has_the_word() -> None:
    made = session("semantic")
    assert not made.result.any()
    assert made.result.dtype == np.uint8
    made.add_click((3, 4), label=2)
    made.remove_click(0)
    np.testing.assert_array_equal(made.result, start_of(made))
    made.discard()
    assert not made.result.any()
    made.start_from_model()
    with pytest.raises(SessionError, match="in work"):
        made.start_from_model()


def test_results_are_kept_by_number(tmp_path: Path) -> None:
    made = session("depth")
    with pytest.raises(MaskError, match="nothing to keep"):
        made.commit()
    made.add_click((3, 4), value=2.0)
    first = made.result.copy()
    assert made.commit() == 1
    assert made.change.label == 1
    assert not made.in_work
    made.add_click((3, 4), value=8.0, predict=False)
    assert made.commit(label=7) == 7
    assert list(made.committed) == [1, 7]
    np.testing.assert_array_equal(made.committed[1], first)
    assert [each.clicks for each in made.stats.objects] == [1, 1]
    assert made.stats.clicks == 2
    made.reopen(1)
    assert list(made.committed) == [7]
    np.testing.assert_array_equal(made.result, first)
    with pytest.raises(SessionError, match="in work"):
        made.reopen(7)
    path = made.save(tmp_path / "d.clickseg")
    again: Any = cs.ClickSession.load(path, model=made.model)
    again.discard()
    assert list(again.committed) == [1, 7]
    made.add_click((20, 20), value=5.0)
    assert made.commit() == 1
    made.delete(7)
    assert list(made.committed) == [1]
    made.undo()
    assert list(made.committed) == [1, 7]
    with pytest.raises(SessionError, match="Nothing was kept as 3"):
        made.delete(3)
    with pytest.raises(SessionError, match="Nothing was kept as 3"):
        made.discard() and made.reopen(3)


def test_a_click_that_is_taken_back_is_named() -> None:
    made = session("semantic")
    made.add_click((3, 4), label=2)
    change = made.add_click((3, 4), label=3)
    assert change.contradicted == (0,)
    assert 0 in change.unsatisfied
    assert made.result[3, 4] == 3


def test_refinement_and_settings() -> None:
    made = session("depth", settings=None)
    assert made.refinement.method == "g-brs-bmconv"
    assert made.settings == DenseSettings()
    made.refinement = "g-brs-sb"
    assert made.settings.method == "g-brs-sb"
    assert made.settings.iterations is None
    made.refinement = RefinementSettings("rgb-brs", iterations=5, radius=9)
    assert made.settings.iterations == 5
    assert made.usual_radius == 9
    assert made.options["refinement"]["iterations"] == 5
    made.refinement = "none"
    made.start_from_model()
    own = made.result.copy()
    made.add_click((3, 4), value=9.0)
    np.testing.assert_array_equal(made.result, own)
    made.settings = replace(QUICK, method="g-brs-sb")
    made.update(again=True)
    assert (made.result != own).any()


def test_answers_that_took_too_long_go_on(tmp_path: Path) -> None:
    budget = replace(QUICK, time_budget=1e-9, early_stop=False, iterations=6)
    made = session("depth", settings=budget)
    change = made.add_click((3, 4), value=9.0)
    assert not change.settled
    for _ in range(20):
        if made.settle() is None:
            break
    assert made.settled
    whole = session("depth", settings=replace(budget, time_budget=None))
    whole.add_click((3, 4), value=9.0)
    np.testing.assert_array_equal(made.result, whole.result)
    with pytest.raises(Cancelled):
        made.update(again=True, cancelled=lambda: True)
    np.testing.assert_array_equal(made.result, whole.result)


# What does not fit ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "mode", "fields", "says"),
    [
        ("semantic", "click", {}, "class 1"),
        ("semantic", "click", {"label": 5}, "the classes are 1 class 1"),
        ("semantic", "click", {"label": 1, "value": 0.5}, "Leave value out"),
        ("semantic", "stroke", {"label": 1}, r"paint\(labels\)"),
        ("matting", "click", {"label": 2}, "Leave label out"),
        ("matting", "click", {"value": 3.0}, "from 0"),
        ("matting", "push", {"value": 0.5}, "Leave value out"),
        ("depth", "click", {}, "depth of its pixel in m"),
        ("depth", "click", {"value": 11.0}, "up to 10"),
    ],
)
def test_clicks_with_the_wrong_field(
    task: str, mode: str, fields: dict[str, Any], says: str
) -> None:
    made = session(task, mode)
    before = kept(made)
    with pytest.raises(ClickError, match=says):
        made.add_click((3, 4), **fields)
    same(kept(made), before)


def test_what_a_session_does_not_have() -> None:
    made = session("depth")
    for name, arguments in {
        "set_mask": (MASK,),
        "set_labels": (MASK,),
        "prepare": (),
        "set_trimap": (MASK,),
        "trimap_from_mask": (MASK,),
        "paint": (np.ones((32, 40), int),),
    }.items():
        with pytest.raises(SessionError, match=name):
            getattr(made, name)(*arguments)
    for name in ("mask", "probability"):
        with pytest.raises(SessionError, match="result"):
            getattr(made, name)
    with pytest.raises(SessionError, match="segmentation"):
        made.set_image(IMAGE, labels=MASK.astype(int))
    made.start_from_model()
    with pytest.raises(SessionError, match="overlap"):
        made.commit(overlap="keep")


def test_trimaps_are_checked() -> None:
    made: Any = cs.ClickSession(tiny("matting"), task="matting", settings=QUICK)
    made.set_image(IMAGE)
    with pytest.raises(SessionError, match="set_trimap"):
        made.add_click((3, 4), value=0.5)
    with pytest.raises(SessionError, match="set_trimap"):
        made.paint(np.ones(SHAPE, int))
    with pytest.raises(MaskError, match="rows and columns"):
        made.set_trimap(MASK[:9])
    with pytest.raises(MaskError, match="empty"):
        made.trimap_from_mask(np.zeros(SHAPE, bool))
    made.trimap_from_mask(MASK)
    assert made.mask.dtype == bool
    assert made.mask[32, 45]
    assert not made.mask[0, 0]
    # A click wins against the trimap.
    made.add_click((0, 0), value=0.9)
    assert made.result[0, 0] == pytest.approx(0.9, abs=0.06)
    made.paint(np.full((4, 4), 3), (60, 90, 64, 94))
    assert (made.result[60:64, 90:94] == 1).all()


def test_strokes_are_checked() -> None:
    made = session("semantic", "stroke")
    with pytest.raises(MaskError, match="shape"):
        made.paint(np.ones((4, 4), int))
    with pytest.raises(MaskError, match="box"):
        made.paint(np.ones((4, 4), int), (30, 0, 34, 4))
    with pytest.raises(MaskError, match="whole numbers"):
        made.paint(np.ones((32, 40)))
    with pytest.raises(ClickError, match="label 9"):
        made.paint(np.full((32, 40), 9))


def test_models_and_options_that_do_not_fit() -> None:
    depth = tiny("depth")
    with pytest.raises(ModelError, match="for depth, not for matting"):
        cs.ClickSession(depth, task="matting")
    with pytest.raises(ModelError, match="for segmentation, not for depth"):
        cs.ClickSession("ritm-hrnet18s-cocolvis", task="depth")
    with pytest.raises(ModelError, match="load_model returned"):
        cs.ClickSession(3, task="depth")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="'click' and 'push'"):
        cs.ClickSession(depth, task="depth", mode="stroke")
    with pytest.raises(SessionError, match="speed"):
        cs.ClickSession(depth, task="depth", speed=3)
    with pytest.raises(SessionError, match="semantic"):
        cs.ClickSession(depth, task="depth", classes=["a", "b"])
    made: Any = cs.ClickSession(tiny("semantic"), task="semantic", classes=["a", "b"])
    made.set_image(IMAGE)
    with pytest.raises(SettingsError, match="knows 4 classes"):
        made.add_click((3, 4), label=1)


def test_classes_have_names(tmp_path: Path) -> None:
    made = session("semantic", classes=["a", "b", "c", "d"])
    with pytest.raises(ClickError, match="1 a, 2 b"):
        made.add_click((3, 4), label=5)
    made.add_click((3, 4), label=2)
    path = made.save(tmp_path / "classes.clickseg")
    again: Any = cs.ClickSession.load(path, model=made.model)
    assert again.task.classes.names == ("a", "b", "c", "d")
    made.set_model(tiny("semantic"))
    made.add_click((9, 4), label=3)
    assert made.result[9, 4] == 3


def test_files_that_are_damaged(tmp_path: Path) -> None:
    made = session("depth")
    path = made.save(tmp_path / "d.clickseg")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SessionError, match="not a session file"):
        cs.ClickSession.load(path)
    with pytest.raises(SessionError, match="There is no session file"):
        DenseSession.load(tmp_path / "none.clickseg")


def test_predict_without_a_session() -> None:
    image = IMAGE[:32, :40]
    semantic, matting = tiny("semantic"), tiny("matting")
    options: dict[str, Any] = {"task": "semantic", "settings": QUICK}
    answer = cs.predict(image, [Click(3, 4, label=2)], model=semantic, **options)
    assert answer.dtype == np.uint8
    assert answer[3, 4] == 2
    strokes = np.zeros((32, 40), int)
    strokes[5, 5:20] = 3
    painted = cs.predict(
        image, [], model=semantic, mode="stroke", painted=strokes, **options
    )
    assert painted.shape == (32, 40)
    mask = MASK[16:48, 24:64]
    options = {"task": "matting", "settings": QUICK, "model": matting}
    alpha = cs.predict(image, [(12, 14)], mask, **options)
    assert alpha[16, 20] == 1
    assert alpha[12, 14] == pytest.approx(1, abs=0.06)
    known = np.full((32, 40), 128, np.uint8)
    assert cs.predict(image, [], trimap=known, **options).dtype == np.float32
    with pytest.raises(SessionError, match="needs a trimap"):
        cs.predict(image, [], **options)
    with pytest.raises(SessionError, match="Read result"):
        cs.predict(image, [], mask, output="probability", **options)
    with pytest.raises(ClickError, match="depth of its pixel"):
        cs.predict(image, [(3, 4)], model=tiny("depth"), task="depth")
    with pytest.raises(SessionError, match="Trimaps are for"):
        cs.predict(image, [(3, 4)], trimap=known)


def test_segmentation_is_as_it_was() -> None:
    assert type(ClickSession()) is ClickSession


def test_modes_change_in_between_and_every_wish_keeps_its_own(tmp_path: Path) -> None:
    made = session("matting")
    made.add_click((10, 10), value=0.7)
    clicked = made.result.copy()
    made.mode = "push"
    made.add_click((25, 30), positive=False)
    assert made.result[25, 30] < clicked[25, 30]
    made.mode = "click"
    made.add_click((14, 25), value=0.4)
    last = made.result.copy()
    assert last[14, 25] == pytest.approx(0.4, abs=0.06)
    steps = [(step.count, step.mode) for step in made.state.draft.steps[-3:]]
    assert steps == [(1, "click"), (2, "push"), (3, "click")]

    made.move_click(0, (12, 12))  # answers all three again, each in its mode
    assert made.result[12, 12] == pytest.approx(0.7, abs=0.06)
    made.undo()
    np.testing.assert_array_equal(made.result, last)
    again = cs.ClickSession.load(made.save(tmp_path / "it.clickseg"), made.image)
    np.testing.assert_array_equal(again.result, last)
    np.testing.assert_allclose(again.replay(made.model).result, last, atol=1e-5)
    made.undo()
    made.undo()
    np.testing.assert_array_equal(made.result, clicked)


def test_an_answer_tells_of_clicks_by_their_own_numbers() -> None:
    made = session("matting")
    made.mode = "push"
    made.add_click((25, 30))
    made.mode = "click"
    made.refinement = RefinementSettings.of("none")
    change = made.add_click((10, 10), value=0.123)
    assert change.unsatisfied in ((), (1,)), "the second of all clicks"
    made.add_click((10, 10), value=0.9)
    assert 1 in made.change.contradicted
