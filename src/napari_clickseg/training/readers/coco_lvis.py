"""COCO+LVIS: the combined annotations that RITM published.

Per image a pickle holds layers of label pictures (PNG) and which (layer, label) each
object has; a pickle for all says which of these are objects and which are stuff.
Pickles are programs: these are read by a reader that knows containers, numbers and
NumPy's plain arrays, and runs nothing.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import TrainingError
from napari_clickseg.imagefiles import read_image
from napari_clickseg.training.readers.base import Reader, file_hash

INDEX = "hannotation.pickle"
_SAFE = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
}


class _PlainReader(pickle.Unpickler):
    """Knows arrays of numbers and nothing else that could be called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _SAFE:
            module = module.replace("numpy.core", "numpy._core")
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _encode(text: object, coding: object = "latin1") -> bytes:
    # how NumPy's numbers are written in the older protocols
    if not isinstance(text, str) or coding != "latin1":
        raise pickle.UnpicklingError("text in an unknown coding")
    return text.encode("latin1")


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
        if not self.names:
            raise TrainingError(f"{root / INDEX} lists no image.")

    def image(self, index: int) -> Any:
        """Read a photo."""
        return read_image(self._root / "images" / f"{self.names[index]}.jpg")

    def labels(self, index: int) -> NDArray[Any]:
        """Return the layers of an image, ``(L, H, W)``, only with what counts."""
        from PIL import Image

        name = self.names[index]
        packed, places = read_plain_pickle(self._root / "masks" / f"{name}.pickle")
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
