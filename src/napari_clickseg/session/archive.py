"""The zip that a session file is: texts in JSON, and arrays; without pickle."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from napari_clickseg.errors import ClickSegError, SessionError
from napari_clickseg.limits import check_members, damage
from napari_clickseg.session.packing import Arrays

#: The text that says what file it is, and of which version.
TEXT = "session.json"
FORMAT = "napari-clickseg session"


def write_archive(path: Path, texts: Mapping[str, Any], arrays: Arrays) -> Path:
    """Write a file; an older one stays until the new one is complete.

    Parameters
    ----------
    path : Path
        Where to.
    texts : mapping
        What is written as JSON, by the name of the member.
    arrays : Arrays
        What the texts refer to.

    Raises
    ------
    SessionError
        If it cannot be written.
    """
    path = path.expanduser()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            with zipfile.ZipFile(
                file, "w", zipfile.ZIP_DEFLATED, compresslevel=1
            ) as archive:
                for name, text in texts.items():
                    archive.writestr(name, json.dumps(text, indent=1, default=_plain))
                arrays.write(archive)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise SessionError(
            f"The session could not be written to {path} ({error.strerror}). Choose "
            "another folder or make room; a file that was there is unchanged."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


@contextmanager
def reading(path: Path, kind: str) -> Iterator[zipfile.ZipFile]:
    """Open a file; whatever is wrong with what is read from it is told to users.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        What it should be, for the message.

    Raises
    ------
    SessionError
        If it is missing, is no such file, or is damaged.
    """
    path = path.expanduser()
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive)
            yield archive
    except FileNotFoundError as error:
        raise SessionError(
            f"There is no session file {path}. Check the path."
        ) from error
    except SessionError:
        raise
    except damage(ClickSegError) as error:
        raise SessionError(
            f"{path} is not {kind}, or it is damaged ({error}). Choose a file that "
            "ClickSession.save wrote."
        ) from error


def _plain(value: Any) -> Any:
    """Return a NumPy number as the Python number that JSON knows."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be written as JSON")
