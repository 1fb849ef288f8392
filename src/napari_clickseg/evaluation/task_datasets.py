"""Data sets of the tasks with classes or values, as they are published, or any folder.

Every layout gives samples: an image, its reference and perhaps a trimap. Files are
listed when a data set is opened, in name order, and read when a sample is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from napari_clickseg.errors import ClickSegError, DatasetError
from napari_clickseg.evaluation.depth_metrics import NYU_RANGE
from napari_clickseg.evaluation.references import (
    Depths,
    Listed,
    Numbered,
    one_plane,
    read_alpha,
)
from napari_clickseg.evaluation.task_protocol import Reference
from napari_clickseg.imagefiles import IMAGE_SUFFIXES, read_image
from napari_clickseg.tasks.class_lists import CITYSCAPES, Classes
from napari_clickseg.tasks.trimap import as_trimap

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Numbers that Cityscapes' files give its 19 classes, in order.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)
#: Where the folder layout looks for references, by task.
TARGETS = {
    "semantic": ("masks", "labels", "targets"),
    "matting": ("alpha", "targets"),
    "depth": ("depth", "targets"),
}


@dataclass(frozen=True, slots=True)
class TaskSample:
    """One image and its reference.

    Parameters
    ----------
    name : str
        Unique within the data set.
    image, target : Path
        Files to read.
    read : callable
        Reads the reference.
    trimap : Path, optional
    depths, eigen_crop
        See :class:`~napari_clickseg.evaluation.task_protocol.Reference`.
    """

    name: str
    image: Path
    target: Path
    read: Callable[[Path], NDArray[Any]]
    trimap: Path | None = None
    depths: tuple[float, float] | None = None
    eigen_crop: bool = False

    def read_image(self) -> Any:
        """Return the image, (H, W) or (H, W, C), as the file holds it."""
        return read_image(self.image)

    def read_reference(self) -> Reference:
        """Return what answers are held against.

        Raises
        ------
        DatasetError
            If a file cannot be read, or its numbers mean nothing.
        """
        truth = self.read(self.target)
        trimap = None
        if self.trimap is not None:
            trimap = as_trimap(one_plane(read_image(self.trimap), self.trimap))
            if trimap.shape != truth.shape:
                raise DatasetError(
                    f"{self.trimap.name} has shape {trimap.shape}, but "
                    f"{self.target.name} has {truth.shape}."
                )
        return Reference(truth, trimap, self.depths, self.eigen_crop)


@dataclass(frozen=True)
class TaskDataset:
    """Samples of a folder, in name order.

    Parameters
    ----------
    path : Path
    layout, task : str
    samples : tuple of TaskSample
    classes : Classes or None
        Where the data set says which there are.
    """

    path: Path
    layout: str
    task: str
    samples: tuple[TaskSample, ...] = field(repr=False)
    classes: Classes | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[TaskSample]:
        return iter(self.samples)

    @overload
    def __getitem__(self, index: int) -> TaskSample: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[TaskSample, ...]: ...

    def __getitem__(self, index: int | slice) -> TaskSample | tuple[TaskSample, ...]:
        return self.samples[index]


def open_task_dataset(
    path: str | os.PathLike[str],
    layout: str = "folder",
    *,
    task: str | None = None,
    split: str | None = None,
    ignore: int | None = None,
    first: int = 0,
    scale: float | None = None,
) -> TaskDataset:
    """Return the data set in a folder.

    Parameters
    ----------
    path : path
        The folder.
    layout : str
        One of :data:`LAYOUTS`.
    task : {"semantic", "matting", "depth"}, optional
        Folder layout: which references to look for; by default what is there.
    split : str, optional
        Cityscapes: "val" by default; Mapillary: "validation".
    ignore : int, optional
        Folder layout, semantic: the number of pixels that do not count.
    first : int
        Folder layout, semantic: the number of the first class in the files. Labels
        count from 1, so 1 is added where it is 0.
    scale : float, optional
        Folder layout, depth: numbers of a file per unit of depth. By default 1000 for
        files of whole numbers (millimetres for metres), 1 for floats.

    Raises
    ------
    DatasetError
        The folder is missing or is not laid out as ``layout`` says.
    """
    folder = Path(path)
    if not folder.is_dir():
        if folder.suffix == ".mat":
            raise DatasetError(_MAT)
        raise DatasetError(f"There is no folder {folder}. Check the path.")
    if layout == "folder":
        return _folder(folder, task, ignore, first, scale)
    if layout not in _OPENERS:
        raise DatasetError(
            f"There is no layout {layout!r}. Choose one of: {', '.join(LAYOUTS)}."
        )
    of, opener = _OPENERS[layout]
    if task not in (None, of):
        raise DatasetError(f"{layout} is a data set for {of}, not for {task}.")
    samples, classes = opener(folder, split)
    return TaskDataset(folder, layout, of, tuple(samples), classes)


Opened = tuple[list[TaskSample], Classes | None]


def _cityscapes(path: Path, split: str | None) -> Opened:
    """Find leftImg8bit/val/<city>/*_leftImg8bit.png and gtFine/.../*_labelIds.png."""
    split = split or "val"
    images, truths = path / "leftImg8bit" / split, path / "gtFine" / split
    _need(images, truths, layout="cityscapes")
    read = Listed({number: i for i, number in enumerate(CITYSCAPES_IDS, 1)})
    samples = []
    for image in sorted(images.glob("*/*_leftImg8bit.png")):
        stem = image.name.removesuffix("_leftImg8bit.png")
        target = truths / image.parent.name / f"{stem}_gtFine_labelIds.png"
        samples.append(TaskSample(stem, image, target, read))
    return _complete(samples, images, "*/*_leftImg8bit.png"), CITYSCAPES


def _mapillary(path: Path, split: str | None) -> Opened:
    """Find validation/images/*.jpg, validation/[v1.2/]labels/*.png, config.json."""
    split = split or "validation"
    images = path / split / "images"
    truths = path / split / "labels"
    if not truths.is_dir():
        truths = path / split / "v1.2" / "labels"
    _need(images, truths, layout="mapillary")
    configs = [path / name for name in ("config_v1.2.json", "config.json")]
    config = next((each for each in configs if each.is_file()), None)
    if config is None:
        raise DatasetError(
            f"The mapillary layout needs config_v1.2.json or config.json in {path}; "
            "both are missing."
        )
    classes, numbers = _mapillary_classes(config)
    read = Listed({number: i for i, number in enumerate(numbers, 1)})
    samples = [
        TaskSample(image.stem, image, truths / f"{image.stem}.png", read)
        for image in _images_in(images)
    ]
    return _complete(samples, images, "*.jpg"), classes


def _mapillary_classes(config: Path) -> tuple[Classes, list[int]]:
    try:
        rows = json.loads(config.read_text(encoding="utf-8"))["labels"]
        kept = [number for number, row in enumerate(rows) if row["evaluate"]]
        names = [str(rows[number]["readable"]) for number in kept]
        colours = [tuple(rows[number]["color"]) for number in kept]
        return Classes.named(names, colours), kept
    except (ValueError, KeyError, TypeError, ClickSegError) as error:
        raise DatasetError(
            f"{config} is no list of Mapillary's classes (needs 'labels' with "
            f"'readable', 'color' and 'evaluate' for each): {error}"
        ) from error


def _composition(path: Path, split: str | None) -> Opened:  # noqa: ARG001
    """Find merged/, alpha_copy/ or alpha/, and trimaps/, as its script has them."""
    root = next(
        (
            each
            for each in (path, path / "Test_set", path / "Combined_Dataset/Test_set")
            if (each / "merged").is_dir()
        ),
        path,
    )
    alphas = root / "alpha_copy"
    if not alphas.is_dir():
        alphas = root / "alpha"
    _need(root / "merged", alphas, root / "trimaps", layout="composition-1k")
    samples = []
    for image in _images_in(root / "merged"):
        # Of x_7 the alpha may be that of the foreground x.
        names = (image.stem, image.stem.rpartition("_")[0])
        target, trimap = (
            next(
                (folder / f"{n}.png" for n in names if (folder / f"{n}.png").is_file()),
                folder / f"{image.stem}.png",
            )
            for folder in (alphas, root / "trimaps")
        )
        samples.append(TaskSample(image.stem, image, target, read_alpha, trimap))
    return _complete(samples, root / "merged", "*.png"), None


_MAT = (
    "nyu_depth_v2_labeled.mat is an HDF5 file, which is not read here. Export its test "
    "pictures first, for example as <scene>/rgb_00000.jpg and "
    "<scene>/sync_depth_00000.png (16 bit, millimetres), and give that folder."
)


def _nyu(path: Path, split: str | None) -> Opened:  # noqa: ARG001
    """Find <scene>/rgb_*.jpg or .png with <scene>/sync_depth_*.png in millimetres."""
    samples = []
    for target in sorted(path.glob("**/sync_depth_*.png")):
        number = target.stem.removeprefix("sync_depth_")
        images = [target.parent / f"rgb_{number}{end}" for end in (".jpg", ".png")]
        image = next((each for each in images if each.is_file()), images[0])
        name = f"{target.parent.relative_to(path).as_posix()}/{number}".lstrip("./")
        samples.append(TaskSample(name, image, target, Depths(), None, NYU_RANGE, True))
    if not samples and any(path.glob("*.mat")):
        raise DatasetError(_MAT)
    return _complete(samples, path, "<scene>/sync_depth_*.png"), None


def _folder(
    path: Path, task: str | None, ignore: int | None, first: int, scale: float | None
) -> TaskDataset:
    """Find images/ and masks/, alpha/ (and trimap/) or depth/, of the same names."""
    if task is not None and task not in TARGETS:
        raise DatasetError(
            f"There is no task {task!r}. Choose one of: {', '.join(TARGETS)}."
        )
    wanted = (task,) if task else tuple(TARGETS)
    found = [
        (of, path / name)
        for of in wanted
        for name in TARGETS[of]
        if (path / name).is_dir() and (task or name != "targets")
    ]
    if not (path / "images").is_dir() or not found:
        names = sorted({name for of in wanted for name in TARGETS[of]})
        raise DatasetError(
            f"The folder layout needs {path / 'images'} and beside it one of "
            f"{', '.join(names)}{'' if task else ' (the last with task=...)'}."
        )
    task, targets = found[0]
    reads: dict[str, Callable[[Path], NDArray[Any]]] = {
        "semantic": Numbered(first, ignore),
        "matting": read_alpha,
        "depth": Depths(scale),
    }
    trimaps = next(
        (path / n for n in ("trimap", "trimaps") if (path / n).is_dir()), None
    )
    by_stem = {file.stem: file for file in _images_in(targets)}
    known = {file.stem: file for file in _images_in(trimaps)} if trimaps else {}
    samples = []
    for image in _images_in(path / "images"):
        target = by_stem.get(image.stem, targets / f"{image.stem}.png")
        trimap = None
        if task == "matting" and trimaps is not None:
            trimap = known.get(image.stem, trimaps / f"{image.stem}.png")
        samples.append(TaskSample(image.stem, image, target, reads[task], trimap))
    samples = _complete(samples, path / "images", "image files")
    return TaskDataset(path, "folder", task, tuple(samples))


_OPENERS: dict[str, tuple[str, Callable[[Path, str | None], Opened]]] = {
    "cityscapes": ("semantic", _cityscapes),
    "mapillary": ("semantic", _mapillary),
    "composition-1k": ("matting", _composition),
    "nyu": ("depth", _nyu),
}
#: Names of the layouts.
LAYOUTS = (*_OPENERS, "folder")


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        (file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES),
        key=lambda file: file.name,
    )


def _need(*folders: Path, layout: str) -> None:
    lost = [str(folder) for folder in folders if not folder.is_dir()]
    if lost:
        raise DatasetError(
            f"The {layout} layout needs {', '.join(lost)}, which "
            f"{'is' if len(lost) == 1 else 'are'} missing."
        )


def _complete(samples: list[TaskSample], where: Path, what: str) -> list[TaskSample]:
    """Refuse data sets with nothing in them, or with files missing."""
    if not samples:
        raise DatasetError(f"There is nothing to evaluate in {where}: no {what}.")
    for sample in samples:
        for file in (sample.image, sample.target, sample.trimap):
            if file is not None and not file.is_file():
                raise DatasetError(
                    f"{sample.name} has no {file}: the data set is not complete."
                )
    return samples
