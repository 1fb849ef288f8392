"""The Semantic Boundaries Dataset, as published."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from napari_clickseg.errors import DatasetError, TrainingError
from napari_clickseg.evaluation.datasets import read_mask
from napari_clickseg.imagefiles import read_image
from napari_clickseg.limits import inside
from napari_clickseg.training.readers.base import Reader, file_hash


class Sbd(Reader):
    """Photos of SBD and their objects.

    Parameters
    ----------
    path : Path
        Holds ``img``, ``inst`` and the lists, or ``dataset`` with them.
    split : str
        Which list is read, ``train.txt`` by default.

    Raises
    ------
    TrainingError
        If a part is missing.
    """

    layout: ClassVar[str] = "sbd"

    def __init__(self, path: Path, split: str = "train") -> None:
        root = path / "dataset" if (path / "dataset" / "inst").is_dir() else path
        listing = root / f"{split}.txt"
        for part in (root / "img", root / "inst", listing):
            if not part.exists():
                raise TrainingError(f"SBD's {part} is missing. Check the path.")
        self._root = root
        names = listing.read_text(encoding="utf-8", errors="replace").split()
        self.names = tuple(names)
        try:
            for name in names:
                inside(root, name)
        except ValueError as error:
            raise TrainingError(f"{listing} is refused: {error}.") from error
        if not names:
            raise TrainingError(f"{listing} lists no image.")

    def image(self, index: int) -> Any:
        """Read a photo."""
        return read_image(self._root / "img" / f"{self.names[index]}.jpg")

    def labels(self, index: int) -> NDArray[Any]:
        """Read the instances of a photo."""
        try:
            return read_mask(self._root / "inst" / f"{self.names[index]}.mat", "sbd")
        except DatasetError as error:
            raise TrainingError(str(error)) from error

    def fingerprint(self, index: int) -> str:
        """Return a hash of the photo's bytes."""
        return file_hash(self._root / "img" / f"{self.names[index]}.jpg")
