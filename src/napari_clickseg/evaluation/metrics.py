"""Figures of a benchmark run: clicks needed, IoU per click, time per click.

The rules are those of the published evaluation code (RITM, f-BRS): scores are
compared in single precision, a goal that was never reached counts as the largest
number of clicks, and all goals are read off one run that stops at 0.90.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

GOALS = (0.80, 0.85, 0.90)
MAX_CLICKS = 20


@dataclass(frozen=True, slots=True)
class SampleResult:
    """What happened on one object.

    Parameters
    ----------
    name : str
        Name of the sample within its data set.
    method : str
        Model or baseline that answered.
    ious : tuple of float
        IoU after click 1, 2, ... until the goal or the last click.
    clicks : tuple of (row, col, positive)
        The simulated clicks, in order.
    seconds : float
        Wall time of the sample: reading it, simulating clicks, answering.
    answer_seconds : float
        The part of it that the method spent on its answers.
    pixels : int
        Pixels the method worked on, summed over the clicks.
    shape : (int, int)
        Height and width of the image.
    area : int
        Pixels of the object.
    where : str
        Device and precision, for a model.
    notices : tuple of str
        What a reader of the numbers should know, such as memory that ran out.
    start : float or None
        IoU before the first click, for models that answer without one.
    """

    name: str
    method: str
    ious: tuple[float, ...]
    clicks: tuple[tuple[int, int, bool], ...]
    seconds: float
    answer_seconds: float
    pixels: int
    shape: tuple[int, int]
    area: int
    where: str = ""
    notices: tuple[str, ...] = ()
    start: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "name": self.name,
            "method": self.method,
            "ious": list(self.ious),
            "clicks": [[row, col, int(sign)] for row, col, sign in self.clicks],
            "seconds": self.seconds,
            "answer_seconds": self.answer_seconds,
            "pixels": self.pixels,
            "shape": list(self.shape),
            "area": self.area,
            "where": self.where,
            "notices": list(self.notices),
            "start": self.start,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SampleResult:
        """Return the result that :meth:`to_json` wrote."""
        height, width = values["shape"]
        start = values.get("start")
        return cls(
            name=str(values["name"]),
            method=str(values["method"]),
            ious=tuple(float(value) for value in values["ious"]),
            clicks=tuple(
                (int(r), int(c), bool(sign)) for r, c, sign in values["clicks"]
            ),
            seconds=float(values["seconds"]),
            answer_seconds=float(values["answer_seconds"]),
            pixels=int(values["pixels"]),
            shape=(int(height), int(width)),
            area=int(values["area"]),
            where=str(values["where"]),
            notices=tuple(str(notice) for notice in values["notices"]),
            start=None if start is None else float(start),
        )


def reaches(ious: Sequence[float] | NDArray[np.floating], goal: float) -> bool:
    """Return whether any click reached ``goal``, compared in single precision."""
    return bool((np.asarray(ious, np.float32) >= np.float32(goal)).any())


def clicks_needed(
    ious: Sequence[float] | NDArray[np.floating],
    goal: float,
    max_clicks: int = MAX_CLICKS,
) -> int:
    """Return the number of clicks until ``goal`` (NoC of one sample).

    Parameters
    ----------
    ious : sequence of float
        IoU after each click; NaN never reaches a goal.
    goal : float
        IoU to reach, compared in single precision.
    max_clicks : int
        The answer where the goal was not reached.
    """
    reached = np.asarray(ious, np.float32) >= np.float32(goal)
    return int(reached.argmax()) + 1 if reached.any() else max_clicks


def iou_curve(
    runs: Iterable[Sequence[float]], max_clicks: int = MAX_CLICKS
) -> NDArray[np.float64]:
    """Return the mean IoU after click 1, 2, ..., ``max_clicks``.

    A run that stopped early, because it had reached its goal, keeps its last
    value: the annotator would have gone on to the next object.

    Returns
    -------
    array (max_clicks,) of float64
    """
    rows = [np.asarray(run, np.float64)[:max_clicks] for run in runs]
    if not rows or any(row.size == 0 for row in rows):
        raise DatasetError(
            "There is no IoU per click to average: no sample was evaluated."
        )
    held = np.stack(
        [np.pad(row, (0, max_clicks - row.size), mode="edge") for row in rows]
    )
    mean: NDArray[np.float64] = held.mean(axis=0)
    return mean


def summarise(
    results: Sequence[SampleResult], max_clicks: int = MAX_CLICKS
) -> dict[str, Any]:
    """Return the figures of one method over its samples.

    Returns
    -------
    dict
        ``n``; ``noc@80``, ``noc@85``, ``noc@90`` (mean clicks to that IoU);
        ``over20@80`` ... (samples at the largest number of clicks, which includes
        those that succeed with the very last one, as published); ``iou@1``,
        ``iou@5``, ``iou@max``; ``iou_curve``; ``spc``, seconds per click with
        reading and simulation, as published; ``spc_answer`` without them; ``pie``,
        seconds per click and pixel (Huang et al., InterFormer, 2023: the answer's
        time over the pixels the network is given); ``clicks``; ``seconds``.
    """
    curve = iou_curve((result.ious for result in results), max_clicks)
    summary: dict[str, Any] = {"n": len(results)}
    for goal in GOALS:
        needed = [clicks_needed(result.ious, goal, max_clicks) for result in results]
        summary[f"noc@{round(goal * 100)}"] = float(np.mean(needed))
    for goal in GOALS:
        needed = [clicks_needed(result.ious, goal, max_clicks) for result in results]
        key = f"over{max_clicks}@{round(goal * 100)}"
        summary[key] = sum(count == max_clicks for count in needed)
    summary["iou@1"] = float(curve[0])
    summary["iou@5"] = float(curve[min(5, max_clicks) - 1])
    summary["iou@max"] = float(curve[-1])
    summary["iou_curve"] = [float(value) for value in curve]
    clicks = sum(len(result.clicks) for result in results)
    seconds = math.fsum(result.seconds for result in results)
    answers = math.fsum(result.answer_seconds for result in results)
    pixels = sum(result.pixels for result in results)
    summary["spc"] = seconds / max(1, clicks)
    summary["spc_answer"] = answers / max(1, clicks)
    summary["pie"] = answers / pixels if pixels else None
    summary["clicks"] = clicks
    summary["seconds"] = seconds
    return summary
