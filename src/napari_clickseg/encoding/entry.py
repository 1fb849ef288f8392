"""One entry of a feature store: features <-> the bytes of a file.

The file is a zip of a zarr (format 3) group, nothing compressed, so that whatever
reads zarr reads it: an array for each tensor, and in the group's attributes what the
arrays stand for. The comment of the zip ends in a hash of all that comes before, so
that no byte of it can change unnoticed. The same features make the same bytes.

NumPy knows no bfloat16: such tensors are kept as the uint16 of their bits, and the
attributes say so.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_clickseg.encoding.optional import need
from napari_clickseg.errors import StoreError
from napari_clickseg.models.feature_tree import pack, unpack
from napari_clickseg.models.features import Features

#: Attributes of ours, in a store's group and in each entry's.
ATTRIBUTES = "napari-clickseg"
VERSION = 1
DTYPES = ("bfloat16", "float16")
_HASH_BYTES = 32
_MARK = b"napari-clickseg features, blake2b "
_TAIL = 2 * _HASH_BYTES
#: Kinds of tensors that are kept as they are.
_EXACT = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in (*_EXACT, *_FLOATS)}


def encode_entry(
    key: str, features: Features, dtype: str, about: Mapping[str, Any] | None = None
) -> bytes:
    """Turn features into the content of a file.

    Parameters
    ----------
    key : str
        Under which they are kept; it is written into the entry.
    features : Features
        On any device.
    dtype : str
        ``"bfloat16"`` or ``"float16"``, for tensors of floats. Those that would
        overflow in float16 are kept in bfloat16.
    about : mapping, optional
        What people may want to know of it; must fit JSON.

    Raises
    ------
    StoreError
        If the features hold something else than numbers, or are not finite.
    """
    spec, tensors = pack(features.content)
    arrays, leaves = [], []
    for number, tensor in enumerate(tensors):
        array, leaf = _to_array(tensor, dtype)
        arrays.append(array)
        leaves.append(leaf | {"array": str(number)})
    attributes = {
        "version": VERSION,
        "key": key,
        "size": [int(side) for side in features.size],
        "batch": int(features.batch),
        "tree": spec,
        "tensors": leaves,
        "about": dict(about or {}),
    }
    return _seal(_write_zarr(attributes, arrays))


def decode_entry(data: bytes, key: str | None = None) -> Features:
    """Turn the content of a file back into features, on the CPU.

    Parameters
    ----------
    data : bytes
        The whole file.
    key : str, optional
        Under which it was kept.

    Returns
    -------
    Features
        Tensors in the types and memory layouts that they had.

    Raises
    ------
    StoreError
        If a byte is missing or changed, or the entry belongs to another key.
    """
    check_entry(data)
    attributes, arrays = _read_zarr(data)
    if key is not None and attributes.get("key") != key:
        raise StoreError("it lies under the name of another entry")
    try:
        leaves = attributes["tensors"]
        tensors = [_to_tensor(arrays[leaf["array"]], leaf) for leaf in leaves]
        height, width = (int(side) for side in attributes["size"])
        batch = int(attributes["batch"])
        content = unpack(attributes["tree"], tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"its description does not fit ({error})") from error
    return Features(content, (height, width), batch)


def check_entry(data: bytes) -> None:
    """Raise StoreError unless every byte is as it was written."""
    mark = data[-_TAIL - len(_MARK) : -_TAIL]
    if mark != _MARK:
        raise StoreError("it is cut short, or no entry")
    if _digest(data[:-_TAIL]) != data[-_TAIL:]:
        raise StoreError("its checksum does not fit")


def about_entry(data: bytes) -> dict[str, Any]:
    """Return what an entry says of itself.

    Returns
    -------
    dict
        ``key``, ``size``, ``batch``, ``tensors`` and ``about``.

    Raises
    ------
    StoreError
        If it is damaged.
    """
    check_entry(data)
    return _attributes(_members(data))


def moved(features: Features, dtype: Any = None, device: Any = None) -> Features:
    """Return features elsewhere, floats in another type; unchanged where neither."""
    if dtype is None and device is None:
        return features
    spec, tensors = pack(features.content)
    tensors = [
        t.to(device=device, dtype=dtype if t.is_floating_point() else None)
        for t in tensors
    ]
    return Features(unpack(spec, tensors), features.size, features.batch)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_HASH_BYTES).hexdigest().encode()


def _to_array(tensor: Tensor, dtype: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the numbers to keep, and how to make the tensor of them again."""
    if tensor.dtype not in (*_EXACT, *_FLOATS) or tensor.layout != torch.strided:
        raise StoreError(f"Features that hold {tensor.dtype} numbers cannot be stored.")
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    leaf = {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "channels_last": last and not tensor.is_contiguous(),
    }
    tensor = tensor.detach().cpu()
    stored = tensor
    if tensor.is_floating_point():
        if not bool(torch.isfinite(tensor).all()):
            raise StoreError("Features that are not finite are not kept.")
        stored = tensor.to(getattr(torch, dtype))
        if not bool(torch.isfinite(stored).all()):
            stored = tensor.float().clamp(-3e38, 3e38).to(torch.bfloat16)
    leaf["stored"] = str(stored.dtype).removeprefix("torch.")
    stored = stored.contiguous()
    if stored.dtype == torch.bfloat16:
        stored = stored.view(torch.uint16)
    return stored.numpy(), leaf


def _to_tensor(array: np.ndarray, leaf: Mapping[str, Any]) -> Tensor:
    tensor = torch.from_numpy(array)
    if leaf["stored"] == "bfloat16":
        tensor = tensor.view(torch.bfloat16)
    if tensor.dtype != _NAMES[leaf["stored"]]:
        raise StoreError("its numbers are of another type than it says")
    tensor = tensor.to(_NAMES[leaf["dtype"]])
    if leaf["channels_last"]:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    return tensor


# -- zarr in a zip -----------------------------------------------------------------


def _write_zarr(
    attributes: Mapping[str, Any], arrays: list[np.ndarray]
) -> dict[str, bytes]:
    """Return the files of a zarr group, by name."""
    zarr = need("zarr")
    files: dict[str, Any] = {}
    group = zarr.create_group(
        need("zarr.storage").MemoryStore(files), attributes={ATTRIBUTES: attributes}
    )
    for number, array in enumerate(arrays):
        kept = group.create_array(
            str(number),
            shape=array.shape,
            dtype=array.dtype,
            chunks=tuple(max(1, side) for side in array.shape),
            filters=None,
            compressors=None,
            # Else chunks of zeros are left out, and what is missing may be zeros.
            config={"write_empty_chunks": True},
        )
        kept[...] = array
    return {name: files[name].to_bytes() for name in sorted(files)}


def _read_zarr(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the attributes of a group, and its arrays by name."""
    files = _members(data)
    attributes = _attributes(files)
    zarr, buffer = need("zarr"), need("zarr.core.buffer")
    make = buffer.default_buffer_prototype().buffer.from_bytes
    store = need("zarr.storage").MemoryStore({k: make(v) for k, v in files.items()})
    arrays = {}
    try:
        group = zarr.open_group(store, mode="r", zarr_format=3)
        for name in (leaf["array"] for leaf in attributes["tensors"]):
            kept = group[name]
            if kept.nbytes > len(data):  # a description may claim any size
                raise StoreError("it says that it holds more than it does")
            arrays[name] = np.array(kept[...])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"it is no intact zarr group ({error})") from error
    return attributes, arrays


def _attributes(files: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        attributes = json.loads(files["zarr.json"])["attributes"][ATTRIBUTES]
        version = attributes["version"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise StoreError("it says nothing of itself") from error
    if version != VERSION:
        raise StoreError(f"it is of version {version!r}, this program reads {VERSION}")
    return dict(attributes)


def _seal(files: Mapping[str, bytes]) -> bytes:
    """Return a zip whose comment ends in the hash of everything before."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            # A fixed date: the same content is the same file.
            archive.writestr(zipfile.ZipInfo(name), content)
        archive.comment = _MARK + b"0" * _TAIL
    data = file.getvalue()
    return data[:-_TAIL] + _digest(data[:-_TAIL])


def _members(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise StoreError("it is compressed, which entries are not")
            return {member.filename: archive.read(member) for member in members}
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise StoreError(f"it is no intact zip ({error})") from error
