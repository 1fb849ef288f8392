"""Take the weights out of training checkpoints that hold other things beside them.

A checkpoint of mmcv holds the optimiser's state and a log of whatever objects the
training had; PyTorch's safe reader refuses such a file as a whole. Here only its
``state_dict`` (or ``model``) is looked at, in the zip format of PyTorch 1.6 and newer
as well as in the older one. Of the rest nothing is imported or called: every name
that the file mentions, but for tensors and plain containers, becomes an inert
stand-in that is dropped.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from napari_clickseg.limits import check_members

#: Under which names a checkpoint keeps its weights.
HOLDERS = ("state_dict", "model")
_ZIP = b"PK\x03\x04"
#: What files of the older format begin with.
_MAGIC = 0x1950A86A20F9469CFC6C
#: Element types by the names of PyTorch's storages.
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Storage(NamedTuple):
    dtype: torch.dtype
    key: str
    numel: int


class _Recipe(NamedTuple):
    """How a tensor lies in a storage that was not read yet."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Inert:
    """Stands for anything else: takes all arguments, does nothing."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __call__(self, *_args: Any, **_kwargs: Any) -> _Inert:
        return self

    def __setstate__(self, _state: Any) -> None:
        pass

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def append(self, _value: Any) -> None:
        """Forget the value."""

    def extend(self, _values: Any) -> None:
        """Forget the values."""

    def add(self, _value: Any) -> None:
        """Forget the value."""

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return self is other


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, *_: Any
) -> _Recipe | _Inert:
    if not isinstance(storage, _Storage):
        return _Inert()
    return _Recipe(storage, int(offset), tuple(size), tuple(stride))


def _parameter(data: Any, *_: Any) -> Any:
    return data


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _Reader(pickle.Unpickler):
    """Looks names up in the table above and nowhere else."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return ours, a storage's name, or a new inert class."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and name in _STORAGES:
            return _StorageType(name)
        return type("Inert", (_Inert,), {})

    def persistent_load(self, pid: Any) -> Any:
        """Describe a storage without reading it."""
        match pid:
            case ("storage", _StorageType(name), str(key), _, int(numel), *rest):
                if any(part is not None for part in rest):
                    return _Inert()  # a view of another storage
                storage = _Storage(_STORAGES[name], key, numel)
                self.storages[key] = storage
                return storage
        return _Inert()


class _StorageType(_Inert):
    __match_args__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def read_state_dict(data: bytes) -> dict[str, Tensor] | None:
    """Return the weights of a training checkpoint.

    Parameters
    ----------
    data : bytes
        A PyTorch file of either format.

    Returns
    -------
    dict of str to Tensor, or None
        None where this is no such file, it has no ``state_dict`` or ``model`` of
        tensors, or it is damaged.
    """
    try:
        if data.startswith(_ZIP):
            return _from_zip(data)
        return _from_pickles(data)
    except Exception:  # noqa: BLE001  damage and malice show in countless ways
        return None


def _from_zip(data: bytes) -> dict[str, Tensor] | None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        check_members(archive)
        names = archive.namelist()
        (index,) = (name for name in names if name.endswith("/data.pkl"))
        folder = index.removesuffix("data.pkl")
        entries = _weights_in(_Reader(io.BytesIO(archive.read(index))).load())

        def read(storage: _Storage) -> bytes:
            return archive.read(f"{folder}data/{storage.key}")

        return _materialised(entries, read)


def _from_pickles(data: bytes) -> dict[str, Tensor] | None:
    """Read what PyTorch wrote before 1.6: pickles, then the storages in a row."""
    stream = io.BytesIO(data)
    if _Reader(stream).load() != _MAGIC:
        return None
    for _ in ("version of the format", "about the machine"):
        _Reader(stream).load()
    reader = _Reader(stream)
    entries = _weights_in(reader.load())
    raw: dict[str, bytes] = {}
    for key in _Reader(stream).load():
        storage = reader.storages[str(key)]
        if int.from_bytes(stream.read(8), "little") != storage.numel:
            return None
        raw[storage.key] = stream.read(storage.numel * storage.dtype.itemsize)
    return _materialised(entries, lambda storage: raw[storage.key])


def _weights_in(content: Any) -> Mapping[Any, Any] | None:
    """Find the weights among what a checkpoint holds."""
    if not isinstance(content, dict):
        return None
    for holder in HOLDERS:
        entries = content.get(holder)
        if isinstance(entries, dict) and entries:
            return entries
    return None


def _materialised(
    entries: Mapping[Any, Any] | None, read: Callable[[_Storage], bytes]
) -> dict[str, Tensor] | None:
    """Turn recipes into tensors."""
    if entries is None:
        return None
    tensors = {}
    for name, recipe in entries.items():
        if not isinstance(recipe, _Recipe):
            raise TypeError("the weights hold something that is no tensor")
        if isinstance(name, str):
            storage = recipe.storage
            if math.prod(recipe.size) > storage.numel:
                raise ValueError("a tensor of more numbers than there are")
            values = torch.frombuffer(bytearray(read(storage)), dtype=storage.dtype)
            values = values.as_strided(recipe.size, recipe.stride, recipe.offset)
            tensors[name] = values.clone()
    return tensors
