"""Models as users give them: by a name, or by a weight file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_clickseg.errors import ModelError, UnknownModelError
from napari_clickseg.models.checkpoint import Checkpoint
from napari_clickseg.models.registry import ModelInfo, get_info

if TYPE_CHECKING:
    from napari_clickseg.models.fetch import Progress

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")


def given_path(given: str | os.PathLike[str]) -> Path | None:
    """Return the file that was given, or None where it is a name.

    Raises
    ------
    UnknownModelError
        If it is neither.
    """
    if not isinstance(given, str | os.PathLike):
        raise UnknownModelError(
            f"A model is a name or a weight file, not {given!r}. "
            "'napari-clickseg models list' shows the names."
        )
    text = os.fspath(given)
    path = Path(text).expanduser()
    if path.is_file():
        return path
    bare = isinstance(given, str) and path.name == text
    if bare and path.suffix.lower() in WEIGHT_SUFFIXES:
        try:  # published models may also be called by their file's name
            get_info(text)
        except UnknownModelError:
            bare = False
    if bare:
        return None
    raise UnknownModelError(
        f"There is no weight file {path}. Check the path, or choose a model by its "
        "name: 'napari-clickseg models list' shows them."
    )


def weight_file(
    given: str | os.PathLike[str], progress: Progress | None = None
) -> Path:
    """Return a weight file; one given by its name is downloaded if need be.

    Raises
    ------
    UnknownModelError, FetchError
        If there is no such file or name, or it cannot be had.
    """
    path = given_path(given)
    if path is None:
        from napari_clickseg.models.fetch import fetch_model

        path = fetch_model(get_info(os.fspath(given)), progress)
    return path


def info_of_file(path: Path, checkpoint: Checkpoint) -> ModelInfo:
    """Return what a weight file says of itself."""
    card = checkpoint.metadata
    return ModelInfo(
        name=path.stem,
        task=checkpoint.task,
        architecture=checkpoint.architecture,
        file=str(path.resolve()),
        licence=str(card.get("licence", card.get("license", "not stated"))),
        source=str(card.get("source", path.name)),
        description=str(card.get("description", "")),
        size=path.stat().st_size,
        downloaded=True,
        sha256=checkpoint.sha256,
    )


def check_task(info: ModelInfo) -> None:
    """Refuse a network that answers something else than objects.

    Raises
    ------
    ModelError
    """
    if info.task != "segmentation":
        raise ModelError(
            f"{info.name} is a network for the task {info.task!r}, and answers no "
            "clicks on objects. Choose one for segmentation ('napari-clickseg models "
            "list --task segmentation'); or, to correct one of its answers by clicks, "
            "build it with napari_clickseg.models.checkpoint (build_network and "
            "read_checkpoint) and give it to make_interactive."
        )


def check_answers_clicks(model: object) -> None:
    """Refuse a loaded model of classes, alpha or depth where objects are clicked.

    Raises
    ------
    ModelError
    """
    if hasattr(model, "make_task"):
        task = getattr(model, "task", "")
        raise ModelError(
            f"{getattr(model, 'name', model)} is a model for the task {task!r}, and "
            f"answers no clicks on objects. Use ClickSession(model, task={task!r}), or "
            "choose one that 'napari-clickseg models list --task segmentation' shows."
        )
