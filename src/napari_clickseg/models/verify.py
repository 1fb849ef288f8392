"""Tell whether a weight file is the one that was published, or seen first."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

from napari_clickseg.errors import FetchError
from napari_clickseg.models.cache import (
    file_digests,
    part_path,
    read_pin,
    untouched,
    write_pin,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari_clickseg.models.registry import ModelInfo

LOG = logging.getLogger("napari_clickseg")
NO_HASH = "no hash was ever published; pinned at first sight"
# A README rounds sizes to two or three digits.
_SIZE_TOLERANCE = 0.05


class Rejected(Exception):
    """A file is not what was asked for; another source may be better."""


def verified_by(info: ModelInfo) -> str:
    """Say with what a file was compared, for its pin."""
    return info.hash_text if info.has_hash else NO_HASH


def check_present(info: ModelInfo) -> str | None:
    """Tell whether the file in the cache can be used.

    Returns
    -------
    str or None
        None: it can. Empty: there is none. Else why it has to be fetched again.
    """
    path = info.path
    if not path.is_file():
        return ""
    pin = read_pin(path)
    if pin is not None and untouched(path, pin):
        return None
    digests = file_digests(path)
    if pin is not None and digests.sha256 == pin.sha256:
        write_pin(path, digests.sha256, pin.verified_by, pin.origin)
        return None
    if info.has_hash:
        wrong = info.mismatch(digests)
        if wrong is None:
            write_pin(path, digests.sha256, verified_by(info), str(path))
        return wrong
    if pin is not None:
        raise FetchError(pin_text(info, digests.sha256, pin.sha256, pin.date))
    try:
        check_plausible(info, path, digests.size)
    except Rejected as error:
        return str(error)
    LOG.warning("%s (put into %s): %s", info.file, path.parent, NO_HASH)
    write_pin(path, digests.sha256, NO_HASH, str(path))
    return None


def check_plausible(info: ModelInfo, path: Path, size: int) -> None:
    """Reject what cannot be the file, where there is no hash to compare."""
    with path.open("rb") as file:
        start = file.read(9)
    weights = (
        start.startswith((b"PK\x03\x04", b"\x80\x02")) or start[8:9] == b"{"
    )  # a zip archive or an old pickle from torch, or safetensors
    if not weights:
        page = start.lstrip()[:1] == b"<"
        raise Rejected("a web page instead of the file" if page else "no weight file")
    expected = info.approximate_size
    if expected and abs(size - expected) > _SIZE_TOLERANCE * expected:
        raise Rejected(f"{size} bytes, but the file has {info.size_text}")


def make_folder(folder: Path) -> None:
    """Make a folder; where that fails, say what to do (FetchError)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(
            f"The folder {folder} for weight files cannot be made: {error}. "
            "Set NAPARI_CLICKSEG_CACHE to a folder you may write to."
        ) from error


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that the target is whole or not there."""
    if target.exists() and source.samefile(target):
        return
    part = part_path(target)
    try:
        shutil.copyfile(source, part)
        part.replace(target)
    except OSError as error:
        raise FetchError(
            f"{source} cannot be copied to {target.parent}: {error}. "
            "Free space there, or set NAPARI_CLICKSEG_CACHE to another folder."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def pin_text(info: ModelInfo, found: str, pinned: str, date: str) -> str:
    """Explain that a file without published hash is not the one seen first."""
    return (
        f"{info.file} in {info.path.parent} is not the file that was pinned on {date}: "
        f"sha256 is {found}, pinned {pinned}. Its authors never published a hash, so "
        "nothing else can tell which one is right. If you trust the new one, run "
        f"'napari-clickseg models remove {info.name}' and fetch it again; else put the "
        "old file back."
    )
