"""Work spread over processes, and stopped by Ctrl+C without losing anything."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_clickseg.errors import ClickSegError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from multiprocessing.synchronize import Event

    from napari_clickseg.evaluation.benchmark import Evaluator, Todo
    from napari_clickseg.evaluation.datasets import Sample
    from napari_clickseg.evaluation.metrics import SampleResult
    from napari_clickseg.evaluation.options import MethodOptions


def in_processes(
    todo: Todo, options: MethodOptions, jobs: int
) -> Generator[SampleResult]:
    """Yield results as they come from ``jobs`` processes.

    Parameters
    ----------
    todo : list of (samples, wanted)
        Samples of one image each, and the pairs of method and sample to evaluate.
    options : MethodOptions
        Each process makes the methods for itself.
    jobs : int
        Number of processes.

    Raises
    ------
    ClickSegError
        If a process died.
    """
    from multiprocessing import get_context

    context = get_context("spawn")  # CUDA and Qt do not survive a fork
    stop = context.Event()
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=context,
        initializer=_start_worker,
        initargs=(options, jobs, stop),
    )
    try:
        with _ctrl_c_ignored():  # processes start here, and inherit it
            futures = [pool.submit(_run_in_worker, *item) for item in todo]
        for future in as_completed(futures):
            yield from future.result()
    except BrokenProcessPool as error:
        raise ClickSegError(
            "A process of the evaluation ended by itself, most likely because memory "
            "ran out. Run the same command again with fewer --jobs: it goes on."
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Ignore Ctrl+C for a moment; processes started meanwhile ignore it for good.

    It reaches all processes at once, also one that is still importing: only the
    first process should hear it, and tells the others by the event.
    """
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, which is the one that hears it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_evaluator: Evaluator | None = None
_worker_options: MethodOptions | None = None
_stop: Event | None = None


def _start_worker(options: MethodOptions, jobs: int, stop: Event) -> None:
    import torch

    global _worker_options, _stop
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    _worker_options, _stop = options, stop


def _run_in_worker(
    samples: list[Sample], wanted: list[tuple[str, str]]
) -> list[SampleResult]:
    # Loaded here and not at the start: an error then reaches the caller as itself,
    # and not as a broken pool.
    from napari_clickseg.evaluation.benchmark import Evaluator

    global _evaluator
    assert _worker_options is not None
    assert _stop is not None
    if _evaluator is None:
        _evaluator = Evaluator(_worker_options, _stop.is_set)
    return list(_evaluator.run(samples, wanted))


def default_jobs(device: str, count: int) -> int:
    """Return how many processes suit this machine.

    One for every two processor cores: answers gain little from more than two
    threads, and one process per core would slow each click down. One on a GPU,
    which is shared.
    """
    if device not in ("auto", "cpu"):
        return 1
    if device == "auto":
        import torch

        if torch.cuda.is_available() or torch.backends.mps.is_available():
            return 1
    return max(1, min((os.cpu_count() or 1) // 2, count))
