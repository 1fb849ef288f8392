"""Models built by a function of the user's: ``package.module:function``.

So a network of one's own is given on the command line, in the dock and to the
benchmark, whose processes build it each for itself.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from napari_clickseg.errors import ClickSegError, ModelError, UnknownModelError

_FORM = re.compile(r"(?P<home>.+):(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)", re.DOTALL)
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def split_factory(text: Any) -> tuple[str, str] | None:
    """Split ``"file.py:function"`` or ``"package.module:function"``.

    Returns
    -------
    (str, str) or None
        File or module, and the function; None where the text is no such thing, for
        example because a file has that very name.
    """
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None or Path(text).expanduser().exists():
        return None
    home = found["home"]
    if home.endswith(".py") or _DOTTED.fullmatch(home):
        return home, found["name"]
    return None


def factory_name(text: str) -> str:
    """Return a short name for a model: the function's."""
    parts = split_factory(text)
    return text if parts is None else parts[1]


def check_factory(text: str) -> None:
    """Refuse a file that does not exist, before anything is run.

    Raises
    ------
    UnknownModelError
    """
    parts = split_factory(text)
    if parts is None or not parts[0].endswith(".py"):
        return
    path = Path(parts[0]).expanduser()
    if not path.is_file():
        raise UnknownModelError(
            f"There is no file {path}, which {text!r} asks for. Check the path."
        )


def build(text: str) -> Any:
    """Call the function and return what it made.

    Parameters
    ----------
    text : str
        ``"file.py:function"`` or ``"package.module:function"``. The function takes
        no arguments and returns an ``nn.Module``, or what
        :func:`napari_clickseg.make_interactive` made of one. In the place of the
        function may stand the module or model itself.

    Raises
    ------
    UnknownModelError
        If there is no such file, module or function.
    ModelError
        If it failed.
    """
    parts = split_factory(text)
    if parts is None:
        raise UnknownModelError(
            f"{text!r} is no file.py:function and no package.module:function."
        )
    check_factory(text)
    home, name = parts
    folder = Path(home).expanduser().resolve().parent if home.endswith(".py") else None
    with _importable(folder or Path.cwd()):
        found: Any = _run_file(Path(home), text) if folder else _import(home, text)
        for part in name.split("."):
            found = _attribute(found, part, text)
        made = hasattr(found, "decode") or hasattr(found, "make_task")
        if made and not isinstance(found, type):
            return found
        import torch

        if isinstance(found, torch.nn.Module):
            return found
        if not callable(found):
            raise ModelError(
                f"{text} is a {type(found).__name__}; it should be a function that "
                "returns a torch module."
            )
        try:
            return found()
        except ClickSegError:
            raise
        except Exception as error:
            raise ModelError(f"{text} failed: {_said(error)}") from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules that lie in a folder be imported, as beside a script."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _run_file(path: Path, text: str) -> ModuleType:
    path = path.expanduser().resolve()
    mark = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"{path.stem}_{mark}", path)
    if spec is None or spec.loader is None:
        raise UnknownModelError(f"{path} cannot be read as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look there
    try:
        spec.loader.exec_module(module)
    except ClickSegError:
        raise
    except Exception as error:
        del sys.modules[spec.name]
        raise ModelError(f"{path}, for {text}, failed: {_said(error)}") from error
    return module


def _import(name: str, text: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ModelError(f"{name}, for {text}, failed: {_said(error)}") from error
        raise UnknownModelError(
            f"There is no Python module {error.name!r} (asked for by {text!r}). "
            "Install it, or give the file: path/to/file.py:function."
        ) from error
    except ClickSegError:
        raise
    except Exception as error:
        raise ModelError(f"{name}, for {text}, failed: {_said(error)}") from error


def _attribute(home: Any, name: str, text: str) -> Any:
    try:
        return getattr(home, name)
    except AttributeError:
        known = [each for each in vars(home) if not each.startswith("_")]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UnknownModelError(f"{text}: there is no {name!r}.{hint}") from None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
