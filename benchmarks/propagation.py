"""Count the clicks that an object of a stack takes, plane by plane and carried.

    python benchmarks/propagation.py --out results/propagation

The simulated annotator of the click benchmark marks objects whose truth is known, in
two ways. (a) Every plane on its own, until its IoU is at the goal. (b) The plane where
the object is largest, to the goal; carried both ways; then the worst plane is corrected
to the goal and carried on from there, until every plane is at the goal. A plane where
the object was carried although it is not there takes one action (delete), which counts
as a click. Planes where the object has less than a tenth of its largest area count in
neither way: there a pixel decides about the IoU.

Writes JSON and a table in Markdown; ``--page`` puts the table into docs/stacks.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import draw, morphology

import napari_clickseg as cs
from napari_clickseg.evaluation.simulate import SimulatedAnnotator, iou
from napari_clickseg.session import STARTER, StackSession
from napari_clickseg.stack_samples import draw_moving_cells, draw_nuclei_stack
from pages import fill

PAGE = Path(__file__).resolve().parents[1] / "docs" / "stacks.md"
#: No plane is clicked more often.
MOST = 20
#: Planes count where the object has this part of its largest area.
COUNTED = 0.1
GOALS = (0.85, 0.9)


@dataclass
class Stack:
    """Planes, the objects in them, and the distance of planes in pixels."""

    name: str
    image: NDArray[Any]
    objects: NDArray[np.int32]
    spacing: float = 1.0


@dataclass
class Row:
    """One object, at one goal."""

    stack: str
    number: int
    goal: float
    planes: int
    alone: int
    carried: int
    corrections: int
    first: int
    reached_alone: int
    reached: int
    seconds_alone: float
    seconds_carried: float


def nuclei() -> Stack:
    """Return the sample of the package."""
    image, objects = draw_nuclei_stack()
    return Stack("nuclei", image, objects, 2.0)


def cells() -> Stack:
    """Return moving, bleaching cells over time, some of which come to touch."""
    image, objects = draw_moving_cells((14, 200, 240))
    return Stack("moving cells", image, objects)


def shapes(seed: int = 1) -> Stack:
    """Return the bodies that scikit-image draws, with noise, every second plane."""
    bodies = [
        morphology.ball(22),
        morphology.octahedron(26),
        draw.ellipsoid(24, 15, 28).astype(np.uint8),
        morphology.footprint_rectangle((40, 34, 30)),
        np.pad(morphology.ball(14), 4) | np.roll(np.pad(morphology.ball(14), 4), 9, 2),
    ]
    side, gap = 64, 6
    objects = np.zeros((34, side + 2 * gap, len(bodies) * side + 2 * gap), np.int32)
    for number, body in enumerate(bodies, start=1):
        thin = np.asarray(body)[::2] > 0
        top = (objects.shape[0] - thin.shape[0]) // 2
        row = (objects.shape[1] - thin.shape[1]) // 2
        col = gap + (number - 1) * side + (side - thin.shape[2]) // 2
        where = tuple(
            slice(a, a + n) for a, n in zip((top, row, col), thin.shape, strict=True)
        )
        objects[where][thin] = number
    rng = np.random.default_rng(seed)
    light = rng.uniform(60, 120, len(bodies) + 1)[objects] * (objects > 0)
    light = ndimage.gaussian_filter(light, (0.6, 1.2, 1.2)) + 60
    image = np.clip(light + rng.normal(0, 14, light.shape), 0, 255).astype(np.uint8)
    return Stack("bodies of scikit-image", image, objects, 2.0)


STACKS: dict[str, Callable[[], Stack]] = {
    "nuclei": nuclei,
    "shapes": shapes,
    "cells": cells,
}


class Annotator:
    """Works on one object of a stack."""

    def __init__(self, stack: Stack, number: int, model: Any) -> None:
        self.truth = stack.objects == number
        self.areas = self.truth.sum(axis=(1, 2))
        self.counted = np.flatnonzero(self.areas > COUNTED * self.areas.max())
        low, high = np.quantile(stack.image, (0.001, 0.999))
        self.session = StackSession(
            stack.image,
            model,
            contrast=(float(low), float(high)),
            spacing=stack.spacing,
        )

    def click(self, index: int, goals: tuple[float, ...]) -> dict[float, int]:
        """Click on a plane until the last goal; returns clicks for each that is met."""
        session, truth = self.session.plane(index), self.truth[index].astype(int)
        annotator = SimulatedAnnotator(truth)
        found: dict[float, int] = {}
        mask = session.mask if session.in_work else None
        for count in range(MOST + 1):
            score = 0.0 if mask is None else iou(truth, mask)
            found.update({g: count for g in goals if score >= g and g not in found})
            if len(found) == len(goals) or count == MOST:
                break
            session.add_click(annotator.next_click(mask))
            mask = session.mask
        return found

    def alone(self) -> tuple[dict[float, int], dict[float, int], float]:
        """Return clicks over all planes for each goal, planes at it, and seconds."""
        began, clicks = time.perf_counter(), dict.fromkeys(GOALS, 0)
        reached = dict.fromkeys(GOALS, 0)
        for index in map(int, self.counted):
            found = self.click(index, GOALS)
            self.session.plane(index).discard()
            for goal in GOALS:
                clicks[goal] += found.get(goal, MOST)
                reached[goal] += goal in found
        return clicks, reached, time.perf_counter() - began

    def carried(self, goal: float) -> tuple[int, int, int, int, float]:
        """Return clicks, corrections, clicks on the first plane, planes at the goal."""
        began, stack = time.perf_counter(), self.session
        start = int(self.areas.argmax())
        clicks = first = self.click(start, (goal,)).get(goal, MOST)
        label = stack.commit(start)
        stack.propagate(start, label)
        done, corrections = {start}, 0
        while (worst := self.worst(label, goal, done)) is not None:
            done.add(worst)
            corrections += 1
            session = stack.plane(worst)
            if not self.truth[worst].any():
                session.delete(label)
                clicks += 1
                continue
            if label in session.objects:
                session.reopen(label)
            clicks += self.click(worst, (goal,)).get(goal, MOST)
            stack.commit(worst, label)
            stack.propagate(worst, label)
        scores = self.scores(label)
        reached = sum(scores[int(i)] >= goal for i in self.counted)
        return clicks, corrections, first, reached, time.perf_counter() - began

    def scores(self, label: int) -> dict[int, float]:
        """Return the IoU of each plane that counts, and of those with false masks."""
        scores = {}
        for index, truth in enumerate(self.truth):
            found = self.session.sessions.get(index)
            mask = (
                np.zeros(truth.shape, bool) if found is None else found.labels == label
            )
            if index in self.counted or (mask.any() and not truth.any()):
                scores[index] = iou(truth.astype(int), mask)
        return scores

    def worst(self, label: int, goal: float, done: set[int]) -> int | None:
        """Return the plane that is farthest from the goal, of those not yet touched."""
        scores = {i: s for i, s in self.scores(label).items() if i not in done}
        if not scores or min(scores.values()) >= goal:
            return None
        return min(scores, key=lambda i: (scores[i], i))


def measured(stack: Stack, number: int, model: Any) -> Iterator[Row]:
    """Mark one object in both ways."""
    alone, reached_alone, seconds = Annotator(stack, number, model).alone()
    for goal in GOALS:
        one = Annotator(stack, number, model)
        clicks, corrections, first, reached, took = one.carried(goal)
        yield Row(
            stack.name,
            number,
            goal,
            len(one.counted),
            alone[goal],
            clicks,
            corrections,
            first,
            reached_alone[goal],
            reached,
            seconds,
            took,
        )


def table(rows: list[Row]) -> str:
    """Return the means as a table."""
    lines = [
        (
            "| stack | IoU goal | objects | planes each | clicks, every plane "
            "| clicks, carried | ratio | planes corrected "
            "| planes at the goal, every / carried |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row.stack for row in rows):
        for goal in GOALS:
            these = [r for r in rows if r.stack == name and r.goal == goal]
            if not these:
                continue
            planes = sum(r.planes for r in these)
            alone, carried = (
                fmean(getattr(r, which) for r in these)
                for which in ("alone", "carried")
            )
            lines.append(
                f"| {name} | {goal} | {len(these)} | {planes / len(these):.1f} "
                f"| {alone:.1f} | {carried:.1f} | {alone / carried:.1f} "
                f"| {fmean(r.corrections for r in these):.1f} "
                f"| {sum(r.reached_alone for r in these) / planes:.0%} / "
                f"{sum(r.reached for r in these) / planes:.0%} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/propagation"))
    parser.add_argument("--stacks", nargs="+", default=list(STACKS), choices=STACKS)
    parser.add_argument("--objects", type=int, default=6, help="of each stack")
    parser.add_argument("--model", default=STARTER)
    parser.add_argument("--page", action="store_true", help="fill docs/stacks.md")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    model, rows = cs.load_model(given.model), []
    stacks = [STACKS[name]() for name in given.stacks]
    for number in range(1, given.objects + 1):
        for stack in stacks:
            if number > stack.objects.max():
                continue
            for row in measured(stack, number, model):
                rows.append(row)
                print(row, flush=True)
            text = json.dumps([asdict(row) for row in rows], indent=1)
            (given.out / "propagation.json").write_text(text, encoding="utf-8")
            (given.out / "propagation.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))
    if given.page:
        fill(PAGE, {"propagation": table(rows)})


if __name__ == "__main__":
    main()
