"""Check that a network in half precision still answers as it does in float32.

The check runs once per weights, dtype and processor: its result is kept in the
cache folder.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import torch

from napari_clickseg.limits import DAMAGE
from napari_clickseg.models.cache import cache_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    Answer = Callable[[Tensor, Tensor, Tensor | None], Tensor]

LOG = logging.getLogger("napari_clickseg")

#: Masks must overlap at least so much (intersection over union) ...
LEAST_IOU = 0.98
#: ... unless no probability differs by more than this: then the network itself
#: is undecided at the threshold.
SAME_PROBABILITY = 0.02
_THRESHOLD = 0.49
_SIDE = 113  # of the form 16 k + 1, so that the starter does not resize


def synthetic_view() -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return an image of an object on a textured ground, and clicks on it.

    Returns
    -------
    Tensor, shape (1, 3, 113, 113)
        RGB in [0, 1].
    pair of Tensor, shapes (1, 2, 3) and (1, 2, 3)
        A click inside; a click inside and one outside.
    """
    axis = torch.linspace(-1, 1, _SIDE)
    rows, cols = torch.meshgrid(axis, axis, indexing="ij")
    ground = 0.35 + 0.1 * torch.sin(9 * rows + 4 * cols) * torch.cos(7 * cols)
    inside = torch.sigmoid(40 * (0.45 - (rows**2 + 1.6 * cols**2).sqrt()))
    texture = 0.75 + 0.08 * torch.cos(23 * rows) * torch.sin(19 * cols)
    colours = torch.tensor([1.0, 0.7, 0.35])[:, None, None]
    image = ground * (1 - inside) + texture * inside * colours
    centre = (_SIDE - 1) / 2
    inner, outer = [centre, centre, 0.0], [centre, 8.0, 1.0]
    unused = [-1.0, -1.0, -1.0]
    first = torch.tensor([[inner, unused]])
    second = torch.tensor([[inner, outer]])
    return image[None].clamp(0, 1), (first, second)


def difference(exact: Answer, fast: Answer) -> tuple[float, float]:
    """Compare two answers to the same clicks.

    Parameters
    ----------
    exact, fast : callable
        Take an image ``(1, 3, H, W)``, points and the previous probability or
        None, and return logits ``(1, 1, H, W)``.

    Returns
    -------
    iou : float
        The smaller overlap of the masks after the first and the second click.
    gap : float
        The largest difference of a probability; infinite where one is no number.
    """
    image, clicks = synthetic_view()
    previous: Tensor | None = None
    worst_iou, worst_gap = 1.0, 0.0
    for points in clicks:
        a = exact(image, points, previous).float().sigmoid().cpu()
        b = fast(image, points, previous).float().sigmoid().cpu()
        if not bool(torch.isfinite(b).all()):
            return 0.0, float("inf")
        both, any_ = (
            (a > _THRESHOLD) & (b > _THRESHOLD),
            (a > _THRESHOLD) | (b > _THRESHOLD),
        )
        union = int(any_.sum())
        worst_iou = min(worst_iou, int(both.sum()) / union if union else 1.0)
        worst_gap = max(worst_gap, float((a - b).abs().max()))
        previous = a  # the same for both: each step is compared on its own
    return worst_iou, worst_gap


def agrees(exact: Answer, fast: Answer, sha256: str, dtype: torch.dtype) -> str | None:
    """Tell whether half precision may be used.

    Parameters
    ----------
    exact, fast : callable
        See :func:`difference`.
    sha256 : str
        Of the weights; empty where nothing is to be remembered.
    dtype : torch.dtype
        Of the fast one.

    Returns
    -------
    str or None
        None if it may, else the reason why not, as a sentence.
    """
    iou, gap = measured(lambda: difference(exact, fast), sha256, dtype)
    if iou >= LEAST_IOU or gap <= SAME_PROBABILITY:
        return None
    return (
        f"In {str(dtype).removeprefix('torch.')} this model answers differently (mask "
        f"IoU {iou:.3f} on a test image), so it runs in float32."
    )


def measured(
    measure: Callable[[], tuple[float, float]], sha256: str, dtype: torch.dtype
) -> tuple[float, float]:
    """Return what a measurement gives, or gave when it was made before.

    Parameters
    ----------
    measure : callable
        Returns two numbers, such as :func:`difference`.
    sha256, dtype
        See :func:`agrees`.
    """
    key = f"{sha256} {dtype} {torch.__version__} {_processor()}"
    known = _read() if sha256 else {}
    found = known.get(key)
    if found is None:
        found = measure()
        if sha256:
            known[key] = found
            _write(known)
    return found


def _processor() -> str:
    return str(torch.backends.cpu.get_cpu_capability())


def _path() -> Path:
    return cache_folder() / "agreement.json"


def _read() -> dict[str, tuple[float, float]]:
    try:
        stored = json.loads(_path().read_text(encoding="utf-8"))
        return {k: (float(v[0]), float(v[1])) for k, v in stored.items()}
    except DAMAGE:
        return {}


def _write(known: dict[str, Any]) -> None:
    try:
        write_json(_path(), known)
    except OSError as error:  # measured again next time
        LOG.debug("%s cannot be written: %s", _path(), error)
