"""What a user may choose, and what follows from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from napari_clickseg.errors import TrainingError
from napari_clickseg.training.finetuning.loop import LoopOptions
from napari_clickseg.training.finetuning.parts import Parts

Effort = Literal["quick", "thorough"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)
KINDS = ("auto", "photo", "microscopy")


@dataclass(frozen=True)
class Preset:
    """What an effort means.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    batch : int
        The user's windows in a batch; of the reference there are half as many.
    check_every, patience : int
        Steps between validations, and validations without a better one until the end.
    measured : int
        At most so many objects are clicked on before and after.
    windows : int
        Windows held aside for validation.
    """

    steps: int
    batch: int
    check_every: int
    patience: int
    measured: int
    windows: int


PRESETS: dict[Effort, Preset] = {
    "quick": Preset(160, 8, 80, 0, 10, 16),
    "thorough": Preset(900, 12, 60, 5, 40, 32),
}


@dataclass(frozen=True)
class Settings:
    """The choices of :func:`napari_clickseg.finetune`, but for data, model and name.

    Parameters are described there; None takes what the effort says.
    """

    effort: Effort = "quick"
    parts: Parts = "auto"
    kind: str = "auto"
    validation: float = 0.2
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    accumulate: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.effort not in EFFORTS:
            raise TrainingError(
                f"The effort is {' or '.join(EFFORTS)}, not {self.effort!r}."
            )
        if self.kind not in KINDS:
            raise TrainingError(f"Images are of the kind {', '.join(KINDS)}.")
        if not 0 <= self.validation < 1:
            raise TrainingError(
                f"The share held aside lies in [0, 1), not {self.validation}."
            )
        for name in ("steps", "batch", "accumulate"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise TrainingError(f"{name} is at least 1, not {value}.")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise TrainingError(
                f"The learning rate lies between 0 and 1, not {self.learning_rate}."
            )

    @property
    def preset(self) -> Preset:
        """What the effort means."""
        return PRESETS[self.effort]

    def batch_for(self, world: int) -> int:
        """Return the user's windows in a batch: as many for each process and piece."""
        share = world * self.accumulate
        batch = self.batch or self.preset.batch
        return max(1, round(batch / share)) * share

    def loop_options(self, parts: Parts, usual_rate: float) -> LoopOptions:
        """Return how the loop runs."""
        preset = self.preset
        steps = self.steps or preset.steps
        return LoopOptions(
            steps=steps,
            learning_rate=self.learning_rate or usual_rate,
            parts=parts,
            accumulate=self.accumulate,
            check_every=min(preset.check_every, max(1, steps // 2)),
            patience=preset.patience,
            seed=self.seed,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return them ready for JSON."""
        return asdict(self)


def work_key(*parts: Any) -> str:
    """Return what a piece of work is known by: the same parts, the same key."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
