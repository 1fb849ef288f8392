"""How much memory there is for something, asked before it is begun.

Nothing here needs torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Callable
from functools import cache

from napari_clickseg.errors import ClickSegError

__all__ = [
    "DENSE_PIXELS",
    "SHARE",
    "check_room",
    "fits",
    "free_host_bytes",
    "give_back",
    "in_words",
    "pixels_that_fit",
]

#: Planes of more pixels are never put into one array unless somebody asks for that.
DENSE_PIXELS = 2**27
#: Part of the free memory that one thing may take.
SHARE = 0.5


def free_host_bytes() -> int | None:
    """Return how many bytes of the machine's own memory are free; None: not known."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    with contextlib.suppress(ImportError):
        import psutil  # type: ignore[import-untyped]  # comes with napari; a Mac or Windows tells no other way

        return int(psutil.virtual_memory().available)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def give_back() -> None:
    """Hand freed memory back to the system, where that has to be asked for.

    Small arrays that are kept between large ones that are freed leave holes, and glibc
    holds on to them: a session of a day would seem to grow. Takes a few milliseconds.
    """
    trim = _trimmer()
    if trim is not None:
        trim(0)


@cache
def _trimmer() -> Callable[[int], int] | None:
    """Return glibc's ``malloc_trim``; None: there is no such thing here."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim


def pixels_that_fit(per_pixel: float, share: float = SHARE) -> int | None:
    """Return how many pixels fit into a share of the free memory.

    Parameters
    ----------
    per_pixel : float
        Bytes.
    share : float
        From 0 to 1.

    Returns
    -------
    int or None
        None where the system does not say what is free.
    """
    free = free_host_bytes()
    return None if free is None else int(free * share / per_pixel)


def fits(pixels: int, per_pixel: float, share: float = SHARE) -> bool:
    """Whether so many pixels fit, as far as the system says."""
    most = pixels_that_fit(per_pixel, share)
    return most is None or pixels <= most


def check_room(
    what: str,
    pixels: int,
    per_pixel: float,
    error: type[ClickSegError],
    instead: str,
    share: float = SHARE,
) -> None:
    """Refuse what would not fit, before any of it is begun.

    Parameters
    ----------
    what : str
        As the beginning of a sentence.
    pixels : int
    per_pixel : float
        Bytes that each of them takes at the peak.
    error : type
        What is raised.
    instead : str
        A sentence: what to do instead.
    share : float
        Of the free memory that may be taken.

    Raises
    ------
    ClickSegError
        Of the given type, with the number of pixels that would fit.
    """
    most = pixels_that_fit(per_pixel, share)
    if most is None or pixels <= most:
        return
    side = math.isqrt(max(0, most))
    raise error(
        f"{what} would take {in_words(pixels * per_pixel)} of memory for {pixels:,} "
        f"pixels; about {most:,} pixels ({side:,} x {side:,}) would fit now. {instead}"
    )


def in_words(size: float) -> str:
    """Return a number of bytes in words."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return (
        f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"
    )
