"""Models that are loaded, shared by all viewers; used in the worker only."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_clickseg.encoding.prepared_store import PreparedStore
from napari_clickseg.refinement.settings import RefinementSettings

if TYPE_CHECKING:
    from napari_clickseg.models.model import Model
    from napari_clickseg.tasks.class_lists import Classes

__all__ = [
    "ModelChoice",
    "ModelFacts",
    "ModelShelf",
    "Tell",
    "download",
    "preload_torch",
]

#: Told what is going on and how far it is (0 to 1; None where nobody knows);
#: an empty text says that it is over.
Tell = Callable[[str, float | None], None]

#: So many loaded models are kept: those of a dock or two, and of matting's objects.
KEEP = 4
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
    #: What a model that was made interactive is refined with by itself.
    refinement: RefinementSettings | None = None
    #: Whether it answers without any click.
    automatic: bool = False
    #: Whether it encodes an image once, so that images can be prepared.
    encodes_once: bool = False
    #: Whether it has an encoder, or only answers on what was encoded elsewhere.
    encodes: bool = True


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
        #: Where prepared images are found.
        self.store = PreparedStore()

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
            self._models[choice] = model = self._with_store(model)
            while len(self._models) > KEEP:
                self._models.popitem(last=False)
        self._models.move_to_end(choice)
        return model

    def keep(self, model: Model) -> ModelChoice:
        """Take in a model that is loaded already."""
        precision = str(model.dtype).removeprefix("torch.")
        choice = ModelChoice(model.name, str(model.device), precision)
        self._models[choice] = self._with_store(model)
        return choice

    def facts(self, choice: ModelChoice) -> ModelFacts | None:
        """Return what is known of a model if it is loaded."""
        model = self._models.get(choice)
        if model is None:
            return None
        precision = str(model.dtype).removeprefix("torch.")
        own = getattr(model, "refinement", None)
        automatic = bool(getattr(model, "automatic", False))
        return ModelFacts(
            model.name,
            str(model.device),
            precision,
            own,
            automatic,
            bool(getattr(model, "encodes_once", False)),
            bool(getattr(model, "has_encoder", True)),
        )

    def classes(self, choice: ModelChoice) -> Classes | None:
        """Return the classes of a model that is loaded; None for other tasks."""
        return getattr(self._models.get(choice), "classes", None)

    def _with_store(self, model: Any) -> Any:
        """Have a model that encodes once look for prepared images."""
        if not getattr(model, "encodes_once", False):
            return model
        from napari_clickseg.encoding.with_store import WithStore

        if isinstance(model, WithStore):
            return model
        # Clicks alone write nothing to the user's disk.
        return WithStore(model, self.store, write=False)

    def forget(self, name: str | None = None) -> None:
        """Let go of all models, or of one whose name is free again."""
        for choice in [c for c in self._models if name in (None, c.name)]:
            self._models.pop(choice, None)

    def _fetch_and_load(
        self,
        choice: ModelChoice,
        tell: Tell,
        cancelled: Callable[[], bool] | None,
    ) -> Model:
        tell(f"Loading {Path(choice.name).name}", None)
        load = self._load
        if load is None:
            download(choice.name, tell, cancelled)
            tell(f"Loading {Path(choice.name).name}", None)
            preload_torch()
        with collection_postponed():
            if load is None:
                from napari_clickseg.models.model import load_model

                load = load_model
            return load(choice.name, device=choice.device, precision=choice.precision)


def download(name: str, tell: Tell, cancelled: Callable[[], bool] | None) -> None:
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


@contextmanager
def collection_postponed() -> Iterator[None]:
    """Import large packages without full garbage collections.

    Half a million new objects make Python look through all of them, two or three
    times during the import, for a quarter of a second each in which the window
    stands still. They stay, so nothing is found. They are put straight to the
    oldest ones, which are looked through only when many more have come.
    """
    if not gc.isenabled() or gc.get_freeze_count():
        yield  # somebody else has taken this into his hands
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()
        gc.enable()


def preload_torch() -> None:
    """Read torch's large libraries without holding up the window.

    Python keeps its global lock while it loads an extension module, and the
    libraries behind torch take from a fifth of a second to several seconds: the
    window would stand still. A call through ctypes gives the lock away. When torch
    is imported afterwards the libraries are there already. The files are read once
    before, because the system's own loader has a lock as well, which should not be
    held while a slow disk is read. Whatever goes wrong here is left for the import
    to tell.
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
            _read_through(path)
            load(os.fsencode(path), os.RTLD_NOW | os.RTLD_LOCAL)


def _read_through(path: Path) -> None:
    """Bring a file into the system's cache."""
    piece = bytearray(1 << 22)
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass
