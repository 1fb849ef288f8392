"""Between images and the tensors that some module takes and gives.

A network that was trained for a class, or for several, becomes one that answers
with a logit of "object" for every pixel of any image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.errors import ModelError
from napari_clickseg.networks.layers import IMAGENET, Normalise

#: A function of RGB (N, 3, H, W) in [0, 1], or one of two names, or mean and
#: standard deviation of each channel; None leaves RGB as it is.
Preprocess = (
    Callable[[Tensor], Any]
    | Literal["imagenet", "grey"]
    | tuple[Sequence[float], Sequence[float]]
    | None
)
#: Which class is the object (or which ones are), or a function of what the module
#: returns that gives logits (N, 1, H, W).
Output = int | Sequence[int] | Callable[[Any], Tensor] | None

# Where a module's answer usually is, if it returns several things by name.
_KEYS = ("instances", "out", "logits", "masks", "mask", "pred", "segmentation")
# Probabilities are cut off here before they become logits: +-13.8.
_CERTAIN = 1e-6
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
# Brightness of Y in BT.601, which the grey of most image programs is.
_GREY = (0.299, 0.587, 0.114)


def preparation(preprocess: Preprocess) -> Callable[[Tensor], Any]:
    """Return the function that a ``preprocess`` stands for.

    Raises
    ------
    ModelError
        If it is none of what :data:`Preprocess` allows.
    """
    if preprocess is None:
        return lambda image: image
    if preprocess == "imagenet":
        preprocess = IMAGENET
    if preprocess == "grey":
        return to_grey
    if callable(preprocess):
        return preprocess
    try:
        mean, std = preprocess
        constants = Normalise(mean, std)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"preprocess is {preprocess!r}: give a function of images (N, 3, H, W) in "
            "[0, 1], 'imagenet', 'grey', or (mean, std) with a number per channel."
        ) from error
    return lambda image: constants.to(image.device)(image)


def to_grey(image: Tensor) -> Tensor:
    """Turn RGB ``(N, 3, H, W)`` into one channel; grey images keep their values."""
    weights = image.new_tensor(_GREY).view(1, 3, 1, 1)
    return (image * weights).sum(1, keepdim=True)


def object_logits(maps: Tensor, wanted: Sequence[int] | None) -> Tensor:
    """Return the logit of the wanted classes against all others.

    Parameters
    ----------
    maps : Tensor, shape (N, K, H, W)
        A logit for each of K classes of a softmax; K = 1: of the object.
    wanted : sequence of int or None
        Which classes are the object. None: the only one, or class 1 of two.

    Returns
    -------
    Tensor, shape (N, 1, H, W)
        ``log(p / (1 - p))`` of the summed probability ``p``, as the difference of
        two log-sum-exps, so that it is exact however sure the network is.

    Raises
    ------
    ModelError
        If the classes do not fit.
    """
    classes = maps.shape[1]
    if wanted is None:
        if classes > 2:
            raise ModelError(
                f"The module answers {classes} classes. Say which of them is to be "
                f"corrected by clicks: output=0 to output={classes - 1}, or several, "
                "as in output=(1, 2)."
            )
        wanted = (classes - 1,)
    chosen = sorted({index % classes for index in wanted if abs(index) <= classes})
    if len(chosen) != len(set(wanted)) or max(wanted) >= classes:
        raise ModelError(
            f"output={tuple(wanted)} does not fit: the module answers {classes} "
            f"{'classes' if classes > 1 else 'class'}, counted from 0."
        )
    if classes == 1:
        return maps
    others = [index for index in range(classes) if index not in chosen]
    if not others:
        raise ModelError("output names all classes, so there is no background.")
    inside = torch.logsumexp(maps[:, chosen], 1, keepdim=True)
    return inside - torch.logsumexp(maps[:, others], 1, keepdim=True)


def find_maps(answer: Any) -> Tensor:
    """Return the first maps ``(N, K, H, W)`` in what a module returned.

    Raises
    ------
    ModelError
        If there are none.
    """
    found = _find(answer)
    if found is None:
        raise ModelError(
            f"The module returned {_described(answer)}, in which there are no maps "
            "(N, K, H, W). Give output=, a function that turns it into logits "
            "(N, 1, H, W) of the object."
        )
    return found


def _find(answer: Any) -> Tensor | None:
    if isinstance(answer, Tensor):
        if answer.ndim == 3 and answer.is_floating_point():
            answer = answer[:, None]
        fits = answer.ndim == 4 and answer.is_floating_point()
        return answer if fits else None
    if isinstance(answer, Mapping):
        names = [name for name in _KEYS if name in answer]
        answer = [answer[name] for name in [*names, *answer]]
    elif hasattr(answer, "__dataclass_fields__"):
        answer = [getattr(answer, name) for name in answer.__dataclass_fields__]
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return next((x for x in map(_find, answer) if x is not None), None)
    return None


def _described(answer: Any) -> str:
    if isinstance(answer, Tensor):
        dtype = str(answer.dtype).removeprefix("torch.")
        return f"a tensor {tuple(answer.shape)} of {dtype}"
    if isinstance(answer, Mapping):
        return f"a mapping with {', '.join(map(repr, answer))}"
    return f"a {type(answer).__name__}"


@dataclass(frozen=True)
class Adapter:
    """What happens to images before a module and to its answers behind it.

    Parameters
    ----------
    preprocess : callable
        RGB (N, 3, H, W) in [0, 1] to what the module is called with: a tensor, or a
        tuple of arguments, or a dict of named ones.
    output : Output
        See :data:`Output`.
    probabilities : bool
        The module answers probabilities, not logits.
    multiple : int
        Heights and widths must be multiples of it: images are padded at the bottom
        and at the right with their last row and column.
    size : (int, int) or None
        Every image is resized to this height and width.
    """

    preprocess: Callable[[Tensor], Any]
    output: Output = None
    probabilities: bool = False
    multiple: int = 1
    size: tuple[int, int] | None = None

    def prepare(self, image: Tensor) -> Any:
        """Turn RGB ``(N, 3, H, W)`` in [0, 1] into what the module is called with."""
        height, width = image.shape[2:]
        if self.size is not None:
            image = F.interpolate(
                image, self.size, mode="bilinear", align_corners=False, antialias=True
            )
        else:
            down, right = -height % self.multiple, -width % self.multiple
            if down or right:
                image = F.pad(image, (0, right, 0, down), mode="replicate")
        return self.preprocess(image)

    def call(self, module: nn.Module, inputs: Any) -> Any:
        """Call a module with what :meth:`prepare` returned."""
        if isinstance(inputs, Mapping):
            return module(**inputs)
        if isinstance(inputs, tuple):
            return module(*inputs)
        return module(inputs)

    def read(self, answer: Any) -> Tensor:
        """Return logits ``(N, 1, h, w)``, at the module's own resolution."""
        if callable(self.output):
            logits = self.output(answer)
            shape = getattr(logits, "shape", None)
            if shape is None or len(shape) != 4 or shape[1] != 1:
                raise ModelError(
                    f"The function given as output returned {_described(logits)}; it "
                    "should return logits (N, 1, H, W)."
                )
            return logits
        maps = find_maps(answer)
        if self.probabilities:
            maps = maps.float().clamp(_CERTAIN, 1 - _CERTAIN)
            maps = torch.logit(maps) if maps.shape[1] == 1 else maps.log()
        wanted = (self.output,) if isinstance(self.output, int) else self.output
        return object_logits(maps, wanted)

    def logits(self, answer: Any, size: tuple[int, int]) -> Tensor:
        """Return logits ``(N, 1, *size)`` in float32 for an image of that size."""
        height, width = size
        logits = self.read(answer).float()
        whole = size
        if self.size is None:
            whole = (
                height + -height % self.multiple,
                width + -width % self.multiple,
            )
        if tuple(logits.shape[2:]) != whole:
            logits = F.interpolate(logits, whole, mode="bilinear", align_corners=False)
        return logits[:, :, :height, :width]


def probe_size(multiple: int) -> tuple[int, int]:
    """Return a small height and width, odd multiples of a number."""
    height = max(3, -(-64 // multiple) | 1)
    return multiple * height, multiple * (height + 2 + 2 * (multiple < 8))


def probe_image(size: tuple[int, int], batch: int = 1) -> Tensor:
    """Return smooth made-up images ``(batch, 3, *size)`` in [0, 1]."""
    rows = torch.linspace(0, 7, size[0])[:, None]
    cols = torch.linspace(0, 9, size[1])
    waves = [torch.sin(rows * (k + 1) + cols * (3 - k)) for k in range(3)]
    return (0.5 + 0.5 * torch.stack(waves)).expand(batch, -1, -1, -1).contiguous()


def find_multiple(
    run: Callable[[tuple[int, int]], Tensor],
) -> tuple[int, Exception | None]:
    """Find what image sizes a module needs.

    Parameters
    ----------
    run : callable
        Returns the module's maps (N, K, h, w) for images of a size, or raises.

    Returns
    -------
    multiple : int
        The smallest power of two to 64 at which the module works and its answer
        is a whole fraction of the image; else the smallest at which it works; 0
        where it never did.
    error : Exception or None
        The last one, where it never worked.
    """
    works, last = 0, None
    for multiple in _MULTIPLES:
        size = probe_size(multiple)
        try:
            maps = run(size)
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a user's module raises
            last = error
            continue
        works = works or multiple
        height, width = maps.shape[2:]
        whole = size[0] % height == 0 and size[1] % width == 0
        if whole and size[0] // height == size[1] // width:
            return multiple, None
    return works, None if works else last
