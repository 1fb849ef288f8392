"""Files that appear all at once, and go without disturbing who reads them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import time
import uuid
from pathlib import Path

from napari_clickseg.encoding.entry import ATTRIBUTES, VERSION
from napari_clickseg.errors import StoreError

LOG = logging.getLogger("napari_clickseg")
#: Unfinished files of other machines are taken for abandoned after so many seconds.
ABANDONED = 3600.0
WINDOWS = os.name == "nt"
#: Folder of a store where unfinished files are.
INCOMING = "incoming"


def claim_folder(path: Path, create: bool) -> None:
    """Make sure that a folder is a feature store, or make it one.

    Raises
    ------
    StoreError
        If it is something else, or is not there and must not be made.
    """
    mark = path / "zarr.json"
    try:
        attributes = json.loads(mark.read_bytes())["attributes"][ATTRIBUTES]
        known = attributes["feature_store"]
    except (FileNotFoundError, NotADirectoryError):
        _make(path, mark, create)
        return
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path} is no feature store. Choose another folder."
        ) from error
    if known != VERSION:
        raise StoreError(
            f"{path} is a feature store of version {known!r}; this program knows "
            f"version {VERSION}. Choose another folder."
        )


def _make(path: Path, mark: Path, create: bool) -> None:
    if not create:
        raise StoreError(f"There is no feature store {path}. Check the path.")
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} is a file. Choose another folder.")
    if path.is_dir():
        # Others may be making the same store just now.
        others = {p.name for p in path.iterdir()} - {INCOMING, "entries"}
        if others and not mark.exists():
            raise StoreError(
                f"{path} holds other files. Choose an empty or a new folder."
            )
    content = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {ATTRIBUTES: {"feature_store": VERSION}},
    }
    (path / INCOMING).mkdir(parents=True, exist_ok=True)
    part = path / INCOMING / own_name("zarr.json")
    try:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        into_place(part, mark)
    finally:
        part.unlink(missing_ok=True)


def own_name(key: str) -> str:
    """Return a name for an unfinished file that says whose it is."""
    host = re.sub(r"[^\w-]", "_", socket.gethostname())
    return f"{key}.{host}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part"


def abandoned(path: Path) -> bool:
    """Whether nobody is going to finish this file."""
    parts = path.name.split(".")
    host = re.sub(r"[^\w-]", "_", socket.gethostname())
    with contextlib.suppress(OSError, ValueError, IndexError):
        if time.time() - path.stat().st_mtime > ABANDONED:
            return True
        return parts[-4] == host and not _alive(int(parts[-3]))
    return False


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


def into_place(part: Path, target: Path) -> None:
    """Give a finished file its name; a file of that name is replaced."""
    try:
        part.replace(target)
    except PermissionError:
        # Windows does not replace a file that is being read; it is the same one.
        if not WINDOWS or not target.exists():
            raise


def unlink(path: Path) -> bool:
    """Remove a file if that is possible; say whether it is gone by this."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:  # being read (Windows), or not ours
        LOG.info("%s stays: %s", path, error)
        return False
    return True


def scan(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, nothing where there is no such folder."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def sync_folder(folder: Path) -> None:
    """Have the new name on disk, too, where that can be asked for."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
