"""Where weight files live, and how their content is told apart.

The cache folder is ``NAPARI_CLICKSEG_CACHE`` where that environment variable is
set, else the folder pooch recommends on this system. Weights go to its subfolder
``models``. Beside every verified file lies ``<file>.pin.json`` with the hash seen
first, so that a file that changes later is noticed even where its authors never
published a hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_clickseg.limits import DAMAGE

CACHE_VARIABLE = "NAPARI_CLICKSEG_CACHE"
_CHUNK = 1 << 20


def cache_folder() -> Path:
    """Return the folder for everything this package keeps between runs."""
    chosen = os.environ.get(CACHE_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("napari-clickseg"))


def data_folder() -> Path:
    """Return the folder for work of the user's, which no cleaning of caches removes.

    It is ``NAPARI_CLICKSEG_CACHE`` where that is set, else the user's data folder.
    """
    chosen = os.environ.get(CACHE_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("napari-clickseg", appauthor=False))


def models_folder() -> Path:
    """Return the folder for weight files (it may not exist yet)."""
    return cache_folder() / "models"


@dataclass(frozen=True, slots=True)
class Digests:
    """Size in bytes and hashes (lower-case hexadecimal) of a file."""

    size: int
    sha256: str
    md5: str
    git_blob_sha1: str


def file_digests(path: Path) -> Digests:
    r"""Read a file once and compute its size and hashes.

    Parameters
    ----------
    path : Path
        The file; it is read in pieces, so its size does not matter.

    Returns
    -------
    Digests
        The git id is that of a blob object: SHA-1 over ``b"blob <size>\0"``
        and the content.

    Raises
    ------
    OSError
        When the file cannot be read, or changes length meanwhile.
    """
    size = path.stat().st_size
    sha256 = hashlib.sha256()
    # Neither of these two guards against an attacker; they are the only hashes
    # on record for some of the published files.
    md5 = hashlib.md5(usedforsecurity=False)
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    seen = 0
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            seen += len(piece)
            for digest in (sha256, md5, blob):
                digest.update(piece)
    if seen != size:
        raise OSError(f"{path} changed while it was read")
    return Digests(size, sha256.hexdigest(), md5.hexdigest(), blob.hexdigest())


@dataclass(frozen=True, slots=True)
class Pin:
    """What is remembered of a weight file that was verified once.

    Parameters
    ----------
    sha256 : str
        Hash of the content at that time.
    size, mtime_ns : int
        Length in bytes and time of the last change, by which an untouched file
        is recognised without reading it again.
    verified_by : str
        In words: which hash it was compared with, if any.
    origin : str
        URL or file it came from.
    date : str
        Day of the verification, ISO 8601.
    """

    sha256: str
    size: int
    mtime_ns: int
    verified_by: str
    origin: str
    date: str


def pin_path(path: Path) -> Path:
    """Return where the pin of a weight file is kept."""
    return path.with_name(path.name + ".pin.json")


def read_pin(path: Path) -> Pin | None:
    """Return the pin of a weight file, or None where there is no readable one."""
    try:
        stored = json.loads(pin_path(path).read_text(encoding="utf-8"))
        pin = Pin(**{name: stored[name] for name in Pin.__slots__})
        texts = (pin.sha256, pin.verified_by, pin.origin, pin.date)
        if not all(isinstance(each, str) for each in texts):
            return None
        return pin
    except DAMAGE:
        return None


def write_pin(path: Path, sha256: str, verified_by: str, origin: str) -> Pin:
    """Remember the content of a weight file as it is now."""
    stat = path.stat()
    pin = Pin(
        sha256,
        stat.st_size,
        stat.st_mtime_ns,
        verified_by,
        origin,
        time.strftime("%Y-%m-%d"),
    )
    write_json(pin_path(path), asdict(pin))
    return pin


def untouched(path: Path, pin: Pin) -> bool:
    """Whether a file has the length and time of change its pin remembers."""
    stat = path.stat()
    return stat.st_size == pin.size and stat.st_mtime_ns == pin.mtime_ns


def write_json(path: Path, content: Any) -> None:
    """Write a small JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(path)
    try:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def part_path(path: Path) -> Path:
    """Return a name for the unfinished version of a file, unique per process."""
    return path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}.part")


def remove_abandoned_parts(path: Path) -> None:
    """Delete unfinished versions of a file left by processes that were killed.

    A download that is under way in another process is written to all the time,
    so only parts untouched for a minute whose process has gone are deleted (where
    that cannot be asked, parts untouched for an hour).
    """
    for part in path.parent.glob(f".{path.name}.*.part"):
        with contextlib.suppress(OSError, ValueError):
            age = time.time() - part.stat().st_mtime
            owner = int(part.name.rsplit(".", 2)[-2].split("-")[0])
            if age > 3600 or (age > 60 and not _alive(owner)):
                part.unlink()


def _alive(pid: int) -> bool:
    if os.name != "posix":  # elsewhere os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
