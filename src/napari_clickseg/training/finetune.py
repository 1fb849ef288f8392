"""Finetuning: learn from what a user has annotated.

:func:`finetune` does everything in one call. :func:`plan_finetune` looks at the data
first and returns a :class:`FinetuneJob`, which can be asked what it will take before it
runs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_clickseg.errors import ClickSegError, TrainingError
from napari_clickseg.models.cache import cache_folder
from napari_clickseg.models.checkpoint import build_network, read_checkpoint
from napari_clickseg.models.given import given_path, weight_file
from napari_clickseg.models.registry import STARTER
from napari_clickseg.tasks.class_lists import CELLS
from napari_clickseg.training.finetuning.checking import examine
from napari_clickseg.training.finetuning.job import DataReport, FinetuneJob
from napari_clickseg.training.finetuning.measuring import (
    Target,
    targets_of,
)
from napari_clickseg.training.finetuning.naming import choose_name
from napari_clickseg.training.finetuning.parts import Parts, choose_parts
from napari_clickseg.training.finetuning.reference import rehearsal_root
from napari_clickseg.training.finetuning.report import (
    FinetuneResult,
    OnProgress,
)
from napari_clickseg.training.finetuning.settings import Effort, Settings
from napari_clickseg.training.finetuning.splitting import split, spread
from napari_clickseg.training.finetuning.work import Work, image_kind
from napari_clickseg.training.readers.base import Reader
from napari_clickseg.training.readers.opening import Layout, open_reader

__all__ = ["DataReport", "FinetuneJob", "finetune", "plan_finetune"]

#: Peak learning rate by task: of click networks, and of the others.
RATES = {"segmentation": 1e-3, "semantic": 5e-4, "matting": 2e-4, "depth": 2e-4}


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
    contrast: Sequence[Any] | None = None,
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
    reader = open_reader(images, labels, layout, names, contrast)
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
    contrast : sequence, optional
        Of arrays: for each the values that are shown as black and white, a pair or one
        for each channel; by default they are found as for clicks without a viewer.
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
