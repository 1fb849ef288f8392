"""Files, folders and zarr arrays become planes to encode."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_clickseg.encoding.optional import need
from napari_clickseg.errors import ImageError
from napari_clickseg.image import ImageSource
from napari_clickseg.imagefiles import IMAGE_SUFFIXES, read_image
from napari_clickseg.limits import DAMAGE, check_bytes, inside

_ZARR_MARKS = ("zarr.json", ".zarray", ".zgroup")


@dataclass(frozen=True, slots=True)
class Shown:
    """How images are shown to the model; see :class:`~napari_clickseg.ImageSource`.

    Attributes
    ----------
    channels : tuple of int, optional
    channel_axis : int, optional
        Axis of the channels among the three axes of one plane.
    contrast : (low, high), optional
    """

    channels: tuple[int, ...] | None = None
    channel_axis: int | None = None
    contrast: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file with one plane or a stack of them, or one plane of a zarr array.

    Attributes
    ----------
    path : str
        The file, or the zarr array's folder.
    index : tuple of int, optional
        Zarr: position along all axes but those of the plane.
    kept : tuple of int, optional
        Zarr: axes of the plane.
    channel_axis : int, optional
        Zarr: which of the kept axes holds channels.
    """

    path: str
    index: tuple[int, ...] | None = None
    kept: tuple[int, ...] = ()
    channel_axis: int | None = None

    @property
    def name(self) -> str:
        """What to call it in reports."""
        if self.index is None or not self.index:
            return self.path
        return f"{self.path}[{', '.join(map(str, self.index))}]"


class Plane:
    """Some axes of a larger array, the others fixed; read by window.

    Parameters
    ----------
    array : array-like
        Any number of axes.
    kept : sequence of int
        Axes of the plane, in order.
    index : sequence of int
        Positions along the other axes, in order.
    """

    def __init__(self, array: Any, kept: Sequence[int], index: Sequence[int]) -> None:
        self._array, self._kept = array, tuple(kept)
        others = iter(index)
        self._index: list[Any] = [
            slice(None) if axis in self._kept else next(others)
            for axis in range(array.ndim)
        ]
        self.shape = tuple(array.shape[axis] for axis in self._kept)
        self.ndim = len(self.shape)
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, window: Any) -> np.ndarray:
        parts = window if isinstance(window, tuple) else (window,)
        index = list(self._index)
        for axis, part in zip(self._kept, parts, strict=False):
            index[axis] = part
        try:
            return np.asarray(self._array[tuple(index)])
        except (ValueError, RuntimeError, OSError, MemoryError) as error:
            raise ImageError(
                f"A part of the image cannot be read ({error}). Is the file whole?"
            ) from error


def find_sources(
    given: Iterable[str | os.PathLike[str]], shown: Shown | None = None
) -> list[Source]:
    """Return what there is to encode, in a fixed order, each once.

    Parameters
    ----------
    given : iterable of path
        Image files; folders, which are searched with all that they hold; zarr arrays
        and OME-Zarr images.
    shown : Shown, optional
        Whether channels of a zarr belong together.

    Raises
    ------
    ImageError
        If a path is not there, or there is no image at all.
    """
    found: dict[Source, None] = {}
    for each in given:
        path = Path(each).expanduser().absolute()
        if path.is_file():
            if not _is_image(path):
                raise ImageError(
                    f"{path} is no image that can be read here. Convert it to TIFF or "
                    "PNG."
                )
            found[Source(str(path))] = None
        elif path.is_dir():
            found.update(dict.fromkeys(_in_folder(path, shown or Shown())))
        else:
            raise ImageError(f"There is no image or folder {path}. Check the path.")
    if not found:
        raise ImageError("There is no image in what was given. Check the paths.")
    return list(found)


def planes_of(source: Source, shown: Shown) -> Iterator[tuple[str, ImageSource]]:
    """Yield the planes of a source, and what to call them.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    if source.index is not None:
        array = open_zarr(source.path)
        plane = Plane(array, source.kept, source.index)
        axis = source.channel_axis
        channels = shown.channels if axis is not None else None
        yield (
            source.name,
            ImageSource(plane, channels, shown.contrast, channel_axis=axis),
        )
        return
    array = read_image(source.path, whole=True)
    last = _plane_axes(array.shape, shown.channel_axis)
    leading = array.shape[: array.ndim - last]
    for index in np.ndindex(*leading):
        several = int(np.prod(leading)) > 1
        name = f"{source.path}[{', '.join(map(str, index))}]" if several else ""
        yield (
            name or source.path,
            ImageSource(
                array[index],
                shown.channels,
                shown.contrast,
                channel_axis=shown.channel_axis,
            ),
        )


def _plane_axes(shape: Sequence[int], channel_axis: int | None) -> int:
    """Return how many of the last axes make a plane."""
    if len(shape) < 2:
        raise ImageError(f"An array of shape {tuple(shape)} is no image.")
    coloured = len(shape) > 2 and (channel_axis is not None or shape[-1] <= 4)
    return 3 if coloured else 2


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _in_folder(folder: Path, shown: Shown) -> Iterator[Source]:
    if any((folder / mark).is_file() for mark in _ZARR_MARKS):
        yield from _in_zarr(folder, shown)
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ImageError(f"{folder} cannot be read: {error}.") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _in_folder(entry, shown)
        elif _is_image(entry):
            yield Source(str(entry))


def _in_zarr(folder: Path, shown: Shown) -> Iterator[Source]:
    node = open_zarr(folder)
    path, axes = str(folder), ""
    if not hasattr(node, "shape"):
        level, axes = largest_level(folder, node)
        path = str(folder / level)
        node = open_zarr(path)
    ndim, kept = len(node.shape), tuple[int, ...]()
    channel_axis: int | None = None
    if len(axes) == ndim and axes.endswith("yx"):
        kept = (ndim - 2, ndim - 1)
        if "c" in axes and shown.channels is not None:
            # Otherwise each channel is an image of its own, as napari shows them.
            kept, channel_axis = (axes.index("c"), *kept), 0
    else:
        last = _plane_axes(node.shape, shown.channel_axis)
        kept = tuple(range(ndim - last, ndim))
        if last == 3:
            channel_axis = 2 if shown.channel_axis is None else shown.channel_axis
    others = [n for axis, n in enumerate(node.shape) if axis not in kept]
    for index in np.ndindex(*others):
        yield Source(path, tuple(index), kept, channel_axis)


def largest_level(folder: Path, group: Any) -> tuple[str, str]:
    """Return the array of full resolution in an OME-Zarr image, and its axes."""
    attributes = dict(group.attrs)
    attributes = attributes.get("ome", attributes)  # from version 0.5 on
    try:
        image = attributes["multiscales"][0]
        level = str(image["datasets"][0]["path"])
        names = [
            axis if isinstance(axis, str) else axis["name"]
            for axis in image.get("axes", ())
        ]
        inside(folder, level)
        one_letter = all(len(name) == 1 for name in names)
    except DAMAGE as error:
        raise ImageError(
            f"{folder} is a zarr group, but no OME-Zarr image. Give the path of an "
            "array in it."
        ) from error
    return level, "".join(names) if one_letter else ""


def open_zarr(path: str | Path) -> Any:
    """Return a zarr array or group, to read.

    Raises
    ------
    ImageError
        If there is none.
    """
    try:
        found = need("zarr").open(str(path), mode="r")
        if hasattr(found, "chunks"):  # no chunk is read but as a whole
            check_bytes(found.chunks, found.dtype.itemsize)
        return found
    except DAMAGE as error:
        raise ImageError(f"{path} cannot be read as zarr ({error}).") from error
