"""One object: click until the goal, or so many times as everybody does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_clickseg.errors import Cancelled
from napari_clickseg.evaluation.methods import field_around
from napari_clickseg.evaluation.metrics import MAX_CLICKS
from napari_clickseg.evaluation.options import GOAL
from napari_clickseg.evaluation.simulate import SimulatedAnnotator, iou

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_clickseg.clicks import Click
    from napari_clickseg.evaluation.methods import Method


@dataclass(frozen=True)
class Run:
    """What happened on one object.

    Attributes
    ----------
    ious : tuple of float
        After each click. Where nothing was wrong before the first click: that one
        score, and no click.
    clicks : tuple of Click
        As they were made.
    seconds : float
        Spent in the method's answers to clicks.
    pixels : int
        Worked on by the method, summed over the clicks.
    start : float or None
        IoU before the first click; None for methods that need a click.
    """

    ious: tuple[float, ...]
    clicks: tuple[Click, ...]
    seconds: float
    pixels: int
    start: float | None = None


def run_sample(
    method: Method,
    truth: NDArray[np.int8],
    *,
    goal: float | None = GOAL,
    max_clicks: int = MAX_CLICKS,
    radii: bool = False,
    cancelled: Callable[[], bool] | None = None,
) -> Run:
    """Click on one object; the method holds the image already.

    Parameters
    ----------
    method : Method
        Answers the clicks.
    truth : array (H, W) of int8
        1 object, 0 background, -1 not scored.
    goal : float or None
        IoU at which to stop, as in the published NoC protocol. None: go on, as in
        the evaluation of G-BRS, until no pixel is left to click.
    max_clicks : int
        Clicks after which to stop anyway.
    radii : bool
        Give each click its attention radius (G-BRS, section 3.1).
    cancelled : callable, optional
        Asked before each click; True stops.

    Raises
    ------
    Cancelled
        If ``cancelled`` said so.
    """
    annotator = SimulatedAnnotator(truth, radii=radii)
    method.start_object(field_around(truth))
    mask = method.answer_without_clicks()
    start = None if mask is None else iou(truth, mask)
    ious: list[float] = []
    seconds, pixels = 0.0, 0
    for _ in range(max_clicks):
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped.")
        if goal is not None:
            annotator.next_click(mask)
        elif (click := annotator.find(mask)) is not None:
            annotator.clicks.append(click)
        else:
            break
        began = time.perf_counter()
        mask = method.answer(tuple(annotator.clicks))
        seconds += time.perf_counter() - began
        pixels += method.pixels
        ious.append(iou(truth, mask))
        if goal is not None and ious[-1] >= goal:
            break
    if not ious and start is not None:
        ious.append(start)
    return Run(tuple(ious), tuple(annotator.clicks), seconds, pixels, start)
