"""Semantic classes: a click, or a stroke of a brush, says which class a pixel has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError, SettingsError
from napari_clickseg.tasks.attention import outside_of
from napari_clickseg.tasks.class_lists import Classes
from napari_clickseg.tasks.fields import refuse, refuse_negative
from napari_clickseg.tasks.task import ITERATIONS, Mode

if TYPE_CHECKING:
    from torch import Tensor

#: Weight of the consistency loss, lambda_ss, by mode (G-BRS, 2.4.2).
WEIGHT = {"click": 10.0, "stroke": 1.0}
#: Stands for the class of pixels that a loss leaves out.
IGNORED = -100


@dataclass(frozen=True)
class Semantic:
    """A click or a stroke says which class its pixels have.

    Parameters
    ----------
    classes : Classes
        One for each channel of the network. Clicks and painted pixels carry labels:
        1 is the first channel, 0 is "nothing said".
    mode : {"click", "stroke"}
    stop_at : float
        Probability of the wished class from which on a click needs no more. The paper
        always makes all its iterations. Being surer of the clicks costs twice the time
        and makes the rest of the map no better.

    Raises
    ------
    SettingsError
        If there is no such mode, or the probability is none.
    """

    classes: Classes
    mode: Mode = "click"
    stop_at: float = 0.7

    name: ClassVar[str] = "semantic"
    fields: ClassVar[frozenset[str]] = frozenset({"label", "radius"})
    iterations: ClassVar[int] = ITERATIONS
    top_k: ClassVar[int | None] = None
    remembers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.mode not in WEIGHT:
            raise SettingsError(
                f"Semantic classes know the modes 'click' and 'stroke', not "
                f"{self.mode!r}."
            )
        if not 0 < self.stop_at <= 1:
            raise SettingsError(
                f"stop_at is {self.stop_at!r}: give a probability above 0, up to 1."
            )

    @property
    def channels(self) -> int:
        """One for each class."""
        return len(self.classes)

    @property
    def weight(self) -> float:
        """Of the consistency loss."""
        return WEIGHT[self.mode]

    def check_click(self, click: Click) -> None:
        """Refuse a click without the label of a class, or with a value or a minus."""
        refuse(click, "semantic classes", "carries the label of a class", "value")
        refuse_negative(
            click,
            "A click for semantic classes says which class a pixel has, not which it "
            "has not. Leave positive out and give the label of the right class.",
        )
        if click.label is None or not 1 <= click.label <= len(self.classes):
            given = "no label" if click.label is None else f"label {click.label}"
            raise ClickError(
                f"This click has {given}. Give the label of a class; "
                f"{self.classes.described()}."
            )

    def targets(self, clicks: Sequence[Click], start: Tensor) -> Tensor:
        """Return class numbers from 0, int64."""
        wanted = [(click.label or 1) - 1 for click in clicks]
        return start.new_tensor(wanted).long()

    def refinement_loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return equation 9: the mean cross-entropy at the clicks."""
        return cross_entropy(values, targets).mean()

    def held(self, before: Tensor, far: Tensor) -> Tensor:
        """Return the classes predicted before, :data:`IGNORED` within the circle."""
        return kept_classes(before, far)

    def consistency_loss(
        self,
        held: Tensor,
        now: Tensor,
        far: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return equation 9: cross-entropy with the classes predicted before."""
        return classes_loss(now, held)

    def attention(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        size: tuple[int, int],
    ) -> NDArray[Any]:
        """Return 0 within the circle, where the class before is ignored, else 1."""
        return outside_of(centre, radii, size).astype(np.float32)

    def obeyed(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return which clicks have their class."""
        return values.argmax(1) == targets

    def reached(self, values: Tensor, targets: Tensor) -> bool:
        """Return whether all clicks have their class as good as surely."""
        probability = values.softmax(1).gather(1, targets[:, None])
        return bool((probability >= self.stop_at).all())

    def activation(self, output: Tensor) -> Tensor:
        """Return probabilities of the classes."""
        return output.softmax(1)

    def result(
        self,
        answer: NDArray[Any],
        threshold: float = 0.5,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return the labels of the likeliest classes, uint8 (of more than 255: 16)."""
        dtype = np.uint8 if len(self.classes) < 256 else np.uint16
        return (np.asarray(answer).argmax(0) + 1).astype(dtype)


def cross_entropy(values: Tensor, targets: Tensor) -> Tensor:
    """Return minus the logarithm of the probability of each target.

    Parameters
    ----------
    values : Tensor, shape (n, C)
        Logits.
    targets : Tensor of int64, shape (n,)
        Class numbers from 0.

    Returns
    -------
    Tensor, shape (n,)

    Notes
    -----
    Equations 9 and 10 are printed without the minus; their text says cross-entropy.
    """
    return -values.log_softmax(1).gather(1, targets[:, None])[:, 0]


def kept_classes(before: Tensor, far: Tensor) -> Tensor:
    """Return the classes predicted before, which the consistency loss holds.

    Parameters
    ----------
    before : Tensor, shape (1, C, h, w)
        Logits with the parameters of the click before.
    far : Tensor, shape (h, w), 0 or 1
        0 where the class before is ignored.

    Returns
    -------
    Tensor of int64, shape (1, h, w)
        Class numbers from 0, or :data:`IGNORED`.
    """
    return before.detach().argmax(1).masked_fill(far == 0, IGNORED)


def painted_classes(painted: Tensor) -> Tensor:
    """Return the finetune mask T as classes.

    Parameters
    ----------
    painted : Tensor of int64, shape (h, w)
        As a Labels layer holds it: labels of classes, from 1, and 0 where nothing was
        painted (the paper counts classes from 0 and has C there).

    Returns
    -------
    Tensor of int64, shape (1, h, w)
        Class numbers from 0, or :data:`IGNORED`.
    """
    return (painted - 1).masked_fill(painted == 0, IGNORED)[None]


def classes_loss(output: Tensor, classes: Tensor) -> Tensor:
    """Return how far an output is from the classes that pixels shall have.

    With :func:`kept_classes` it is the consistency loss of equation 9, which is not 0
    at the start: classes are held, not their probabilities. With
    :func:`painted_classes` it is the refinement loss of equation 10.

    Parameters
    ----------
    output : Tensor, shape (1, C, h, w)
        Logits.
    classes : Tensor of int64, shape (1, h, w)
        Class numbers from 0, or :data:`IGNORED`.

    Returns
    -------
    Tensor, shape ()
        The cross-entropy summed over the pixels that count, divided by the number of
        all pixels.
    """
    from torch.nn.functional import cross_entropy as summed

    loss: Tensor = summed(output, classes, ignore_index=IGNORED, reduction="sum")
    return loss / classes.numel()


def check_painted(painted: NDArray[Any], classes: Classes) -> NDArray[np.int64]:
    """Return a finetune mask as int64.

    Parameters
    ----------
    painted : ndarray, shape (H, W), of integers
        Labels of classes; 0 where nothing was painted.
    classes : Classes

    Raises
    ------
    ClickError
        If it holds something else.
    """
    painted = np.asarray(painted)
    if painted.ndim != 2 or painted.dtype.kind not in "biu":
        raise ClickError(
            f"Strokes are one plane (H, W) of labels, not {painted.dtype} of shape "
            f"{painted.shape}. Paint in a Labels layer."
        )
    found = painted.astype(np.int64)
    if found.size and not (found.min() >= 0 and found.max() <= len(classes)):
        wrong = int(found.max() if found.max() > len(classes) else found.min())
        raise ClickError(
            f"Strokes of label {wrong} mean nothing here; {classes.described()}."
        )
    return found
