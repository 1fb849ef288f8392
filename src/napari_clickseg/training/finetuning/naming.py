"""Names of finetuned models: free, and of letters that files may have. No torch."""

from __future__ import annotations

import re

from napari_clickseg.errors import TrainingError, UnknownModelError
from napari_clickseg.models.registry import get_info

__all__ = ["choose_name", "free_name", "is_taken", "plain_name"]

#: What is added to the parent's name where none is given.
SUFFIX = "finetuned"


def choose_name(parent: str, wish: str | None = None) -> str:
    """Return a name that no model has.

    Parameters
    ----------
    parent : str
        Name of the model that is finetuned.
    wish : str, optional
        The user's. It becomes lower case; what is no letter, digit, dot, dash or
        underscore becomes a dash.

    Raises
    ------
    TrainingError
        If a model of the wished name is there already, or nothing is left of it.
    """
    if wish is None:
        stem = re.sub(rf"-{SUFFIX}(-\d+)?$", "", plain_name(parent)) or "model"
        return free_name(f"{stem}-{SUFFIX}")
    name = plain_name(wish)
    if not name:
        raise TrainingError(
            f"A model cannot be called {wish!r}; give it a name of letters or digits."
        )
    if is_taken(name):
        raise TrainingError(
            f"A model named {name} is there already, and is not overwritten. Give "
            f"another name ({free_name(name)} is free), or remove that one first "
            f"(napari-clickseg models remove {name})."
        )
    return name


def free_name(name: str) -> str:
    """Return a name itself where it is free, else with the next free number."""
    if not is_taken(name):
        return name
    numbered = re.fullmatch(r"(.+)-(\d{1,2})", name)  # not the year of cells-2024
    stem, number = (name, 2) if numbered is None else (numbered[1], int(numbered[2]))
    while is_taken(f"{stem}-{number}"):
        number += 1
    return f"{stem}-{number}"


def is_taken(name: str) -> bool:
    """Whether a model goes by that name."""
    try:
        get_info(name)
    except UnknownModelError:
        return False
    return True


def plain_name(name: str) -> str:
    """Return a name in lower case, without what a file name should not hold."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.strip().lower()).strip("-.")
