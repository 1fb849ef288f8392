"""Where a network runs and with how many bits, and what to do when memory ends.

torch is imported inside the functions: importing this module costs nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import TYPE_CHECKING

from napari_clickseg.errors import DeviceError
from napari_clickseg.memory import free_host_bytes

if TYPE_CHECKING:
    import torch

#: Names of devices as a user may give them; CUDA devices also as ``cuda:N``.
DEVICES = ("auto", "cpu", "cuda", "mps")
#: Names of precisions as a user may give them.
PRECISIONS = ("auto", "float32", "bfloat16", "float16")

# Peak bytes per input pixel at batch 1 in float32, weights apart, measured on the
# processor with the largest of the published networks at 400 x 400 (644, 708 and
# 259), with a margin for the scratch space that is not counted there.
_BYTES_PER_PIXEL = {"ritm": 800, "fbrs": 900, "ritm-mobilenetv2": 320}
_UNKNOWN_NETWORK = 1200

# What the libraries say when an allocation fails. Matching by words serves the
# errors that are plain RuntimeErrors, and needs no torch.
_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "could not allocate",
    "failed to allocate",
)


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device that a name stands for.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` takes a CUDA GPU where there is one, else Apple's GPU (``mps``),
        else the processor. ``"cuda"`` is the first GPU, ``"cuda:N"`` the one with
        number N.

    Raises
    ------
    DeviceError
        When the name is unknown or the device is not here; the message says which
        ones are.
    """
    import torch

    name = str(device).strip().lower()
    if name == "auto":
        name = available_devices()[0]
    kind, _, number = name.partition(":")
    known = kind in DEVICES[1:] and (
        not number or (kind == "cuda" and number.isdigit())
    )
    if not known or name.endswith(":"):
        raise DeviceError(
            f"There is no device called {str(device)!r}. "
            "Choose 'auto', 'cpu', 'cuda', 'cuda:N' (N = number of the GPU) or 'mps'."
        )
    if kind == "cpu":
        return torch.device("cpu")
    here = available_devices()
    name = "mps" if kind == "mps" else f"cuda:{int(number or 0)}"
    if name not in here:
        raise DeviceError(
            f"The device {str(device)!r} is not available here; there is "
            f"{', '.join(here)}. {_why_not(kind)} "
            "Choose 'auto' to take the best one that works."
        )
    return torch.device(name)


def _why_not(kind: str) -> str:
    import torch

    if kind == "mps":
        return "MPS needs a Mac with an Apple GPU."
    if torch.version.cuda is None and torch.version.hip is None:
        return "The installed torch was built without CUDA (see pytorch.org)."
    return "No such GPU is visible; check its driver and CUDA_VISIBLE_DEVICES."


def available_devices() -> list[str]:
    """Return the names of the devices that work here, the fastest first."""
    import torch

    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if not torch.cuda.is_available():
        names = []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def has_native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers in hardware.

    That is AVX512-BF16 or AMX; without them bfloat16 is emulated and slower than
    float32.
    """
    import torch

    # Both questions are torch's own, but under names that it may change.
    for question in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        ask = getattr(torch.cpu, question, None)
        with contextlib.suppress(RuntimeError):
            if ask is not None and ask():
                return True
    return False


def choose_precision(
    precision: str | torch.dtype = "auto",
    device: str | torch.device = "cpu",
) -> torch.dtype:
    """Return the number format a network computes in.

    Parameters
    ----------
    precision : str or torch.dtype
        ``"auto"`` is bfloat16 on a processor that has it in hardware, else float32.
        On GPUs it is float32: click networks are too small there for half
        precision to be felt.
    device : str or torch.device
        Where the network runs.

    Raises
    ------
    DeviceError
        When the name is unknown.
    """
    import torch

    name = str(precision).strip().lower().removeprefix("torch.")
    kind = choose_device(device).type
    if name == "auto":
        fast = kind == "cpu" and has_native_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    if name not in PRECISIONS:
        raise DeviceError(
            f"There is no precision called {str(precision)!r}. "
            f"Choose one of {', '.join(repr(known) for known in PRECISIONS)}."
        )
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device.

    Covers ``MemoryError`` (numpy's too), torch's ``OutOfMemoryError`` of CUDA, and
    the plain ``RuntimeError`` by which the CPU and MPS allocators give up.
    """
    if isinstance(error, MemoryError):
        return True
    if any(base.__name__ == "OutOfMemoryError" for base in type(error).__mro__):
        return True
    if not isinstance(error, RuntimeError | OSError):
        return False
    text = str(error).lower()
    return any(words in text for words in _MEMORY_WORDS)


def release_memory(device: str | torch.device | None = None) -> None:
    """Give memory back that nothing uses any more.

    Call it after the failing tensors went out of scope, that is outside the
    ``except`` block (a traceback keeps them alive).
    """
    import torch

    gc.collect()
    trim_heap()
    kind = None if device is None else torch.device(device).type
    if kind in (None, "cuda") and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if kind in (None, "mps") and torch.backends.mps.is_available():
        torch.mps.empty_cache()


def trim_heap() -> None:
    """Give free parts of the heap back to the system, where glibc manages it.

    Windows of ever other sizes leave it full of holes, which it keeps. It takes a few
    milliseconds, holds no lock of Python's, and needs no torch; but the next pass has
    to ask for its pages again: call it when nothing else is to do.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_heap() -> None:
    """Have glibc keep what was freed for the next pass of a network.

    By default it gives memory back above a limit that grows with the blocks it has
    seen freed, up to 32 MiB: so it is shown one. Else a small network looks for the
    same pages again at every click, which takes a fifth of its time.
    """
    import torch

    torch.empty(31 * 2**20, dtype=torch.uint8)


def available_bytes(device: str | torch.device = "cpu") -> int | None:
    """Return how many bytes are free on a device, or None where it is not known."""
    import torch

    chosen = torch.device(device)
    if chosen.type == "cuda":
        return int(torch.cuda.mem_get_info(chosen)[0])
    if chosen.type == "mps":
        limit = torch.mps.recommended_max_memory()
        return int(limit - torch.mps.driver_allocated_memory())
    return free_host_bytes()


def forecast_bytes(
    shape: tuple[int, int],
    batch: int = 1,
    architecture: str = "",
    dtype: torch.dtype | None = None,
) -> int:
    """Estimate the peak memory of one prediction, weights apart.

    Parameters
    ----------
    shape : (int, int)
        Height and width of what the network sees, in pixels.
    batch : int
        Images at once; the flipped copy counts as one.
    architecture : str
        Key of the network builder (``ModelInfo.architecture``).
    dtype : torch.dtype, optional
        What the network computes in; float32 by default.

    Returns
    -------
    int
        Bytes; a cautious estimate, meant for asking before a large run, not for
        accounting.
    """
    per_pixel = _BYTES_PER_PIXEL.get(architecture, _UNKNOWN_NETWORK)
    size = 4 if dtype is None else dtype.itemsize
    # The image, click maps and answers stay in float32 whatever the network does.
    fixed = 48
    pixels = batch * shape[0] * shape[1]
    return pixels * (fixed + per_pixel * size // 4)
