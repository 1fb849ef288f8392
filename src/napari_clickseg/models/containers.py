"""Take the weights out of training checkpoints that hold other things beside them.

A checkpoint of mmcv holds the optimiser's state and a log of whatever objects the
training had; PyTorch's safe reader refuses such a file as a whole. Here only its
``state_dict`` is looked at. Of the rest nothing is imported or called: every name
that the file mentions, but for tensors and plain containers, becomes an inert
stand-in that is dropped.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
            case ("storage", _StorageType(name), str(key), _, int(numel)):
                return _Storage(_STORAGES[name], key, numel)
        return _Inert()


class _StorageType(_Inert):
    __match_args__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def read_state_dict(data: bytes) -> dict[str, Tensor] | None:
    """Return the ``state_dict`` of a training checkpoint.

    Parameters
    ----------
    data : bytes
        A PyTorch file of the zip format (since PyTorch 1.6).

    Returns
    -------
    dict of str to Tensor, or None
        None where this is no such file, it has no ``state_dict`` of tensors, or it
        is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            (index,) = (name for name in names if name.endswith("/data.pkl"))
            content = _Reader(io.BytesIO(archive.read(index))).load()
            entries = content.get("state_dict") if isinstance(content, dict) else None
            if not isinstance(entries, dict) or not entries:
                return None
            folder = index.removesuffix("data.pkl")
            return {
                name: _materialised(archive, folder, recipe)
                for name, recipe in entries.items()
                if isinstance(name, str)
            }
    except Exception:  # noqa: BLE001  damage and malice show in countless ways
        return None


def _materialised(archive: zipfile.ZipFile, folder: str, recipe: Any) -> Tensor:
    if not isinstance(recipe, _Recipe):
        raise TypeError("the state_dict holds something that is no tensor")
    storage = recipe.storage
    raw = archive.read(f"{folder}data/{storage.key}")
    values = torch.frombuffer(bytearray(raw), dtype=storage.dtype)
    return values.as_strided(recipe.size, recipe.stride, recipe.offset).clone()
