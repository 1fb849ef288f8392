"""Count clicks before and after, with the published annotator and predictor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.clicks import Click
from napari_clickseg.evaluation.methods import ModelMethod
from napari_clickseg.evaluation.protocol import Run, run_sample
from napari_clickseg.evaluation.simulate import SimulatedAnnotator
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.training.finetuning.checking import Entry
from napari_clickseg.training.finetuning.pictures import Pictures
from napari_clickseg.training.finetuning.report import Example, Scores

#: Objects shown as examples.
EXAMPLES = 4
GOAL, MOST_CLICKS = 0.9, 20


@dataclass(frozen=True)
class Target:
    """One object to click on."""

    entry: Entry
    number: int

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.entry.name}, object {self.entry.objects[self.number].label}"

    def truth(self, pictures: Pictures) -> NDArray[np.int8]:
        """Return 1 on the object, 0 beside it, -1 where nothing is known."""
        labels = pictures[self.entry].labels[self.entry.objects[self.number].layer]
        out = (labels == self.number + 1).astype(np.int8)
        out[labels < 0] = -1
        return out


def targets_of(held: Sequence[tuple[Entry, tuple[int, ...]]]) -> list[Target]:
    """Return the objects to click on, image by image."""
    return [Target(entry, number) for entry, numbers in held for number in numbers]


def measure(
    model: Any,
    pictures: Pictures,
    targets: Sequence[Target],
    on_object: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Scores, list[NDArray[np.bool_]]]:
    """Click on objects until an IoU of 0.90, at most 20 times.

    Parameters
    ----------
    model : Model
        A click model.
    pictures : Pictures
        Reads the images; objects that learning must not see are visible in it.
    targets : sequence of Target
        Which objects.
    on_object : callable, optional
        Told how many are done.
    cancelled : callable, optional
        Asked before each click; True stops.

    Returns
    -------
    scores : Scores
    masks : list of ndarray
        Of the first few objects, after one click.
    """
    method = ModelMethod(model, PredictionSettings())
    runs: list[Run] = []
    masks: list[NDArray[np.bool_]] = []
    last: int | None = None
    for done, target in enumerate(targets):
        if target.entry.index != last:
            method.open_image(pictures[target.entry].image)
            last = target.entry.index
        truth = target.truth(pictures)
        runs.append(
            run_sample(
                method, truth, goal=GOAL, max_clicks=MOST_CLICKS, cancelled=cancelled
            )
        )
        if done < EXAMPLES:
            method.start_object()
            masks.append(method.answer(_clicks_on(truth)))
        if on_object is not None:
            on_object(done + 1)
    return scores_of(runs), masks


def answers(
    model: Any, pictures: Pictures, targets: Sequence[Target]
) -> list[NDArray[np.bool_]]:
    """Return the masks of the first few objects, after one click on each."""
    method = ModelMethod(model, PredictionSettings())
    masks: list[NDArray[np.bool_]] = []
    last: int | None = None
    for target in targets[:EXAMPLES]:
        if target.entry.index != last:
            method.open_image(pictures[target.entry].image)
            last = target.entry.index
        method.start_object()
        masks.append(method.answer(_clicks_on(target.truth(pictures))))
    return masks


def scores_of(runs: Sequence[Run]) -> Scores:
    """Return the usual figures."""
    return Scores(
        objects=len(runs),
        noc85=float(np.mean([_needed(run, 0.85) for run in runs])),
        noc90=float(np.mean([_needed(run, 0.90) for run in runs])),
        iou1=float(np.mean([run.ious[0] for run in runs])),
    )


def _needed(run: Run, goal: float) -> int:
    reached = [n for n, iou in enumerate(run.ious, start=1) if iou >= goal]
    return reached[0] if reached else MOST_CLICKS


def examples_of(
    pictures: Pictures,
    targets: Sequence[Target],
    before: Sequence[NDArray[np.bool_]],
    after: Sequence[NDArray[np.bool_]],
) -> tuple[Example, ...]:
    """Put the answers before and after beside each other."""
    found = []
    for target, old, new in zip(targets, before, after, strict=False):
        known = target.truth(pictures)
        truth = known == 1
        found.append(
            Example(
                name=target.name,
                image=pictures[target.entry].image,
                truth=truth,
                before=old,
                after=new,
                clicks=tuple(
                    (int(click.row), int(click.col), bool(click.positive))
                    for click in _clicks_on(known)
                ),
            )
        )
    return tuple(found)


def _clicks_on(truth: NDArray[np.int8]) -> tuple[Click, ...]:
    """Return the one click that an example gets: the annotator's first."""
    return (SimulatedAnnotator(truth).next_click(None),)
