"""Other images than the user's, so that a model does not forget them.

Where the starters' training data is at hand, its labelled images are rehearsed. Where
it is not, which is the rule, there are the photos that come with scikit-image and made
up scenes: nobody labelled them, but what the parent answers to a few clicks on them is
known, and that is what shall stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_clickseg.errors import Cancelled, TrainingError
from napari_clickseg.training.finetuning.augmenting import Kind
from napari_clickseg.training.finetuning.checking import Inventory, examine
from napari_clickseg.training.finetuning.pictures import Pictures
from napari_clickseg.training.finetuning.windows import Source
from napari_clickseg.training.readers.arrays import Arrays
from napari_clickseg.training.readers.base import Reader
from napari_clickseg.training.readers.folder import Folder

#: Packs of the click starters' recipes: kind, and share of the samples.
PACKS: dict[str, tuple[Kind, float]] = {
    "coco_mval_train": ("photo", 30),
    "davis_trainvideos": ("photo", 18),
    "animals_openimages": ("photo", 18),
    "small_objects_cc_by": ("photo", 5),
    "microcontrollers_mit": ("photo", 4),
    "strawberries_mit": ("photo", 3),
    "osd_rgbd_bsd": ("photo", 6),
    "dsb2018_train": ("microscopy", 8),
    "usiigaci_train": ("microscopy", 8),
}
#: At most so many images of a pack: rehearsal needs variety, not all of it.
MOST_IMAGES = 120
#: Photos of scikit-image that come with it, without a download.
PHOTOS = (
    "astronaut",
    "camera",
    "cat",
    "coffee",
    "coins",
    "immunohistochemistry",
    "moon",
    "retina",
    "rocket",
)
#: Made-up pictures beside them; the longest side of both.
MADE_UP, SIDE = 12, 320
_LAST: dict[tuple[object, ...], list[Source]] = {}
#: Clicks on each picture, and how much of it an answer may cover to be kept.
CLICKS, SHARES = 4, (0.002, 0.6)


def rehearsal_root(wish: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder of the starters' training packs, if it is here.

    Parameters
    ----------
    wish : path or {"auto", "none"}, optional
        A data root; ``auto`` looks where ``CLICKSEG_DATA`` says.

    Raises
    ------
    TrainingError
        If a path was given that holds none of the packs.
    """
    if wish is None or wish == "none":
        return None
    automatic = wish == "auto"
    place = os.environ.get("CLICKSEG_DATA") if automatic else os.fspath(wish)
    if not place:
        return None
    root = Path(place).expanduser()
    if any((root / "train" / name / "images").is_dir() for name in PACKS):
        return root
    if automatic:
        return None
    raise TrainingError(
        f"{root} holds none of the starters' training packs "
        f"({', '.join(list(PACKS)[:3])}, ... below train/). Leave rehearsal out."
    )


def pack_sources(root: Path, avoid: Sequence[Path] = ()) -> list[Source]:
    """Return the packs of a data root, with a spread of their images.

    Parameters
    ----------
    root : Path
        Holds ``train/PACK/images`` and ``masks``.
    avoid : sequence of Path
        Folders of the user's own images.
    """
    found = []
    for name, (kind, weight) in PACKS.items():
        folder = root / "train" / name
        if not (folder / "images").is_dir():
            continue
        if any(folder.resolve() == path.resolve() for path in avoid):
            continue
        reader = Thinned(Folder(folder), MOST_IMAGES)
        inventory = examine(reader, ignore=255)
        found.append(
            Source(
                Pictures(reader, ignore=255),
                inventory.entries,
                kind,
                "colours",
                weight=weight,
            )
        )
    return found


class Thinned(Reader):
    """Some images of a reader, evenly spread.

    Parameters
    ----------
    whole : Reader
        All of them.
    most : int
        How many to keep.
    """

    layout: ClassVar[str] = "thinned"

    def __init__(self, whole: Reader, most: int) -> None:
        count = min(most, len(whole))
        places = np.linspace(0, len(whole) - 1, count).round().astype(int)
        self._whole, self._places = whole, places.tolist()
        self.names = tuple(whole.names[place] for place in self._places)

    def image(self, index: int) -> Any:
        """Read an image."""
        return self._whole.image(self._places[index])

    def labels(self, index: int) -> NDArray[Any]:
        """Read its labels."""
        return self._whole.labels(self._places[index])

    def fingerprint(self, index: int) -> str:
        """Return a hash of an image's content."""
        return self._whole.fingerprint(self._places[index])


def remembered(
    parent: nn.Module,
    seed: int,
    device: torch.device,
    cancelled: Callable[[], bool] | None = None,
) -> list[Source]:
    """Return pictures that come with us, with what the parent finds in them.

    Parameters
    ----------
    parent : nn.Module
        A click network behind a :class:`~.clicks.Student`, in evaluation mode.
    seed : int
        Of the made-up pictures and of the clicks.
    device : torch.device
        Where the parent is.
    cancelled : callable, optional
        Asked for each picture; True stops.
    """
    pictures = [*known_photos(), *made_up(MADE_UP, seed)]
    images, labels = [], []
    for number, image in enumerate(pictures):
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped while the reference was being prepared.")
        rng = np.random.default_rng([seed, 5, number])
        layers = answers(parent, image, rng, device)
        if len(layers):
            images.append(image)
            labels.append(layers)
    if not images:  # a parent that finds nothing has nothing to forget
        return []
    reader = Arrays(images, labels)
    inventory: Inventory = examine(reader)
    return [Source(Pictures(reader), inventory.entries, "photo", "colours")]


def remembered_once(
    key: tuple[object, ...], remember: Callable[[], list[Source]]
) -> list[Source]:
    """Return what was last remembered under a key, or remember it.

    Forecast, gate and learning all need the same pictures, which take seconds.
    """
    kept = _LAST.get(key)
    if kept is None:
        kept = remember()
        _LAST.clear()
        _LAST[key] = kept
    return list(kept)


@torch.no_grad()
def answers(
    parent: nn.Module,
    image: NDArray[np.uint8],
    rng: np.random.Generator,
    device: torch.device,
) -> NDArray[np.int32]:
    """Return what the parent finds under random clicks, one layer each.

    Returns
    -------
    ndarray of int32, shape (L, H, W)
        0 and 1; answers that cover next to nothing, or nearly all, are left out.
    """
    height, width = image.shape[:2]
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float().div_(255)
    pixels = pixels.to(device)
    kept = []
    for _ in range(CLICKS):
        row = float(rng.uniform(0.08, 0.92) * height)
        col = float(rng.uniform(0.08, 0.92) * width)
        points = torch.tensor([[[row, col, 0.0], [-1.0, -1.0, -1.0]]], device=device)
        logits, _ = parent(pixels, points, torch.zeros_like(pixels[:, :1]))
        mask = (logits[0, 0] > 0).cpu().numpy()
        if SHARES[0] <= mask.mean() <= SHARES[1]:
            kept.append(mask.astype(np.int32))
    return np.stack(kept) if kept else np.zeros((0, height, width), np.int32)


def known_photos() -> list[NDArray[np.uint8]]:
    """Return scikit-image's photos as RGB of at most 320 pixels a side."""
    import cv2
    from skimage import data

    found = []
    for name in PHOTOS:
        image = np.asarray(getattr(data, name)())
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        image = image[..., :3].astype(np.uint8)
        scale = SIDE / max(image.shape[:2])
        if scale < 1:
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        found.append(np.ascontiguousarray(image, dtype=np.uint8))
    return found


def made_up(count: int, seed: int) -> list[NDArray[np.uint8]]:
    """Draw composites and rooms, from nothing but the seed."""
    from napari_clickseg.training.generators.matting import composite
    from napari_clickseg.training.generators.scenes import scene

    drawn = []
    for number in range(count):
        rng = np.random.default_rng([seed, 6, number])
        if number % 3:
            drawn.append(composite((SIDE, SIDE), rng).image)
        else:
            drawn.append(scene((SIDE, SIDE), rng, None).image)
    return drawn
