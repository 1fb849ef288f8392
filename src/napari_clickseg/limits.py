"""What files from elsewhere may ask of this machine, and how their damage shows.

Readers say in their own words what is wrong; here is what they share: which exceptions
bytes of others lead to, how much memory a size in a file may claim, and that a name in
a file does not lead out of the folder it belongs to.
"""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from napari_clickseg.memory import SHARE, free_host_bytes

__all__ = ["DAMAGE", "check_bytes", "check_members", "damage", "inside"]

#: What reading bytes that we did not write may raise. A number that is no number, an
#: index that is not there, brackets nested a thousand deep, a claimed size that no
#: memory holds: all of it is damage of the file, not an error of the program.
DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, MemoryError, RecursionError, NotImplementedError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
    *(SyntaxError, tokenize.TokenError),  # NumPy parses its headers as Python
)


def damage(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return :data:`DAMAGE` together with what one reader's library raises besides."""
    return DAMAGE + others


def most_bytes() -> int:
    """Return how much the content of one file may take: half of what is free."""
    free = free_host_bytes()
    return 2**34 if free is None else int(free * SHARE)


def check_bytes(shape: Iterable[int], itemsize: int = 1) -> int:
    """Return the size of an array in bytes, before memory is asked for.

    Raises
    ------
    ValueError
        If a side is below 0, or all of it would be more than may be taken.
    """
    sides = [int(side) for side in shape]
    if any(side < 0 for side in sides):
        raise ValueError(f"an array of shape {tuple(sides)}")
    wanted = math.prod(sides) * itemsize
    if wanted > most_bytes():
        raise ValueError(
            f"it claims {wanted / 2**30:.1f} GiB of memory, more than there is to spare"
        )
    return wanted


def check_members(archive: zipfile.ZipFile) -> None:
    """Refuse an archive whose members, unpacked, are more than may be taken.

    Raises
    ------
    ValueError
        If they are, or two of them have the same name.
    """
    members = archive.infolist()
    check_bytes([sum(member.file_size for member in members)])
    if len({member.filename for member in members}) < len(members):
        raise ValueError("two of its parts have the same name")


def inside(folder: Path, name: object) -> Path:
    """Return the path of a name that a file gives, if it stays in the folder.

    Raises
    ------
    ValueError
        If it is no name, or leads elsewhere: ``../x``, ``/x``, ``C:/x``.
    """
    text = str(name)
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(text)
        if path.anchor or ".." in path.parts:
            raise ValueError(f"{text!r} leads out of the folder {folder}")
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is no name of a file")
    return folder / text
