"""Finetuning: learn from what a user has annotated.

:func:`finetune` does everything in one call. :func:`plan_finetune` looks at the data
first and returns a :class:`FinetuneJob`, which can be asked what it will take before it
runs.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_clickseg.errors import ClickSegError, TrainingError
from napari_clickseg.models.cache import cache_folder
from napari_clickseg.models.checkpoint import build_network, read_checkpoint
from napari_clickseg.models.given import given_path, weight_file
from napari_clickseg.models.registry import STARTER
from napari_clickseg.tasks.class_lists import CELLS
from napari_clickseg.training.finetuning.checking import Problem, examine
from napari_clickseg.training.finetuning.forecast import forecast
from napari_clickseg.training.finetuning.keeping import (
    choose_name,
    keep_model,
    make_card,
)
from napari_clickseg.training.finetuning.loop import Nothing, Tick
from napari_clickseg.training.finetuning.measuring import (
    Target,
    examples_of,
    measure,
    targets_of,
)
from napari_clickseg.training.finetuning.parts import Parts, choose_parts
from napari_clickseg.training.finetuning.reference import rehearsal_root
from napari_clickseg.training.finetuning.report import (
    FinetuneProgress,
    FinetuneResult,
    Forecast,
    OnProgress,
    Phase,
    Scores,
)
from napari_clickseg.training.finetuning.running import learn
from napari_clickseg.training.finetuning.settings import Effort, Settings
from napari_clickseg.training.finetuning.splitting import split, spread
from napari_clickseg.training.finetuning.work import Work, image_kind
from napari_clickseg.training.readers.base import Reader
from napari_clickseg.training.readers.opening import Layout, open_reader

__all__ = ["DataReport", "FinetuneJob", "finetune", "plan_finetune"]

#: Peak learning rate by task: of click networks, and of the others.
RATES = {"segmentation": 1e-3, "semantic": 5e-4, "matting": 2e-4, "depth": 2e-4}
#: Shares of the whole that measuring before and after take in the progress.
MEASURING = 0.08


@dataclass(frozen=True)
class DataReport:
    """What was found in the data.

    Parameters
    ----------
    images, objects : int
        That are used, those held aside included.
    held : int
        Objects held aside to measure on; images where the task knows no objects.
    problems : tuple of Problem
        What is left out, and why.
    kind : str
        ``photo`` or ``microscopy``.
    text : str
        All of it in a sentence or two.
    """

    images: int
    objects: int
    held: int
    problems: tuple[Problem, ...]
    kind: str
    text: str


class FinetuneJob:
    """Finetuning that is ready to run; made by :func:`plan_finetune`.

    Attributes
    ----------
    name : str
        What the new model will be called.
    data : DataReport
        What was found.
    parts : str
        What will be trained: ``head``, ``adapters`` or ``all``.
    folder : Path
        Checkpoints and logs; ``tensorboard`` in it is for TensorBoard.
    """

    def __init__(
        self,
        work: Work,
        name: str,
        parent: str,
        folder: Path,
        targets: list[Target],
        where: dict[str, Any],
    ) -> None:
        self.work, self.name, self.parent = work, name, parent
        self.folder, self._targets, self._where = folder, targets, where
        self.parts = work.options.parts
        self.data = _report(work)

    def forecast(self, cancelled: Callable[[], bool] | None = None) -> Forecast:
        """Measure two steps and tell what all of it will take.

        Parameters
        ----------
        cancelled : callable, optional
            Asked now and then; True stops.
        """
        return forecast(
            self.work,
            device=self._where["device"],
            precision=self._where["precision"],
            measured=len(self._targets),
            cancelled=cancelled or Nothing,
        )

    def run(
        self,
        on_progress: OnProgress | None = None,
        cancelled: Callable[[], bool] | None = None,
        finish: Callable[[], bool] | None = None,
    ) -> FinetuneResult:
        """Measure, learn, measure again, and put the model into the list.

        Parameters
        ----------
        on_progress : callable, optional
            Told after each step and each measured object. With several processes it is
            called in a thread of its own.
        cancelled : callable, optional
            Asked often; True stops. Nothing is kept but the checkpoint.
        finish : callable, optional
            Asked between batches; True ends learning and keeps what was learned.

        Raises
        ------
        Cancelled
            If ``cancelled`` said so.
        TrainingError
            If learning fails, or the model cannot be saved; what was learned so far
            lies in :attr:`folder`, and the same job goes on from there.
        """
        return _Run(self, on_progress, cancelled or Nothing, finish or Nothing).go()


def plan_finetune(
    images: Any,
    labels: Any = None,
    *,
    model: str | os.PathLike[str] = STARTER,
    name: str | None = None,
    effort: Effort = "quick",
    parts: Parts = "auto",
    kind: str = "auto",
    layout: Layout = "auto",
    names: Sequence[str] | None = None,
    ignore: int | None = None,
    validation: float = 0.2,
    rehearsal: str | os.PathLike[str] | None = "auto",
    reference: bool = True,
    measure: bool = True,
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    accumulate: int = 1,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    precision: str = "auto",
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    seed: int = 0,
    cancelled: Callable[[], bool] | None = None,
) -> FinetuneJob:
    """Look at the data and get finetuning ready; nothing is learned yet.

    Parameters are those of :func:`finetune`.

    Returns
    -------
    FinetuneJob

    Raises
    ------
    TrainingError
        If there is nothing to learn from, or a choice makes no sense.
    UnknownModelError, CheckpointError
        If the model is not known or is no network that can be trained here.
    """
    settings = Settings(
        effort=effort,
        parts=parts,
        kind=kind,
        validation=validation,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        accumulate=accumulate,
        seed=seed,
    )
    if devices < 1 or nodes < 1:
        raise TrainingError("There is at least one process on one machine.")
    parent_path = given_path(model)
    parent = os.fspath(model) if parent_path is None else parent_path.stem
    chosen = choose_name(parent, name)
    weights = weight_file(model)
    checkpoint = read_checkpoint(weights)
    network = build_network(checkpoint)
    task = _task_of(checkpoint.task, network)
    reader = open_reader(images, labels, layout, names)
    classes = None
    if task == "semantic":
        classes = int(checkpoint.config.get("classes", 0)) or None
    # a network of cells' classes also learns from the labels of single cells
    cells = classes == len(CELLS) and _highest_label(reader) >= len(CELLS)
    known = None if cells else classes
    inventory = examine(reader, task, ignore, classes=known, cancelled=cancelled)
    aside = split(inventory.entries, settings.validation, settings.seed)
    learned = choose_parts(len(aside.learn), settings.parts)
    rehearse = rehearsal_root(rehearsal) if reference else None
    folders = []
    if isinstance(images, str | os.PathLike):
        folders.append(str(Path(images).expanduser()))
    work = Work(
        weights=weights,
        task=task,
        reader=reader,
        inventory=inventory,
        split=aside,
        settings=settings,
        options=settings.loop_options(learned, RATES[task]),
        kind=image_kind(reader, inventory, kind),
        ignore=ignore,
        rehearsal=rehearse,
        forgetful=not reference,
        world=devices * nodes,
        extra={"folders": folders, "cells": cells},
    )
    targets: list[Target] = []
    if measure and task == "segmentation":
        targets = targets_of(spread(aside.held(), settings.preset.measured))
    folder = Path(out) if out is not None else _usual_folder(chosen, work)
    if not resume:
        (folder / "checkpoint.pt").unlink(missing_ok=True)
    where = {
        "device": device,
        "devices": devices,
        "nodes": nodes,
        "precision": precision,
    }
    return FinetuneJob(work, chosen, parent, folder, targets, where)


def finetune(
    images: Any,
    labels: Any = None,
    *,
    on_progress: OnProgress | None = None,
    cancelled: Callable[[], bool] | None = None,
    finish: Callable[[], bool] | None = None,
    **choices: Any,
) -> FinetuneResult:
    """Make a model that knows your images from one that does not.

    Parameters
    ----------
    images : path, array, or sequence of arrays
        A folder with ``images/`` and ``masks/``; a COCO JSON file; RITM's COCO+LVIS;
        SBD; an OME-Zarr image with labels; or arrays ``(H, W)`` or ``(H, W, C)``.
    labels : path, array, or sequence of arrays, optional
        Where the labels are, if not with the images: ``(H, W)``, 0 background and
        1, 2, ... objects. For models of classes: the number of the class; for matting
        alpha, for depth metres.
    on_progress, cancelled, finish : callable, optional
        See :meth:`FinetuneJob.run`.
    model : str or path
        Which model learns; default the bundled one.
    name : str, optional
        Of the new model; default ``PARENT-finetuned``, with a number if that is taken.
    effort : {"quick", "thorough"}
        A few minutes, or about half an hour, on an ordinary processor.
    parts : {"auto", "head", "adapters", "all"}
        What may change. ``auto``: the head alone with fewer than 8 images, low-rank
        adapters of the encoder beside it with fewer than 16, else everything.
    kind : {"auto", "photo", "microscopy"}
        How images are varied while learning.
    layout : str
        Which of the layouts a path holds; ``auto`` looks.
    names : sequence of str, optional
        Of arrays, for messages.
    ignore : int, optional
        Label of pixels that do not count.
    validation : float
        Share that is held aside: of the images, or of the objects where there are
        fewer than 5 images.
    rehearsal : path or {"auto", "none"}
        Data root with the starters' training packs; ``auto`` looks where
        ``CLICKSEG_DATA`` says.
    reference : bool
        Whether the model is kept from forgetting other images.
    measure : bool
        Whether clicks are counted on what was held aside, before and after.
    steps, batch, learning_rate : optional
        Instead of what the effort says.
    accumulate : int
        In how many pieces a batch goes through the network, to save memory.
    device, precision : str
        As for :func:`napari_clickseg.load_model`.
    devices, nodes : int
        Processes on each machine, and machines.
    out : path, optional
        Folder of checkpoints and logs; default in the cache. A run that was stopped
        goes on from there.
    resume : bool
        False begins anew.
    seed : int
        The same seed, data and machine give the same model.

    Returns
    -------
    FinetuneResult

    Examples
    --------
    >>> import napari_clickseg as cs
    >>> result = cs.finetune("cells", name="my-cells")  # doctest: +SKIP
    >>> print(result.text)  # doctest: +SKIP
    >>> session = cs.ClickSession(model="my-cells")  # doctest: +SKIP
    """
    job = plan_finetune(images, labels, cancelled=cancelled, **choices)
    return job.run(on_progress, cancelled, finish)


class _Run:
    """One run of a job."""

    def __init__(
        self,
        job: FinetuneJob,
        on_progress: OnProgress | None,
        cancelled: Callable[[], bool],
        finish: Callable[[], bool],
    ) -> None:
        self.job, self.work = job, job.work
        self.on_progress, self.cancelled, self.finish = on_progress, cancelled, finish
        self.began = time.monotonic()
        self.measuring = MEASURING if job._targets else 0.0  # noqa: SLF001
        self.first_step: tuple[int, float] | None = None

    def go(self) -> FinetuneResult:
        job, work, folder = self.job, self.work, self.job.folder
        self._make_folder(folder)
        self._tell("preparing", 0, 0.0)
        before, old = self._measure("measuring before", str(work.weights), 0.0)
        where = job._where  # noqa: SLF001
        learned = learn(
            work,
            folder,
            on_tick=self._tick,
            cancelled=self.cancelled,
            finish=self.finish,
            **where,
        )
        network = work.network()
        network.load_state_dict(learned["weights"])
        self._tell("saving", learned["step"], 1 - self.measuring)
        after, new = self._measure_network(network)
        if work.task != "segmentation" and learned["validations"]:
            before, after = self._scores(learned["validations"])
        card = self._card(learned, before, after)
        info = keep_model(network, job.name, card, folder)
        self._tell("saving", learned["step"], 1.0)
        targets = job._targets  # noqa: SLF001
        examples = examples_of(work.whole(), targets, old, new) if targets else ()
        return FinetuneResult(
            name=info.name,
            info=info,
            path=info.path,
            card=card,
            before=before,
            after=after,
            history=tuple(learned["history"]),
            validations=tuple(learned["validations"]),
            problems=work.inventory.problems,
            examples=examples,
            seconds=time.monotonic() - self.began,
        )

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"The folder {folder} for checkpoints cannot be made: {error}. Choose "
                "another one (out)."
            ) from error

    def _measure_network(self, network: Any) -> tuple[Scores | None, list[Any]]:
        """Measure the new weights as a model reads them from a file."""
        if not self.job._targets:  # noqa: SLF001
            return None, []
        from napari_clickseg.models.checkpoint import save_checkpoint

        path = self.job.folder / "learned.safetensors"
        save_checkpoint(path, network, metadata={"task": self.work.task})
        return self._measure("measuring after", str(path), 1 - self.measuring)

    def _measure(
        self, phase: Phase, model: str, done: float
    ) -> tuple[Scores | None, list[Any]]:
        targets = self.job._targets  # noqa: SLF001
        if not targets:
            return None, []
        from napari_clickseg.models.model import load_model

        loaded = load_model(model, self.job._where["device"])  # noqa: SLF001

        def told(count: int) -> None:
            share = self.measuring * count / len(targets)
            self._tell(phase, 0, done + share)

        return measure(loaded, self.work.whole(), targets, told, self.cancelled)

    def _scores(self, validations: Sequence[Any]) -> tuple[Scores, Scores]:
        held = len(self.work.split.hold)
        lesson = self.work.lesson_class()
        best = min(validations, key=lambda one: one.loss)
        return (
            Scores(held, score=validations[0].score, score_name=lesson.score_name),
            Scores(held, score=best.score, score_name=lesson.score_name),
        )

    def _tick(self, tick: Tick) -> None:
        steps = self.work.options.steps
        share = tick.step / steps
        if self.first_step is None:
            self.first_step = (tick.step, time.monotonic())
        step, since = self.first_step
        left = None
        if tick.step > step:
            each = (time.monotonic() - since) / (tick.step - step)
            learning = each * (steps - tick.step)
            left = learning + self.measuring / (1 - 2 * self.measuring) * each * steps
        fraction = self.measuring + (1 - 2 * self.measuring) * share
        self._tell("learning", tick.step, fraction, left, tick)

    def _tell(
        self,
        phase: Phase,
        step: int,
        fraction: float,
        left: float | None = None,
        tick: Tick | None = None,
    ) -> None:
        if self.on_progress is None:
            return
        self.on_progress(
            FinetuneProgress(
                phase=phase,
                step=step,
                steps=self.work.options.steps,
                fraction=min(1.0, fraction),
                seconds_left=left,
                loss=None if tick is None else tick.loss,
                score=None if tick is None else tick.score,
                score_name=self.work.lesson_class().score_name,
                validation=None if tick is None else tick.validation,
            )
        )

    def _card(
        self, learned: dict[str, Any], before: Scores | None, after: Scores | None
    ) -> dict[str, Any]:
        work, data = self.work, self.job.data
        facts = {
            "data": {
                "text": work.inventory.text,
                "sha": work.inventory.digest,
                "layout": work.reader.layout,
                "images": data.images,
                "objects": data.objects,
                "held": data.held,
                "left_out": len([p for p in data.problems if p.left_out]),
            },
            "recipe": {
                **work.settings.to_dict(),
                "parts": work.options.parts,
                "steps": learned["step"],
                "learning_rate": work.options.learning_rate,
                "kind": work.kind,
                "reference": "none"
                if work.forgetful
                else "pictures that come along"
                if work.rehearsal is None
                else "the starters' packs",
            },
            "minutes": round(learned["seconds"] / 60, 2),
            "before": None if before is None else vars(before),
            "after": None if after is None else vars(after),
        }
        checkpoint = read_checkpoint(work.weights)
        return make_card(self.job.name, checkpoint, self.job.parent, facts)


def _report(work: Work) -> DataReport:
    inventory, aside = work.inventory, work.split
    held = aside.held_objects if inventory.objects else len(aside.hold)
    text = f"{inventory.text}; taken for {work.kind}"
    if held:
        what = "object" if inventory.objects else "image"
        text += f"; {held} {what}{'s' * (held != 1)} held aside to measure on"
    else:
        text += "; too few to hold any aside, so nothing will be measured"
    return DataReport(
        images=len(inventory.entries),
        objects=inventory.objects,
        held=held,
        problems=inventory.problems,
        kind=work.kind,
        text=text + ".",
    )


def _highest_label(reader: Reader) -> int:
    """Return the highest label of the first images that can be read."""
    highest = 0
    for index in range(min(10, len(reader))):
        with contextlib.suppress(Exception):  # bad images are told of later
            highest = max(highest, int(np.max(reader.labels(index))))
    return highest


def _task_of(task: str, network: Any) -> str:
    if task not in RATES:
        raise TrainingError(f"Models for {task} cannot be finetuned here.")
    if task == "segmentation" and not hasattr(network, "decode_clicks"):
        raise TrainingError(
            "This network knows no clicks, so it cannot learn from them. Train it by a "
            "recipe (napari-clickseg train), or finetune a click model."
        )
    return task


def _usual_folder(name: str, work: Work) -> Path:
    try:
        return cache_folder() / "finetuning" / f"{name}-{work.key[:8]}"
    except ClickSegError as error:
        raise TrainingError(str(error)) from error
