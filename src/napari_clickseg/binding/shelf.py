"""Models that are loaded, shared by all viewers; used in the worker only."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from napari_clickseg.models.model import Model

__all__ = ["ModelChoice", "ModelFacts", "ModelShelf", "Tell", "preload_torch"]

#: Told what is going on and how far it is (0 to 1; None where nobody knows);
#: an empty text says that it is over.
Tell = Callable[[str, float | None], None]

#: So many loaded models are kept.
KEEP = 2
#: Shared libraries of torch in the order they need each other.
_LIBRARIES = (
    "libtorch_global_deps",
    "libc10",
    "libtorch_cpu",
    "libtorch",
    "libtorch_python",
)


class ModelChoice(NamedTuple):
    """Which model, where, and how exact."""

    name: str
    device: str = "auto"
    precision: str = "auto"


class ModelFacts(NamedTuple):
    """What the dock says of the model that is loaded."""

    name: str
    device: str
    precision: str


class ModelShelf:
    """Loads models when they are first needed, and keeps the last ones.

    Parameters
    ----------
    load : callable, optional
        ``load(name, device=..., precision=...)`` in the place of
        :func:`napari_clickseg.load_model`.
    """

    def __init__(self, load: Callable[..., Model] | None = None) -> None:
        self._load = load
        self._models: OrderedDict[ModelChoice, Model] = OrderedDict()

    def get(
        self,
        choice: ModelChoice,
        tell: Tell,
        cancelled: Callable[[], bool] | None = None,
    ) -> Model:
        """Return the model, downloaded and loaded where it was not.

        Raises
        ------
        ClickSegError
            With a sentence for the user.
        """
        model = self._models.get(choice)
        if model is None:
            try:
                model = self._fetch_and_load(choice, tell, cancelled)
            finally:
                tell("", None)
            self._models[choice] = model
            while len(self._models) > KEEP:
                self._models.popitem(last=False)
        self._models.move_to_end(choice)
        return model

    def facts(self, choice: ModelChoice) -> ModelFacts | None:
        """Return what is known of a model if it is loaded."""
        model = self._models.get(choice)
        if model is None:
            return None
        precision = str(model.dtype).removeprefix("torch.")
        return ModelFacts(model.name, str(model.device), precision)

    def forget(self) -> None:
        """Let go of all models."""
        self._models.clear()

    def _fetch_and_load(
        self,
        choice: ModelChoice,
        tell: Tell,
        cancelled: Callable[[], bool] | None,
    ) -> Model:
        tell(f"Loading {Path(choice.name).name}", None)
        if self._load is not None:
            return self._load(
                choice.name, device=choice.device, precision=choice.precision
            )
        _download(choice.name, tell, cancelled)
        tell(f"Loading {Path(choice.name).name}", None)
        preload_torch()
        from napari_clickseg.models.model import load_model

        return load_model(choice.name, device=choice.device, precision=choice.precision)


def _download(name: str, tell: Tell, cancelled: Callable[[], bool] | None) -> None:
    """Bring the weights here if they are not, with progress."""
    from napari_clickseg.errors import UnknownModelError
    from napari_clickseg.models.fetch import fetch_model
    from napari_clickseg.models.registry import get_info

    if Path(name).expanduser().is_file():
        return
    try:
        info = get_info(name)
    except UnknownModelError:
        return  # load_model says it better
    if info.bundled or info.downloaded:
        return

    def progress(done: int, total: int) -> None:
        size = f"{done / 1e6:.0f}" + (f" of {total / 1e6:.0f}" if total else "")
        tell(f"Downloading {name}: {size} MB", done / total if total else None)

    fetch_model(info, progress=progress, cancelled=cancelled)


def preload_torch() -> None:
    """Read torch's large libraries without holding up the window.

    Python keeps its global lock while it loads an extension module, and the
    libraries behind torch take from a fifth of a second to several seconds: the
    window would stand still. A call through ctypes gives the lock away. When torch
    is imported afterwards the libraries are there already. Whatever goes wrong here
    is left for that import to tell.
    """
    if "torch" in sys.modules or os.name != "posix":
        return
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return
    folder = Path(found.submodule_search_locations[0]) / "lib"
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    load: Any = ctypes.CDLL(None).dlopen
    load.argtypes, load.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    for name in _LIBRARIES:
        path = folder / (name + suffix)
        if path.exists():
            load(os.fsencode(path), os.RTLD_NOW | os.RTLD_LOCAL)
