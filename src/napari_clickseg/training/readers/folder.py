"""A folder of images and a folder of label images of the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from napari_clickseg.errors import TrainingError
from napari_clickseg.imagefiles import IMAGE_SUFFIXES, read_image, read_labels
from napari_clickseg.training.readers.base import Reader, file_hash, plain

#: Names by which folders of labels go, the usual ones first.
LABEL_FOLDERS = ("masks", "labels", "alpha", "depth", "gt", "annotations")


class Folder(Reader):
    """Image files, and label files with the same name but for the ending.

    Parameters
    ----------
    path : Path
        Holds ``images/`` and ``masks/`` (or ``labels/``, ``alpha/``, ``depth/``), or
        is itself the folder of images where ``labels`` is given.
    labels : Path, optional
        The folder of labels.

    Attributes
    ----------
    alone : tuple of str
        Names of images that have no label file.

    Raises
    ------
    TrainingError
        If a folder is missing, or no image has labels.
    """

    layout: ClassVar[str] = "folder"

    def __init__(self, path: Path, labels: Path | None = None) -> None:
        images = path / "images" if (path / "images").is_dir() else path
        beside = path if images != path else path.parent
        if labels is None:
            named = [beside / name for name in LABEL_FOLDERS]
            found = [folder for folder in named if folder.is_dir()]
            if not found:
                raise TrainingError(
                    f"There are no labels beside {images}: put label images of the "
                    f"same names into {beside / 'masks'}, or say where they are."
                )
            labels = found[0]
        if not labels.is_dir():
            raise TrainingError(f"There is no folder {labels}. Check the path.")
        pictures, masks = _by_stem(images), _by_stem(labels)
        if not pictures:
            raise TrainingError(f"There is no image in {images}. Check the path.")
        pairs = [(pictures[s], masks[s]) for s in sorted(pictures) if s in masks]
        if not pairs:
            raise TrainingError(
                f"No image in {images} has a label file of the same name in {labels}; "
                f"for example {next(iter(pictures.values())).name} has none."
            )
        self._pairs = pairs
        self.alone = tuple(
            pictures[stem].name for stem in sorted(pictures) if stem not in masks
        )
        self.names = tuple(image.name for image, _ in pairs)

    def image(self, index: int) -> Any:
        """Read an image file."""
        return read_image(self._pairs[index][0])

    def labels(self, index: int) -> NDArray[Any]:
        """Read a label file: whole numbers, or values in TIFF and NumPy files."""
        path = self._pairs[index][1]
        if path.suffix.lower() in {".tif", ".tiff", ".npy"}:
            return plain(read_image(path, whole=True))
        return _one_channel(plain(read_labels(path)), path)

    def fingerprint(self, index: int) -> str:
        """Return a hash of the image file's bytes."""
        return file_hash(self._pairs[index][0])


def _by_stem(folder: Path) -> dict[str, Path]:
    return {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    }


def _one_channel(labels: NDArray[Any], path: Path) -> NDArray[Any]:
    if labels.ndim == 2:
        return labels
    if labels.ndim == 3 and labels.shape[2] in (2, 3, 4):
        grey = labels[..., : 1 if labels.shape[2] == 2 else 3]
        if (grey == grey[..., :1]).all():
            return grey[..., 0]
    raise TrainingError(
        f"{path.name} has shape {labels.shape}; labels are one channel of numbers."
    )
