"""Clicks on an image without a window: what ``segment`` and ``demo`` share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clickseg.cli.common import download_bar, say
from napari_clickseg.imagefiles import write_labels

if TYPE_CHECKING:
    from napari_clickseg.cli.clicks import ObjectClicks
    from napari_clickseg.models.model import Model
    from napari_clickseg.session import ClickSession


@dataclass(frozen=True)
class Outcome:
    """What a run of clicks gave, and how long it took.

    Parameters
    ----------
    session : ClickSession
        With the objects committed.
    model : str
        Name, device and precision.
    load_seconds, click_seconds : float
        To load the model; for all answers.
    areas : dict of int to int
        Pixels of each object.
    clicks : int
        How many were answered.
    """

    session: ClickSession
    model: str
    load_seconds: float
    click_seconds: float
    areas: dict[int, int]
    clicks: int

    @property
    def line(self) -> str:
        """One line of timing."""
        each = self.click_seconds / max(1, self.clicks)
        return (
            f"{_count(len(self.areas), 'object')}, {_count(self.clicks, 'click')} in "
            f"{self.click_seconds:.2f} s ({each * 1000:.0f} ms a click), model loaded "
            f"in {self.load_seconds:.2f} s: {self.model}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "objects": self.areas,
            "clicks": self.clicks,
            "seconds": self.click_seconds,
            "load_seconds": self.load_seconds,
            "model": self.model,
        }


def load(name: str, device: str, precision: str) -> tuple[Model, float]:
    """Load a model, with a bar while it downloads; return it and the seconds."""
    from napari_clickseg.models.model import load_model

    start = time.perf_counter()
    with download_bar() as show:
        model = load_model(name, device, precision, progress=show)
    for notice in model.notices:
        say(f"Note: {notice}")
    return model, time.perf_counter() - start


def answer_clicks(
    session: ClickSession, objects: ObjectClicks, load_seconds: float
) -> Outcome:
    """Make all clicks, object by object, and commit each object.

    Parameters
    ----------
    session : ClickSession
        With image and model; a starting mask belongs to the first object.
    objects : dict of int to list of Click
        Label of the object to its clicks.
    load_seconds : float
        What loading the model took, for the record.
    """
    seconds, count = 0.0, 0
    told: set[str] = set()
    for label, clicks in objects.items():
        for click in clicks:
            start = time.perf_counter()
            change = session.add_click(click)
            seconds += time.perf_counter() - start
            count += 1
            for notice in change.notices:
                if notice not in told:
                    say(f"Note: {notice}")
                told.add(notice)
        session.commit(label)
    labels = session.labels
    areas = {label: int((labels == label).sum()) for label in objects}
    model = session.model
    dtype = str(model.dtype).removeprefix("torch.")
    return Outcome(
        session=session,
        model=f"{model.name} on {model.device}, {dtype}",
        load_seconds=load_seconds,
        click_seconds=seconds,
        areas=areas,
        clicks=count,
    )


def write_outcome(
    outcome: Outcome, objects: ObjectClicks, labels: Path, overlay: Path | None
) -> None:
    """Write the label image, and the picture if one is wanted."""
    write_labels(labels, outcome.session.labels)
    if overlay is not None:
        from napari_clickseg.overlay import write_overlay

        clicks = [click for made in objects.values() for click in made]
        write_overlay(overlay, outcome.session.image, outcome.session.labels, clicks)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
