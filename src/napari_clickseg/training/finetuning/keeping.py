"""A finetuned model gets a name, a card and a place among the others."""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_clickseg import __version__
from napari_clickseg.errors import CheckpointError, TrainingError
from napari_clickseg.models.added import add_model_file
from napari_clickseg.models.checkpoint import Checkpoint, save_checkpoint
from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.training.finetuning.naming import free_name, is_taken


def make_card(
    name: str, parent: Checkpoint, parent_name: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is written into the weight file.

    Parameters
    ----------
    name : str
        Of the new model.
    parent : Checkpoint
        The one it was made of; its licence and the meaning of its answers stay.
    parent_name : str
        What that is called.
    facts : mapping
        Data, settings and figures.
    """
    old = parent.metadata
    kept: dict[str, Any] = {
        str(key): old[key]
        for key in ("task", "classes", "refinement", "licence", "license")
        if key in old
    }
    licence = kept.get("licence", kept.get("license", "that of its parent"))
    return {
        **kept,
        "name": name,
        "task": parent.task,
        "licence": licence,
        "source": f"finetuned from {parent_name}",
        "description": f"{parent_name}, finetuned on {facts['data']['text']}",
        "finetuned": {
            "parent": {
                "name": parent_name,
                "sha256": parent.sha256,
                "finetuned": old.get("finetuned"),
            },
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "versions": {
                "napari-clickseg": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            **facts,
        },
    }


def keep_model(
    network: nn.Module,
    name: str,
    card: Mapping[str, Any],
    folder: Path,
    *,
    half: bool = True,
    beside: Mapping[str, Tensor] | None = None,
) -> ModelInfo:
    """Write a model's weights and put it into the list.

    Parameters
    ----------
    network : nn.Module
        Of a class that is known, its weights by their usual names.
    name : str
        Free; a model that has taken the name in the meantime is not overwritten, but
        the new one gets another.
    card : mapping
        See :func:`make_card`.
    folder : Path
        Where the file is made; it stays there, too.
    half : bool
        Store float16 where all weights fit it.
    beside : mapping, optional
        Gate and the parent's weights, see :mod:`~napari_clickseg.models.gate`.

    Raises
    ------
    TrainingError
        If the file cannot be written; names the next step.
    """
    if is_taken(name):
        name = free_name(name)
        card = {**card, "name": name}
    target = folder / f"{name}.safetensors"
    network = network.cpu().eval()
    try:
        try:
            dtype = torch.float16 if half else None
            save_checkpoint(target, network, metadata=card, dtype=dtype, beside=beside)
        except CheckpointError:
            if not half:
                raise
            save_checkpoint(target, network, metadata=card, beside=beside)
        return add_model_file(target, name)
    except (CheckpointError, OSError) as error:
        raise TrainingError(
            f"The finetuned model cannot be saved ({error}). What was learned is kept "
            f"in {folder}: make room and run the same again."
        ) from error
