"""What one worker does: read an image, encode its windows, keep the features."""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from napari_clickseg.encoding.keys import key_for
from napari_clickseg.encoding.sources import Shown, Source, planes_of
from napari_clickseg.encoding.store import FeatureStore
from napari_clickseg.encoding.windows import windows_of
from napari_clickseg.errors import ClickSegError, ModelError
from napari_clickseg.models.encoders import encoder_hash

#: What is wrong with the store, not with one image: a full disk, a read-only one.
_OF_THE_STORE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


class StopRun(Exception):
    """Something that no image can be encoded with; the text says what."""


@dataclass(frozen=True)
class Job:
    """What is done with each image.

    Attributes
    ----------
    model : str
        Name, or path of a weight file, that every worker can load.
    encoder : str
        Hash that its encoder must have.
    store : str
        Folder that every worker can write to.
    side : int
        Longest side of the whole image for the model.
    tiles, flip : bool
        See :func:`napari_clickseg.encoding.windows.windows_of`.
    dtype : str
        In which floats are kept.
    max_bytes : int, optional
        Limit of the store.
    device, precision : str
        As for ``load_model``.
    shown : Shown
        Channels and contrast.
    threads : int, optional
        Of torch in each worker; 0: as it is; None: as many as the worker of the
        cluster was given.
    """

    model: str
    encoder: str
    store: str
    side: int
    tiles: bool = False
    flip: bool = False
    dtype: str = "bfloat16"
    max_bytes: int | None = None
    device: str = "auto"
    precision: str = "auto"
    shown: Shown = field(default_factory=Shown)
    threads: int | None = 0


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one source.

    Attributes
    ----------
    source : str
        Its name.
    encoded, present : int
        Windows that were encoded now, and that were in the store already.
    seconds : float
        Spent on encoding alone.
    error : str
        Why not all of it is encoded; empty if it is.
    """

    source: str
    encoded: int = 0
    present: int = 0
    seconds: float = 0.0
    error: str = ""


class _Engine:
    """The model of this process. Threads read and write side by side, and encode in
    turn: one pass uses all processor cores or the GPU as it is.
    """  # noqa: D205

    def __init__(self, job: Job) -> None:
        import torch

        from napari_clickseg.models.model import load_model

        threads = _own_threads() if job.threads is None else job.threads
        if threads:
            torch.set_num_threads(threads)
        self.turn = threading.Lock()
        self.model = load_model(job.model, job.device, job.precision)
        found = encoder_hash(self.model)
        if found != job.encoder:
            raise ModelError(
                f"A worker finds other weights under {job.model} (encoder {found}, not "
                f"{job.encoder}). Put the same file on all machines."
            )


_engines: dict[tuple[str, ...], _Engine] = {}
_stores: dict[tuple[Any, ...], FeatureStore] = {}
_making = threading.Lock()


def engine_of(job: Job) -> Any:
    """Return the model of this process, loaded once, with a lock to take turns."""
    key = (job.model, job.encoder, job.device, job.precision)
    with _making:
        if key not in _engines:
            _engines.clear()
            _engines[key] = _Engine(job)
        return _engines[key]


def forget() -> None:
    """Let go of what this process keeps between sources."""
    with _making:
        _engines.clear()
        _stores.clear()


def _store_of(job: Job) -> FeatureStore:
    key = (job.store, job.max_bytes, job.dtype)
    with _making:
        if key not in _stores:
            _stores[key] = FeatureStore(job.store, job.max_bytes, job.dtype)
        return _stores[key]


def _own_threads() -> int:
    """Return how many threads this worker of a cluster was given."""
    from distributed import get_worker

    try:
        return int(get_worker().state.nthreads)
    except ValueError:  # no worker
        return 0


def encode_source(source: Source, job: Job) -> Done:
    """Encode what of a source is not in the store yet.

    Returns
    -------
    Done
        With the reason, where the image cannot be read or encoded.

    Raises
    ------
    StopRun
        If the model cannot be loaded, or nothing can be written.
    """
    encoded = present = 0
    seconds = 0.0
    try:
        store = _store_of(job)
    except (ClickSegError, OSError) as error:
        raise StopRun(str(error)) from error
    try:
        for name, image in planes_of(source, job.shown):
            windows = windows_of(image.shape, job.side, tiles=job.tiles, flip=job.flip)
            for window in windows:
                key = key_for(
                    job.encoder, image, window.box, window.size, window.flipped
                )
                if store.has(key):
                    present += 1
                    continue
                features, took = _encode(job, image, window)
                seconds += took
                about = {
                    "source": name,
                    "box": list(window.box),
                    "flipped": window.flipped,
                    "model": job.model,
                }
                _put(store, key, features, about)
                encoded += 1
    except StopRun:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is wrong with this image
        text = f"{error}" if isinstance(error, ClickSegError) else _told(error)
        return Done(source.name, encoded, present, seconds, text)
    return Done(source.name, encoded, present, seconds)


def _encode(job: Job, image: Any, window: Any) -> tuple[Any, float]:
    import torch

    from napari_clickseg.prediction.passes import Passes

    try:
        engine = engine_of(job)
    except (ClickSegError, OSError) as error:
        raise StopRun(str(error)) from error
    image.window(window.box)  # read, if it is not yet, while others encode
    with engine.turn, torch.inference_mode():
        start = time.perf_counter()
        features = Passes(engine.model).encode(
            image, window.box, window.size, (window.flipped,)
        )
        if engine.model.device.type == "cuda":
            torch.cuda.synchronize(engine.model.device)
        return features, time.perf_counter() - start


def _put(store: FeatureStore, key: str, features: Any, about: dict[str, Any]) -> None:
    try:
        store.put(key, features, about)
    except OSError as error:
        if error.errno in _OF_THE_STORE:
            raise StopRun(
                f"{store.path} cannot be written: {error.strerror}."
            ) from error
        raise


def _told(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
