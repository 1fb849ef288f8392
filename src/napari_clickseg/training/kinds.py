"""Which training run a recipe asks for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from napari_clickseg.training.recipe import Recipe

__all__ = ["kind_of"]

#: How what is no click is taught: module and class.
_RUNS = {
    "foreground": ("foreground", "ForegroundRun"),
    "classes": ("classes", "ClassesRun"),
    "alpha": ("alpha", "AlphaRun"),
    "depth": ("depth", "DepthRun"),
}


def kind_of(plan: Recipe) -> Any:
    """Return the class of a recipe's run; None: the usual one, of clicks."""
    if plan.protocol != "own":
        module, name = "published", "PublishedRun"
    elif plan.teaches == "clicks":
        return None
    else:
        module, name = _RUNS[plan.teaches]
    return getattr(import_module(f"{__package__}.{module}"), name)
