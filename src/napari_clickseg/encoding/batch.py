"""Encode many images ahead of time, on this machine or on a cluster.

Everything runs on ``dask.distributed``, so that a worker that dies is replaced and its
images are given to another; what is in the store already is not encoded again, so that
the same call goes on after an interruption of any kind.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_clickseg.encoding.optional import need
from napari_clickseg.encoding.sources import Shown, Source, find_sources
from napari_clickseg.encoding.store import FeatureStore
from napari_clickseg.encoding.windows import side_of
from napari_clickseg.encoding.work import Done, Job, StopRun, encode_source, forget
from napari_clickseg.errors import ClickSegError, EncoderMissingError, StoreError

#: Images handed to the cluster at a time.
IN_FLIGHT = 512


@dataclass(frozen=True, slots=True)
class Where:
    """Where images are encoded.

    Attributes
    ----------
    scheduler : str, optional
        Address of a dask scheduler, such as ``tcp://10.0.0.1:8786``; its workers do it.
    workers : int
        Without a scheduler: how many images are worked on at once on this machine; 0:
        as suits it.
    processes : bool
        Each in a process of its own with a model of its own; otherwise threads of this
        process read and write beside one model.
    """

    scheduler: str | None = None
    workers: int = 0
    processes: bool = False

    @property
    def count(self) -> int:
        """Number of workers on this machine."""
        cores = os.cpu_count() or 1
        suits = max(1, cores // 2) if self.processes else min(4, cores + 1)
        return self.workers or suits


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes
    ----------
    images : int
        Sources that are done, or failed.
    encoded, present : int
        Windows that were encoded, and that had been already.
    failures : tuple of (str, str)
        Sources that failed, and why.
    seconds, encode_seconds : float
        Wall time of all; time of encoding alone, added up over workers.
    side : int
        Longest side of the whole image, for
        :func:`napari_clickseg.encoding.windows.prepared_settings`.
    """

    images: int
    encoded: int
    present: int
    failures: tuple[tuple[str, str], ...]
    seconds: float
    encode_seconds: float
    side: int


def encode_images(
    images: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    model: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    where: Where | None = None,
    side: int | None = None,
    tiles: bool = False,
    flip: bool = False,
    shown: Shown | None = None,
    dtype: str = "bfloat16",
    max_bytes: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    on_done: Callable[[Done, int, int], object] | None = None,
) -> Summary:
    """Encode images into a feature store; go on where an earlier call stopped.

    Parameters
    ----------
    images : path or iterable of path
        Files, folders, zarr arrays; see
        :func:`napari_clickseg.encoding.sources.find_sources`.
    model : str or path
        A name of ``list_models``, or a weight file.
    store : path-like
        The store's folder. Workers of a cluster need the same paths.
    where : Where, optional
        By default threads of this process.
    side : int, optional
        Longest side of the whole image for the model; by default what it works at.
    tiles, flip : bool
        Also tiles at full resolution; also mirror images
        (:func:`napari_clickseg.encoding.windows.windows_of`).
    shown : Shown, optional
        Channels and contrast.
    dtype, max_bytes
        See :class:`~napari_clickseg.encoding.store.FeatureStore`.
    device, precision : str
        As for ``load_model``, in each worker.
    on_done : callable, optional
        Called for each source with how it ended, how many are done, and of how many.

    Returns
    -------
    Summary
        Failures of single images are in it, and raise nothing.

    Raises
    ------
    ImageError, ModelError, StoreError, MissingPackageError
        If nothing can be encoded at all.
    """
    where = where or Where()
    need("distributed")
    if isinstance(images, str | os.PathLike):
        images = [images]
    shown = shown or Shown()
    sources = find_sources(images, shown)
    kept = FeatureStore(store, max_bytes, dtype)
    name = os.fspath(model)
    if Path(name).expanduser().is_file():
        name = str(Path(name).expanduser().absolute())
    encoder, own_side = _encoder(name)
    job = Job(
        model=name,
        encoder=encoder,
        store=str(kept.path),
        side=own_side if side is None else side,
        tiles=tiles,
        flip=flip,
        dtype=dtype,
        max_bytes=max_bytes,
        device=device,
        precision=precision,
        shown=shown,
    )
    return run(sources, job, where, on_done)


def run(
    sources: Sequence[Source],
    job: Job,
    where: Where,
    on_done: Callable[[Done, int, int], object] | None = None,
) -> Summary:
    """Do a job with each source; see :func:`encode_images`."""
    start = time.perf_counter()
    store = FeatureStore(job.store)
    store.sweep()
    count = encoded = present = 0
    seconds = 0.0
    failures: list[tuple[str, str]] = []
    try:
        with _cluster(where) as (client, threads):
            for done in _results(client, sources, replace(job, threads=threads)):
                count += 1
                encoded += done.encoded
                present += done.present
                seconds += done.seconds
                if done.error:
                    failures.append((done.source, done.error))
                if on_done is not None:
                    on_done(done, count, len(sources))
    finally:
        forget()
        store.sweep()
    wall = time.perf_counter() - start
    return Summary(
        count, encoded, present, tuple(failures), wall, seconds, side=job.side
    )


def _encoder(model: str) -> tuple[str, int]:
    """Return the hash of a model's encoder and the side it works at."""
    from napari_clickseg.models.decoder_only import DecoderModel
    from napari_clickseg.models.encoders import encoder_hash
    from napari_clickseg.models.model import load_model

    loaded = load_model(model, "cpu", "float32", optimise=False)
    if isinstance(loaded, DecoderModel):
        raise EncoderMissingError(
            f"{model} holds no encoder. Encode with the whole model that it came from."
        )
    return encoder_hash(loaded), side_of(loaded)


def _results(client: Any, sources: Sequence[Source], job: Job) -> Iterator[Done]:
    """Yield how sources end, as they do; few of them are under way at a time."""
    distributed = need("distributed")
    waiting = iter(sources)
    names: dict[str, str] = {}

    def submit(count: int) -> list[Any]:
        futures = []
        for _, source in zip(range(count), waiting, strict=False):
            future = client.submit(encode_source, source, job, pure=False)
            names[future.key] = source.name
            futures.append(future)
        return futures

    running = distributed.as_completed(submit(IN_FLIGHT))
    for future in running:
        name = names.pop(future.key)
        for more in submit(1):
            running.add(more)
        if future.status == "finished":
            yield future.result()
            continue
        if future.status != "error":
            raise StoreError(
                "The dask scheduler went away. Start it, and run the same again: it "
                "goes on."
            )
        error = future.exception()
        if isinstance(error, StopRun):
            raise ClickSegError(str(error)) from error
        if isinstance(error, distributed.KilledWorker):
            text = "its workers died, most likely because memory ran out"
        else:
            text = f"{type(error).__name__}: {error}"
        yield Done(name, error=text)


@contextmanager
def _cluster(where: Where) -> Iterator[tuple[Any, int | None]]:
    """Yield a client of the cluster, and how many threads torch gets in a worker."""
    distributed = need("distributed")
    if where.scheduler is not None:
        try:
            client = distributed.Client(where.scheduler, timeout=20)
        except (OSError, ValueError, TypeError) as error:
            raise ClickSegError(
                f"There is no dask scheduler at {where.scheduler} ({error}). Check the "
                "address."
            ) from error
        with client:
            yield client, None
        return
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": where.count}
    threads = 0
    if where.processes:
        options = {"n_workers": where.count, "threads_per_worker": 1}
        threads = max(1, (os.cpu_count() or 1) // where.count)
    with _ctrl_c_ignored():  # processes started meanwhile inherit it
        cluster = distributed.LocalCluster(
            **options,
            processes=where.processes,
            dashboard_address="127.0.0.1:0",  # any port that is free
            memory_limit=0,  # torch needs what it needs; the system draws the line
            silence_logs=logging.CRITICAL,
        )
    with cluster, distributed.Client(cluster) as client:
        yield client, threads


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Ignore Ctrl+C for a moment: only this process shall hear it, not its workers."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
