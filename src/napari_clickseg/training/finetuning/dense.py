"""How networks of classes, alpha and depth learn from few images.

One step per batch. On reference pictures, which have no labels, the network shall go
on answering as its parent did.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_clickseg.training.augment import placement, warp
from napari_clickseg.training.classes import cell_classes
from napari_clickseg.training.dense import scaled
from napari_clickseg.training.dense_losses import (
    alpha_error,
    class_loss,
    depth_gradient_error,
    gradient_error,
    laplacian_error,
    scale_invariant_error,
)
from napari_clickseg.training.finetuning.augmenting import Kind, change
from napari_clickseg.training.finetuning.checking import Entry
from napari_clickseg.training.finetuning.lesson import Batch, Lesson, Where
from napari_clickseg.training.finetuning.pictures import Pictures
from napari_clickseg.training.finetuning.reference import known_photos, made_up

if TYPE_CHECKING:
    from napari_clickseg.training.finetuning.work import Work

#: Windows: all networks here take multiples of 32.
CANVAS = (256, 256)
#: Enlargement of windows, log-uniform.
SCALES = (0.75, 1.5)


class DenseWindows:
    """Windows of images and what every pixel of them is.

    Parameters
    ----------
    pictures : Pictures
        Reads the images.
    entries : tuple of Entry
        Which of them.
    kind : {"microscopy", "photo"}
        How they may be changed.
    batch, seed : int
        Windows in a batch, and seed of the stream.
    changes : bool
        Whether they are changed at all.
    """

    def __init__(
        self,
        pictures: Pictures,
        entries: tuple[Entry, ...],
        kind: Kind,
        batch: int,
        seed: int,
        changes: bool = True,
    ) -> None:
        self.pictures, self.entries, self.kind = pictures, entries, kind
        self.batch, self.seed, self.changes = batch, seed, changes

    def draw(self, number: int, rank: int = 0, world: int = 1) -> Batch:
        """Return ``image`` (N, 3, H, W) uint8 and ``truth`` (N, H, W) float32.

        Pixels of which nothing is known are NaN.
        """
        images, truths = [], []
        for place in range(rank, self.batch, world):
            rng = np.random.default_rng([self.seed, number, place + 1])
            image, truth = self._window(rng)
            images.append(image.transpose(2, 0, 1))
            truths.append(truth)
        return {
            "image": torch.from_numpy(np.stack(images).copy()),
            "truth": torch.from_numpy(np.stack(truths)),
        }

    def _window(self, rng: Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        entry = self.entries[int(rng.integers(len(self.entries)))]
        picture = self.pictures[entry]
        pixels = float(np.exp(-rng.uniform(*np.log(SCALES)))) if self.changes else 1.0
        place = []
        for size, side in zip(entry.shape, CANVAS, strict=True):
            half = min(size, side * pixels) / 2
            place.append(float(rng.uniform(half, size - half)))
        angle, flip = 0.0, False
        if self.changes:
            flip = bool(rng.random() < 0.5)
            if self.kind == "microscopy":
                angle = int(rng.integers(4)) * np.pi / 2
        window = (pixels, place[0], place[1])
        plane = picture.labels[0]
        image, _, _ = warp(
            picture.image,
            np.zeros(plane.shape, np.int16),
            np.ones(1, np.int16),
            CANVAS,
            window,
            angle,
            flip,
        )
        truth = cut_values(plane, window, angle, flip)
        if self.changes:
            image, truth = change(image, truth, self.kind, rng)
        return image, truth


def cut_values(
    plane: NDArray[np.generic],
    window: tuple[float, float, float],
    angle: float,
    flip: bool,
) -> NDArray[np.float32]:
    """Cut a window out of classes or values, which never mix.

    NaN outside of the image and where nothing is known.
    """
    values = plane.astype(np.float32)
    if plane.dtype.kind in "iu":
        values[values < 0] = np.nan
    cut = cv2.warpAffine(
        values,
        placement(CANVAS, window, angle, flip),
        CANVAS[::-1],
        flags=cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float("nan"),
    )
    return np.asarray(cut, np.float32)


@dataclass
class Sheet:
    """Windows of a batch on the device."""

    given: Tensor
    truth: Tensor
    known: Tensor
    reference: bool

    def part(self, n: int, chunks: int) -> Sheet:
        """Return every ``chunks``-th window, from the ``n``-th on."""
        cut = slice(n, None, chunks)
        return Sheet(self.given[cut], self.truth[cut], self.known[cut], self.reference)


class DenseLesson(Lesson):
    """Learning what every pixel is.

    Parameters
    ----------
    own, held : DenseWindows
        What is learned from, and what is held aside.
    parent : nn.Module, optional
        The network as it was.
    pictures : list of ndarray
        Reference pictures.
    normalises : bool
        Whether the network normalises its input itself.
    seed : int
    """

    #: How much the reference counts.
    reference: ClassVar[float] = 1.0

    def __init__(
        self,
        own: DenseWindows,
        held: DenseWindows | None,
        parent: nn.Module | None,
        pictures: list[NDArray[np.uint8]],
        normalises: bool,
        seed: int,
    ) -> None:
        super().__init__(seed)
        self.own, self.held, self.parent = own, held, parent
        self.pictures, self.normalises = pictures, normalises

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network: it has one ``forward`` already."""
        return network

    def begin(self, number: int, where: Where, chunks: int) -> list[list[Sheet]]:
        """Draw windows of both kinds."""
        batch = self.own.draw(number, where.rank, where.world)
        sheets = [self.sheet(batch, where, False, number)]
        if self.parent is not None and self.pictures:
            sheets.append(self.sheet(self._others(number, where), where, True, number))
        return [[s.part(n, chunks) for s in sheets] for n in range(chunks)]

    def _others(self, number: int, where: Where) -> Batch:
        """Cut windows out of the reference pictures."""
        count = max(1, self.own.batch // where.world // 2)
        images = []
        for place in range(count):
            rng = np.random.default_rng([self.seed, 9, number, where.rank, place])
            picture = self.pictures[int(rng.integers(len(self.pictures)))]
            size = CANVAS[::-1]
            resized: Any = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
            images.append(resized.transpose(2, 0, 1))
        return {
            "image": torch.from_numpy(np.stack(images).copy()),
            "truth": torch.zeros(count, *CANVAS),
        }

    def sheet(self, batch: Batch, where: Where, reference: bool, number: int) -> Sheet:
        """Bring a batch to the device, as the network takes it."""
        del number
        truth = batch["truth"].to(where.device)
        known = torch.isfinite(truth)
        given = self.given(batch["image"], truth)
        return Sheet(given.to(where.device), torch.nan_to_num(truth), known, reference)

    def given(self, image: Tensor, truth: Tensor) -> Tensor:
        """Return what the network is given."""
        del truth
        return scaled(image, self.normalises)

    def ask(self, student: nn.Module, chunk: list[Sheet]) -> tuple[Tensor, float]:
        """Return the loss over both kinds, and the score on the user's."""
        total: Tensor | None = None
        score = 0.0
        for sheet in chunk:
            output = student(sheet.given).float()
            if sheet.reference:
                assert self.parent is not None
                with torch.no_grad():
                    before = self.parent(sheet.given).float()
                loss = self.reference * self.apart(output, before)
            else:
                loss, score = self.judge(output, sheet)
            total = loss if total is None else total + loss
        assert total is not None
        return total, score

    def judge(self, output: Tensor, sheet: Sheet) -> tuple[Tensor, float]:
        """Return the loss of an answer, and a score."""
        raise NotImplementedError

    def apart(self, output: Tensor, before: Tensor) -> Tensor:
        """How far an answer has moved from the parent's."""
        return (output - before).abs().mean()

    @torch.no_grad()
    def validate(
        self, student: nn.Module, where: Where, stop: Callable[[], bool]
    ) -> dict[str, float] | None:
        """Judge the windows held aside."""
        if self.held is None or stop():
            return None
        batch = self.held.draw(0, where.rank, where.world)
        sheet = self.sheet(batch, where, False, 0)
        losses, scores = [], []
        for n in range(len(sheet.given)):
            one = slice(n, n + 1)
            part = Sheet(sheet.given[one], sheet.truth[one], sheet.known[one], False)
            loss, score = self.judge(student(part.given).float(), part)
            losses.append(float(loss))
            scores.append(score)
        return {"loss": float(np.mean(losses)), "score": float(np.mean(scores))}


class ClassLesson(DenseLesson):
    """Classes, by cross-entropy and Dice."""

    score_name: ClassVar[str] = "mIoU"

    def judge(self, output: Tensor, sheet: Sheet) -> tuple[Tensor, float]:
        """Return the loss, and the mean IoU of the classes that are there."""
        labels = torch.where(sheet.known, sheet.truth.round(), -1).long()
        loss = class_loss(output, labels, output.new_ones(output.shape[1]))
        answer = output.detach().argmax(1)
        ious = []
        for index in range(output.shape[1]):
            mine, true = (answer == index) & sheet.known, labels == index
            either = float((mine | true).sum())
            if either:
                ious.append(float((mine & true).sum()) / either)
        return loss, float(np.mean(ious)) if ious else 1.0

    def apart(self, output: Tensor, before: Tensor) -> Tensor:
        """Kullback-Leibler divergence from the parent's classes."""
        target = before.softmax(1)
        gap = target * (before.log_softmax(1) - output.log_softmax(1))
        return gap.sum(1).mean()


class CellLesson(ClassLesson):
    """Classes of cells, made of labels of single cells."""

    def sheet(self, batch: Batch, where: Where, reference: bool, number: int) -> Sheet:
        """Make background, interior and border of the labels."""
        if not reference:
            truth = batch["truth"].numpy()
            labels = np.where(np.isfinite(truth), truth, -1).astype(np.int16)
            classes = np.stack([cell_classes(one) for one in labels]).astype(np.float32)
            classes[classes < 0] = np.nan
            batch = {**batch, "truth": torch.from_numpy(classes)}
        return super().sheet(batch, where, reference, number)


class AlphaLesson(DenseLesson):
    """Alpha, where a trimap made of it says that it is unknown."""

    score_name: ClassVar[str] = "MAE"
    larger: ClassVar[bool] = False

    def given(self, image: Tensor, truth: Tensor) -> Tensor:
        """Return RGB and a trimap in four channels."""
        trimap = torch.from_numpy(
            np.stack([trimap_of(one) for one in truth.cpu().numpy()])
        )
        joined = torch.cat([scaled(image, self.normalises), trimap[:, None]], 1)
        return joined.contiguous(memory_format=torch.channels_last)

    def judge(self, output: Tensor, sheet: Sheet) -> tuple[Tensor, float]:
        """Return errors of alpha, of its pyramid and its gradient, and the first."""
        truth, known = sheet.truth[:, None], sheet.known[:, None].float()
        unknown = ((sheet.given[:, 3:] - 0.5).abs() < 0.25).float() * known
        loss = alpha_error(output, truth, unknown)
        loss = loss + 0.5 * laplacian_error(output, truth, unknown)
        whole = unknown * output + (1 - unknown) * truth
        share = unknown.mean().clamp_min(1e-3)
        loss = loss + 0.5 * gradient_error(whole, truth, known) / share
        wrong = (output.detach().clamp(0, 1) - truth).abs() * unknown
        return loss, float(wrong.sum() / unknown.sum().clamp_min(1))


class DepthLesson(DenseLesson):
    """Depth, by the scale-invariant error of its logarithm."""

    score_name: ClassVar[str] = "delta1"

    def judge(self, output: Tensor, sheet: Sheet) -> tuple[Tensor, float]:
        """Return the loss, and the share of pixels within 25 %."""
        truth = sheet.truth[:, None]
        valid = sheet.known[:, None].float() * (truth > 0)
        loss = scale_invariant_error(output, truth, valid)
        loss = loss + 0.5 * depth_gradient_error(output, truth, valid)
        guess = output.detach().clamp_min(1e-3)
        safe = truth.clamp_min(1e-3)
        ratio = torch.maximum(guess / safe, safe / guess)
        right = ((ratio < 1.25) & (valid > 0)).float().sum()
        return loss, float(right / valid.sum().clamp_min(1))

    def apart(self, output: Tensor, before: Tensor) -> Tensor:
        """Difference of the logarithms."""
        return (
            (output.clamp_min(1e-3).log() - before.clamp_min(1e-3).log()).abs().mean()
        )


def trimap_of(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 0, 1/2 (unknown: where alpha is neither 0 nor 1, and around) and 1."""
    soft = ((alpha > 0.02) & (alpha < 0.98)) | ~np.isfinite(alpha)
    solid = np.nan_to_num(alpha) >= 0.5
    edge = cv2.morphologyEx(
        solid.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
    )
    around = cv2.dilate(
        (soft | (edge > 0)).astype(np.uint8), np.ones((11, 11), np.uint8)
    )
    return np.where(around > 0, 0.5, solid).astype(np.float32)


LESSONS: dict[str, type[DenseLesson]] = {
    "semantic": ClassLesson,
    "matting": AlphaLesson,
    "depth": DepthLesson,
}


def dense_lesson(work: Work, device: torch.device) -> DenseLesson:
    """Return the lesson of a piece of work that knows no clicks."""
    settings = work.settings
    network = work.network()
    own = DenseWindows(
        work.own(),
        work.split.learn,
        work.kind,
        settings.batch_for(work.world),
        settings.seed,
    )
    held = None
    if work.split.hold:
        count = -(-settings.preset.windows // work.world) * work.world
        held = DenseWindows(
            work.whole(), work.split.hold, work.kind, count, 77, changes=False
        )
    parent, pictures = None, list[NDArray[np.uint8]]()
    if not work.forgetful:
        parent = copy.deepcopy(network).to(device).eval()
        parent.requires_grad_(False)
        pictures = [*known_photos(), *made_up(12, settings.seed)]
    kind = LESSONS[work.task]
    if work.extra.get("cells"):
        kind = CellLesson
    return kind(
        own,
        held,
        parent,
        pictures,
        bool(getattr(network, "normalises_input", work.task == "semantic")),
        settings.seed,
    )
