"""The published Pascal VOC sample list, read without running anything in it.

``ImageSets/Segmentation/test.pickle`` holds two lists: image names and instance
numbers (the grey values of the palette colours). A pickle is a program, so this
one is read by a reader that knows containers, strings and whole numbers only.
"""

from __future__ import annotations

import io
import operator
import pickle
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_clickseg.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


class _Whole:
    """Stand-in for the type of a NumPy integer: knows its bytes, runs nothing."""

    def __init__(self, code: str, *_: object) -> None:
        if code[:1] not in ("i", "u") or code[1:] not in ("1", "2", "4", "8"):
            raise pickle.UnpicklingError(f"numbers of type {code!r}")
        self.signed = code[0] == "i"
        self.size = int(code[1:])
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def value(self, raw: bytes) -> int:
        if len(raw) != self.size:
            raise pickle.UnpicklingError("a number of the wrong length")
        order: Literal["big", "little"] = "big" if self.order == ">" else "little"
        return int.from_bytes(raw, order, signed=self.signed)


def _scalar(kind: object, raw: object = b"") -> int:
    if not isinstance(kind, _Whole) or not isinstance(raw, bytes):
        raise pickle.UnpicklingError("a number without a type")
    return kind.value(raw)


def _encode(text: object, coding: object = "latin1") -> bytes:
    # Python 2 style pickles write bytes as text with this call.
    if not isinstance(text, str) or coding != "latin1":
        raise pickle.UnpicklingError("text in an unknown coding")
    return text.encode("latin1")


class Call:
    """A function that the file may call but not change."""

    __slots__ = ("_run",)

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def __call__(self, *arguments: object) -> Any:
        """Call it."""
        return self._run(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a function")


_KNOWN = {
    ("numpy", "dtype"): Call(_Whole),
    ("numpy.core.multiarray", "scalar"): Call(_scalar),
    ("numpy._core.multiarray", "scalar"): Call(_scalar),
    ("_codecs", "encode"): Call(_encode),
}


class _PlainReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_index(root: Path) -> list[tuple[str, int]] | None:
    """Return (image name, instance number) per sample, or None without the file.

    Parameters
    ----------
    root : Path
        Folder that holds ``ImageSets``.

    Raises
    ------
    DatasetError
        The file holds anything but two lists of names and whole numbers.
    """
    path = root / "ImageSets" / "Segmentation" / "test.pickle"
    if not path.is_file():
        return None
    try:
        names, numbers = _PlainReader(io.BytesIO(path.read_bytes())).load()
        index = [
            (str(name), operator.index(number))
            for name, number in zip(names, numbers, strict=True)
            if isinstance(name, str) or _refuse(name)
        ]
    except Exception as error:  # a broken pickle can raise almost anything
        raise DatasetError(
            f"{path} is refused: it should hold a list of names and a list of whole "
            f"numbers ({error}). Get the published file again, or remove it to use "
            "val.txt with every instance."
        ) from error
    return index


def _refuse(value: object) -> bool:
    raise pickle.UnpicklingError(f"{type(value).__name__} in place of a name")


def grey_from_rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return grey values (H, W) of 8-bit RGB, in OpenCV's fixed-point arithmetic.

    The published instance numbers are such grey values, so a rounding difference
    would lose objects.
    """
    if pixels.ndim == 2:
        return pixels.astype(np.uint8, copy=False)
    red, green, blue = (pixels[..., i].astype(np.int32) for i in range(3))
    grey = (red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15
    return grey.astype(np.uint8)
