"""Memory of InterFormer's two steps, each network in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

PEAK = Path("/proc/self/clear_refs")


def status(name: str) -> int:
    """Return a line of this process's status in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def growth(call: Callable[[], Any]) -> tuple[Any, int]:
    """Return what a call returns, and by how much memory in use rose within it."""
    from napari_clickseg.device import release_memory

    release_memory()
    before = status("VmRSS")
    PEAK.write_text("5")  # the peak begins anew
    return call(), status("VmHWM") - before


def measure(connection: Connection, who: str, size: int, threads: int) -> None:
    """Measure one network at one size; the work of a process of its own."""
    import torch

    from interformer_subjects import build, decoding, model_of

    torch.set_num_threads(threads)
    model = model_of(who, *build(who))
    model._exact = model.network  # noqa: SLF001 - the float32 copy plays no part
    found: dict[str, Any] = {"who": who, "size": size}
    found["dtype"] = str(model.dtype).removeprefix("torch.")
    tensors = [*model.network.parameters(), *model.network.buffers()]
    found["weights"] = sum({x.data_ptr(): x.nbytes for x in tensors}.values())
    with torch.inference_mode():
        image = torch.rand(1, 3, size, size)
        features, found["encode"] = growth(lambda: model.encode(image))
        found["features"] = sum(level.nbytes for level in features.content)
        kept = [getattr(module, "_kept", {}) for module in model.network.modules()]
        found["bias"] = sum(bias.nbytes for each in kept for bias in each.values())
        run = decoding(model, features, size)
        run()  # kernels are made once
        _, found["decode"] = growth(run)
    connection.send(found)


def memories(
    who: Sequence[str], sizes: Sequence[int], threads: int
) -> list[dict[str, Any]]:
    """Measure all networks at all sizes, in bytes; nothing where no system tells.

    Returns
    -------
    list of dict
        ``weights``, ``features`` and the kept ``bias``: of tensors. ``encode`` and
        ``decode``: by how much the process grew, what is kept afterwards included.
    """
    found: list[dict[str, Any]] = []
    if not PEAK.exists():
        return found
    context = multiprocessing.get_context("spawn")
    for name in who:
        for size in sizes:
            ours, theirs = context.Pipe()
            given = (theirs, name, size, threads)
            process = context.Process(target=measure, args=given)
            process.start()
            theirs.close()  # so that the end of the process is heard
            with contextlib.suppress(EOFError):  # it was too much for this machine
                found.append(ours.recv())
            process.join()
            print(f"memory: {name}, {size} px", flush=True)
    return found
