"""Time and memory of a click on images from 1,000 to 64,000 pixels a side.

    python benchmarks/large_image.py --out results/large_image

The same nuclei lie around the clicks at every size, the same field is on the canvas,
and each size has processes of its own, whose peak memory the system counts. Images of
1k and 4k lie in memory (NumPy); 16k and 64k are Zarr pyramids on disk, of which only
the middle holds more than the fill value. All sizes stand ready at once and are clicked
in turn, object by object, while the others wait: so a busy machine slows all alike.

``session`` is a script that drives a ``ClickSession``; ``viewer`` goes through the
layers of a napari ``ViewerModel``: image, mask and objects, as in the dock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (1024, 4096, 16384, 65536)
#: Largest side that is an array in memory.
IN_MEMORY = 4096
#: Side of the field with nuclei; it is the whole of the smallest image.
FIELD = 1024
#: Of larger images, so much of the middle is filled with copies of it.
FILLED = 4096
#: Side of what the canvas shows.
VISIBLE = 600
OBJECTS = 12
#: Objects before those, while everything is loaded.
WARM_UP = 2
WAYS = ("session", "viewer")
#: Growth from the smallest to the largest image that is aimed at.
GOAL = 1.2

_KEPT: list[Any] = []


def field() -> tuple[Any, list[tuple[float, float]]]:
    """Return nuclei (1024, 1024) and the middles of some of them."""
    from scipy import ndimage

    from napari_clickseg.samples import draw_fluorescence

    image, objects = draw_fluorescence((FIELD, FIELD), 200)
    numbers = range(1, int(objects.max()) + 1)
    places = ndimage.center_of_mass(objects > 0, objects, numbers)
    places.sort(key=lambda p: np.hypot(p[0] - FIELD / 2, p[1] - FIELD / 2))
    return image, [(float(row), float(col)) for row, col in places[: OBJECTS + WARM_UP]]


def write_pyramid(folder: Path, size: int, image: Any) -> None:
    """Write the levels of a large image; chunks of the fill value are not on disk."""
    import zarr

    root = zarr.open_group(folder, mode="w")
    middle = np.tile(image, (FILLED // FIELD, FILLED // FIELD))
    level = 0
    while True:
        n = size >> level
        array = root.create_array(
            str(level), shape=(n, n), chunks=(512, 512), dtype="uint16", fill_value=200
        )
        start = (size - FILLED) // 2 >> level
        array[start : start + len(middle), start : start + len(middle)] = middle
        if n <= 1024:
            return
        blocks = middle.reshape(len(middle) // 2, 2, len(middle) // 2, 2)
        middle = blocks.mean(axis=(1, 3)).astype(np.uint16)
        level += 1


def opened(size: int, folder: Path, image: Any) -> list[Any]:
    """Return the levels of an image."""
    if size <= IN_MEMORY:
        return [np.tile(image, (size // FIELD, size // FIELD))]
    import zarr

    root = zarr.open_group(folder / str(size), mode="r")
    return [root[str(i)] for i in range(len(list(root.array_keys())))]


def origin_of(size: int) -> int:
    """Return where the copy of the field begins on which the clicks are made."""
    return 0 if size == FIELD else size // 2  # the filled middle holds 4 x 4 copies


def serve(size: int, way: str, folder: Path) -> None:
    """Click and commit an object for each number that comes in; say how long it took.

    Standard input holds numbers of objects; at its end the peak memory is told.
    """
    import resource

    image, places = field()
    levels = opened(size, folder, image)
    start = origin_of(size)
    limits = tuple(float(v) for v in np.percentile(image, (0.5, 99.9)))
    clicks: Any = (by_session if way == "session" else by_viewer)(levels, limits, start)
    print("ready", flush=True)
    for line in sys.stdin:
        row, col = places[int(line)]
        began, worked = time.perf_counter(), time.process_time()
        clicks.add_click((row + start, col + start))
        told = {
            "click": time.perf_counter() - began,
            "work": time.process_time() - worked,
        }
        began = time.perf_counter()
        label = clicks.commit()
        told["commit"] = time.perf_counter() - began
        told["pixels"] = clicks.objects[label].area
        told["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(told), flush=True)
    close = getattr(clicks, "close", None)
    if close is not None:
        close()


def by_session(levels: list[Any], limits: tuple[float, ...], start: int) -> Any:
    """Return a session with the image."""
    import napari_clickseg as cs
    from napari_clickseg.boxes import Box
    from napari_clickseg.image import ImageSource

    session = cs.ClickSession()
    session.set_image(ImageSource(levels[0], contrast=limits, coarser=levels[1:]))
    session.visible = Box(*_visible(start))
    return session


def by_viewer(levels: list[Any], limits: tuple[float, ...], start: int) -> Any:
    """Return what drives the layers of a viewer without a window."""
    from napari.components import ViewerModel

    import napari_clickseg as cs

    viewer = ViewerModel()
    data = levels if len(levels) > 1 else levels[0]
    viewer.add_image(data, multiscale=len(levels) > 1, contrast_limits=limits)
    ui = cs.attach(viewer)
    ui.make_ready()
    top, left, bottom, right = _visible(start)
    for layer in viewer.layers:  # as the canvas does
        layer._update_draw(  # noqa: SLF001
            scale_factor=1.0,
            corner_pixels_displayed=np.array([[top, left], [bottom, right]]),
            shape_threshold=(VISIBLE, VISIBLE),
        )
    _KEPT.append(viewer)  # clicks hold it weakly
    return ui


def _visible(start: int) -> tuple[int, int, int, int]:
    low = start + (FIELD - VISIBLE) // 2
    return low, low, low + VISIBLE, low + VISIBLE


def run(sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Click all sizes in turn, each in a process of its own."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        image, places = field()
        for size in sizes:
            if size > IN_MEMORY:
                write_pyramid(folder / str(size), size, image)
        for number in range(rounds):
            for way in WAYS:
                rows += in_turn(sizes, way, folder, len(places), number)
    return rows


def in_turn(
    sizes: Sequence[int], way: str, folder: Path, count: int, number: int
) -> list[dict[str, Any]]:
    """Click the same objects in images of all sizes, one click after the other."""
    cache = str(folder / f"cache-{number}-{way}")
    environment = {**os.environ, "NAPARI_CLICKSEG_CACHE": cache}
    command = [sys.executable, __file__, "--folder", str(folder), "--one"]
    running: dict[int, subprocess.Popen[str]] = {}
    rows = []
    try:
        for size in sizes:
            running[size] = child = subprocess.Popen(
                [*command, str(size), way],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            _answer(child)  # ready
        for at in range(count):
            # Whoever comes first may find the processor in another mood.
            turn = [*sizes[at % len(sizes) :], *sizes[: at % len(sizes)]]
            for size in turn:
                child = running[size]
                assert child.stdin is not None
                child.stdin.write(f"{at}\n")
                child.stdin.flush()
                told = json.loads(_answer(child))
                rows.append({"size": size, "way": way, "object": at, **told})
            print(f"round {number + 1}, {way}, object {at}", file=sys.stderr)
    finally:
        for child in running.values():
            child.communicate()
    return [row for row in rows if row["object"] >= WARM_UP]


def _answer(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError("A process that clicks has ended early.")
    return line


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return medians, and growth against the smallest image.

    Growth of time is the median of the ratios of the same click, so that a machine that
    is busy for a while does not matter.
    """
    out: list[dict[str, Any]] = []
    sizes = sorted({row["size"] for row in rows})
    for way in WAYS:
        mine = [row for row in rows if row["way"] == way]
        at = {size: [row for row in mine if row["size"] == size] for size in sizes}
        base = sorted(at[sizes[0]], key=_number)
        for size in sizes:
            here = sorted(at[size], key=_number)
            peak = max(row["peak"] for row in here)
            pairs = list(zip(here, base, strict=True))
            out.append(
                {
                    "way": way,
                    "size": size,
                    "kept": "NumPy" if size <= IN_MEMORY else "Zarr",
                    "click": statistics.median(row["click"] for row in here),
                    "commit": statistics.median(row["commit"] for row in here),
                    "click_growth": statistics.median(
                        row["click"] / first["click"] for row, first in pairs
                    ),
                    "work_growth": statistics.median(
                        row["work"] / first["work"] for row, first in pairs
                    ),
                    "peak": peak,
                    "peak_growth": peak / max(row["peak"] for row in base),
                    "pixels": sum(row["pixels"] for row in here),
                }
            )
    return out


def _number(row: dict[str, Any]) -> int:
    number: int = row["object"]
    return number


def table(rows: list[dict[str, Any]]) -> str:
    """Return the medians as Markdown."""
    names = ["driven by", "side", "image", "click, ms", "growth", "processor time"]
    names += ["commit, ms", "peak, MB", "growth"]
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [
        f"| {row['way']} | {row['size']:,} | {row['kept']} "
        f"| {1000 * row['click']:.0f} | {row['click_growth']:.2f} "
        f"| {row['work_growth']:.2f} | {1000 * row['commit']:.1f} "
        f"| {row['peak'] / 1e6:.0f} | {row['peak_growth']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the comparison and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--one", nargs=2, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        size, way = arguments.one
        serve(int(size), way, arguments.folder)
        return
    rows = run(tuple(arguments.sizes), arguments.rounds)
    found = summary(rows)
    print(table(found))
    if arguments.out is not None:
        import torch

        machine = {
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "visible": VISIBLE,
            "goal": GOAL,
        }
        arguments.out.mkdir(parents=True, exist_ok=True)
        result = {"machine": machine, "summary": found, "rows": rows}
        (arguments.out / "large_image.json").write_text(json.dumps(result, indent=1))
        (arguments.out / "large_image.md").write_text(table(found) + "\n")


if __name__ == "__main__":
    main()
