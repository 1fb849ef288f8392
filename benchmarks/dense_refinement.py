"""RGB-BRS against G-BRS-bmconv for classes, alpha and depth: seconds and memory.

    python benchmarks/dense_refinement.py --out results/dense-refinement

RGB-BRS changes the image, so each of its steps goes back through the whole network;
G-BRS-bmconv computes only what lies behind its layers. All iterations are made, which
is the most that one click can cost. Each side is a process of its own, for its memory's
sake; they answer click by click in turn. With one thread, seconds are those that the
processor worked, which a busy machine changes little. Weights are random: speed does
not depend on them. The networks are those of the starters, and with ``--published``
those of the paper: HRNet-W48 with OCR at two scales, IndexNet, BTS with DenseNet-161.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from torch import nn

    from napari_clickseg.tasks.task import Task

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
#: Networks of the starters by task: recipe, and height and width of what they see.
STARTERS = {
    "semantic": ("semantic-cells-starter", (256, 320)),
    "matting": ("matting-indexnet-starter", (256, 320)),
    "depth": ("depth-bts-starter", (256, 320)),
}
#: Those of the paper: architecture, its arguments, and the size.
PUBLISHED: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "semantic": ("multiscale-hrnet", {}, (256, 320)),
    "matting": ("indexnet", {}, (256, 320)),
    "depth": ("bts", {}, (256, 320)),
}
SIDES = ("rgb-brs", "g-brs-bmconv")
#: Seconds of RGB-BRS over those of G-BRS-bmconv in the paper's table 3.
PAPER = {"semantic": "1.5, 1.6", "matting": "1.8", "depth": "1.5"}


@dataclass
class Measured:
    """One side's clicks."""

    network: str
    task: str
    side: str
    seconds: list[float] = field(default_factory=list)
    evaluations: int = 0
    peak: int = 0  #: bytes, of the process
    before: int = 0  #: bytes, with the network made

    def row(self) -> dict[str, Any]:
        """Return medians."""
        return {
            **asdict(self),
            "median_s": statistics.median(self.seconds),
            "more_mib": (self.peak - self.before) / 2**20,
            "peak_mib": self.peak / 2**20,
        }


def peak_bytes(forget: bool = False) -> int:
    """Return the most memory this process held; on Linux since that was forgotten."""
    status = Path("/proc/self/status")
    if status.is_file():
        if forget:
            Path("/proc/self/clear_refs").write_text("5")
        lines = status.read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def build(task: str, published: bool) -> tuple[nn.Module, Task, tuple[int, int]]:
    """Return a network with random weights, its task and the size that it sees."""
    import torch

    from napari_clickseg.models.architectures import ARCHITECTURES
    from napari_clickseg.tasks import Classes, Depth, Matting, Semantic

    torch.manual_seed(0)
    if published:
        name, options, size = PUBLISHED[task]
    else:
        recipe_name, size = STARTERS[task]
        recipe = tomllib.loads((RECIPES / f"{recipe_name}.toml").read_text())
        name, options = recipe["architecture"], dict(recipe.get("network", {}))
    network = ARCHITECTURES[name](**options).eval()
    of: Task
    if task == "semantic":
        sees = torch.zeros(1, 3, 64, 64)
        with torch.inference_mode():
            count = int(network(sees).shape[1])
        of = Semantic(Classes.named(tuple(f"class {n}" for n in range(count))))
    else:
        of = Matting() if task == "matting" else Depth(largest=10.0)
    return network, of, size


def side(
    connection: Connection,
    task: str,
    method: str,
    published: bool,
    iterations: int,
    threads: int,
) -> None:
    """Answer a click for each word that comes; the process of one side."""
    import numpy as np
    import torch

    from napari_clickseg.clicks import Click
    from napari_clickseg.image import ImageSource
    from napari_clickseg.prediction.dense import DensePredictor
    from napari_clickseg.prediction.dense_settings import DenseSettings

    torch.set_num_threads(threads)
    network, of, size = build(task, published)
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[: size[0], : size[1]]
    waves = ((9, 13), (17, 11), (29, 31))
    planes = [np.sin(rows / f) * np.cos(cols / g) for f, g in waves]
    image = ImageSource((127 * (1 + np.stack(planes, -1))).astype(np.uint8))
    wished: list[dict[str, Any]] = {
        "semantic": [{"label": 1 + n % of.channels} for n in range(40)],
        "matting": [{"value": n % 3 / 2} for n in range(40)],
        "depth": [{"value": 1.0 + n % 5} for n in range(40)],
    }[task]
    clicks = [
        Click(*(rng.uniform(0.3, 0.7, 2) * size), radius=30, **wish) for wish in wished
    ]
    trimap = np.full(size, 128, np.uint8) if task == "matting" else None
    settings = DenseSettings(
        method=method,  # type: ignore[arg-type]
        iterations=iterations,
        learning_rate=1e-3,
        early_stop=False,
        correct=False,
    )
    predictor = DensePredictor(network, of, settings)
    # What an answer keeps for the clicks to come counts, too.
    before = peak_bytes(forget=True)
    state = predictor.predict(image, trimap=trimap).state
    clock = time.process_time if threads == 1 else time.perf_counter
    made = 0
    connection.send("ready")
    while connection.recv():
        made += 1
        start = clock()
        answer = predictor.predict(image, clicks[:made], state, trimap=trimap)
        seconds = clock() - start
        state = answer.state
        connection.send((seconds, answer.evaluations, peak_bytes(), before))


def compare(
    task: str, published: bool, clicks: int, iterations: int, threads: int
) -> list[Measured]:
    """Return what each side measured, click by click in turn."""
    context = multiprocessing.get_context("spawn")
    network = PUBLISHED[task][0] if published else STARTERS[task][0]
    found = [Measured(network, task, method) for method in SIDES]
    processes, connections = [], []
    for each in found:
        ours, theirs = context.Pipe()
        given = (theirs, task, each.side, published, iterations, threads)
        processes.append(context.Process(target=side, args=given, daemon=True))
        processes[-1].start()
        theirs.close()  # so that the end of a process is heard
        ours.recv()  # one after the other: preparing is work, too
        connections.append(ours)
    for _ in range(clicks):
        for each, connection in zip(found, connections, strict=True):
            connection.send(True)
            seconds, each.evaluations, each.peak, each.before = connection.recv()
            each.seconds.append(seconds)
            print(f"{network}, {each.side}: {seconds:.2f} s", flush=True)
    for connection, process in zip(connections, processes, strict=True):
        connection.send(False)
        process.join()
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return times, memory and their ratios."""
    head = [
        *("task", "network", "RGB-BRS", "G-BRS-bmconv", "ratio", "paper"),
        *("memory: RGB-BRS", "G-BRS-bmconv", "ratio"),
    ]
    lines = [f"| {' | '.join(head)} |", "|---|---|" + "--:|" * (len(head) - 2)]
    for network in dict.fromkeys(row["network"] for row in rows):
        slow, quick = (
            next(r for r in rows if (r["network"], r["side"]) == (network, name))
            for name in SIDES
        )
        ratio = slow["median_s"] / quick["median_s"]
        more = slow["more_mib"] / max(1.0, quick["more_mib"])
        lines.append(
            f"| {slow['task']} | {network} | {slow['median_s']:.2f} s "
            f"| {quick['median_s']:.2f} s | {ratio:.1f} | {PAPER[slow['task']]} "
            f"| {slow['more_mib']:.0f} MiB | {quick['more_mib']:.0f} MiB | {more:.1f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--tasks", nargs="*", default=list(STARTERS), choices=STARTERS)
    parser.add_argument("--published", action="store_true", help="the paper's networks")
    parser.add_argument("--clicks", type=int, default=5, help="timed clicks")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    rows = []
    for task in given.tasks:
        measured = compare(
            task, given.published, given.clicks, given.iterations, given.threads
        )
        rows += [each.row() for each in measured]
    import torch

    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": given.threads,
        "torch": torch.__version__,
        "iterations": given.iterations,
    }
    print(f"\n{machine}\n\n{table(rows)}")
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        stem = "published" if given.published else "starters"
        result = json.dumps({"machine": machine, "rows": rows}, indent=1)
        (given.out / f"{stem}.json").write_text(result)
        (given.out / f"{stem}.md").write_text(table(rows) + "\n")


if __name__ == "__main__":
    main()
