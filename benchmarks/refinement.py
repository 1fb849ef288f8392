"""Time refinements of a click, and their memory, in one run.

    python benchmarks/refinement.py --out results/refinement

All iterations are forced (no early stop), on a window of 400 x 400 with its mirror
image, as in the published protocol: the most that one click can cost. Compared are
RGB-BRS, which goes back through the whole network, f-BRS-B and G-BRS-bmconv, which
compute only what lies behind their layer, and f-BRS-B by a plain re-run of the whole
network at each iteration.

Each side is a process of its own, for its memory's sake; they answer click by click
in turn, so that a busy machine slows all of them. ResNet-101 has random weights (speed
does not depend on them), the starter has its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from napari_clickseg.models.model import Model

STARTER = "ritm-mobilenetv2-starter"
RESNET = "f-BRS resnet101"
TARGET = 400
#: Names of the sides: refinement, and whether everything is run each time.
SIDES = {
    "rgb-brs": ("rgb-brs", False),
    "f-brs-b": ("f-brs-b", False),
    "f-brs-b, whole network": ("f-brs-b", True),
    "g-brs-bmconv": ("g-brs-bmconv", False),
}
#: What is compared with what, and the ratio of seconds that is expected.
RATIOS = {
    "RGB-BRS over f-BRS-B": ("rgb-brs", "f-brs-b", 3.0),
    "RGB-BRS over G-BRS-bmconv": ("rgb-brs", "g-brs-bmconv", 2.6),
    "whole network over ours, f-BRS-B": ("f-brs-b, whole network", "f-brs-b", 1.0),
}


@dataclass
class Measured:
    """One side's clicks."""

    model: str
    side: str
    seconds: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    peak: int = 0  #: bytes, of the process
    before: int = 0  #: bytes, with the model loaded and the network run once

    def row(self) -> dict[str, Any]:
        """Return medians."""
        return {
            **asdict(self),
            "median_s": statistics.median(self.seconds),
            "per_evaluation_s": statistics.median(
                seconds / max(1, count)
                for seconds, count in zip(self.seconds, self.evaluations, strict=True)
            ),
            "more_mib": (self.peak - self.before) / 2**20,
            "peak_mib": self.peak / 2**20,
        }


def peak_bytes() -> int:
    """Return the most memory that this process ever held."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def load(name: str) -> Model:
    """Return a model to refine."""
    import torch

    from napari_clickseg.models.model import Model, load_model
    from napari_clickseg.models.registry import ModelInfo
    from napari_clickseg.networks.fbrs import FBRS

    if name != RESNET:
        return load_model(name)
    torch.manual_seed(0)
    network = FBRS(backbone="resnet101").eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 4:  # keeps the size of what flows through
                fan = parameter[0].numel()
                parameter.normal_(0, fan**-0.5)
    info = ModelInfo(name, "segmentation", "fbrs", "", "none: random weights", "")
    return Model(network, info, precision="float32")


def run_everything() -> None:
    """Take the shortcuts away: each evaluation runs the network from its input."""
    tails: Any = importlib.import_module("napari_clickseg.prediction.tails")
    record = tails.record

    def whole(*given: Any, **named: Any) -> Any:
        tail = record(*given, **named)
        tail._give_up("everything is run, to compare")  # noqa: SLF001
        return tail

    def encoding(_: Any, encode: Any, *__: Any) -> Any:
        return encode

    tails.record = whole
    tails.Tails._encoding = encoding  # noqa: SLF001


def side(
    connection: Connection, name: str, kind: str, iterations: int, threads: int
) -> None:
    """Answer a click for each word that comes; the process of one side."""
    import numpy as np
    import torch

    from napari_clickseg.clicks import Click
    from napari_clickseg.image import ImageSource
    from napari_clickseg.prediction import PredictionSettings, Predictor
    from napari_clickseg.refinement import adam, lbfgs
    from napari_clickseg.refinement.settings import RefinementSettings

    torch.set_num_threads(threads)
    method, everything = SIDES[kind]
    if everything:
        run_everything()
    count = 0

    def counted(run: Any) -> None:
        evaluate = run._evaluate  # noqa: SLF001

        def count_one(*given: Any) -> Any:
            nonlocal count
            count += 1
            return evaluate(*given)

        run._evaluate = count_one  # noqa: SLF001

    counted(adam.AdamRun)
    counted(lbfgs.LbfgsRun)
    rows, cols = np.mgrid[:480, :640]
    waves = ((9, 13), (17, 11), (29, 31))
    planes = [np.sin(rows / f) * np.cos(cols / g) for f, g in waves]
    image = ImageSource((127 * (1 + np.stack(planes, -1))).astype(np.uint8))
    places = np.random.default_rng(0).uniform(0.3, 0.7, (40, 2)) * (480, 640)
    clicks = [Click(r, c, i % 3 != 2, radius=40) for i, (r, c) in enumerate(places)]

    settings = PredictionSettings(target_size=(TARGET, TARGET), skip_clicks=-1)
    refinement = RefinementSettings(
        method=method,  # type: ignore[arg-type]
        iterations=iterations,
        correct=False,
        net_clicks_limit=len(clicks),
    )
    predictor = Predictor(load(name), settings)
    predictor.early_stop = False
    state = predictor.predict(image, clicks[:1]).state
    before = peak_bytes()
    # The first refined click also tries out whether the network can be taken apart.
    predictor.refinement = replace(refinement, iterations=1)
    state = predictor.predict(image, clicks[:2], state).state
    predictor.refinement = refinement
    made = 2
    connection.send("ready")
    while connection.recv():
        made, count = made + 1, 0
        start = time.perf_counter()
        state = predictor.predict(image, clicks[:made], state).state
        connection.send((time.perf_counter() - start, count, peak_bytes(), before))


def compare(
    name: str, sides: Sequence[str], clicks: int, iterations: int, threads: int
) -> list[Measured]:
    """Return what each side measured, click by click in turn."""
    context = multiprocessing.get_context("spawn")
    found = [Measured(name, kind) for kind in sides]
    processes, connections = [], []
    for one in found:
        ours, theirs = context.Pipe()
        given = (theirs, name, one.side, iterations, threads)
        processes.append(context.Process(target=side, args=given, daemon=True))
        processes[-1].start()
        theirs.close()  # so that the end of a process is heard
        ours.recv()  # one after the other: preparing is work, too
        connections.append(ours)
    for _ in range(clicks):
        for one, connection in zip(found, connections, strict=True):
            connection.send(True)
            seconds, evaluations, one.peak, one.before = connection.recv()
            one.seconds.append(seconds)
            one.evaluations.append(evaluations)
            print(f"{name}, {one.side}: {seconds:.2f} s, {evaluations}", flush=True)
    for connection, process in zip(connections, processes, strict=True):
        connection.send(False)
        process.join()
    return found


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Return times and ratios as two Markdown tables."""
    lines = [
        "| model | refinement | s/click | evaluations | memory | of it, to refine |",
        "|---|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row['model']} | {row['side']} | {row['median_s']:.2f} "
        f"| {statistics.median(row['evaluations']):.0f} "
        f"| {row['peak_mib']:.0f} MiB | {row['more_mib']:.0f} MiB |"
        for row in rows
    ]
    lines += [
        "",
        "| model | compared, per evaluation | ratio | expected at least |",
        "|---|---|--:|--:|",
    ]
    for model in dict.fromkeys(row["model"] for row in rows):
        # L-BFGS-B may try more often than told where a step does not succeed.
        median = {r["side"]: r["per_evaluation_s"] for r in rows if r["model"] == model}
        for text, (slow, quick, expected) in RATIOS.items():
            if slow in median and quick in median:
                ratio = median[slow] / median[quick]
                lines.append(f"| {model} | {text} | {ratio:.1f} | {expected:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the comparison and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--models", nargs="*", default=[RESNET, STARTER])
    parser.add_argument("--sides", nargs="*", default=list(SIDES), choices=SIDES)
    parser.add_argument("--clicks", type=int, default=3, help="timed clicks")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    rows = []
    for name in given.models:
        clicks = given.clicks if name == RESNET else 4 * given.clicks
        measured = compare(name, given.sides, clicks, given.iterations, given.threads)
        rows += [one.row() for one in measured]
    import torch

    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": given.threads,
        "torch": torch.__version__,
        "target": TARGET,
        "iterations": given.iterations,
    }
    print(f"\n{machine}\n\n{tables(rows)}")
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        result = json.dumps({"machine": machine, "rows": rows}, indent=1)
        (given.out / "refinement.json").write_text(result)
        (given.out / "refinement.md").write_text(tables(rows) + "\n")


if __name__ == "__main__":
    main()
