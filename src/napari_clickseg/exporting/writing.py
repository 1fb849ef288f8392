"""Files of the user's that appear whole, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from napari_clickseg.errors import ExportError

TIFF = (".tif", ".tiff")
PNG = (".png",)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def check_suffix(
    path: str | os.PathLike[str], suffixes: Iterable[str], what: str
) -> Path:
    """Return the path if a file of that name can be written.

    Parameters
    ----------
    path : path
        Upper and lower case of the ending are the same.
    suffixes : iterable of str
        Endings that it may have, such as ``".tif"``.
    what : str
        What is written, for the message, as the beginning of a sentence.

    Raises
    ------
    ExportError
        If the name ends in something else.
    """
    path = Path(path).expanduser()
    suffixes = tuple(suffixes)
    wanted = _listed(suffixes)
    name = path.name.lower()
    if path.suffix.lower() not in suffixes:
        ending = path.suffix or "nothing"
        raise ExportError(
            f"{what} cannot be written as {path.name}, which ends in {ending}: end the "
            f"name in {wanted}."
        )
    if name.endswith((".ome.tif", ".ome.tiff")):
        raise ExportError(
            f"{path.name} would promise OME-XML, which is not written here: end the "
            f"name in {wanted} without .ome."
        )
    return path


@contextmanager
def replacing(*paths: Path) -> Iterator[list[BinaryIO]]:
    """Open unfinished files beside some paths; at the end all get their names.

    Files that were there stay as they are until then, and for good if anything goes
    wrong. Folders are made. A link is followed.

    Parameters
    ----------
    *paths : Path
        The files to write, at least one, all different.

    Yields
    ------
    list of file
        Open for writing bytes, in the order of the paths.

    Raises
    ------
    ExportError
        If the disk is full, the folder cannot be written to, and the like.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    parts: list[Path] = []
    named = paths[0]
    try:
        with ExitStack() as stack:
            files: list[BinaryIO] = []
            for path, target in zip(paths, targets, strict=True):
                named = path
                _check_target(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.{os.getpid()}.part")
                parts.append(part)
                files.append(stack.enter_context(part.open("w+b")))
            named = paths[0]
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for path, part, target in zip(paths, parts, targets, strict=True):
            named = path
            part.replace(target)
    except OSError as error:
        raise ExportError(_told(named, error)) from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _check_target(target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if target.exists() and not os.access(target, os.W_OK):
        # Renaming would replace even a file that somebody has protected.
        raise PermissionError(errno.EACCES, "the file is read-only", str(target))


def _told(path: Path, error: OSError) -> str:
    if error.errno in _FULL:
        return (
            f"There is no room for {path.name} in {path.parent} ({error.strerror}). "
            "Make room or choose another folder; a file that was there is unchanged."
        )
    reason = error.strerror or str(error) or type(error).__name__
    return (
        f"{path} cannot be written ({reason}). Choose another folder or name; a file "
        "that was there is unchanged."
    )


def _listed(words: tuple[str, ...]) -> str:
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} or {words[-1]}"
