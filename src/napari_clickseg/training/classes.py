"""Teaching a network classes of cells: background, interior, border.

Border is where one object ends and another begins, and a thin contour of each: without
it, interiors fall apart into objects by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from napari_clickseg.training.augment import recolour, warp
from napari_clickseg.training.dense import Batch, DenseRun, Stream, scaled
from napari_clickseg.training.dense_losses import class_loss
from napari_clickseg.training.packs import Item, Pack, read_labels, read_rgb

#: What the network tells apart, in the order of its answers.
CLASSES = ("background", "interior", "border")
BACKGROUND, INTERIOR, BORDER = range(3)
#: Part of an object's depth that its contour may take at most.
_DEEPEST = 0.35


@dataclass(frozen=True)
class CellOptions:
    """How windows are drawn, and what is border.

    Parameters
    ----------
    canvases : sequence of (height, width, batch)
        Sizes that batches take in turn at random; as the network needs them.
    scales : (float, float)
        Range of the enlargement (log-uniform); 1 keeps the image's own pixels.
    contour : float
        Width of an object's contour in canvas pixels; less where it is small.
    gap : int
        Background with two objects within this many pixels is border.
    inhabited : float
        Chance that a window is put on an object.
    """

    canvases: Sequence[tuple[int, int, int]] = ((256, 256, 8),)
    scales: tuple[float, float] = (0.6, 1.8)
    contour: float = 2.0
    gap: int = 3
    inhabited: float = 0.8


def cell_classes(
    labels: NDArray[np.int16], contour: float = 2.0, gap: int = 3
) -> NDArray[np.int8]:
    """Make classes of instance labels.

    Parameters
    ----------
    labels : ndarray of int16, shape (H, W)
        0 background, 1 and up objects, -1 unknown.
    contour : float
        Pixels of an object no deeper than this are border, but never more than a
        third of its depth: small objects keep an interior.
    gap : int
        Pixels of background within this distance of two objects are border.

    Returns
    -------
    ndarray of int8, shape (H, W)
        0 background, 1 interior, 2 border, -1 unknown.
    """
    from scipy import ndimage

    ids = np.maximum(labels, 0)
    out = np.where(ids > 0, INTERIOR, BACKGROUND).astype(np.int8)
    square = np.ones((3, 3), np.uint8)
    # an object goes on beyond the picture: its cut side is no contour
    high = cv2.dilate(ids, square, borderType=cv2.BORDER_REPLICATE)
    low = cv2.erode(ids, square, borderType=cv2.BORDER_REPLICATE)
    inner = ((high == low) & (ids > 0)).astype(np.uint8)
    if inner.any() or (ids > 0).any():
        deep = cv2.distanceTransform(np.pad(inner, 1, mode="edge"), cv2.DIST_L2, 5)
        deep = np.where(ids > 0, deep[1:-1, 1:-1] + 1, 0)  # the outermost pixel: 1
        count = int(ids.max())
        deepest = np.concatenate(
            [[0], np.atleast_1d(ndimage.maximum(deep, ids, np.arange(1, count + 1)))]
        )
        width = np.minimum(contour, np.maximum(1, _DEEPEST * deepest))
        out[(ids > 0) & (deep <= width[ids]) & (deepest[ids] > 1)] = BORDER
    if gap:
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * gap + 1,) * 2)
        none = np.int16(32767)
        highest = cv2.dilate(ids, disk)
        lowest = cv2.erode(np.where(ids > 0, ids, none).astype(np.int16), disk)
        between = (lowest != none) & (highest != lowest)
        out[(ids == 0) & between] = BORDER
    out[labels < 0] = -1
    return out


class CellBatches(Stream):
    """Windows of images whose cells are labelled one by one.

    Parameters
    ----------
    packs : sequence of Pack
        Where windows come from, by weight.
    options : CellOptions
        How they are drawn.
    seed : int
        Seed of the whole stream.
    """

    def __init__(self, packs: Sequence[Pack], options: CellOptions, seed: int) -> None:
        super().__init__(seed)
        self.packs = [pack for pack in packs if pack.spec.kind != "cutout"]
        weights = np.array([pack.spec.weight for pack in self.packs], dtype=float)
        self.shares = weights / weights.sum()
        self.options = options

    def __getitem__(self, index: int) -> Batch:
        """Return ``image`` (N,3,H,W) uint8 and ``classes`` (N,H,W) int8, -1 unknown."""
        rng = self.rng(index)
        canvases = self.options.canvases
        height, width, batch = canvases[int(rng.integers(len(canvases)))]
        images, classes = [], []
        for _ in range(batch):
            pack = self.packs[int(rng.choice(len(self.packs), p=self.shares))]
            item = pack.items[int(rng.integers(len(pack.items)))]
            image, target = self._window(item, (height, width), rng)
            images.append(recolour(image, rng, pack.spec.kind == "microscopy"))
            classes.append(target)
        return {
            "image": torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()),
            "classes": torch.from_numpy(np.stack(classes)),
        }

    def _window(
        self, item: Item, canvas: tuple[int, int], rng: Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        options = self.options
        source = read_rgb(item.image)[..., :3]
        labels = read_labels(item.mask).astype(np.int16)
        # pixels of the image per pixel of the canvas
        pixels = float(np.exp(-rng.uniform(*np.log(options.scales))))
        # little of a window may lie outside of the image
        fit = min(n / side for n, side in zip(labels.shape, canvas, strict=True))
        pixels = min(pixels, 1.2 * fit)
        aim = None
        if item.objects and rng.random() < options.inhabited:
            _, _, top, left, bottom, right = item.objects[
                int(rng.integers(len(item.objects)))
            ]
            aim = ((top + bottom) / 2, (left + right) / 2)
        place = []
        for axis, size in enumerate(labels.shape):
            side = canvas[axis] * pixels
            half = min(size, side) / 2
            if aim is None:
                place.append(float(rng.uniform(half, size - half)))
            else:
                at = aim[axis] + rng.uniform(-0.5, 0.5) * side
                place.append(float(np.clip(at, half, size - half)))
        angle = int(rng.integers(4)) * np.pi / 2 + rng.normal(0, 0.15)
        image, ids, _ = warp(
            source,
            labels,
            np.ones(1, dtype=np.int16),
            canvas,
            (pixels, place[0], place[1]),
            angle,
            bool(rng.random() < 0.5),
        )
        return image, cell_classes(ids, options.contour, options.gap)


class ClassesRun(DenseRun):
    """Learning background, interior and border."""

    task: ClassVar[str] = "semantic"
    score_name: ClassVar[str] = "mIoU"

    def open_data(self, packs: list[Pack]) -> CellBatches:
        """Return windows with their classes."""
        options = CellOptions(**self.plan.sampling)
        return CellBatches(packs, options, self.plan.schedule.seed)

    def given(self, batch: Batch) -> Tensor:
        """Return RGB."""
        normalises = bool(getattr(self.network, "normalises_input", True))
        return scaled(batch["image"], normalises)

    def judge(self, output: Tensor, batch: Batch) -> tuple[Tensor, float]:
        """Return weighted cross-entropy with Dice, and the mean IoU of classes."""
        labels, losses = batch["classes"].long(), self.plan.losses
        weights = output.new_tensor(losses.classes)
        loss = class_loss(output, labels, weights, losses.dice)
        answer = output.detach().argmax(1)
        valid = labels >= 0
        ious = []
        for index in range(output.shape[1]):
            mine, true = (answer == index) & valid, labels == index
            either = float((mine | true).sum())
            if either:
                ious.append(float((mine & true).sum()) / either)
        return loss, float(np.mean(ious))
