"""Time and memory of a click on images from 1,000 to 64,000 pixels a side.

    python benchmarks/large_image.py --out results/large_image

The same nuclei lie around the clicks at every size, the same field is on the canvas,
and each size has processes of its own, whose peak memory the system counts. Images of
1k and 4k lie in memory (NumPy); 16k and 64k are Zarr pyramids on disk, of which only
the middle holds more than the fill value. Sizes are measured in turn, several times,
so that a busy machine slows all alike.

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
WAYS = ("session", "viewer")
#: Growth from the smallest to the largest image that is aimed at.
GOAL = 1.2


def field() -> tuple[Any, list[tuple[float, float]]]:
    """Return nuclei (1024, 1024) and the middles of some of them."""
    from scipy import ndimage

    from napari_clickseg.samples import draw_fluorescence

    image, objects = draw_fluorescence((FIELD, FIELD), 200)
    numbers = range(1, int(objects.max()) + 1)
    places = ndimage.center_of_mass(objects > 0, objects, numbers)
    places.sort(key=lambda p: np.hypot(p[0] - FIELD / 2, p[1] - FIELD / 2))
    return image, [(float(row), float(col)) for row, col in places[: OBJECTS + 2]]


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


def measure(size: int, way: str, folder: Path) -> dict[str, Any]:
    """Click some objects and commit them; returns seconds and bytes."""
    import resource

    image, places = field()
    levels = opened(size, folder, image)
    start = origin_of(size)
    limits = tuple(float(v) for v in np.percentile(image, (0.5, 99.9)))
    drive = by_session if way == "session" else by_viewer
    clicks, commits, pixels = drive(levels, limits, places, start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "size": size,
        "way": way,
        "click": statistics.median(clicks[2:]),
        "commit": statistics.median(commits[2:]),
        "peak": peak,
        "pixels": pixels,
    }


def by_session(
    levels: list[Any],
    limits: tuple[float, ...],
    places: list[tuple[float, float]],
    start: int,
) -> tuple[list[float], list[float], int]:
    """Drive a session."""
    import napari_clickseg as cs
    from napari_clickseg.boxes import Box
    from napari_clickseg.image import ImageSource

    session = cs.ClickSession()
    session.set_image(ImageSource(levels[0], contrast=limits, coarser=levels[1:]))
    session.visible = Box(*_visible(start))
    clicks, commits = [], []
    for row, col in places:
        began = time.perf_counter()
        session.add_click((row + start, col + start))
        clicks.append(time.perf_counter() - began)
        began = time.perf_counter()
        session.commit()
        commits.append(time.perf_counter() - began)
    return clicks, commits, sum(each.area for each in session.objects.values())


def by_viewer(
    levels: list[Any],
    limits: tuple[float, ...],
    places: list[tuple[float, float]],
    start: int,
) -> tuple[list[float], list[float], int]:
    """Drive the layers of a viewer without a window."""
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
    clicks, commits = [], []
    for row, col in places:
        began = time.perf_counter()
        ui.add_click((row + start, col + start))
        clicks.append(time.perf_counter() - began)
        began = time.perf_counter()
        ui.commit()
        commits.append(time.perf_counter() - began)
    area = sum(each.area for each in ui.objects.values())
    ui.close()
    return clicks, commits, area


def _visible(start: int) -> tuple[int, int, int, int]:
    low = start + (FIELD - VISIBLE) // 2
    return low, low, low + VISIBLE, low + VISIBLE


def run(sizes: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """Measure all sizes in turn, each in a process of its own."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        image, _ = field()
        for size in sizes:
            if size > IN_MEMORY:
                write_pyramid(folder / str(size), size, image)
        environment = {**os.environ, "NAPARI_CLICKSEG_CACHE": str(folder / "cache")}
        for number in range(rounds):
            for way in WAYS:
                for size in sizes:
                    command = [sys.executable, __file__, "--one", str(size), way]
                    done = subprocess.run(
                        [*command, "--folder", scratch],
                        capture_output=True,
                        text=True,
                        env=environment,
                        check=False,
                    )
                    if done.returncode:
                        raise RuntimeError(done.stderr)
                    rows.append(json.loads(done.stdout.splitlines()[-1]))
                    print(f"round {number + 1}: {rows[-1]}", file=sys.stderr)
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the medians over all rounds, and growth against the smallest image."""
    out: list[dict[str, Any]] = []
    for way in WAYS:
        base: dict[str, float] = {}
        for size in sorted({row["size"] for row in rows}):
            mine = [r for r in rows if r["size"] == size and r["way"] == way]
            figures = {
                name: statistics.median(row[name] for row in mine)
                for name in ("click", "commit", "peak")
            }
            base = base or figures
            out.append(
                {
                    "way": way,
                    "size": size,
                    "kept": "NumPy" if size <= IN_MEMORY else "Zarr",
                    **figures,
                    "click_growth": figures["click"] / base["click"],
                    "peak_growth": figures["peak"] / base["peak"],
                    "pixels": mine[0]["pixels"],
                }
            )
    return out


def table(rows: list[dict[str, Any]]) -> str:
    """Return the medians as Markdown."""
    lines = [
        ("| driven by | side | image | click, ms | growth | commit, ms "
        "| peak, MB | growth |"),
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['way']} | {row['size']:,} | {row['kept']} "
        f"| {1000 * row['click']:.0f} | {row['click_growth']:.2f} "
        f"| {1000 * row['commit']:.1f} | {row['peak'] / 1e6:.0f} "
        f"| {row['peak_growth']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the comparison and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--one", nargs=2, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        size, way = arguments.one
        print(json.dumps(measure(int(size), way, arguments.folder)))
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
