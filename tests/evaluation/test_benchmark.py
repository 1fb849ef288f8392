"""The benchmark's loop, its record on disk, and its processes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickSegError, DatasetError
from napari_clickseg.evaluation import benchmark, processes
from napari_clickseg.evaluation.benchmark import evaluate
from napari_clickseg.evaluation.datasets import open_dataset
from napari_clickseg.evaluation.methods import ModelMethod, field_around
from napari_clickseg.evaluation.metrics import SampleResult
from napari_clickseg.evaluation.options import (
    MethodOptions,
    display_name,
    method_names,
)
from napari_clickseg.evaluation.processes import default_jobs
from napari_clickseg.evaluation.protocol import run_sample
from napari_clickseg.evaluation.runlog import ResultLog
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.refinement.settings import RefinementSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BASELINES_ONLY = MethodOptions(model=None, baselines=("graph-cut",), max_clicks=4)


@dataclass
class Discs:
    """Answers a disc around every positive click, minus one around negative ones."""

    name: str = "discs"
    radius: float = 6
    pixels: int = 7
    where: str = "nowhere"
    wants_radii: bool = False
    automatic: np.ndarray | None = None
    notices: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    shape: tuple[int, int] = (0, 0)

    def open_image(self, image: Any) -> None:
        self.shape = image.shape[:2]
        self.log.append("image")

    def start_object(self, field: Box | None = None) -> None:
        self.log.append("object")

    def answer_without_clicks(self) -> np.ndarray | None:
        return self.automatic

    def answer(self, clicks: Sequence[Click]) -> np.ndarray:
        self.log.append("answer")
        self.seen = clicks
        rows, cols = np.ogrid[: self.shape[0], : self.shape[1]]
        mask = np.zeros(self.shape, bool)
        for click in clicks:
            near = (rows - click.row) ** 2 + (cols - click.col) ** 2 <= self.radius**2
            mask[near] = click.positive
        return mask


def test_a_run_ends_at_its_goal() -> None:
    truth = np.zeros((40, 60), np.int8)
    truth[10:30, 10:50] = 1
    method = Discs()
    method.open_image(truth)
    run = run_sample(method, truth, goal=0.6)
    assert list(run.ious) == sorted(run.ious)
    assert run.ious[-1] >= 0.6 > run.ious[-2]
    assert len(run.clicks) == len(run.ious)
    # 20 x 40 pixels: the first of the innermost ones.
    assert run.clicks[0] == Click(19, 19)
    assert run.pixels == 7 * len(run.clicks)
    assert run.seconds > 0
    assert run.start is None


def test_a_run_ends_after_the_last_click() -> None:
    truth = np.zeros((40, 60), np.int8)
    truth[10:30, 10:50] = 1
    method = Discs(radius=1)
    method.open_image(truth)
    run = run_sample(method, truth, max_clicks=7)
    assert len(run.ious) == len(run.clicks) == 7
    assert method.log == ["image", "object", *["answer"] * 7]


def test_without_a_goal_a_run_ends_when_nothing_is_wrong() -> None:
    """As G-BRS is evaluated: 0.90 stops nobody."""
    truth = np.zeros((21, 21), np.int8)
    rows, cols = np.ogrid[:21, :21]
    truth[(rows - 10) ** 2 + (cols - 10) ** 2 <= 36] = 1
    truth[10, 17] = 1  # one pixel beyond what the first click brings
    truth[0, 0] = -1
    method = Discs()
    method.open_image(truth)
    run = run_sample(method, truth, goal=None, max_clicks=20)
    assert run.ious[0] > 0.98
    assert len(run.ious) == len(run.clicks) == 20
    truth[10, 17] = 0
    run = run_sample(method, truth, goal=None, max_clicks=20)
    assert run.ious == (1.0,)
    assert run.clicks == (Click(10, 10),)


def test_clicks_come_with_radii_where_they_are_wanted() -> None:
    truth = np.zeros((40, 60), np.int8)
    truth[10:30, 10:50] = 1
    method = Discs(radius=3)
    method.open_image(truth)
    run_sample(method, truth, max_clicks=1)
    assert method.seen == (Click(19, 19),)
    run_sample(method, truth, max_clicks=1, radii=True)
    # From (19, 19) to the corner (29, 49).
    assert method.seen == (Click(19, 19, radius=np.hypot(10, 30)),)


def test_automatic_models_are_corrected_where_they_are_wrong() -> None:
    """Their own answer is scored, and the first click goes by it."""
    truth = np.zeros((40, 60), np.int8)
    truth[10:30, 10:50] = 1
    mask = truth == 1
    mask[10:30, 40:50] = False
    method = Discs(automatic=mask)
    method.open_image(truth)
    run = run_sample(method, truth, goal=None, max_clicks=1)
    assert run.start == pytest.approx(0.75)
    assert 40 <= run.clicks[0].col < 50
    method.automatic = truth == 1
    run = run_sample(method, truth, goal=None)
    assert (run.ious, run.clicks, run.start) == ((1.0,), (), 1.0)


def test_the_field_on_screen_is_four_times_the_object() -> None:
    truth = np.zeros((200, 300), np.int8)
    truth[90:100, 150:170] = 1
    assert field_around(truth) == Box(55, 120, 135, 200)
    truth[:] = -1
    assert field_around(truth) == Box(0, 0, 200, 300)
    truth[0, 0] = 1
    assert field_around(truth).top == field_around(truth).left == 0


class Recorder:
    """In the place of a predictor: remembers what it was asked."""

    def __init__(self, model: Any, settings: Any, refinement: Any = None) -> None:
        self.model = model
        self.refinement_in_use = RefinementSettings.of(refinement)
        self.calls: list[dict[str, Any]] = []
        self.last_size = (100, 400)

    def predict(self, image: Any, clicks: Any, state: Any, **named: Any) -> Any:
        from napari_clickseg.prediction.settings import Prediction, PredictorState

        self.calls.append({"clicks": clicks, "state": state, **named})
        probability = np.array([[0.48, 0.49, 0.4901]], np.float32)
        box = Box(1, 2, 2, 5)
        state = PredictorState(roi=Box(0, 0, 10, 40), box=box, probability=probability)
        return Prediction(box, probability, state, True, 0.0, ("memory is short",))


@pytest.mark.parametrize("policy", ["published", "visible", "search"])
def test_the_model_is_asked_as_published(
    monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    from napari_clickseg.prediction import predictor

    monkeypatch.setattr(predictor, "Predictor", Recorder)
    settings = PredictionSettings(first_look=policy)  # type: ignore[arg-type]
    model: Any = SimpleNamespace(device="cpu", dtype="torch.float32", notices=("slow",))
    method = ModelMethod(model, settings, "model")
    method.open_image(np.zeros((20, 50, 3), np.uint8))
    field = Box(0, 0, 5, 5)
    method.start_object(field)
    clicks = (Click(1, 1), Click(2, 2, positive=False))
    mask = method.answer(clicks[:1])
    method.answer(clicks)
    # More than 0.49, in single precision; nothing outside of the box.
    assert np.argwhere(mask).tolist() == [[1, 4]]
    assert method.pixels == 100 * 400
    calls = method._predictor.calls  # type: ignore[attr-defined]
    assert calls[0]["state"] is None
    assert calls[1]["state"].roi == Box(0, 0, 10, 40)
    assert all(call["settle"] for call in calls)
    assert calls[0]["visible"] == (field if policy == "visible" else None)
    assert method.notices == ["slow", "memory is short"]
    assert method.where == "cpu float32"
    method.start_object()
    method.answer(clicks[:1])
    assert calls[2]["state"] is None


def test_a_stopped_run_goes_on(discs: Path, tmp_path: Path) -> None:
    samples = open_dataset(discs).first()
    out, signature = tmp_path / "out", BASELINES_ONLY.signature

    class Stop(Exception):
        pass

    def stop_after_two(result: Any) -> None:
        if len(log.results) == 2:
            raise Stop

    log = ResultLog(out, signature)
    with pytest.raises(Stop):
        evaluate(samples, BASELINES_ONLY, log, progress=stop_after_two)
    # The power went while the third line was written.
    with (out / "samples.jsonl").open("a") as file:
        file.write('{"name": "b#2", "meth')
    log = ResultLog(out, signature)
    assert [name for _, name in log.results] == ["a", "b#1"]
    done: list[str] = []
    results = evaluate(
        samples, BASELINES_ONLY, log, progress=lambda result: done.append(result.name)
    )
    assert done == ["b#2", "c"]
    assert [r.name for r in results["graph-cut"]] == ["a", "b#1", "b#2", "c"]
    lines = (out / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a", "b#1", "b#2", "c"]
    again: list[str] = []
    log = ResultLog(out, signature)
    evaluate(
        samples, BASELINES_ONLY, log, progress=lambda result: again.append(result.name)
    )
    assert not again


def test_other_settings_are_never_mixed_in(discs: Path, tmp_path: Path) -> None:
    samples = open_dataset(discs).first(1)
    out = tmp_path / "out"
    ResultLog(out, {"model": "wrong"})  # stopped before anything was finished
    log = ResultLog(out, BASELINES_ONLY.signature)
    evaluate(samples, BASELINES_ONLY, log)
    other = MethodOptions(model=None, baselines=("graph-cut",), max_clicks=9)
    with pytest.raises(DatasetError, match=r"max_clicks 4, now 9.*--restart"):
        ResultLog(out, other.signature)
    assert not ResultLog(out, other.signature, restart=True).results


def test_a_baseline_can_be_added_later(discs: Path, tmp_path: Path) -> None:
    """Baselines are no part of the settings: theirs are their own."""
    samples = open_dataset(discs).first(1)
    out = tmp_path / "out"
    evaluate(samples, BASELINES_ONLY, ResultLog(out, BASELINES_ONLY.signature))
    both = MethodOptions(
        model=None, baselines=("graph-cut", "random-walker"), max_clicks=4
    )
    done: list[str] = []
    log = ResultLog(out, both.signature)
    results = evaluate(
        samples, both, log, progress=lambda result: done.append(result.method)
    )
    assert done == ["random-walker"]
    assert list(results) == ["graph-cut", "random-walker"]


def test_several_processes_give_the_same(discs: Path, tmp_path: Path) -> None:
    samples = open_dataset(discs).first()
    found = []
    for jobs in (1, 2):
        log = ResultLog(tmp_path / str(jobs), BASELINES_ONLY.signature)
        results = evaluate(samples, BASELINES_ONLY, log, jobs=jobs)["graph-cut"]
        found.append([(r.name, r.ious, r.clicks) for r in results])
    assert found[0] == found[1]


def test_errors_in_processes_reach_the_caller(discs: Path, tmp_path: Path) -> None:
    options = MethodOptions(model="no-such-model", max_clicks=2)
    log = ResultLog(tmp_path / "out", options.signature)
    with pytest.raises(ClickSegError, match="no-such-model"):
        evaluate(open_dataset(discs).first(), options, log, jobs=2)


def test_notices_are_kept_with_the_results(discs: Path, tmp_path: Path) -> None:
    evaluator = benchmark.Evaluator(BASELINES_ONLY)
    evaluator.methods = [Discs(notices=["memory is short"])]
    samples = open_dataset(discs).first(1)
    (result,) = evaluator.run(samples, [("discs", "a")])
    assert (result.where, result.notices) == ("nowhere", ("memory is short",))
    log = ResultLog(tmp_path / "out", {})
    log.add(result)
    assert ResultLog(tmp_path / "out", {}).results["discs", "a"] == result


def test_image_and_mask_of_different_size(discs: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.ones((9, 9), np.uint8)).save(discs / "masks" / "a.png")
    log = ResultLog(tmp_path / "out", {})
    samples = open_dataset(discs).first(1)
    with pytest.raises(DatasetError, match="9 x 9 pixels, its image 60 x 80"):
        evaluate(samples, BASELINES_ONLY, log)


def test_mask_without_an_object(discs: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((60, 80), np.uint8)).save(discs / "masks" / "a.png")
    log = ResultLog(tmp_path / "out", {})
    samples = open_dataset(discs, objects="union").first(1)
    with pytest.raises(DatasetError, match="no object pixel"):
        evaluate(samples, BASELINES_ONLY, log)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": None},
        {"goal": 0.0},
        {"goal": 1.5},
        {"max_clicks": 0},
        {"protocol": "guess"},
        {"refinements": ()},
        {"refinements": (RefinementSettings(), RefinementSettings())},
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ClickSegError):
        MethodOptions(**{"model": "any", **wrong})


def test_names_in_tables() -> None:
    none, sb = RefinementSettings(), RefinementSettings("g-brs-sb")
    assert display_name("runs/1/ema.safetensors", none) == "ema"
    assert display_name("ritm", sb) == "ritm+g-brs-sb"
    other = RefinementSettings(
        "rgb-brs", optimiser="adam", learning_rate=0.05, consistency=0, at=("a", "b")
    )
    assert (
        display_name("ritm", other)
        == "ritm+rgb-brs (at a b, adam, lr 0.05, no consistency)"
    )
    options = MethodOptions("ritm", baselines=("graph-cut",), refinements=(none, sb))
    assert method_names(options) == ["ritm", "ritm+g-brs-sb", "graph-cut"]
    assert method_names(BASELINES_ONLY) == ["graph-cut"]


def test_a_refinement_can_be_added_later(tmp_path: Path) -> None:
    """It joins the record; settings of those that are there stay as they were."""
    none, sb = RefinementSettings(), RefinementSettings("g-brs-sb")

    def signature(*refinements: RefinementSettings) -> dict[str, Any]:
        return MethodOptions("m", refinements=refinements).signature

    def result(method: str) -> SampleResult:
        zeros: Any = dict.fromkeys(("seconds", "answer_seconds", "pixels", "area"), 0)
        return SampleResult("a", method, (0.5,), ((1, 2, True),), shape=(3, 3), **zeros)

    ResultLog(tmp_path, signature(none)).add(result("m"))
    ResultLog(tmp_path, signature(sb)).add(result("m+g-brs-sb"))
    log = ResultLog(tmp_path, signature(none, sb))
    assert list(log.results) == [("m", "a"), ("m+g-brs-sb", "a")]
    changed = signature(none, sb)
    changed["refinements"]["m+g-brs-sb"]["learning_rate"] = 0.1
    with pytest.raises(DatasetError, match=r"learning_rate None, now 0\.1"):
        ResultLog(tmp_path, changed)
    with pytest.raises(DatasetError, match="protocol 'noc', now 'curve'"):
        ResultLog(tmp_path, MethodOptions("m", protocol="curve").signature)


def test_processes_suit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.os, "cpu_count", lambda: 8)
    assert default_jobs("cpu", 100) == 4
    assert default_jobs("cpu", 3) == 3
    assert default_jobs("cuda:1", 100) == 1
    monkeypatch.setattr(processes.os, "cpu_count", lambda: None)
    assert default_jobs("cpu", 100) == 1
