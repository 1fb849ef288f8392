"""Click an object in napari and get its mask; correct it with more clicks."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Threads of torch that wait for each other must sleep, not spin: beside another
# busy program (a window, a training) spinning ones take each other's processor,
# and a click of half a second was measured to take half a minute. OpenMP reads
# this when torch is first imported; who has set it already keeps their choice.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from napari_clickseg.errors import ClickSegError
    from napari_clickseg.models.interactive import make_interactive
    from napari_clickseg.models.model import load_model
    from napari_clickseg.models.registry import list_models
    from napari_clickseg.napari_layers import attach
    from napari_clickseg.session import (
        ClickSession,
        StackSession,
        predict,
        propose_objects,
    )
    from napari_clickseg.training.finetune import finetune

__all__ = [
    "ClickSegError",
    "ClickSession",
    "StackSession",
    "__version__",
    "attach",
    "finetune",
    "list_models",
    "load_model",
    "make_interactive",
    "predict",
    "propose_objects",
]

# Torch and napari take seconds to import: each name is fetched when it is first
# used (PEP 562), so that importing the package costs next to nothing.
_HOMES = {
    "ClickSegError": "errors",
    "ClickSession": "session",
    "StackSession": "session",
    "attach": "napari_layers",
    "finetune": "training.finetune",
    "list_models": "models.registry",
    "load_model": "models.model",
    "make_interactive": "models.interactive",
    "predict": "session",
    "propose_objects": "session",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
