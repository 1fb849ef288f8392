"""What a dock knows of one finetuning: choices, what was found, how it goes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from napari_clickseg.binding.annotated import Planes, Source
from napari_clickseg.binding.shelf import collection_postponed, download, preload_torch
from napari_clickseg.device import is_out_of_memory
from napari_clickseg.errors import ClickSegError, MissingPackageError

if TYPE_CHECKING:
    from napari.layers import Image, Layer

    from napari_clickseg.training.finetuning.job import FinetuneJob
    from napari_clickseg.training.finetuning.report import (
        FinetuneProgress,
        Validation,
    )

__all__ = ["Curve", "State", "Wishes", "explained", "plan", "require_extra"]

#: What is going on. ``ready``: data were checked; ``stopped``: can be gone on with.
State = Literal[
    "idle", "checking", "ready", "running", "stopping", "finishing", "stopped", "done"
]
#: Packages of the extra ``train`` without which nothing can be learned.
NEEDED = ("lightning_fabric", "kornia", "cv2")


@dataclass
class Wishes:
    """What the user has chosen.

    Attributes
    ----------
    pairs : list of [image layer, labels layer]
        Either may be None as long as it is not chosen.
    folder : str
        A folder, or a COCO file, in the place of layers; empty: layers.
    model : str
        Which one learns.
    name : str
        Of the new one; empty: as the engine says.
    effort, device : str
    """

    pairs: list[list[Image | Layer | None]] = field(default_factory=list)
    folder: str = ""
    model: str = ""
    name: str = ""
    effort: str = "quick"
    device: str = "auto"


@dataclass
class Curve:
    """What is drawn of a run.

    Attributes
    ----------
    losses : list of (step, loss)
    validations : list of Validation
        On what was held aside.
    steps : int
        Of the whole run.
    score_name : str
        Of the validations' score.
    """

    losses: list[tuple[int, float]] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    steps: int = 0
    score_name: str = "IoU"

    def take(self, progress: FinetuneProgress) -> None:
        """Draw one more step; of a step made again the newer one."""
        self.steps, self.score_name = progress.steps, progress.score_name
        if progress.loss is None:
            return
        self._forget_from(progress.step)
        self.losses.append((progress.step, progress.loss))
        if progress.validation is not None:
            self.validations.append(progress.validation)

    def _forget_from(self, step: int) -> None:
        while self.losses and self.losses[-1][0] >= step:
            self.losses.pop()
        while self.validations and self.validations[-1].step >= step:
            self.validations.pop()


def require_extra() -> None:
    """Say so where the packages for learning are not installed.

    Raises
    ------
    MissingPackageError
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            "Finetuning needs more packages "
            f"({', '.join(name.replace('_', '-') for name in missing)}). Install them "
            "with: pip install 'napari-clickseg[train]', and start napari again."
        )


def plan(
    sources: list[Source],
    wishes: Wishes,
    more: dict[str, Any],
    tell: Callable[[str, float | None], None],
    cancelled: Callable[[], bool],
) -> FinetuneJob:
    """Read what was chosen and get it ready (in the worker).

    Parameters
    ----------
    sources : list of Source
        Empty where a folder is chosen.
    wishes : Wishes
    more : dict
        Choices of ``plan_finetune`` that the dock does not show.
    tell : callable
        Told what takes a while.
    cancelled : callable
        Asked now and then.

    Raises
    ------
    ClickSegError
        With a sentence for the user.
    """
    require_extra()
    tell("Looking for the model", None)
    download(wishes.model, tell, cancelled)
    tell("Reading images and labels", None)
    preload_torch()
    with collection_postponed():
        from napari_clickseg.training.finetune import plan_finetune
    choices: dict[str, Any] = {
        "model": wishes.model,
        "name": wishes.name.strip() or None,
        "effort": wishes.effort,
        "device": wishes.device,
        "cancelled": cancelled,
        **more,
    }
    if wishes.folder:
        return plan_finetune(wishes.folder, **choices)
    planes = Planes()
    for source in sources:
        source.read(planes, cancelled)
    return plan_finetune(
        planes.images,
        planes.labels,
        names=_distinct(planes.names),
        contrast=planes.contrast,
        **choices,
    )


def explained(error: Exception) -> str | None:
    """Return an error as a sentence with the next step; None: it should not be."""
    if isinstance(error, ClickSegError):
        return str(error)
    if is_out_of_memory(error):
        return (
            "Memory ran out while the model was learning. Close other programs, choose "
            "another device, or show it smaller images; then go on: what was learned "
            "so far is kept."
        )
    if isinstance(error, OSError):
        return f"{error}. Look at the folder and the disk, then try again."
    return None


def _distinct(names: list[str]) -> list[str]:
    """Return names of which none is there twice: what goes by them is told apart."""
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]
