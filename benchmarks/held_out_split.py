"""Carve small data sets out of what the starter's training left out.

    python benchmarks/held_out_split.py --data ../shared/data --out splits

``microscopy`` (nuclei and cells in phase contrast) is for measuring, ``tuning``
(nuclei, cells, and video frames) for finding step sizes; no image is in both. Each
mask holds the objects that were chosen, so that any tool sees the same samples:

    napari-clickseg evaluate splits/microscopy --protocol curve --first-look search
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from first_look import SOURCES, held_out
from napari_clickseg.imagefiles import read_labels

#: Data set: for each source, how many images, and objects of each.
SPLITS = {
    "tuning": {"nuclei": (6, 1), "phase contrast": (1, 6), "davis": (12, 1)},
    "microscopy": {"nuclei": (26, 1), "phase contrast": (3, 4)},
}
MIN_AREA = 100


def chosen(labels: np.ndarray, count: int) -> list[int]:
    """Return labels of objects, spread over their areas, the smallest left out."""
    areas = np.bincount(labels.ravel())
    found = [n for n in range(1, len(areas)) if areas[n] >= MIN_AREA]
    found.sort(key=lambda n: (areas[n], n))
    places = (np.arange(count) + 0.5) / count * len(found)
    return [found[int(place)] for place in places] if found else []


def carve(data: Path, out: Path) -> None:
    """Write the data sets."""
    taken: set[Path] = set()
    for split, parts in SPLITS.items():
        for kind, (count, objects) in parts.items():
            source = SOURCES[kind]
            kept = held_out(source.pack) or set()
            images = sorted(
                path
                for path in (data / source.folder / "images").iterdir()
                if path.stem in kept and path not in taken
            )
            # Evenly spread: neighbours in a pack are alike.
            places = (np.arange(count) + 0.5) / count * len(images)
            for image in [images[int(place)] for place in places]:
                taken.add(image)
                write(image, out / split, f"{source.folder[6:9]}-{image.stem}", objects)


def write(image: Path, folder: Path, name: str, objects: int) -> None:
    """Write one image, and a mask with a few of its objects."""
    (mask,) = (image.parent.parent / "masks").glob(f"{image.stem}.*")
    labels = np.asarray(read_labels(mask))
    left = np.zeros(labels.shape, np.uint8)
    for number, label in enumerate(chosen(labels, objects), start=1):
        left[labels == label] = number
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image, folder / "images" / f"{name}{image.suffix}")
    Image.fromarray(left).save(folder / "masks" / f"{name}.png")


def main() -> None:
    """Carve all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("splits"))
    arguments = parser.parse_args()
    carve(arguments.data, arguments.out)
    for folder in sorted(arguments.out.iterdir()):
        print(f"{folder}: {len(list((folder / 'images').iterdir()))} images")


if __name__ == "__main__":
    main()
