"""Models that the user has made or added: what they are, and taking them away again.

Nothing here reads weights, so nothing imports torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_clickseg.errors import ModelError
from napari_clickseg.models.added import remove_model
from napari_clickseg.models.registry import ModelInfo, get_info, list_models

__all__ = ["MODELS", "ModelNews", "made_of", "own_models", "read_card", "remove_own"]


class ModelNews:
    """Tells all docks that the list of models has changed."""

    changed = Signal()


MODELS = ModelNews()


def own_models() -> list[ModelInfo]:
    """Return the models that the user has finetuned or added."""
    return [info for info in list_models() if info.added]


def remove_own(name: str) -> ModelInfo:
    """Delete a finetuned or added model, and tell all docks.

    Raises
    ------
    ModelError
        If it is none of these: it came with the package, or is a published one.
    """
    info = get_info(name)
    if not info.added:
        raise ModelError(
            f"{info.name} is not a model of your own, so it stays. Only models that "
            "were finetuned or added here can be deleted."
        )
    remove_model(info.name)
    MODELS.changed.emit()
    return info


def read_card(path: Path) -> dict[str, Any]:
    """Return what is written in a weight file of ours; empty where nothing is."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            card = json.loads((file.metadata() or {}).get("card", "{}"))
    except (OSError, ValueError, SafetensorError):  # another kind of file
        return {}
    return card if isinstance(card, dict) else {}


def made_of(card: dict[str, Any]) -> list[tuple[str, str]]:
    """Return where a finetuned model comes from, as rows of a name and a text."""
    facts = card.get("finetuned")
    if not isinstance(facts, dict):
        return []
    parent, data = facts.get("parent", {}), facts.get("data", {})
    recipe, versions = facts.get("recipe", {}), facts.get("versions", {})
    steps = f"{recipe.get('effort')}, {recipe.get('steps')} steps"
    trained = f"{recipe.get('parts')} at a rate of {recipe.get('learning_rate')}"
    rows = [
        ("Made of", f"{parent.get('name')} (sha256 {_short(parent.get('sha256'))})"),
        ("Data", f"{data.get('text')} (hash {_short(data.get('sha'))})"),
        ("Recipe", f"{steps}; {trained}; taken for {recipe.get('kind')}"),
        ("Kept in mind", str(recipe.get("reference"))),
        ("Made on", f"{facts.get('date', '')[:16].replace('T', ' ')} UTC"),
        ("Licence", str(card.get("licence"))),
    ]
    if versions:
        rows.append(("With", ", ".join(f"{k} {v}" for k, v in versions.items())))
    return rows


def _short(digest: Any) -> str:
    return str(digest)[:12]
