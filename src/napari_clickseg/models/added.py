"""Weight files the user brings along, and taking weight files away again."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clickseg.errors import CheckpointError, FetchError, UnknownModelError
from napari_clickseg.models.cache import Digests, file_digests, pin_path, write_pin
from napari_clickseg.models.consent import withdraw_consent
from napari_clickseg.models.registry import (
    ModelInfo,
    get_info,
    read_index,
    registry_models,
    write_index,
)
from napari_clickseg.models.verify import copy_whole, make_folder, verified_by

if TYPE_CHECKING:
    import os


def add_model_file(
    path: str | os.PathLike[str], name: str | None = None, accept: bool = False
) -> ModelInfo:
    """Put a weight file that is at hand into the cache folder.

    A file of a published model (known by its hash, by ``name``, or by its file
    name) takes that model's place, so that it is not downloaded. Any other weight
    file becomes a model of its own.

    Parameters
    ----------
    path : path-like
        A ``.safetensors``, ``.pth`` or ``.pt`` file; it is copied.
    name : str, optional
        Name of the model; by default the published model's, or the file's stem.
    accept : bool
        Take the file for the published model even where its hash differs.

    Returns
    -------
    ModelInfo
        The model as :func:`~napari_clickseg.list_models` now shows it.

    Raises
    ------
    FetchError
        When the file is missing, does not match, or the name is taken.
    CheckpointError
        When the file holds no weights that can be read safely.
    """
    source = Path(path).expanduser()
    if not source.is_file():
        raise FetchError(f"There is no file {source}. Give the path of a weight file.")
    digests = file_digests(source)
    info = _published_for(source, digests, name)
    if info is None:
        return _add_own(source, digests, name)
    wrong = info.mismatch(digests)
    if wrong and not accept:
        raise FetchError(
            f"{source} is not the published {info.file} of {info.name}: {wrong}. "
            "Add it under a name of its own (--name), or, if you trust it, "
            "accept it in place of the published file (--accept)."
        )
    if wrong or not info.has_hash:
        _read_checkpoint(source)  # refuses what is no safe weight file
    make_folder(info.path.parent)
    copy_whole(source, info.path)
    verified = "accepted by the user" if wrong else verified_by(info)
    write_pin(info.path, digests.sha256, verified, str(source))
    return get_info(info.name)


def remove_model(name: str) -> ModelInfo:
    """Delete a fetched or added weight file, and what was remembered of it.

    Who fetches it again is asked again for consent to its terms, if it has any.

    Raises
    ------
    FetchError
        When the model comes with the package.
    """
    info = get_info(name)
    if info.bundled:
        raise FetchError(f"{info.name} comes with the package and cannot be removed.")
    info.path.unlink(missing_ok=True)
    pin_path(info.path).unlink(missing_ok=True)
    withdraw_consent(info.name)
    if info.added:
        index = read_index()
        index.pop(info.name, None)
        write_index(index)
    return info


def _published_for(
    source: Path, digests: Digests, name: str | None
) -> ModelInfo | None:
    models = [info for info in registry_models() if not info.bundled]
    for info in models:
        if name is not None and name.strip().lower() == info.name:
            return info
    for info in models:
        if info.has_hash and info.mismatch(digests) is None:
            return info
    if name is not None:
        return None
    return next((info for info in models if info.file == source.name), None)


def _read_checkpoint(path: Path) -> Any:
    try:  # torch is imported only here
        from napari_clickseg.models.checkpoint import read_checkpoint

        return read_checkpoint(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path} was not added: {error}") from error


def _add_own(source: Path, digests: Digests, name: str | None) -> ModelInfo:
    stem = source.name.split(".")[0]
    chosen = re.sub(r"[^a-z0-9._-]+", "-", (name or stem).strip().lower()).strip("-.")
    if not chosen:
        raise FetchError("The model needs a name of letters or digits; give --name.")
    try:
        taken: ModelInfo | None = get_info(chosen)
    except UnknownModelError:
        taken = None
    if taken is not None:
        if taken.added and taken.sha256 == digests.sha256 and taken.downloaded:
            return taken
        raise FetchError(
            f"A model named {chosen} is there already. Give another name (--name)"
            + ("." if not taken.added else ", or remove that one first.")
        )
    checkpoint = _read_checkpoint(source)
    card = checkpoint.metadata or {}
    file = f"added/{chosen}{source.suffix.lower()}"
    entry = {
        "task": checkpoint.task,
        "architecture": checkpoint.architecture,
        "file": file,
        "licence": str(card.get("licence", card.get("license", "not stated"))),
        "source": str(card.get("source", source.name)),
        "description": str(card.get("description", f"added from {source.name}")),
        "sha256": digests.sha256,
        "added_on": time.strftime("%Y-%m-%d"),
    }
    info = ModelInfo(
        name=chosen,
        added=True,
        **{k: v for k, v in entry.items() if k != "added_on"},
    )
    make_folder(info.path.parent)
    copy_whole(source, info.path)
    index = read_index()
    index[chosen] = entry
    write_index(index)
    return get_info(chosen)
