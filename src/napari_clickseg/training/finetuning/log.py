"""What a run has written into its folder while it learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from napari_clickseg.limits import DAMAGE
from napari_clickseg.training.finetuning.report import Validation

__all__ = ["HISTORY", "Logged", "logged", "note"]

#: One line of JSON for each step.
HISTORY = "history.jsonl"


class Logged(NamedTuple):
    """One step."""

    step: int
    loss: float
    score: float
    validation: Validation | None = None


def note(folder: Path, one: Logged) -> None:
    """Add a step to the log."""
    line = {"step": one.step, "loss": one.loss, "score": one.score}
    if one.validation is not None:
        line["validation"] = vars(one.validation)  # type: ignore[assignment]
    with (folder / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def logged(folder: Path) -> list[Logged]:
    """Return the steps of a run in order; of a step made twice the newer one.

    What was written before a run began anew is left out, and half a last line.
    """
    steps: dict[int, Logged] = {}
    try:
        lines = (folder / HISTORY).read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            told = json.loads(line)
            checked = told.get("validation")
            one = Logged(
                int(told["step"]),
                float(told["loss"]),
                float(told["score"]),
                None if checked is None else Validation(**checked),
            )
        except DAMAGE:
            continue
        for later in [step for step in steps if step > one.step]:
            del steps[later]
        steps[one.step] = one
    return [steps[step] for step in sorted(steps)]
