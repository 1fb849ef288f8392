"""Where the loop runs: in this process, or in several that share each batch."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_clickseg.device import choose_device, has_native_bfloat16
from napari_clickseg.errors import Cancelled, MissingPackageError
from napari_clickseg.training.finetuning.log import HISTORY
from napari_clickseg.training.finetuning.loop import Loop, Nothing, Tick
from napari_clickseg.training.finetuning.report import Validation
from napari_clickseg.training.finetuning.work import Work
from napari_clickseg.training.state import load_state, save_state

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: Files in the folder by which several processes are told what is wished.
CANCEL, FINISH, LEARNED = "cancel", "finish", "learned.pt"


def make_fabric(
    device: str = "auto", devices: int = 1, nodes: int = 1, precision: str = "auto"
) -> Fabric:
    """Return a Fabric, not launched.

    Parameters
    ----------
    device : str
        As for :func:`napari_clickseg.load_model`.
    devices, nodes : int
        Processes on this machine, each with a GPU of its own or a share of the
        processor; and machines.
    precision : {"auto", "float32", "bfloat16"}
        ``auto`` is bfloat16 where the hardware has it.

    Raises
    ------
    MissingPackageError
        If lightning-fabric is not installed.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise MissingPackageError(
            "Finetuning needs lightning-fabric. Install it with: pip install "
            "'napari-clickseg[train]'"
        ) from error
    chosen = choose_device(device)
    kind = chosen.type
    if precision == "auto":
        native = (
            has_native_bfloat16()
            if kind == "cpu"
            else (kind == "cuda" and torch.cuda.is_bf16_supported())
        )
        precision = "bfloat16" if native else "float32"
    number: Any = devices
    if kind == "cuda" and devices == 1 and chosen.index is not None:
        number = [chosen.index]
    several = devices > 1 or nodes > 1
    # torchrun and the like have started the processes already
    started = "LOCAL_RANK" in os.environ
    strategy = "auto" if not several else "ddp" if started else "ddp_spawn"
    return Fabric(
        accelerator=kind,
        devices=number,
        num_nodes=nodes,
        strategy=strategy,
        precision="bf16-mixed" if precision == "bfloat16" else "32-true",
    )


def learn(
    work: Work,
    folder: Path,
    *,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    precision: str = "auto",
    on_tick: Callable[[Tick], None] | None = None,
    cancelled: Callable[[], bool] = Nothing,
    finish: Callable[[], bool] = Nothing,
    show: Callable[[nn.Module], None] | None = None,
) -> dict[str, Any]:
    """Learn, and return what was learned.

    Parameters
    ----------
    work : Work
        What is learned.
    folder : Path
        Checkpoints and logs; a checkpoint of the same work there is gone on from.
    device, devices, nodes, precision
        See :func:`make_fabric`.
    on_tick, cancelled, finish : callable
        See :meth:`.Loop.go`.
    show : callable, optional
        Given the network as it would be now, after each validation; only where one
        process learns.

    Returns
    -------
    dict
        ``weights``: the best moving average, ``state`` of the end, ``history``,
        ``validations``, ``step``, ``seconds``.
    """
    fabric = make_fabric(device, devices, nodes, precision)
    for name in (CANCEL, FINISH):
        (folder / name).unlink(missing_ok=True)
    if devices == 1 and nodes == 1:
        fabric.launch()
        return learn_here(fabric, work, folder, on_tick, cancelled, finish, show)
    with _Watch(folder, on_tick, cancelled, finish) as watch:
        launched: Any = _in_process
        fabric.launch(launched, _Parcel(work), folder)
        watch.raise_if_cancelled()
    learned: dict[str, Any] = load_state(folder / LEARNED)
    learned["validations"] = [Validation(*one) for one in learned["validations"]]
    return learned


def learn_here(
    fabric: Fabric,
    work: Work,
    folder: Path,
    on_tick: Callable[[Tick], None] | None,
    cancelled: Callable[[], bool],
    finish: Callable[[], bool],
    show: Callable[[nn.Module], None] | None = None,
) -> dict[str, Any]:
    """Learn in this process."""
    lesson = work.lesson(fabric.device, cancelled)
    loop = Loop(fabric, work.network(), lesson, work.options, folder)
    loop.restore(work.key)
    loop.show = show
    loop.go(work.key, on_tick, cancelled, finish)
    return {
        "weights": plain_state(loop.network, loop.outcome()),
        "history": loop.history,
        "validations": loop.validations,
        "step": loop.step,
        "seconds": loop.seconds,
    }


def plain_state(network: nn.Module, values: dict[str, Any]) -> dict[str, Any]:
    """Return weights by their usual names, adapters and the like taken up."""
    from napari_clickseg.training.finetuning.adapters import take_up

    network.load_state_dict(values)
    return {k: v.detach().cpu() for k, v in take_up(network).state_dict().items()}


class _Parcel:
    """Work on its way into another process.

    Fabric looks into everything that is sent, and refuses frozen dataclasses.
    """

    def __init__(self, work: Work) -> None:
        self.work = work


def _in_process(fabric: Fabric, parcel: _Parcel, folder: Path) -> None:
    """Learn as one of several processes; the first writes what was learned."""
    work = parcel.work
    threads = max(1, torch.get_num_threads() // fabric.world_size)
    torch.set_num_threads(threads)

    def told(name: str) -> Callable[[], bool]:
        return (folder / name).exists

    try:
        learned = learn_here(fabric, work, folder, None, told(CANCEL), told(FINISH))
    except Cancelled:
        return
    if fabric.global_rank == 0:
        learned["validations"] = [
            (one.step, one.loss, one.score, one.noc) for one in learned["validations"]
        ]
        save_state(folder / LEARNED, learned)
    fabric.barrier()


class _Watch:
    """Tells other processes what is wished, and the caller what they have done."""

    def __init__(
        self,
        folder: Path,
        on_tick: Callable[[Tick], None] | None,
        cancelled: Callable[[], bool],
        finish: Callable[[], bool],
    ) -> None:
        self.folder, self.on_tick = folder, on_tick
        self.wishes = ((CANCEL, cancelled), (FINISH, finish))
        self.log = folder / HISTORY
        self.read = self.log.stat().st_size if self.log.exists() else 0
        self.began = time.monotonic()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self._look()

    def _run(self) -> None:
        while not self.over.wait(0.2):
            self._look()

    def _look(self) -> None:
        for name, wished in self.wishes:
            if not (self.folder / name).exists() and wished():
                (self.folder / name).touch()
        if self.on_tick is None or not self.log.exists():
            return
        with self.log.open(encoding="utf-8") as file:
            file.seek(self.read)
            for line in iter(file.readline, ""):
                if not line.endswith("\n"):
                    break
                self.read += len(line.encode())
                told = json.loads(line)
                checked = told.get("validation")
                self.on_tick(
                    Tick(
                        told["step"],
                        told["loss"],
                        told["score"],
                        time.monotonic() - self.began,
                        None if checked is None else Validation(**checked),
                    )
                )

    def raise_if_cancelled(self) -> None:
        """Raise where the processes were told to stop."""
        if (self.folder / CANCEL).exists():
            raise Cancelled(
                f"Stopped. The same again goes on from the last state in {self.folder}."
            )
