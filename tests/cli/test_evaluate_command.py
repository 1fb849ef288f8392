"""``evaluate``: a whole small run, stopped and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.evaluation.conftest import make_dataset

from napari_clickseg.cli.evaluate import published_figures
from napari_clickseg.evaluation.options import MethodOptions
from napari_clickseg.refinement.settings import RefinementSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "discs")


def test_a_whole_run(
    run: Callable[..., Any], discs: Path, weights: Path, tmp_path: Path
) -> None:
    """The network itself, on the real way: file, processes, protocol, report."""
    out = tmp_path / "results"
    command = (
        *("evaluate", discs, "--model", weights, "--out", out, "--max-clicks", "2"),
        *("--target-size", "64", "--exact", "--device", "cpu"),
    )
    ran = run(*command, "--limit", "2")
    assert ran.code == 0, ran.err
    assert "| everything | 2 |" in ran.out
    ran = run(*command, "--baseline", "graph-cut", "--jobs", "2", "--json")
    assert ran.code == 0, ran.err
    assert "2 of 8 results are there already" in ran.err
    summary = json.loads(ran.out)
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["n"] == 4
    # It calls everything an object, whatever is clicked.
    areas = [709, 253, 441, 1257]
    assert summary["iou@1"] == pytest.approx(sum(areas) / 4 / 4800, abs=1e-6)
    assert summary["noc@90"] == 2
    assert summary["over2@90"] == 4
    assert summary["clicks"] == 8
    assert summary["spc"] > summary["spc_answer"] > 0
    assert summary["pie"] > 0
    assert summary["baselines"]["graph-cut"]["n"] == 4
    assert summary["settings"]["settings"]["target_size"] == 64
    assert summary["settings"]["jobs"] == 2
    # Other settings do not join these results.
    ran = run(*command, "--first-look", "search")
    assert ran.code == 3
    assert "first_look 'published', now 'search'" in ran.err
    ran = run(*command, "--first-look", "search", "--restart", "--limit", "1")
    assert ran.code == 0, ran.err
    assert "not the published protocol" in (out / "summary.md").read_text()


def test_the_published_grabcut_layout(
    run: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    """Object above 128, not scored at 128; search is an option."""
    import numpy as np
    from PIL import Image

    root = make_dataset(tmp_path / "GrabCut", layout=("data_GT", "boundary_GT"))
    for path in (root / "boundary_GT").iterdir():
        mask = np.full((60, 80), 128, np.uint8)
        mask[:, :30], mask[:, 70:] = 255, 0
        Image.fromarray(np.repeat(mask[..., None], 3, 2)).save(path)
    for policy in ("published", "search"):
        ran = run(
            *("evaluate", root, "--layout", "grabcut", "--model", weights, "--json"),
            *("--out", tmp_path / policy, "--max-clicks", "1", "--exact"),
            *("--target-size", "64", "--first-look", policy, "--limit", "2"),
        )
        assert ran.code == 0, ran.err
        summary = json.loads(ran.out)
        assert summary["n"] == 2
        assert summary["settings"]["data"]["layout"] == "grabcut"
        if policy == "published":
            # Everything is called an object: 30 columns are, 10 are not.
            assert summary["iou@1"] == pytest.approx(0.75)


def test_published_layout_and_target(
    run: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    weights: Path,
) -> None:
    """DAVIS is evaluated at 600, everything else at 400."""
    from napari_clickseg.evaluation import benchmark

    asked = []

    def make_methods(options: MethodOptions) -> list[Any]:
        asked.append(options)
        return []

    monkeypatch.setattr(benchmark, "make_methods", make_methods)
    make_dataset(tmp_path / "d", layout=("img", "gt"))
    for layout, size in (("davis", 600), ("coco_mval", 400)):
        run(
            *("evaluate", tmp_path / "d", "--layout", layout, "--model", weights),
            *("--out", tmp_path / layout),
        )
        assert asked[-1].settings.target_size == size
        assert asked[-1].settings.first_look == "published"
        assert asked[-1].settings.flip
        assert (asked[-1].goal, asked[-1].max_clicks) == (0.9, 20)


def test_stopped_by_hand(
    run: Callable[..., Any],
    discs: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari_clickseg.evaluation import benchmark

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "make_methods", stop)
    ran = run("evaluate", discs, "--model", weights, "--out", tmp_path / "out")
    assert ran.code == 130
    assert "again to go on" in ran.err


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl+C is no signal there")
@pytest.mark.parametrize("jobs", [1, 2])
def test_stopped_in_the_middle(
    discs: Path, weights: Path, tmp_path: Path, jobs: int
) -> None:
    """Ctrl+C reaches all processes: a sentence, no traceback, nothing lost."""
    for number in range(60):
        for folder in ("images", "masks"):
            copy = discs / folder / f"d{number}.png"
            copy.write_bytes((discs / folder / "c.png").read_bytes())
    out = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "napari_clickseg.cli", "evaluate", str(discs)),
        *("--model", str(weights), "--out", str(out), "--jobs", str(jobs)),
    ]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        record = out / "samples.jsonl"
        deadline = time.monotonic() + 240
        while not (record.is_file() and record.read_text().strip()):
            assert running.poll() is None, running.stderr
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, errors
    assert "Stopped with" in errors
    assert "Traceback" not in errors
    kept = len(record.read_text().splitlines())
    assert 1 <= kept < 64


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere"], 3, "There is no folder"),
        (["discs", "--layout", "coco"], 2, "grabcut, berkeley"),
        (["discs", "--layout", "davis"], 3, "looks like --layout berkeley or folder"),
        (["discs", "--refinement", "magic"], 2, "'magic' is not one of none"),
        (["discs", "--refinement", "none,magic"], 2, "'magic' is not one of none"),
        (["discs", "--refinement", ","], 2, "at least one of none"),
        (["discs", "--protocol", "x"], 2, "noc, curve"),
        (["discs", "--optimiser", "x"], 2, "adam, l-bfgs"),
        (
            ["discs", "--refinement", "f-brs-b", "--optimiser", "adam"],
            3,
            "f-brs-b runs with L-BFGS-B",
        ),
        (["discs", "--refinement", "rgb-brs", "--learning-rate", "0"], 3, "above 0"),
        (["discs", "--first-look", "x"], 2, "published, visible, search"),
        (["discs", "--objects", "x"], 2, "each, union"),
        (["discs", "--baseline", "x"], 3, "random-walker"),
        (["discs", "--limit", "0"], 2, "limit"),
        (["discs", "--model", "magic"], 4, "No model is named 'magic'"),
        (["discs", "--model", "no/such.pth"], 4, "There is no weight file"),
    ],
)
def test_what_cannot_be_done(
    run: Callable[..., Any],
    discs: Path,
    arguments: list[str],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(discs.parent)
    ran = run("evaluate", *arguments)
    assert ran.code == code, ran.err
    assert says in " ".join(ran.err.split())


def test_published_figures_stand_beside_ours() -> None:
    options = MethodOptions(model="ritm-hrnet18s-cocolvis")
    figures = published_figures(options, "grabcut")
    assert figures == {"ritm-hrnet18s-cocolvis": {"noc@85": 1.54, "noc@90": 1.68}}
    assert published_figures(options, "folder") == {}
    for layout in ("berkeley", "davis", "coco_mval", "sbd", "voc"):
        assert published_figures(options, layout), layout
    assert published_figures(MethodOptions(model="a/file.pth"), "grabcut") == {}
    refined = MethodOptions(
        model="fbrs-resnet34-sbd",
        refinements=tuple(map(RefinementSettings, ("none", "f-brs-b", "g-brs-sb"))),
    )
    figures = published_figures(refined, "grabcut")
    assert figures["fbrs-resnet34-sbd+f-brs-b"] == {"noc@85": 2.06, "noc@90": 2.48}
    assert "fbrs-resnet34-sbd+g-brs-sb" not in figures


def test_refinements_get_the_options() -> None:
    from napari_clickseg.cli.measuring import refinements

    found = refinements("rgb-brs, none,g-brs-sb,rgb-brs")
    assert [r.method for r in found] == ["none", "rgb-brs", "g-brs-sb"]
    # Numbers compare with the papers: no local correction unless asked for.
    assert not any(r.correct for r in found[1:])
    assert refinements("f-brs-b", correct=True)[0].correct
    (only,) = refinements(
        "rgb-brs",
        iterations=7,
        learning_rate=0.05,
        consistency=False,
        at=["here", "there"],
        optimiser="adam",
    )
    assert (only.iterations, only.learning_rate, only.consistency) == (7, 0.05, 0)
    assert (only.at, only.optimiser) == (("here", "there"), "adam")
    (usual,) = refinements("g-brs-sb", consistency=True)
    assert usual.consistency == 100


def test_a_curve(
    run: Callable[..., Any], discs: Path, weights: Path, tmp_path: Path
) -> None:
    """Every object gets all clicks; nothing stops at the goal."""
    out = tmp_path / "curve"
    ran = run(
        *("evaluate", discs, "--model", weights, "--out", out, "--max-clicks", "3"),
        *("--target-size", "64", "--exact", "--device", "cpu", "--protocol", "curve"),
        *("--baseline", "graph-cut", "--json"),
    )
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    assert summary["protocol"] == summary["settings"]["protocol"] == "curve"
    # It calls everything an object at each click.
    areas = [709, 253, 441, 1257]
    expected = sum(areas) / 4 / 4800
    assert summary["auc"] == pytest.approx(expected, abs=1e-6)
    assert summary["iou_curve"] == pytest.approx([expected] * 3, abs=1e-6)
    assert summary["bottom"]["auc"] == pytest.approx(253 / 4800, abs=1e-6)
    assert summary["clicks"] == 12
    graph_cut = summary["baselines"]["graph-cut"]
    assert graph_cut["auc"] > 0.7 > summary["auc"]
    records = [
        json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()
    ]
    clicks = [len(r["clicks"]) for r in records if r["method"] == "graph-cut"]
    assert max(clicks) == 3
    assert "AUC, bottom 10 %" in (out / "summary.md").read_text()


def test_refinements_are_compared(
    run: Callable[..., Any], discs: Path, tmp_path: Path
) -> None:
    """The bundled network, refined in several ways, and one more added later."""
    out = tmp_path / "refined"
    command = (
        *("evaluate", discs, "--out", out, "--max-clicks", "3", "--limit", "2"),
        *("--target-size", "64", "--device", "cpu", "--protocol", "curve"),
        *("--jobs", "1", "--iterations", "3"),
    )
    ran = run(*command, "--refinement", "g-brs-bmconv,none")
    assert ran.code == 0, ran.err
    ran = run(*command, "--refinement", "g-brs-bmconv,f-brs-b,none", "--json")
    assert ran.code == 0, ran.err
    assert "4 of 6 results are there already" in ran.err
    summary = json.loads(ran.out)
    name = "ritm-mobilenetv2-starter"
    assert summary["method"] == name
    assert list(summary["refinements"]) == [
        f"{name}+g-brs-bmconv (3 iterations)",
        f"{name}+f-brs-b (3 iterations)",
    ]
    assert summary["baselines"] == {}
    for figures in (summary, *summary["refinements"].values()):
        assert figures["n"] == 2
        assert 0 < figures["auc"] <= figures["best"] <= 1
    stored = json.loads((out / "run.json").read_text())["refinements"]
    refined = stored[f"{name}+g-brs-bmconv (3 iterations)"]
    assert refined["iterations"] == 3
    assert not refined["correct"]
    # The model's step size is on record: found anew, results would not be mixed.
    from napari_clickseg.models.registry import get_info

    rates = get_info(name).learning_rates
    assert refined["learning_rate"] == rates.get("g-brs-bmconv")
    ran = run(*command, "--refinement", "none", "--json", "--no-consistency")
    assert ran.code == 0, ran.err


def test_clicks_needed_with_a_refinement(
    run: Callable[..., Any], discs: Path, tmp_path: Path
) -> None:
    ran = run(
        *("evaluate", discs, "--out", tmp_path / "out", "--max-clicks", "2"),
        *("--target-size", "64", "--device", "cpu", "--limit", "1", "--jobs", "1"),
        *("--refinement", "f-brs-b", "--iterations", "2", "--honour-clicks"),
    )
    assert ran.code == 0, ran.err
    assert "ritm-mobilenetv2-starter+f-brs-b (2 iterations)" in ran.out
    stored = json.loads((tmp_path / "out" / "run.json").read_text())
    (values,) = stored["refinements"].values()
    assert values["correct"]
    assert stored["protocol"] == "noc"


FACTORY = """
import torch
from napari_clickseg import make_interactive
from napari_clickseg.refinement.settings import RefinementSettings


class Bright(torch.nn.Module):
    # Calls nearly everything an object.

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Identity()

    def forward(self, image):
        return 10 * (self.features(image).mean(1, keepdim=True) - 0.05)


def bright():
    own = RefinementSettings("g-brs-sb", consistency=0, learning_rate=0.05)
    return make_interactive(Bright().eval(), at="features", refinement=own)
"""


def test_models_that_answer_without_clicks(
    run: Callable[..., Any], discs: Path, tmp_path: Path
) -> None:
    """A function of the user's: scored before the first click, refined by itself."""
    (tmp_path / "mine.py").write_text(FACTORY)
    model = f"{tmp_path / 'mine.py'}:bright"
    command = (
        *("evaluate", discs, "--model", model, "--max-clicks", "2", "--limit", "1"),
        *("--protocol", "curve", "--jobs", "1", "--json", "--device", "cpu"),
    )
    ran = run(*command, "--out", tmp_path / "own")
    assert ran.code == 0, ran.err
    own = json.loads(ran.out)
    assert own["method"] == "bright"
    assert own["iou@0"] >= 0
    # Told not to refine, it answers the same after each click.
    ran = run(
        *(*command, "--out", tmp_path / "both", "--refinement", "none,g-brs-sb"),
        *("--no-consistency", "--learning-rate", "0.05"),
    )
    assert ran.code == 0, ran.err
    both = json.loads(ran.out)
    assert both["iou_curve"] == [both["iou@0"]] * 2
    (refined,) = both["refinements"].values()
    assert refined["auc"] > both["auc"] + 0.1
    assert own["iou_curve"] == refined["iou_curve"]
