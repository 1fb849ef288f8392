"""Look at every labelled image once: what can be learned from, and what is wrong.

Nothing here ends because one image is bad. What cannot be used is named and left out;
only where nothing is left that could be used an error says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import Cancelled, ClickSegError, TrainingError
from napari_clickseg.image import ImageSource
from napari_clickseg.training.readers.base import Reader

#: Objects of fewer pixels cannot be clicked by a simulated annotator.
LEAST_PIXELS = 9
#: So many problems are told one by one; of more their number is told.
TOLD = 12
#: Tasks whose labels are values, not whole numbers.
VALUE_TASKS = frozenset({"matting", "depth"})


class Object(NamedTuple):
    """One labelled object of an image."""

    layer: int
    label: int
    area: int
    box: tuple[int, int, int, int]
    """Top, left, bottom, right; half open."""


@dataclass(frozen=True)
class Entry:
    """One image that can be used.

    Parameters
    ----------
    index : int
        Its number in the reader.
    name, group : str
        What to call it; what it must not be separated from.
    shape : (int, int)
        Height and width.
    objects : tuple of Object
        Empty for tasks whose labels are no objects.
    """

    index: int
    name: str
    group: str
    shape: tuple[int, int]
    objects: tuple[Object, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one image, and what was done about it.

    Parameters
    ----------
    name : str
        Of the image.
    text : str
        In words, without the name.
    left_out : bool
        Whether the image is not used.
    """

    name: str
    text: str
    left_out: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


@dataclass(frozen=True)
class Inventory:
    """What there is to learn from.

    Parameters
    ----------
    entries : tuple of Entry
        Images that can be used.
    problems : tuple of Problem
        What was found wrong.
    digest : str
        Hash of the images and labels that are used.
    classes : tuple of int
        Labels that occur, for semantic classes.
    """

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    digest: str
    classes: tuple[int, ...] = ()

    @property
    def objects(self) -> int:
        """Number of objects that can be used."""
        return sum(len(entry.objects) for entry in self.entries)

    @property
    def text(self) -> str:
        """What there is, in a sentence or two."""
        lost = sum(problem.left_out for problem in self.problems)
        count = len(self.entries)
        text = f"{count} image{'s' * (count != 1)}"
        if self.objects:
            text += f" with {self.objects} object{'s' * (self.objects != 1)}"
        return text + (f"; {lost} left out" if lost else "")


def examine(
    reader: Reader,
    task: str = "segmentation",
    ignore: int | None = None,
    *,
    least: int = LEAST_PIXELS,
    classes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Inventory:
    """Read all labels, and enough of each image to know that it can be used.

    Parameters
    ----------
    reader : Reader
        Where the images come from.
    task : str
        ``segmentation``, ``semantic``, ``matting`` or ``depth``.
    ignore : int, optional
        Label of pixels that do not count.
    least : int
        Smaller objects are left out.
    classes : int, optional
        Semantic: how many classes the network knows.
    progress : callable, optional
        Told (done, total) after each image.
    cancelled : callable, optional
        Asked before each image; True stops.

    Raises
    ------
    TrainingError
        If no image can be used.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    seen: set[int] = set()
    digest = hashlib.blake2b(digest_size=16)
    for index, name in enumerate(reader.names):
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped while the images were being looked at.")
        try:
            entry, notes, content = _look(reader, index, task, ignore, least, classes)
        except (ClickSegError, OSError, ValueError, KeyError, MemoryError) as error:
            problems.append(Problem(name, _sentence(error, name)))
        except Exception as error:  # noqa: BLE001 - readers of files raise anything
            problems.append(Problem(name, f"cannot be read ({_sentence(error, name)})"))
        else:
            problems += [Problem(name, note, entry is None) for note in notes]
            if entry is not None:
                entries.append(entry)
                digest.update(content.encode())
                seen.update(_class_ids(reader, index, task, ignore))
        if progress is not None:
            progress(index + 1, len(reader))
    for name in getattr(reader, "alone", ()):
        problems.append(Problem(name, "has no label file of the same name"))
    if not entries:
        raise TrainingError(_nothing(reader, problems))
    if task == "semantic" and classes is not None:
        missing = sorted(set(range(classes)) - seen)
        if missing:
            text = (
                f"no pixel of class {', '.join(map(str, missing))} in any image: the "
                "model keeps what it knows of it"
            )
            problems.append(Problem("labels", text, left_out=False))
    return Inventory(
        tuple(entries), tuple(problems), digest.hexdigest(), tuple(sorted(seen))
    )


def objects_of(
    labels: NDArray[Any], ignore: int | None, least: int
) -> tuple[list[Object], int]:
    """List the objects of label planes, and count those too small.

    Parameters
    ----------
    labels : array (L, H, W) of int
        0 background.
    ignore : int, optional
        A label that is no object.
    least : int
        Smallest number of pixels.
    """
    from scipy import ndimage

    found: list[Object] = []
    small = 0
    for layer, plane in enumerate(labels):
        values, inverse, areas = np.unique(
            plane, return_inverse=True, return_counts=True
        )
        boxes = ndimage.find_objects(inverse.reshape(plane.shape) + 1)
        for value, area, box in zip(values, areas, boxes, strict=True):
            if value <= 0 or value == ignore or box is None:
                continue
            if area < least:
                small += 1
                continue
            rows, cols = box
            corners = (rows.start, cols.start, rows.stop, cols.stop)
            found.append(Object(layer, int(value), int(area), corners))
    return found, small


def _look(
    reader: Reader,
    index: int,
    task: str,
    ignore: int | None,
    least: int,
    classes: int | None,
) -> tuple[Entry | None, list[str], str]:
    """Return the entry of an image, or None; what is to be told; its hash."""
    labels = np.asarray(reader.labels(index))
    source = ImageSource(reader.image(index), channel_axis=reader.channel_axis(index))
    if labels.ndim not in (2, 3) or labels.shape[-2:] != source.shape:
        raise TrainingError(
            f"the image is {_size(source.shape)} pixels and its labels are "
            f"{_size(labels.shape)}; they must be the same size"
        )
    notes = _about_values(source)
    if notes and "only NaN" in notes[0]:
        return None, notes, ""
    planes = labels if labels.ndim == 3 else labels[np.newaxis]
    objects: list[Object] = []
    if task in VALUE_TASKS:
        why = _bad_values(planes, task)
        if why:
            return None, [*notes, why], ""
    else:
        planes = whole_numbers(planes)
        if task == "semantic":
            highest = int(planes[planes != (-1 if ignore is None else ignore)].max())
            if classes is not None and highest >= classes:
                text = f"holds class {highest}, the model has 0 to {classes - 1}"
                return None, [*notes, text], ""
        else:
            objects, small = objects_of(planes, ignore, least)
            if small:
                notes.append(
                    f"{small} object{'s' * (small != 1)} of less than {least} pixels "
                    "left out"
                )
            if not objects:
                return None, [*notes, "no object is labelled"], ""
    content = hashlib.blake2b(digest_size=16)
    content.update(reader.fingerprint(index).encode())
    content.update(np.ascontiguousarray(planes).tobytes())
    entry = Entry(
        index,
        reader.names[index],
        reader.group(index),
        source.shape,
        tuple(objects),
    )
    return entry, notes, content.hexdigest()


def whole_numbers(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Return labels as int32.

    Raises
    ------
    TrainingError
        If they are no whole numbers from -1 to about two thousand million.
    """
    if labels.dtype == bool:
        return labels.astype(np.int32)
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.round(labels)).any():
            raise TrainingError(
                "its labels are no whole numbers; labels are 0 for background and "
                "1, 2, ... for objects"
            )
    elif labels.dtype.kind not in "iu":
        raise TrainingError(f"its labels are {labels.dtype}, not whole numbers")
    if labels.size and (labels.min() < -1 or labels.max() > np.iinfo(np.int32).max):
        raise TrainingError("its labels are below -1, or too large")
    return labels.astype(np.int32)


def _about_values(source: ImageSource) -> list[str]:
    """Say so where an image holds no numbers, everywhere or in places."""
    if source.dtype.kind != "f":
        return []
    finite = np.isfinite(np.asarray(source.array[:]))
    if not finite.any():
        return ["the image holds only NaN or infinity"]
    share = 1 - finite.mean()
    if share:
        return [f"{share:.1%} of the image is NaN or infinite, taken for black"]
    return []


def _bad_values(values: NDArray[Any], task: str) -> str | None:
    if values.dtype.kind not in "buif":
        return f"its values are {values.dtype}, not numbers"
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return "its values are all NaN or infinite"
    if task == "depth" and not (finite > 0).any():
        return "no pixel has a depth above 0"
    if task == "matting" and finite.min() < 0:
        return "alpha below 0"
    return None


def _class_ids(reader: Reader, index: int, task: str, ignore: int | None) -> set[int]:
    if task != "semantic":
        return set()
    found = {int(n) for n in np.unique(reader.labels(index))}
    return {n for n in found if n >= 0 and n != ignore}


def _nothing(reader: Reader, problems: list[Problem]) -> str:
    told = "; ".join(map(str, problems[:TOLD]))
    more = len(problems) - TOLD
    if more > 0:
        told += f"; and {more} more"
    return (
        f"None of the {len(reader)} image{'s' * (len(reader) != 1)} can be learned "
        f"from. {told}."
    )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _sentence(error: BaseException, name: str) -> str:
    text = str(error).strip().splitlines()
    first = text[0] if text else type(error).__name__
    return first.removeprefix(f"{name} ").removeprefix(f"{name}: ").rstrip(".")
