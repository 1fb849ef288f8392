"""COCO+LVIS: the combined annotations that RITM published.

Per image a pickle holds layers of label pictures (PNG) and which (layer, label) each
object has; a pickle for all says which of these are objects and which are stuff.
Pickles are programs: these are read by a reader that knows containers, numbers and
NumPy's plain arrays, and runs nothing.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import TrainingError
from napari_clickseg.evaluation.voc_index import Call
from napari_clickseg.imagefiles import read_image
from napari_clickseg.limits import DAMAGE, inside
from napari_clickseg.training.readers.base import Reader, file_hash

INDEX = "hannotation.pickle"


class _Numbers:
    """Stands for a type of NumPy's numbers: knows which, runs nothing."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch("[biuf][1248]", code):
            raise pickle.UnpicklingError(f"numbers of type {code!r}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for an array until its shape and bytes are known, and fit."""

    def __init__(self, *_: object) -> None:
        self._values: NDArray[Any] = np.zeros(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, columns_first, raw = state
        if not isinstance(kind, _Numbers) or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("an array of something else than numbers")
        order: Any = "F" if columns_first else "C"
        self._values = np.frombuffer(raw, kind.dtype).reshape(shape, order=order)

    def __array__(self, *_: Any, **_options: Any) -> NDArray[Any]:
        return self._values


def _scalar(kind: object, raw: object = b"") -> Any:
    if not isinstance(kind, _Numbers) or not isinstance(raw, bytes):
        raise pickle.UnpicklingError("a number without a type")
    return np.frombuffer(raw, kind.dtype, count=1)[0].item()


def _from_buffer(raw: object, kind: object, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(kind, _Numbers):
        raise pickle.UnpicklingError("an array of something else than numbers")
    found: NDArray[Any] = np.frombuffer(raw, kind.dtype)  # type: ignore[call-overload]
    return found.reshape(shape, order=order)


def _encode(text: object, coding: object = "latin1") -> bytes:
    # how NumPy's numbers are written in the older protocols
    if not isinstance(text, str) or coding != "latin1":
        raise pickle.UnpicklingError("text in an unknown coding")
    return text.encode("latin1")


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
#: What a pickle may ask for, and what it gets: nothing of NumPy's own, which trusts
#: shapes and types.
_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): Call(_Numbers),
    ("numpy", "ndarray"): Call(_Array),
    **{(module, "_reconstruct"): Call(_Array) for module in _MULTIARRAY},
    **{(module, "scalar"): Call(_scalar) for module in _MULTIARRAY},
    # from NumPy 2.3 on, protocol 5
    **{
        (module.replace("multiarray", "numeric"), "_frombuffer"): Call(_from_buffer)
        for module in _MULTIARRAY
    },
    ("_codecs", "encode"): Call(_encode),
}


class _PlainReader(pickle.Unpickler):
    """Knows arrays of numbers and nothing else that could be called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of containers, numbers, text, bytes and arrays of numbers.

    Raises
    ------
    TrainingError
        If the file is damaged, or asks for anything else.
    """
    try:
        return _PlainReader(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a broken pickle can raise almost anything
        raise TrainingError(
            f"{path} is refused: it is no plain list of annotations ({error}). Get "
            "the published file again."
        ) from error


class CocoLvis(Reader):
    """A split of the combined annotations: ``images/``, ``masks/``, the index.

    Parameters
    ----------
    path : Path
        The split's folder (``train`` or ``val``), or the one that holds ``train``.
    stuff : bool
        Whether regions of stuff count as objects, too.

    Raises
    ------
    TrainingError
        If the index is missing, damaged or lists nothing that is there.
    """

    layout: ClassVar[str] = "coco_lvis"

    def __init__(self, path: Path, stuff: bool = False) -> None:
        root = path if (path / INDEX).is_file() else path / "train"
        if not (root / INDEX).is_file():
            raise TrainingError(f"{path} lacks {INDEX} of the combined annotations.")
        index = read_plain_pickle(root / INDEX)
        if not isinstance(index, dict):
            raise TrainingError(f"{root / INDEX} is no index of annotations.")
        self._root, self._stuff = root, stuff
        self._index = {str(key): value for key, value in sorted(index.items())}
        self.names = tuple(self._index)
        try:
            for name in self.names:
                inside(root, name)
        except ValueError as error:
            raise TrainingError(f"{root / INDEX} is refused: {error}.") from error
        if not self.names:
            raise TrainingError(f"{root / INDEX} lists no image.")

    def image(self, index: int) -> Any:
        """Read a photo."""
        return read_image(self._root / "images" / f"{self.names[index]}.jpg")

    def labels(self, index: int) -> NDArray[Any]:
        """Return the layers of an image, ``(L, H, W)``, only with what counts."""
        name = self.names[index]
        path = self._root / "masks" / f"{name}.pickle"
        read = read_plain_pickle(path)
        try:
            return self._drawn(name, *read)
        except DAMAGE as error:
            raise TrainingError(
                f"{path} is no list of masks ({type(error).__name__}: {error}). Get "
                "the published file again."
            ) from error

    def _drawn(self, name: str, packed: Any, places: Any) -> NDArray[Any]:
        from PIL import Image

        layers = np.stack(
            [
                np.asarray(Image.open(io.BytesIO(np.asarray(one).tobytes())))
                for one in packed
            ]
        ).astype(np.int32)
        places = places.values() if isinstance(places, dict) else places
        wanted = list(places)
        if not self._stuff:
            wanted = wanted[: int(self._index[name]["num_instance_masks"])]
        out = np.zeros_like(layers)
        for layer, label in wanted:
            out[layer][layers[layer] == label] = label
        return out

    def fingerprint(self, index: int) -> str:
        """Return a hash of the photo's bytes."""
        return file_hash(self._root / "images" / f"{self.names[index]}.jpg")
