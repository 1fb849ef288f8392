"""A file that only grows: entries that are whole, or not there at all.

Each entry is framed by its length and a digest over all entries so far, so that a file
that was torn or damaged anywhere gives back all entries before that place, and none
that is out of its order.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import struct
import sys
import weakref
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.session.packing import Arrays

__all__ = ["MAGIC", "EntryArrays", "FrameFile", "is_frame_file", "read_entries"]

MAGIC = b"napari-clickseg journal\n"
_LENGTH = struct.Struct("<Q")
_DIGEST = 16
#: No entry is longer (bytes): a damaged length asks for no memory.
LONGEST = 2**32
#: Arrays of fewer bytes are told apart by their content each time they are written.
SMALL = 2**14
#: So many files are more than anybody has planes.
MANY_FILES = 65_536


class EntryArrays(Arrays):
    """Arrays of a journal: each is written once, with the first entry that needs it."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()
        self._fresh: dict[str, tuple[dict[str, Any], bytes]] = {}
        self._names: dict[int, tuple[weakref.ref[Any], str]] = {}
        self._packed: dict[str, tuple[dict[str, Any], bytes]] = {}

    def put(self, array: NDArray[Any] | None) -> str | None:
        """Keep an array for the next entry, and return its name."""
        if array is None:
            return None
        array = np.asarray(array)
        seen = self._names.get(id(array))
        if seen is not None and seen[0]() is array:
            return seen[1]
        plain = np.ascontiguousarray(array).reshape(array.shape)
        facts = {"dtype": plain.dtype.str, "shape": list(plain.shape)}
        content = plain.tobytes()
        digest = hashlib.blake2b(content, digest_size=16)
        digest.update(repr(facts).encode())
        name = digest.hexdigest()
        if name not in self._known and name not in self._fresh:
            self._fresh[name] = facts, zlib.compress(content, 1)
        # What is written to may not be known by what it was.
        if array.nbytes >= SMALL and not array.flags.writeable:
            self._names[id(array)] = weakref.ref(array), name
        return name

    def take(self) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Return what an entry has to bring along."""
        facts = [
            {"name": name, "bytes": len(packed), **each}
            for name, (each, packed) in self._fresh.items()
        ]
        return facts, [packed for _, packed in self._fresh.values()]

    def written(self) -> None:
        """Note that the entry is in the file."""
        self._known.update(self._fresh)
        self._fresh.clear()
        if len(self._names) > 1000:
            alive = {k: v for k, v in self._names.items() if v[0]() is not None}
            self._names = alive

    def lost(self) -> None:
        """Note that the entry could not be written."""
        gone = set(self._fresh)
        self._fresh.clear()
        self._names = {k: v for k, v in self._names.items() if v[1] not in gone}

    def learn(self, facts: list[dict[str, Any]], blob: memoryview) -> None:
        """Take the arrays of an entry that was read."""
        at = 0
        for each in facts:
            size = int(each["bytes"])
            self._packed[each["name"]] = each, bytes(blob[at : at + size])
            self._known.add(each["name"])
            at += size

    def forget(self) -> None:
        """Let go of arrays that were read; that they are in the file is known."""
        self._packed.clear()
        self._read.clear()

    def get(self, name: str) -> NDArray[Any]:
        """Read an array; one name always gives the same, read-only one."""
        if name not in self._read:
            facts, packed = self._packed[name]
            self._read[name] = _unpacked(facts, packed)
        return self._read[name]


def _unpacked(facts: dict[str, Any], packed: bytes) -> NDArray[Any]:
    dtype = np.dtype(str(facts["dtype"]))
    shape = tuple(int(n) for n in facts["shape"])
    if dtype.kind not in "buif" or any(n < 0 for n in shape):
        raise ValueError(f"an array of {dtype} and shape {shape}")
    size = dtype.itemsize
    for n in shape:
        size *= n
    # No more than it should be, whatever the bytes unfold to.
    content = zlib.decompressobj().decompress(packed, size + 1)
    if len(content) != size:
        raise ValueError("an array of another size than it says")
    array = np.frombuffer(content, dtype).reshape(shape)
    array.flags.writeable = False
    return array


def encode(text: dict[str, Any], arrays: EntryArrays) -> bytes:
    """Return an entry as bytes, with the arrays that it brings along."""
    facts, blobs = arrays.take()
    if facts:
        text = {**text, "arrays": facts}
    body = json.dumps(text, separators=(",", ":"), default=_plain).encode()
    return b"".join((_LENGTH.pack(len(body)), body, *blobs))


def decode(payload: bytes, arrays: EntryArrays) -> dict[str, Any]:
    """Return the entry of :func:`encode`."""
    (length,) = _LENGTH.unpack_from(payload)
    start = _LENGTH.size
    text = json.loads(payload[start : start + length])
    if not isinstance(text, dict):
        raise ValueError("an entry that is no record")
    if "arrays" in text:
        arrays.learn(text.pop("arrays"), memoryview(payload)[start + length :])
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be written as JSON")


def is_frame_file(path: Path) -> bool:
    """Whether a file begins as a journal does."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_entries(file: BinaryIO) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield the whole entries of a file, from its beginning.

    Yields
    ------
    bytes, int, bytes
        The entry, where it ends in the file, and the digest up to there.
    """
    if file.read(len(MAGIC)) != MAGIC:
        return
    digest, at = _first(), len(MAGIC)
    size = file.seek(0, os.SEEK_END)
    file.seek(at)
    while True:
        head = file.read(_LENGTH.size + _DIGEST)
        if len(head) < _LENGTH.size + _DIGEST:
            return
        (length,) = _LENGTH.unpack_from(head)
        if length > min(LONGEST, size - at - len(head)):
            return
        payload = file.read(length)
        digest = _next(digest, payload)
        if len(payload) < length or digest != head[_LENGTH.size :]:
            return
        at += len(head) + length
        yield payload, at, digest


class FrameFile:
    """A file of entries, open for more; one process at a time has it.

    Parameters
    ----------
    path : Path
    new : bool
        Make it; else go on after its last whole entry.

    Raises
    ------
    FileExistsError
        If it should be new and is there.
    BlockingIOError
        If another process (or another viewer) has it open.
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Path, *, new: bool) -> None:
        self.path = path
        allow_many_files()
        # Not buffered: what write() has returned from, a crash of ours cannot lose.
        self._file: io.FileIO = io.FileIO(path, "x+" if new else "r+")
        # Also where a session is dropped without a word; not at the end of Python,
        # where a viewer may be closed later and the system closes files anyway.
        weakref.finalize(self, self._file.close).atexit = False
        self.end, self._digest = len(MAGIC), _first()
        try:
            if not lock(self._file):
                raise BlockingIOError(errno.EAGAIN, "in use", str(path))
            if new:
                self._write(MAGIC)
            else:
                with path.open("rb") as file:
                    for _, self.end, self._digest in read_entries(file):
                        pass
                self._file.truncate(self.end)
                self._file.seek(self.end)
        except BaseException:
            self._file.close()
            if new:
                path.unlink(missing_ok=True)
            raise

    def append(self, payload: bytes) -> None:
        """Write one entry; if that fails, the file is as it was before.

        Raises
        ------
        OSError
            If the disk is full, and the like.
        """
        digest = _next(self._digest, payload)
        try:
            self._write(_LENGTH.pack(len(payload)) + digest + payload)
        except OSError:
            self._file.seek(self.end)
            self._file.truncate(self.end)
            raise
        self.end += _LENGTH.size + _DIGEST + len(payload)
        self._digest = digest

    def sync(self) -> None:
        """Have the system put on disk what was written."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let others have it."""
        self._file.close()

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]


@cache
def allow_many_files() -> None:
    """Have this process open as many files as the system lets it.

    Each plane that is worked on has its journal open: a series of a thousand planes
    is beyond what systems give at first (256 on a Mac, often 1,024 on Linux).
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (MANY_FILES, 10_240):  # the most on a Mac
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            continue
        return


def lock(file: io.FileIO) -> bool:
    """Take a file for this process, until it is closed; False: somebody has it.

    Where the file system knows no locks, nobody has it.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(2**62)  # a byte that is never written: others may read
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            finally:
                file.seek(0)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


def in_use(path: Path) -> bool:
    """Whether a process that is alive has a journal open."""
    try:
        with io.FileIO(path, "r+") as file:
            return not lock(file)
    except PermissionError:  # read only: nobody can be writing
        return False


def _first() -> bytes:
    return hashlib.blake2b(MAGIC, digest_size=_DIGEST).digest()


def _next(digest: bytes, payload: bytes) -> bytes:
    length = _LENGTH.pack(len(payload))
    return hashlib.blake2b(
        b"".join((digest, length, payload)), digest_size=_DIGEST
    ).digest()
