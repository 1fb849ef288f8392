"""Models that were made in this process and have a name in it, and no file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_clickseg.models.registry import ModelInfo

_MODELS: dict[str, Any] = {}


def remember(model: Any) -> None:
    """Let a model be found by its name, here and in the dock, until the end.

    A model of the same name that was remembered before gives way to it.
    """
    _MODELS[model.name.lower()] = model


def find(name: str) -> Any | None:
    """Return the model of that name, or None."""
    return _MODELS.get(name.strip().lower())


def forget(name: str) -> None:
    """Let go of a model; nothing happens where there is none of that name."""
    _MODELS.pop(name.strip().lower(), None)


def remembered() -> list[ModelInfo]:
    """Return what is known of each, in the order they were made."""
    return [model.info for model in _MODELS.values()]
