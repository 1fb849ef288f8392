"""Look over a reader's shoulder: which files it opens, what it runs, what it holds.

Python tells audit hooks (PEP 578) of every file that is opened, removed or renamed and
of every program that is started, also from C and from other threads. So "nothing
outside the folder was touched" is seen, not guessed from what is left behind.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tracemalloc
from pathlib import Path
from typing import Any, Self

import napari_clickseg

#: Events that no reader has any business with, whatever their arguments.
FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"),
    *("subprocess.Popen", "os.startfile", "pty.spawn"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request"),
    *("os.symlink", "os.link", "os.chmod", "os.chown", "os.putenv", "os.chdir"),
    *("shutil.rmtree", "shutil.move", "shutil.copyfile", "shutil.unpack_archive"),
    *("code.__new__", "webbrowser.open", "ctypes.dlopen"),
)
#: Events whose first arguments are paths that are changed.
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.utime")
#: Where libraries look for their own parts.
_LIBRARIES = tuple(
    os.path.realpath(place)
    for place in {
        *(sysconfig.get_paths().values()),
        *(sys.prefix, sys.base_prefix, str(Path(napari_clickseg.__file__).parent)),
        *("/proc", "/sys", "/dev", "/etc", "/usr"),
    }
)
_watching: list[Watch] = []


class Watch:
    """What happens while it is on.

    Parameters
    ----------
    folder : Path
        What may be read (and, where the reader writes at all, be written).
    writes : bool
        Whether it may write there.

    Attributes
    ----------
    wrong : list of str
        What should not have happened.
    peak : int
        Bytes that Python and NumPy held at most, beyond what they held before.
    """

    def __init__(self, folder: Path, *, writes: bool = False) -> None:
        self.folder = os.path.realpath(folder)
        self.writes = writes
        self.wrong: list[str] = []
        self.peak = 0

    def __enter__(self) -> Self:
        _install()
        if not tracemalloc.is_tracing():
            tracemalloc.start(1)
        self._before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        _watching.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _watching.remove(self)
        self.peak = tracemalloc.get_traced_memory()[1] - self._before

    def told(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Judge an event."""
        if event in FORBIDDEN:
            self.wrong.append(f"{event}{arguments!r:.200}")
        elif event in CHANGES:
            for path in arguments[: 1 + (event == "os.rename")]:
                self._path(event, path, writing=True)
        elif event == "open":
            path, mode, flags = arguments
            written = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            writing = bool(flags & written) or any(c in (mode or "") for c in "wax+")
            self._path(event, path, writing=writing)

    def _path(self, event: str, path: Any, *, writing: bool) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a number: what was opened before
        place = os.path.realpath(os.fsdecode(path))
        within = place == self.folder or place.startswith(self.folder + os.sep)
        if within and (self.writes or not writing):
            return
        if not writing and place.startswith(_LIBRARIES):
            return
        self.wrong.append(f"{event} {place}{' (written)' * writing}")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching:
        for each in tuple(_watching):
            each.told(event, arguments)


def _install(done: list[bool] = []) -> None:  # noqa: B006 (an audit hook stays)
    if not done:
        sys.addaudithook(_hook)
        done.append(True)
