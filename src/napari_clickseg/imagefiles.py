"""Image and label files: read as they are, write without surprises.

Values are never rescaled on reading: a 16-bit image stays 16-bit, a palette image
gives palette indices when it is read as labels and colours when it is read as an
image.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.errors import ClickSegError, DatasetError, ImageError
from napari_clickseg.limits import check_bytes
from napari_clickseg.memory import DENSE_PIXELS

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".lsm", ".ome.tif", ".ome.tiff"})
PHOTO_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})
IMAGE_SUFFIXES = TIFF_SUFFIXES | PHOTO_SUFFIXES | {".npy"}


def read_image(
    path: str | os.PathLike[str], *, page: int | None = None, whole: bool = False
) -> Any:
    """Read an image: (H, W) or (H, W, C), in the file's own numbers.

    Parameters
    ----------
    path : path
        TIFF, PNG, JPEG, BMP, GIF, WebP or NumPy file.
    page : int, optional
        Plane of a stack, counted along its first axis. Needed when the file holds
        more than one.
    whole : bool
        With all axes of the file: the caller knows which one holds channels.

    Returns
    -------
    array (H, W) or (H, W, C)
        Palette images come as RGB. Nothing is rescaled.

    Raises
    ------
    ImageError
        No such file, not an image, or a stack without ``page``.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"There is no image file {path}. Check the path.")
    try:
        array = _read(path, palette=False)
    except ClickSegError:
        raise
    except Exception as error:  # many readers, many exceptions
        raise ImageError(
            f"{path.name} cannot be read as an image ({_short(error)}). "
            "Convert it to TIFF or PNG, or check that the file is complete."
        ) from error
    if whole:
        return array if page is None else _page(array, page, path.name)
    return _plane(array, page, path.name)


def read_labels(path: str | os.PathLike[str]) -> Any:
    """Read a label or mask file: (H, W) or (H, W, C) of integers or bool.

    Palette images come as palette indices, bilevel images as bool. A TIFF file of
    more than 2**27 pixels comes as an array that is read by slicing, where zarr is
    installed.

    Raises
    ------
    DatasetError
        No such file, not an image, or numbers that are not whole.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"There is no mask file {path}. Check the path.")
    try:
        array: Any = _lazily(path)
        if array is None:
            array = np.asarray(_read(path, palette=True))
    except Exception as error:
        raise DatasetError(
            f"{path.name} cannot be read as a mask ({_short(error)}). "
            "Convert it to PNG or TIFF, or check that the file is complete."
        ) from error
    if array.dtype.kind not in "bui":
        raise DatasetError(
            f"{path.name} holds {array.dtype} values; a mask needs whole numbers "
            "(0 background, 1, 2, ... objects)."
        )
    return array


def check_label_path(path: str | os.PathLike[str]) -> Path:
    """Return the path if :func:`write_labels` can write such a file.

    Raises
    ------
    ImageError
        The ending is another one.
    """
    path = Path(path)
    if path.suffix.lower() not in {".tif", ".tiff", ".png", ".npy"}:
        raise ImageError(
            f"Labels cannot be written as {path.name}: end the name in .tif, .png "
            "or .npy."
        )
    return path


def write_labels(path: str | os.PathLike[str], labels: NDArray[Any]) -> Path:
    """Write a label image: TIFF (compressed), PNG (up to 16 bit) or ``.npy``.

    Parameters
    ----------
    path : path
        Ending .tif, .tiff, .png or .npy; the folder is made.
    labels : array (H, W) of int
        Stored as uint8 where the largest label allows, else uint16, else uint32
        (TIFF and NumPy only).
    """
    path = check_label_path(path)
    labels = np.asarray(labels)
    largest = int(labels.max(initial=0))
    dtype = np.uint8 if largest < 256 else np.uint16 if largest < 65536 else np.uint32
    suffix = path.suffix.lower()
    if suffix == ".png" and dtype is np.uint32:
        raise ImageError(
            f"Label {largest} does not fit a 16-bit PNG: end the name in .tif."
        )
    data = np.ascontiguousarray(labels, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".npy":
        np.save(path, data, allow_pickle=False)
    elif suffix == ".png":
        from PIL import Image

        Image.fromarray(data).save(path)
    else:
        import tifffile

        tifffile.imwrite(path, data, compression="zlib")
    return path


def _lazily(path: Path) -> Any:
    """Return a large plane of a TIFF file as an array that is not read yet, or None."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        if len(series.shape) != 2 or series.size <= DENSE_PIXELS:
            return None
    try:
        import zarr
    except ImportError:
        return None
    store = tifffile.imread(path, aszarr=True, level=0)
    array = zarr.open_array(store, mode="r")
    weakref.finalize(array, store.close)
    return array


def _read(path: Path, *, palette: bool) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        # Looked at in place first: a header may claim any size.
        there: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        check_bytes(there.shape, there.itemsize)
        return np.array(there)
    if suffix in TIFF_SUFFIXES:
        return _read_tiff(path)
    from PIL import Image

    with Image.open(path) as picture:
        if picture.mode == "P" and not palette:
            return np.asarray(picture.convert("RGB"))
        if picture.mode not in {"1", "L", "P", "RGB", "RGBA", "LA", "F", "I"} and (
            not picture.mode.startswith("I;")
        ):
            return np.asarray(picture.convert("RGB"))
        pixels = np.asarray(picture)
    if pixels.dtype == np.int32 and suffix == ".png" and pixels.min(initial=0) >= 0:
        # Older Pillow opens a 16-bit grey PNG in a 32-bit mode.
        return pixels.astype(np.uint16)
    return pixels


def _read_tiff(path: Path) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        check_bytes(series.shape, np.dtype(series.dtype).itemsize)
        page = series.pages[0]
        if page is not None:  # so much is decoded at a time
            check_bytes(page.chunks, np.dtype(page.dtype).itemsize)
        return np.asarray(series.asarray())


def _plane(array: NDArray[Any], page: int | None, name: str) -> NDArray[Any]:
    """Return one plane; the last axis may hold up to four channels."""
    squeezed = array
    while squeezed.ndim > 2 and squeezed.shape[0] == 1:
        squeezed = squeezed[0]
    planar = squeezed.ndim == 2 or (squeezed.ndim == 3 and squeezed.shape[2] <= 4)
    if page is None:
        if planar:
            return squeezed
        raise ImageError(
            f"{name} is a stack of shape {array.shape}: choose one plane along its "
            "first axis with --page (counted from 0)."
        )
    if planar:
        if page == 0:
            return squeezed
        raise ImageError(f"{name} holds a single plane: leave --page out.")
    return _plane(_page(squeezed, page, name), None, name)


def _page(array: NDArray[Any], page: int, name: str) -> NDArray[Any]:
    if not 0 <= page < array.shape[0]:
        raise ImageError(
            f"{name} has planes 0 to {array.shape[0] - 1}; --page {page} is outside."
        )
    plane: NDArray[Any] = array[page]
    return plane


def _short(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
