"""Learning to tell the user's images from others.

What comes out is the gate of :mod:`napari_clickseg.models.gate`. It is kept only where
it also tells images that it was not made from: photos cannot be told from
other photos, and then the model answers everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_clickseg.errors import Cancelled, CheckpointError
from napari_clickseg.models.gate import Gate, summary
from napari_clickseg.models.model import Model
from napari_clickseg.prediction.gating import overview
from napari_clickseg.training.finetuning.windows import Source

#: Of each image the whole and so many parts of it, of a length of 0.35 to 1 of it.
PARTS, LEAST_PART = 5, 0.35
#: Of each kind at most so many images.
MOST_IMAGES = 60
#: Strength of the weights' decay: its inverse, as is usual, in units of views.
STRENGTH = 10.0
#: Groups of images that are left out in turn, and how many of those must be told.
FOLDS, LEAST_RIGHT = 4, 0.9
#: Logarithm of the odds from which on an image counts as one of the user's: where it
#: is in doubt, the parent's answer is never far off.
MARGIN = 2.0


def make_gate(
    parent: Model,
    own: Sequence[Source],
    others: Sequence[Source],
    seed: int,
    cancelled: Callable[[], bool] | None = None,
) -> Gate | None:
    """Return a gate that tells one kind of images from another.

    Parameters
    ----------
    parent : Model
        A click model, in float32.
    own, others : sequence of Source
        Images that were learned from, and reference images.
    seed : int
        Of the parts of images that are looked at.
    cancelled : callable, optional
        Asked for each image; True stops.

    Returns
    -------
    Gate or None
        None where the two cannot be told apart with certainty, or the model encodes
        an image but once, or in no way that can be looked at.
    """
    if parent.encodes_once or not others:
        return None

    def encode(image: Tensor) -> Any:
        return parent.encode(image).content

    try:
        sides = [
            [
                _views(encode, image, np.random.default_rng([seed, 8, kind, number]))
                for number, image in enumerate(_images(sources, cancelled))
            ]
            for kind, sources in enumerate((own, others))
        ]
    except CheckpointError:  # features that are no maps
        return None
    return gate_between(*sides)


def gate_between(own: Sequence[Tensor], others: Sequence[Tensor]) -> Gate | None:
    """Return a gate between two kinds of images, None where they are too alike.

    Parameters
    ----------
    own, others : sequence of Tensor, each (views, 2 C)
        What :func:`~napari_clickseg.models.gate.summary` tells of each image's views.

    Notes
    -----
    Logistic regression with weight decay, on numbers brought to unit variance.
    Whether it tells images that it has not seen is found by leaving out a quarter of
    them at a time.
    """
    folds = min(FOLDS, len(own), len(others))
    if folds < 2:
        return None
    right = []
    for fold in range(folds):
        gate = _fit(
            *(
                torch.cat([x for n, x in enumerate(side) if n % folds != fold])
                for side in (own, others)
            )
        )
        for sign, side in ((1, own), (-1, others)):
            left_out = torch.cat([x for n, x in enumerate(side) if n % folds == fold])
            score = left_out @ gate.weights + gate.bias
            right.append(float((sign * score > 0).float().mean()))
    if float(np.mean(right)) < LEAST_RIGHT:
        return None
    found = _fit(torch.cat(list(own)), torch.cat(list(others)))
    return Gate(found.weights, found.bias - MARGIN)


def _fit(own: Tensor, others: Tensor) -> Gate:
    seen = torch.cat([own, others]).double()
    target = torch.zeros(len(seen), dtype=torch.double)
    target[: len(own)] = 1
    # Both kinds count the same, however many images there are of them.
    counts = torch.where(target > 0, len(own), len(others))
    mean, spread = seen.mean(0), seen.std(0) + 1e-6
    scaled = (seen - mean) / spread
    weights = torch.zeros(scaled.shape[1] + 1, dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights], max_iter=200, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        odds = scaled @ weights[:-1] + weights[-1]
        wrong = F.binary_cross_entropy_with_logits(odds, target, reduction="none")
        total = (wrong / counts).sum() / 2
        total = total + weights[:-1].square().sum() / (2 * STRENGTH * len(seen))
        total.backward()
        return total

    optimiser.step(loss)
    found = weights.detach()
    plain = found[:-1] / spread
    return Gate(plain.float(), (found[-1] - plain @ mean).float())


def _images(
    sources: Sequence[Source], cancelled: Callable[[], bool] | None
) -> list[NDArray[np.uint8]]:
    """Read some images of all sources, evenly spread."""
    places = [(source, entry) for source in sources for entry in source.entries]
    count = min(MOST_IMAGES, len(places))
    found = []
    for place in np.linspace(0, len(places) - 1, count).round().astype(int).tolist():
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped while images were being compared.")
        source, entry = places[place]
        found.append(source.pictures[entry].image)
    return found


@torch.no_grad()
def _views(
    encode: Callable[[Tensor], Any],
    image: NDArray[np.uint8],
    rng: np.random.Generator,
) -> Tensor:
    """Return what is seen of an image and of parts of it, (views, 2 C)."""
    height, width = image.shape[:2]
    found = [_seen(encode, image)]
    for _ in range(PARTS):
        side = max(16, int(min(height, width) * rng.uniform(LEAST_PART, 1)))
        top = int(rng.integers(0, max(1, height - side + 1)))
        left = int(rng.integers(0, max(1, width - side + 1)))
        found.append(_seen(encode, image[top : top + side, left : left + side]))
    return torch.cat(found)


def _seen(encode: Callable[[Tensor], Any], image: NDArray[np.uint8]) -> Tensor:
    return summary(encode(overview(image.astype(np.float32) / 255)))
