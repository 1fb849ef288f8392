"""How click networks learn from few images, and do not forget the others.

Iterative training as in RITM: a batch is kept for a few steps, and each answer gives
the previous mask and the next click of the next step. Beside the user's windows each
step sees *reference* windows of other images. There the network shall go on answering
as its parent did (Li and Hoiem, "Learning without Forgetting", ECCV 2016), and as
their labels say where they have any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.networks.layers import IMAGENET
from napari_clickseg.training.finetuning.lesson import Batch, Lesson, Where
from napari_clickseg.training.finetuning.windows import ClickWindows
from napari_clickseg.training.losses import (
    normalized_focal_loss,
    sigmoid_bce_loss,
    soft_iou_loss,
    window_ious,
)
from napari_clickseg.training.sampling import add_point, inner_point, next_click

#: IoU that validation counts clicks to, and the most clicks it makes.
GOAL, MOST_CLICKS = 0.85, 8


@dataclass(frozen=True)
class ClickLosses:
    """Weights of what is asked.

    Parameters
    ----------
    auxiliary, soft_iou : float
        Beside the normalised focal loss, whose weight is 1.
    reference : float
        Of the loss on reference windows, against that on the user's.
    parent : float
        How much of the reference's loss is the parent's answer, not the labels; where
        there are no labels it is all of it.
    """

    auxiliary: float = 0.4
    soft_iou: float = 0.3
    reference: float = 1.0
    parent: float = 0.5


class Student(nn.Module):
    """A click network behind one ``forward``, as data-parallel training needs it.

    Parameters
    ----------
    network : nn.Module
        With ``encode_image`` and ``decode_clicks``, or one that is called with the
        image and the previous mask in four channels.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.normalises = bool(getattr(network, "normalises_input", True))
        self.columns = int(getattr(network, "point_columns", 3))
        self.split = hasattr(network, "encode_image")
        #: Whether anything learns that comes before the clicks.
        self.encodes = bool(getattr(network, "encoder_learns", False))
        self.remembers = bool(getattr(network, "with_prev_mask", True))
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in IMAGENET)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(
        self, image: Tensor, points: Tensor, previous: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return logits and, where there are any, auxiliary ones, (N, 1, H, W)."""
        if not self.normalises:
            mean, std = self.get_buffer("mean"), self.get_buffer("std")
            image = (image - mean) / std
        points = points[..., : self.columns]
        network: Any = self.network
        if self.split:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.encodes):
                features = network.encode_image(image)
            output = network.decode_clicks(features, points, previous)
        else:
            if self.remembers:
                image = torch.cat([image, previous], 1)
            output = network(image, points)
        return output["instances"].float(), output.get("instances_aux")


@dataclass
class Play:
    """Some windows of a batch, in the middle of being clicked."""

    image: Tensor
    labels: Tensor
    mask: np.ndarray
    previous: Tensor
    points: Tensor
    counts: Tensor
    places: list[int]
    reference: bool
    labelled: bool
    answer: Tensor | None = None


class ClickLesson(Lesson):
    """Learning to answer clicks.

    Parameters
    ----------
    own : ClickWindows
        Windows of the user's images.
    reference : ClickWindows, optional
        Windows of other images.
    labelled : bool
        Whether the reference's labels are true, not what the parent thinks.
    held : sequence of Batch, optional
        Windows that are held aside.
    parent : nn.Module, optional
        The network as it was, behind a :class:`Student`; needed for a reference.
    losses : ClickLosses
        Weights.
    most_rounds : int
        Steps for which a batch is kept, drawn from 1 to this many.
    seed : int
        Seed of the clicks.
    """

    score_name: ClassVar[str] = "IoU"

    def __init__(
        self,
        own: ClickWindows,
        reference: ClickWindows | None = None,
        labelled: bool = True,
        held: Batch | None = None,
        parent: nn.Module | None = None,
        losses: ClickLosses | None = None,
        most_rounds: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.own, self.reference, self.labelled = own, reference, labelled
        self.held, self.parent = held, parent
        self.losses = losses or ClickLosses()
        self.most_rounds = most_rounds

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network behind one ``forward``."""
        return Student(network)

    def rounds(self, number: int) -> int:
        """Draw for how many steps a batch is kept."""
        rng = np.random.default_rng([self.seed, 1, number])
        return int(rng.integers(1, self.most_rounds + 1))

    def begin(self, number: int, where: Where, chunks: int) -> list[list[Play]]:
        """Draw windows of both kinds."""
        plays = [self._play(self.own, number, where, False, True)]
        if self.reference is not None:
            plays.append(self._play(self.reference, number, where, True, self.labelled))
        return [[_part(play, n, chunks) for play in plays] for n in range(chunks)]

    def _play(
        self,
        windows: ClickWindows,
        number: int,
        where: Where,
        reference: bool,
        labelled: bool,
    ) -> Play:
        batch = windows.draw(number, where.rank, where.world)
        places = list(range(where.rank, windows.batch, where.world))
        play = begin_play(batch, where.device, places)
        play.reference, play.labelled = reference, labelled
        return play

    def ask(self, student: nn.Module, chunk: list[Play]) -> tuple[Tensor, float]:
        """Return the loss over both kinds, and the mean IoU on the user's."""
        total: Tensor | None = None
        score = 0.0
        for play in chunk:
            loss = self._loss(student, play)
            if play.reference:
                loss = self.losses.reference * loss
            else:
                assert play.answer is not None
                score = float(window_ious(play.answer, play.labels).mean())
            total = loss if total is None else total + loss
        assert total is not None
        return total, score

    def _loss(self, student: nn.Module, play: Play) -> Tensor:
        logits, auxiliary = student(play.image, play.points, play.previous)
        play.answer = torch.sigmoid(logits.detach())
        losses = self.losses
        parts: list[Tensor] = []
        share = losses.parent if play.labelled else 1.0
        if not play.reference:
            share = 0.0
        if share < 1:
            loss = normalized_focal_loss(logits, play.labels).mean()
            if losses.soft_iou:
                iou = soft_iou_loss(logits, play.labels).mean()
                loss = loss + losses.soft_iou * iou
            if auxiliary is not None and losses.auxiliary:
                rough = sigmoid_bce_loss(auxiliary.float(), play.labels).mean()
                loss = loss + losses.auxiliary * rough
            parts.append((1 - share) * loss)
        if share > 0 and self.parent is not None:
            with torch.no_grad():
                before, _ = self.parent(play.image, play.points, play.previous)
            parts.append(share * agreement_loss(logits, before))
        return torch.stack(parts).sum()

    def go_on(self, chunk: list[Play], number: int, round_number: int) -> None:
        """Click where the answers are wrong."""
        for play in chunk:
            assert play.answer is not None
            kind = 3 if play.reference else 2
            answers = play.answer[:, 0].float().cpu().numpy()
            for i, place in enumerate(play.places):
                rng = np.random.default_rng(
                    [self.seed, kind, number, round_number, place]
                )
                click = next_click(answers[i], play.mask[i, 0], rng)
                if click is not None:
                    add_point(play.points[i], play.counts[i], click, round_number + 1)
            play.previous = play.answer

    @torch.no_grad()
    def validate(
        self, student: nn.Module, where: Where, stop: Callable[[], bool]
    ) -> dict[str, float] | None:
        """Click on the windows held aside, always into the middle of the error.

        Returns
        -------
        dict
            Mean loss and IoU over the first three clicks, and how many clicks each
            window needed to an IoU of 0.85 (at most 8, then 9 is counted).
        """
        if self.held is None or stop():
            return None
        count = len(self.held["image"])
        places = list(range(where.rank, count, where.world))
        batch = {
            key: value[where.rank :: where.world] for key, value in self.held.items()
        }
        play = begin_play(batch, where.device, places)
        needed = np.full(len(places), MOST_CLICKS + 1.0)
        losses, scores = [], []
        for click in range(MOST_CLICKS):
            logits, _ = student(play.image, play.points, play.previous)
            play.answer = torch.sigmoid(logits)
            score = window_ious(play.answer, play.labels).cpu().numpy()
            if click < 3:
                losses.append(float(normalized_focal_loss(logits, play.labels).mean()))
                scores.append(float(score.mean()))
            reached = (score >= GOAL) & (needed > MOST_CLICKS)
            needed[reached] = click + 1
            if (needed <= MOST_CLICKS).all() or stop():
                break
            click_in_the_middle(play, click + 1)
        return {
            "loss": float(np.mean(losses)),
            "score": float(np.mean(scores)),
            "noc": float(needed.mean()),
        }


def begin_play(batch: Batch, device: torch.device, places: list[int]) -> Play:
    """Bring a batch to a device, ready to be clicked."""
    image = batch["image"].to(device).float().div_(255)
    return Play(
        image=image.contiguous(memory_format=torch.channels_last),
        labels=batch["mask"].to(device).float(),
        mask=batch["mask"].numpy(),
        previous=batch["previous"].to(device),
        points=batch["points"].clone().to(device),
        counts=batch["counts"].clone(),
        places=places,
        reference=False,
        labelled=True,
    )


def click_in_the_middle(play: Play, order: int) -> None:
    """Add the click that an annotator would make, into the middle of the error."""
    assert play.answer is not None
    answers = play.answer[:, 0].float().cpu().numpy()
    rng = np.random.default_rng(0)
    for i, answer in enumerate(answers):
        truth = play.mask[i, 0]
        click = next_click(answer, truth, rng)
        if click is None:
            continue
        positive = click[2]
        wrong = (
            (truth == 1) & (answer < 0.49)
            if positive
            else (truth == 0) & (answer > 0.49)
        )
        place = inner_point(wrong, rng, 0.999)
        if place is not None:
            add_point(play.points[i], play.counts[i], (*place, positive), order)
    play.previous = play.answer


def agreement_loss(logits: Tensor, before: Tensor) -> Tensor:
    """How far answers moved from the parent's: cross-entropy less its own entropy.

    Pixels count the more the more the two differ, or the vast background, where all
    agree, would hide the rest; 0 where nothing moved.

    Parameters
    ----------
    logits, before : Tensor, shape (N, 1, H, W)
        Now, and of the parent.
    """
    target = torch.sigmoid(before)
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    own = F.binary_cross_entropy_with_logits(before, target, reduction="none")
    weight = (torch.sigmoid(logits.detach()) - target).abs()
    weight = weight / (weight.mean((1, 2, 3), keepdim=True) + 0.02)
    return ((cross - own) * weight).mean()


def _part(play: Play, number: int, chunks: int) -> Play:
    """Return every ``chunks``-th window from ``number`` on."""
    if chunks == 1:
        return play
    every = slice(number, None, chunks)
    return Play(
        image=play.image[every],
        labels=play.labels[every],
        mask=play.mask[every],
        previous=play.previous[every],
        points=play.points[every].clone(),
        counts=play.counts[every].clone(),
        places=play.places[every],
        reference=play.reference,
        labelled=play.labelled,
    )
