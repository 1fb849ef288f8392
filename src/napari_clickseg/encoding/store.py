"""A folder of encoded images, for many readers and writers at once.

The folder is a zarr group. Each entry is one file, ``entries/ab/<key>.zarr.zip``
(see :mod:`napari_clickseg.encoding.entry`). A writer works under a name of its own in
``incoming/`` of the same folder, has the file on disk, and only then moves it into
place, which file systems do in one step: whoever reads finds all of an entry or none,
also after a kill or a power cut. Nobody waits for anybody; of two writers of one key
the second replaces what the first wrote, with the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_clickseg.encoding.entry import (
    DTYPES,
    about_entry,
    check_entry,
    decode_entry,
    encode_entry,
    moved,
)
from napari_clickseg.encoding.files import (
    INCOMING,
    abandoned,
    claim_folder,
    into_place,
    own_name,
    scan,
    sync_folder,
    unlink,
)
from napari_clickseg.encoding.optional import need
from napari_clickseg.errors import StoreError
from napari_clickseg.models.features import Features

LOG = logging.getLogger("napari_clickseg")
SUFFIX = ".zarr.zip"
_KEY = re.compile(r"[0-9a-f]{16,128}")
#: A full store is emptied to this share of its limit, so that not every new entry has
#: to look for old ones.
EMPTIED = 0.9
#: Each writer counts the store anew when it has added this share of the limit.
COUNTED = 0.02


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What there is in a store.

    Attributes
    ----------
    entries, bytes : int
        Number of entries, and what they take.
    unfinished : int
        Files that writers have not finished, or were killed at.
    oldest, newest : float or None
        When the entry that was not used for longest, and the last used one, were
        used: seconds since 1970.
    """

    entries: int
    bytes: int
    unfinished: int
    oldest: float | None
    newest: float | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What :meth:`FeatureStore.prune` took away: files, entries and bytes."""

    unfinished: int
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    bytes: int
    used: float


class FeatureStore:
    """Features of encoded images by key, on disk.

    Parameters
    ----------
    path : path-like
        The folder; made where it does not exist.
    max_bytes : int, optional
        Entries that were not used for longest are removed where all of them would
        take more. What another program is reading just now stays readable to it.
    dtype : str
        In which floats are kept: ``"bfloat16"`` or ``"float16"``.
    create : bool
        Whether to make the folder.

    Raises
    ------
    StoreError
        If the folder is not there or is something else, or an option makes no sense.

    Notes
    -----
    May be used by any number of threads, processes and machines at once that share
    the folder. An entry that is damaged is reported (once, in the log and in
    :attr:`damaged`), and is otherwise treated as if it was not there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int | None = None,
        dtype: str = "bfloat16",
        *,
        create: bool = True,
    ) -> None:
        need("zarr")
        if dtype not in DTYPES:
            raise StoreError(
                f"Features cannot be kept as {dtype!r}: choose {' or '.join(DTYPES)}."
            )
        if max_bytes is not None and max_bytes < 1:
            raise StoreError(f"A store of at most {max_bytes} bytes holds nothing.")
        self.path = Path(path).expanduser().absolute()
        self.max_bytes, self.dtype = max_bytes, dtype
        #: Files of damaged entries that this object came across, and why.
        self.damaged: dict[Path, str] = {}
        self._held: int | None = None  # bytes when last counted
        self._added = 0  # since then
        claim_folder(self.path, create)

    def __repr__(self) -> str:
        return f"<FeatureStore {self.path}>"

    def get(self, key: str, dtype: Any = None, device: Any = None) -> Features | None:
        """Return features, or None where there are none.

        Parameters
        ----------
        key : str
            From :func:`napari_clickseg.encoding.keys.key_for`.
        dtype : torch.dtype, optional
            Of floating-point tensors; by default what they were before.
        device : torch.device, optional
            Where they go; by default the CPU.
        """
        path = self._place(key)
        data = self._read(path)
        if data is None:
            return None
        try:
            features = decode_entry(data, key)
        except StoreError as error:
            self._report(path, error)
            return None
        with contextlib.suppress(OSError):  # the time of its last use
            os.utime(path)
        return moved(features, dtype, device)

    def put(
        self, key: str, features: Features, about: Mapping[str, Any] | None = None
    ) -> Path:
        """Keep features; when this returns they are on disk.

        Parameters
        ----------
        key : str
        features : Features
        about : mapping, optional
            What people may want to know, such as the image's name; must fit JSON.

        Returns
        -------
        Path
            The entry's file.

        Raises
        ------
        StoreError
            If the features are not of a kind that can be kept.
        OSError
            If the disk is full or the folder is read-only; nothing is left behind.
        """
        target = self._place(key)
        data = encode_entry(key, features, self.dtype, about)
        self._make_room(len(data))
        part = self._incoming / own_name(key)
        try:
            self._incoming.mkdir(exist_ok=True)  # prune may have taken it away
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            into_place(part, target)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(target.parent)
        self.damaged.pop(target, None)
        self._added += len(data)
        return target

    def has(self, key: str) -> bool:
        """Whether there is an intact entry."""
        path = self._place(key)
        data = self._read(path)
        if data is None:
            return False
        try:
            check_entry(data)
        except StoreError as error:
            self._report(path, error)
            return False
        return True

    def about(self, key: str) -> dict[str, Any] | None:
        """Return what an entry says of itself, or None where there is none."""
        path = self._place(key)
        data = self._read(path)
        try:
            return None if data is None else about_entry(data)
        except StoreError as error:
            self._report(path, error)
            return None

    def remove(self, key: str) -> bool:
        """Remove an entry; say whether it was there."""
        return unlink(self._place(key))

    def keys(self) -> Iterator[str]:
        """Yield the keys of all entries, damaged ones too."""
        for entry in self._entries():
            yield entry.path.name.removesuffix(SUFFIX)

    def info(self) -> StoreInfo:
        """Count what there is."""
        entries = list(self._entries())
        used = [entry.used for entry in entries]
        return StoreInfo(
            len(entries),
            sum(entry.bytes for entry in entries),
            len(list(self._unfinished())),
            min(used, default=None),
            max(used, default=None),
        )

    def prune(
        self, max_bytes: int | None = None, unused_for: float | None = None
    ) -> Pruned:
        """Take away what killed writers left, and what is too old or too much.

        Parameters
        ----------
        max_bytes : int, optional
            By default the store's own limit.
        unused_for : float, optional
            Remove entries that nobody used for so many seconds.
        """
        swept = self.sweep()
        limit = self.max_bytes if max_bytes is None else max_bytes
        gone: list[_Entry] = []
        if unused_for is not None:
            old = time.time() - unused_for
            gone = [e for e in self._entries() if e.used < old and unlink(e.path)]
        if limit is not None:
            gone += self._evict(limit)
        return Pruned(swept, len(gone), sum(entry.bytes for entry in gone))

    def sweep(self) -> int:
        """Take away what killed writers left; return how many files that were."""
        return sum(unlink(path) for path in self._unfinished() if abandoned(path))

    def verify(
        self, progress: Callable[[int], object] | None = None, *, delete: bool = False
    ) -> dict[Path, str]:
        """Read everything and say what is damaged.

        Parameters
        ----------
        progress : callable, optional
            Called with the number of entries read.
        delete : bool
            Whether damaged entries are removed.

        Returns
        -------
        dict
            Files of damaged entries, and what is wrong with each.
        """
        damaged: dict[Path, str] = {}
        for number, entry in enumerate(self._entries(), 1):
            data = self._read(entry.path)
            try:
                if data is not None:
                    decode_entry(data, entry.path.name.removesuffix(SUFFIX))
            except StoreError as error:
                damaged[entry.path] = str(error)
                if delete:
                    unlink(entry.path)
            if progress is not None:
                progress(number)
        return damaged

    # -- the folder ----------------------------------------------------------------

    @property
    def _incoming(self) -> Path:
        return self.path / INCOMING

    def _place(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise StoreError(f"{key!r} is no key of a feature store.")
        return self.path / "entries" / key[:2] / f"{key}{SUFFIX}"

    def _read(self, path: Path) -> bytes | None:
        """Return all of a file, None where it is not there (any more)."""
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            # A network file system may lose a file that was removed elsewhere.
            self._report(path, error)
            return None

    def _report(self, path: Path, error: Exception) -> None:
        if path not in self.damaged:
            LOG.warning("%s is damaged and not used: %s", path, error)
        self.damaged[path] = str(error)

    def _entries(self) -> Iterator[_Entry]:
        for folder in scan(self.path / "entries"):
            for file in scan(folder.path):
                if file.name.endswith(SUFFIX):
                    with contextlib.suppress(OSError):  # removed meanwhile
                        stat = file.stat()
                        yield _Entry(Path(file.path), stat.st_size, stat.st_mtime)

    def _unfinished(self) -> Iterator[Path]:
        for file in scan(self._incoming):
            yield Path(file.path)

    def _make_room(self, wanted: int) -> None:
        """Remove old entries if a new one would be too much."""
        if self.max_bytes is None:
            return
        if wanted > self.max_bytes:
            raise StoreError(
                f"These features take {wanted} bytes, more than the whole store may "
                f"hold ({self.max_bytes}). Raise its limit."
            )
        added = self._added + wanted
        recent = added <= COUNTED * self.max_bytes
        if recent and self._held is not None and self._held + added <= self.max_bytes:
            return
        # Other writers are at it, too: count anew.
        self._added = 0
        self._held = sum(entry.bytes for entry in self._entries())
        if self._held + wanted > self.max_bytes:
            target = int(EMPTIED * self.max_bytes) - wanted
            self._held -= sum(e.bytes for e in self._evict(max(0, target)))

    def _evict(self, limit: int) -> list[_Entry]:
        """Remove what was not used for longest until the rest fits."""
        entries = sorted(self._entries(), key=lambda entry: entry.used)
        held = sum(entry.bytes for entry in entries)
        gone = []
        for entry in entries:
            if held <= limit:
                break
            # Where somebody is reading it, POSIX leaves it to that reader until the
            # end, and Windows refuses: then it stays.
            if unlink(entry.path):
                gone.append(entry)
                held -= entry.bytes
        return gone
