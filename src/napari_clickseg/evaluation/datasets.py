"""Benchmark data on disk: the published layouts, and any folder of label images.

Every layout gives the same thing: samples, each one object of one image, with a
reference mask of 1 (object), 0 (background) and -1 (not scored). Files are listed
in name order and read one by one, when a sample is asked for. The mask rules are
the ones of the released evaluation code (f-BRS, RITM).
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.errors import DatasetError
from napari_clickseg.evaluation.voc_index import grey_from_rgb, read_index
from napari_clickseg.imagefiles import IMAGE_SUFFIXES, read_image, read_labels

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

# Layout name: folders of images and masks, and the rule that reads a mask.
_FOLDERS = {
    "grabcut": ("data_GT", "boundary_GT", "trimap"),
    "berkeley": ("images", "masks", "trimap"),
    "davis": ("img", "gt", "union"),
    "coco_mval": ("img", "gt", "union"),
    "folder": ("images", "masks", "labels"),
}
LAYOUTS = ("grabcut", "berkeley", "davis", "coco_mval", "sbd", "voc", "folder")
OBJECTS = ("each", "union")
VOC_IGNORE = 220  # grey value of the palette's border colour (224, 224, 192)


@dataclass(frozen=True, slots=True)
class Sample:
    """One object of one image.

    Parameters
    ----------
    name : str
        Unique within the data set: file stem, and ``#id`` where a mask file holds
        several objects.
    image, mask : Path
        Files to read.
    rule : str
        How the mask file is read: trimap, union, labels, sbd or voc.
    object_id : int, optional
        Which object of the mask file.
    ignore : int, optional
        Label that marks pixels which do not count.
    """

    name: str
    image: Path
    mask: Path
    rule: str
    object_id: int | None = None
    ignore: int | None = None

    def read_image(self) -> Any:
        """Return the image, (H, W) or (H, W, C), as the file holds it."""
        return read_image(self.image)

    def read_truth(self) -> NDArray[np.int8]:
        """Return the reference mask (H, W): 1 object, 0 background, -1 ignored."""
        return self.truth_of(read_mask(self.mask, self.rule))

    def truth_of(self, values: NDArray[Any]) -> NDArray[np.int8]:
        """Return the reference mask from what :func:`read_mask` gave."""
        if self.rule == "trimap":
            return _truth((values == 1) | (values > 128), values == 128)
        ignored = np.zeros(values.shape, bool)
        if self.ignore is not None:
            ignored = values == self.ignore
        if self.object_id is not None:
            return _truth(values == self.object_id, ignored)
        return _truth((values > 0) & ~ignored, ignored)


@dataclass(frozen=True)
class Dataset:
    """Samples of a folder, in name order, found as they are asked for.

    Parameters
    ----------
    path : Path
        The data set's folder.
    layout : str
        One of :data:`LAYOUTS`.
    ignore : int, optional
        ``folder`` layout: label of pixels that do not count.
    objects : {"each", "union"}
        ``folder`` layout: every label a sample, or all labels together one.
    min_area : int
        Leave out objects with fewer pixels than this (layouts with several
        objects per file).
    per_image : int, optional
        At most so many objects of an image, evenly spread over its labels.
    """

    path: Path
    layout: str
    ignore: int | None = None
    objects: str = "each"
    min_area: int = 1
    per_image: int | None = None
    _files: list[tuple[Path, Path]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise DatasetError(
                f"There is no layout {self.layout!r}. Choose one of: "
                f"{', '.join(LAYOUTS)}."
            )
        if self.objects not in OBJECTS:
            raise DatasetError(
                f"Objects are taken 'each' or as a 'union', not {self.objects!r}."
            )
        if self.ignore is not None and self.layout != "folder":
            raise DatasetError(
                f"The {self.layout} layout has its own rule for ignored pixels: "
                "leave --ignore out, or use --layout folder."
            )
        if self.layout == "sbd":
            self._files.extend(_sbd_files(self.path))
        elif self.layout in _FOLDERS:
            self._files.extend(_matched_files(self.path, self.layout))
        else:
            self._files.extend(_voc_files(self.path))

    @property
    def images(self) -> int:
        """Number of image files."""
        return len(self._files)

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples in name order."""
        if self.layout == "voc":
            index = read_index(_voc_root(self.path))
            if index is not None:
                yield from self._voc_listed(index)
                return
        for image, mask in self._files:
            yield from self._of_file(image, mask)

    def first(self, limit: int | None = None) -> list[Sample]:
        """Return the first ``limit`` samples (all of them by default)."""
        samples = list(itertools.islice(self, limit))
        if not samples:
            raise DatasetError(self._why_empty())
        return samples

    def _of_file(self, image: Path, mask: Path) -> Iterator[Sample]:
        rule = {"sbd": "sbd", "voc": "voc"}.get(self.layout) or _FOLDERS[self.layout][2]
        union = self.layout == "folder" and self.objects == "union"
        if rule in {"trimap", "union"} or union:
            yield Sample(image.stem, image, mask, rule, None, self.ignore)
            return
        ignore = VOC_IGNORE if rule == "voc" else self.ignore
        ids, areas = np.unique(read_mask(mask, rule), return_counts=True)
        chosen = [
            int(label)
            for label, area in zip(ids, areas, strict=True)
            if label not in (0, ignore) and area >= self.min_area
        ]
        single = sum(label not in (0, ignore) for label in ids) == 1
        if self.per_image is not None and len(chosen) > self.per_image:
            spread = np.linspace(0, len(chosen) - 1, self.per_image).round()
            chosen = [chosen[int(place)] for place in spread]
        for label in chosen:
            name = image.stem if single else f"{image.stem}#{label}"
            yield Sample(name, image, mask, rule, label, ignore)

    def _voc_listed(self, index: list[tuple[str, int]]) -> Iterator[Sample]:
        files = {image.stem: (image, mask) for image, mask in self._files}
        for stem, label in index:
            if stem not in files:
                raise DatasetError(
                    f"test.pickle lists {stem}, but JPEGImages or "
                    "SegmentationObject has no such file."
                )
            image, mask = files[stem]
            yield Sample(f"{stem}#{label}", image, mask, "voc", label, VOC_IGNORE)

    def doubts(self, samples: Sequence[Sample]) -> list[str]:
        """Return what the user may want to know about how masks were read."""
        if self.layout != "folder" or self.ignore is not None:
            return []
        # 255 is the custom for "unknown"; with 255 objects it is one of them
        ids: dict[Path, set[int | None]] = {}
        for sample in samples:
            ids.setdefault(sample.mask, set()).add(sample.object_id)
        if not any(255 in found and 254 not in found for found in ids.values()):
            return []
        doubt = (
            "Label 255 was taken for an object. If it means 'unknown' in these "
            "masks, run again with --ignore 255."
        )
        return [doubt]

    def _why_empty(self) -> str:
        text = f"No object to click was found in {self.path}"
        if self.ignore is None or not self._files:
            return f"{text}: its masks are empty."
        values = np.unique(read_mask(self._files[0][1], "labels"))
        if set(values.tolist()) <= {0, self.ignore}:
            return (
                f"{text}: its masks hold only 0 and {self.ignore}, and --ignore "
                f"{self.ignore} hides the latter. Leave --ignore out."
            )
        return f"{text}: its masks are empty once {self.ignore} is ignored."


def open_dataset(
    path: str | os.PathLike[str], layout: str = "folder", **options: Any
) -> Dataset:
    """Return the data set in ``path``; options as for :class:`Dataset`.

    Raises
    ------
    DatasetError
        The folder is missing or is not laid out as ``layout`` says.
    """
    path = Path(path)
    if not path.is_dir():
        raise DatasetError(f"There is no folder {path}. Check the path.")
    return Dataset(path, layout, **options)


def read_mask(path: Path, rule: str) -> NDArray[Any]:
    """Return the mask file's numbers as one plane (H, W).

    Parameters
    ----------
    path : Path
    rule : str
        ``trimap``: channel 0; ``union``: the largest channel; ``labels``: label
        numbers, where a colour picture makes each colour a label; ``sbd``: the
        instance map of a ``.mat`` file; ``voc``: grey values of the colours.
    """
    if rule == "sbd":
        return _read_sbd(path)
    if rule == "voc":
        return grey_from_rgb(np.asarray(read_image(path)))
    if rule in {"trimap", "union"}:
        # Colours, not palette indices: the published code reads grey values.
        values = np.asarray(read_image(path)) if path.suffix != ".npy" else None
        values = read_labels(path) if values is None else values
        if values.dtype == bool:
            values = values.astype(np.uint8) * np.uint8(255)
        if values.ndim == 3:
            values = values[..., :3]
            values = values[..., 0] if rule == "trimap" else values.max(axis=2)
        return values
    return _flat_labels(read_labels(path), path)


def _flat_labels(values: NDArray[Any], path: Path) -> NDArray[Any]:
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim == 2:
        return values.astype(np.uint8) if values.dtype == bool else values
    if values.ndim == 3 and values.shape[2] in (3, 4):
        red, green, blue = (values[..., i].astype(np.int64) for i in range(3))
        if np.array_equal(red, green) and np.array_equal(red, blue):
            return red
        return red + 256 * green + 65536 * blue
    raise DatasetError(
        f"{path.name} has shape {values.shape}; a mask needs one plane (H, W)."
    )


def _truth(wanted: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> NDArray[np.int8]:
    truth = wanted.astype(np.int8)
    truth[ignored] = -1
    return truth


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES),
        key=lambda p: p.name,
    )


def _matched_files(path: Path, layout: str) -> list[tuple[Path, Path]]:
    image_folder, mask_folder, _ = _FOLDERS[layout]
    _need_folders(path, layout, (image_folder, mask_folder))
    images, masks = _images_in(path / image_folder), _images_in(path / mask_folder)
    for files, folder in ((images, image_folder), (masks, mask_folder)):
        twice = [stem for stem, n in Counter(p.stem for p in files).items() if n > 1]
        if twice:
            raise DatasetError(
                f"{path / folder} holds more than one file named {twice[0]}: "
                "remove or rename one of them."
            )
    by_stem = {mask.stem: mask for mask in masks}
    lost = [image.name for image in images if image.stem not in by_stem]
    if lost:
        raise DatasetError(
            f"{len(lost)} of {len(images)} images have no mask of the same name in "
            f"{path / mask_folder}, for example {lost[0]}."
        )
    if not images:
        raise DatasetError(f"{path / image_folder} holds no image file.")
    return [(image, by_stem[image.stem]) for image in images]


def _sbd_files(path: Path) -> list[tuple[Path, Path]]:
    root = path / "dataset" if (path / "dataset" / "inst").is_dir() else path
    _need_folders(root, "sbd", ("img", "inst"))
    names = _listed(root / "val.txt", "sbd")
    return [(root / "img" / f"{n}.jpg", root / "inst" / f"{n}.mat") for n in names]


def _voc_root(path: Path) -> Path:
    for root in (path, path / "VOC2012", path / "VOCdevkit" / "VOC2012"):
        if (root / "SegmentationObject").is_dir():
            return root
    return path


def _voc_files(path: Path) -> list[tuple[Path, Path]]:
    root = _voc_root(path)
    _need_folders(root, "voc", ("JPEGImages", "SegmentationObject"))
    index = read_index(root)
    if index is not None:
        names: Iterable[str] = dict.fromkeys(stem for stem, _ in index)
    else:
        names = _listed(root / "ImageSets" / "Segmentation" / "val.txt", "voc")
    return [
        (root / "JPEGImages" / f"{n}.jpg", root / "SegmentationObject" / f"{n}.png")
        for n in names
    ]


def _listed(path: Path, layout: str) -> list[str]:
    if not path.is_file():
        raise DatasetError(
            f"The {layout} layout needs the list of images {path}; it is missing."
        )
    return path.read_text(encoding="utf-8").split()


def _need_folders(path: Path, layout: str, folders: tuple[str, str]) -> None:
    lost = [name for name in folders if not (path / name).is_dir()]
    if not lost:
        return
    fitting = [
        name
        for name, (images, masks, _) in _FOLDERS.items()
        if (path / images).is_dir() and (path / masks).is_dir()
    ]
    hint = f" It looks like --layout {' or '.join(fitting)}." if fitting else ""
    raise DatasetError(
        f"The {layout} layout needs the folders {folders[0]} and {folders[1]} in "
        f"{path}; {' and '.join(lost)} missing.{hint}"
    )


def _read_sbd(path: Path) -> NDArray[Any]:
    from scipy.io import loadmat

    try:
        record = loadmat(path)["GTinst"]
        values: NDArray[Any] = np.asarray(record[0, 0]["Segmentation"])
    except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
        raise DatasetError(
            f"{path} is not an SBD instance file (needs GTinst.Segmentation)."
        ) from error
    return values
