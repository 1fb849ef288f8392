"""Click ten thousand times, and see whether memory or time per click grows.

    python benchmarks/soak.py --out results/soak
    python benchmarks/soak.py --clicks 10000 --viewer 2000 --out results/soak

One session after the other: a ``ClickSession`` as scripts have it, and a viewer without
a window (``ViewerModel``) with our layers, thread and journal. Both use the bundled
starter on a small image, seen at 128 pixels and without the mirrored pass, so that a
click takes about 25 ms of a processor: three clicks to an object, every
fifth one taken back and put there again, then the object is committed; of the objects
committed before, those in the way give up their pixels. A journal is kept as in the
dock.

Memory is what the process holds of the machine (resident). Beside it stands what is in
use of the heap: where the first grows and the second does not, freed memory is kept in
holes. Time per click is processor time of the process, so that other programs on the
machine do not count; wall time stands beside it. Each is compared between the hundreds
that follow the first thousand clicks and the last thousand: medians, never single ones.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STARTER = "ritm-mobilenetv2-starter"
#: Clicks before memory and time are looked at: until then caches fill.
WARM = 1000
#: Growth in percent that is still no growth.
MEMORY, TIME = 5.0, 10.0
#: Clicks between two looks at memory.
EVERY = 50


@dataclass
class Course:
    """What was seen along the way."""

    name: str
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    #: Clicks so far, resident MiB, MiB of the heap in use.
    memory: list[tuple[int, float, float]] = field(default_factory=list)
    objects: int = 0
    journal: int = 0

    def look(self) -> None:
        """Note what the process holds now."""
        self.memory.append((len(self.cpu), resident() / 2**20, heap() / 2**20))

    def summary(self, warm: int) -> dict[str, Any]:
        """Return medians after the first ``warm`` clicks and at the end."""
        span = max(EVERY, min(1000, (len(self.cpu) - warm) // 2))
        early, late = slice(warm, warm + span), slice(-span, None)
        first = [m for m in self.memory if warm <= m[0] < warm + span]
        last = [m for m in self.memory if m[0] > len(self.cpu) - span]
        row: dict[str, Any] = {
            "session": self.name,
            "clicks": len(self.cpu),
            "objects": self.objects,
            "journal_mib": self.journal / 2**20,
        }
        pairs = (
            ("cpu_ms", [1000 * t for t in self.cpu[early]], self.cpu[late], 1000),
            ("wall_ms", [1000 * t for t in self.wall[early]], self.wall[late], 1000),
            ("resident_mib", [m[1] for m in first], [m[1] for m in last], 1),
            ("heap_mib", [m[2] for m in first], [m[2] for m in last], 1),
        )
        for name, before, after, factor in pairs:
            a = statistics.median(before)
            b = factor * statistics.median(after)
            row[name] = {"early": a, "late": b, "growth": 100 * (b / a - 1)}
        row["holds"] = (
            row["resident_mib"]["growth"] < MEMORY and row["cpu_ms"]["growth"] < TIME
        )
        return row


def resident() -> int:
    """Return the bytes of this process in memory."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import resource

        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * os.sysconf("SC_PAGE_SIZE")


def heap() -> int:
    """Return the bytes that glibc's heap has given out; 0 where there is none."""

    class Info(ctypes.Structure):
        _fields_ = [
            (name, ctypes.c_size_t)
            for name in (
                *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
                *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
            )
        ]

    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError, TypeError):
        return 0
    ask.restype = Info
    info = ask()
    return int(info.uordblks + info.hblkhd)


def settings() -> Any:
    """Return how the image is looked at: quickly."""
    from napari_clickseg.prediction import PredictionSettings

    return PredictionSettings(first_look="published", flip=False, target_size=128)


def picture(shape: tuple[int, int] = (96, 128)) -> NDArray[np.uint8]:
    """Return an image with blobs to click on."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(60, 6, (*shape, 3))
    for _ in range(30):
        row, col = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        far = np.hypot(rows - row, cols - col) / rng.uniform(6, 16)
        image += 120 * np.exp(-(far**4))[..., None] * rng.uniform(0.3, 1, 3)
    return image.clip(0, 255).astype(np.uint8)


def walk(
    ui: Any, course: Course, clicks: int, minutes: float, tick: Callable[[], None]
) -> None:
    """Click, take back, put there again, commit."""
    from napari_clickseg.errors import MaskError

    chance, height, width = random.Random(0), *picture().shape[:2]
    began = time.monotonic()
    ui.overlap = "overwrite"
    while len(course.cpu) < clicks and time.monotonic() - began < 60 * minutes:
        row, col = chance.uniform(8, height - 9), chance.uniform(8, width - 9)
        for number in range(3):
            place = row + chance.uniform(-5, 5), col + chance.uniform(-5, 5)
            cpu, wall = time.process_time(), time.perf_counter()
            ui.add_click(place, positive=number != 1)
            course.cpu.append(time.process_time() - cpu)
            course.wall.append(time.perf_counter() - wall)
            if len(course.cpu) % 5 == 0:
                ui.undo()
                ui.redo()
            if len(course.cpu) % EVERY == 0:
                course.look()
                tick()
        try:
            ui.commit()
            course.objects += 1
        except MaskError:  # the model saw nothing there
            while ui.clicks:
                ui.undo()
        tick()


def by_script(clicks: int, minutes: float, folder: Path) -> Course:
    """Click in a session as scripts have it."""
    from napari_clickseg import ClickSession

    course = Course("ClickSession")
    session = ClickSession(STARTER, settings=settings())
    session.set_image(picture())
    journal = session.keep_journal(folder)
    walk(session, course, clicks, minutes, lambda: None)
    course.journal = journal.path.stat().st_size if journal.path else 0
    session.stop_journal()
    return course


def in_a_viewer(clicks: int, minutes: float, folder: Path) -> Course:
    """Click in a viewer without a window, with its layers, thread and journal."""
    from napari.components import ViewerModel

    from napari_clickseg import attach, napari_layers

    os.environ["NAPARI_CLICKSEG_CACHE"] = str(folder)
    viewer = ViewerModel()
    viewer.add_image(picture(), name="blobs", rgb=True)
    ui = attach(viewer)
    ui.use_choices(replace(ui.choices, settings=settings()), ask=False)
    ui.first_look = "published"
    course = Course("viewer")
    walk(ui, course, clicks, minutes, lambda: None)
    journals = list((folder / "sessions").glob("*.journal"))
    course.journal = sum(path.stat().st_size for path in journals)
    for each in napari_layers._ATTACHED.pop(viewer, {}).values():  # noqa: SLF001
        each.close()
    return course


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    head = ("session", "clicks", "objects", "memory, MiB", "growth")
    head += ("heap in use, MiB", "growth", "processor ms a click", "growth")
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        cells = [row["session"], f"{row['clicks']:,}", f"{row['objects']:,}"]
        for name in ("resident_mib", "heap_mib", "cpu_ms"):
            found = row[name]
            cells.append(f"{found['early']:.1f} to {found['late']:.1f}")
            cells.append(f"{found['growth']:+.1f} %")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run both and write down what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=10_000)
    parser.add_argument("--viewer", type=int, default=2000)
    parser.add_argument("--warm", type=int, default=WARM)
    parser.add_argument("--minutes", type=float, default=60.0, help="for each")
    parser.add_argument("--out", type=Path, default=Path("results/soak"))
    wishes = parser.parse_args()
    wishes.out.mkdir(parents=True, exist_ok=True)
    rows, courses = [], {}
    jobs = ((by_script, wishes.clicks), (in_a_viewer, wishes.viewer))
    for run, clicks in jobs:
        if not clicks:
            continue
        with tempfile.TemporaryDirectory() as place:
            course = run(clicks, wishes.minutes, Path(place))
        warm = min(wishes.warm, len(course.cpu) // 3)
        rows.append(course.summary(warm))
        courses[course.name] = course.memory
        content = {"machine": platform.platform(), "rows": rows, "memory": courses}
        (wishes.out / "soak.json").write_text(json.dumps(content, indent=1) + "\n")
        (wishes.out / "soak.md").write_text(table(rows))
        print(table(rows[-1:]))


if __name__ == "__main__":
    main()
