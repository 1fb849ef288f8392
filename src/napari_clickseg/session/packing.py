"""Patches and predictor states as JSON and named arrays, for session files."""

from __future__ import annotations

import hashlib
import io
import math
import operator
import zipfile
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.prediction.settings import PredictorState, Refined
from napari_clickseg.session.patches import Patch

__all__ = ["Arrays", "pack_patch", "pack_state", "unpack_patch", "unpack_state"]


class Arrays:
    """Arrays of a file, each stored once, named by their content."""

    def __init__(self, archive: zipfile.ZipFile | None = None) -> None:
        self._archive = archive
        self._members: dict[str, bytes] = {}
        self._read: dict[str, NDArray[Any]] = {}

    def put(self, array: NDArray[Any] | None) -> str | None:
        """Keep an array for writing and return its name."""
        if array is None:
            return None
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
        content = buffer.getvalue()
        name = f"arrays/{hashlib.sha256(content).hexdigest()[:32]}.npy"
        self._members[name] = content
        return name

    def write(self, archive: zipfile.ZipFile) -> None:
        """Write all arrays that were put in."""
        for name, content in self._members.items():
            archive.writestr(name, content)

    def get(self, name: str) -> NDArray[Any]:
        """Read an array; one name always gives the same, read-only one."""
        if name not in self._read:
            assert self._archive is not None
            array = _array(self._archive.read(name))
            array.flags.writeable = False
            self._read[name] = array
        return self._read[name]


def _array(content: bytes) -> NDArray[Any]:
    """Return an array of numbers whose header says no more than there is."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    head = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, columns_first, dtype = head(file)
    if dtype.kind not in "buif" or any(side < 0 for side in shape):
        raise ValueError(f"an array of {dtype} and shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError("an array of another size than it says")
    array = np.frombuffer(content, dtype, offset=file.tell())
    return array.reshape(shape, order="F" if columns_first else "C")


def pack_patch(patch: Patch, arrays: Arrays) -> dict[str, Any]:
    """Return a patch as JSON; its values are put into the arrays."""
    return {"box": patch.box, "values": arrays.put(patch.values)}


def unpack_patch(text: dict[str, Any], arrays: Arrays) -> Patch:
    """Return the patch that :func:`pack_patch` made ready."""
    box, values = unpack_box(text["box"]), arrays.get(text["values"])
    if values.shape != box.shape:
        raise ValueError(f"{values.shape} values for a box of {box.shape}")
    return Patch(box, values)


def unpack_box(edges: Any) -> Box:
    """Return a box of four whole numbers.

    Raises
    ------
    TypeError, ValueError
        If it is something else: the file is damaged.
    """
    top, left, bottom, right = map(operator.index, edges)
    return Box(top, left, bottom, right)


def pack_state(state: PredictorState, arrays: Arrays) -> dict[str, Any]:
    """Return all fields of a predictor's state, whatever they are."""
    return {
        each.name: _packed(getattr(state, each.name), arrays) for each in fields(state)
    }


def unpack_state(text: dict[str, Any], arrays: Arrays) -> PredictorState:
    """Return the state that :func:`pack_state` made ready."""
    return PredictorState(**{k: _unpacked(v, arrays) for k, v in text.items()})


def _packed(value: Any, arrays: Arrays) -> Any:
    if isinstance(value, Box):
        return {"box": value}
    if isinstance(value, np.ndarray):
        return {"array": arrays.put(value)}
    if isinstance(value, Refined):
        parts = {
            each.name: _packed(getattr(value, each.name), arrays)
            for each in fields(value)
        }
        layers = [
            {name: arrays.put(array) for name, array in layer.items()}
            for layer in value.arrays
        ]
        return {"refined": {**parts, "arrays": layers}}
    return value


def _unpacked(value: Any, arrays: Arrays) -> Any:
    if not isinstance(value, dict):
        return value
    if "box" in value:
        return unpack_box(value["box"])
    if "array" in value:
        return arrays.get(value["array"])
    parts = dict(value["refined"])
    layers = [
        {name: arrays.get(array) for name, array in layer.items()}
        for layer in parts.pop("arrays")
    ]
    parts = {name: _unpacked(part, arrays) for name, part in parts.items()}
    return Refined(arrays=tuple(layers), **parts)
