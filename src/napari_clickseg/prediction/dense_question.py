"""One question about a map of values, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click, check_inside
from napari_clickseg.errors import ImageError, MaskError, SettingsError
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction.dense_view import DenseView, pixel
from napari_clickseg.tasks.matting import Matting
from napari_clickseg.tasks.semantic import Semantic, check_painted
from napari_clickseg.tasks.trimap import as_trimap, opened

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_clickseg.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Question:
    """One question.

    Parameters
    ----------
    source : ImageSource
    view : DenseView
        What the network sees.
    clicks : tuple of Click
        All.
    heard : tuple of int
        Those that count: inside the view, and not taken back by a newer one on the
        same pixel; in push mode the newest alone.
    painted : ndarray, shape (h, w) of the view, int64, or None
        Strokes.
    trimap : ndarray, shape (H, W) of the image, uint8, or None
        Opened where clicks contradict it.
    """

    source: ImageSource
    view: DenseView
    clicks: tuple[Click, ...]
    heard: tuple[int, ...]
    painted: NDArray[np.int64] | None = None
    trimap: NDArray[np.uint8] | None = None

    @property
    def asks(self) -> bool:
        """Whether anything is asked for."""
        strokes = self.painted is not None and bool(self.painted.any())
        return bool(self.heard) or strokes

    def same_input(self, other: Question) -> bool:
        """Whether the network is given the same."""
        return (
            self.source is other.source
            and self.view == other.view
            and _equal(self.trimap, other.trimap)
        )

    def same(self, other: Question) -> bool:
        """Whether the same is asked."""
        return (
            self.same_input(other)
            and self.clicks == other.clicks
            and _equal(self.painted, other.painted)
        )


def ask(
    task: Task,
    image: ImageSource | Any,
    clicks: Sequence[Click],
    *,
    max_side: int | None,
    multiple: int = 1,
    needs_trimap: bool = False,
    trimap: ArrayLike | None = None,
    painted: ArrayLike | None = None,
    box: Box | None = None,
) -> Question:
    """Return a question, checked.

    Parameters
    ----------
    task, image, clicks, trimap, painted, box
        See :meth:`napari_clickseg.prediction.dense.DensePredictor.predict`.
    max_side, multiple
        See :meth:`napari_clickseg.prediction.dense_view.DenseView.of`.
    needs_trimap : bool
        Whether the network cannot do without.

    Raises
    ------
    ClickSegError
        Of many kinds, which say what does not fit.
    """
    source = image if isinstance(image, ImageSource) else ImageSource(image)
    whole = Box.of_shape(source.shape)
    box = whole if box is None else box
    if box.empty or box.intersect(whole) != box:
        raise ImageError(
            f"The box {tuple(box)} is no part of an image of shape {source.shape}."
        )
    for click in clicks:
        check_inside(click, source.shape)
        task.check_click(click)
    if task.mode == "stroke" and clicks:
        raise SettingsError(
            "Stroke mode takes painted pixels, not clicks. Paint, or choose click mode."
        )
    if trimap is None and needs_trimap:
        raise SettingsError(
            "This network needs a trimap. Draw one, or make one from a mask with "
            "napari_clickseg.tasks.trimap.from_mask."
        )
    view = DenseView.of(box, max_side, multiple)
    strokes = None
    if painted is not None:
        strokes = view.labels(_strokes(task, painted, source.shape))
    known = None
    if trimap is not None:
        known = _trimap(task, trimap, source.shape, clicks)
    heard = _heard(clicks, box)
    if not task.remembers:
        heard = heard[-1:] if heard and heard[-1] == len(clicks) - 1 else ()
    return Question(source, view, tuple(clicks), heard, strokes, known)


def _strokes(
    task: Task, painted: ArrayLike, shape: tuple[int, int]
) -> NDArray[np.int64]:
    if not isinstance(task, Semantic) or task.mode != "stroke":
        raise SettingsError("Only semantic classes in stroke mode take painted pixels.")
    strokes = check_painted(np.asarray(painted), task.classes)
    if strokes.shape != shape:
        raise MaskError(f"The strokes have shape {strokes.shape}, the image {shape}.")
    return strokes


def _trimap(
    task: Task, trimap: ArrayLike, shape: tuple[int, int], clicks: Sequence[Click]
) -> NDArray[np.uint8]:
    if not isinstance(task, Matting):
        raise SettingsError("Only matting takes a trimap.")
    known = as_trimap(trimap)
    if known.shape != shape:
        raise MaskError(f"The trimap has shape {known.shape}, the image {shape}.")
    if task.mode == "push":
        return opened(known, clicks, [float(click.positive) for click in clicks])
    return opened(known, clicks, task.click_values(clicks))


def _heard(clicks: Sequence[Click], box: Box) -> tuple[int, ...]:
    """Return which clicks count: inside the box, and the newest on their pixel."""
    newest = {pixel(click): index for index, click in enumerate(clicks)}
    return tuple(
        sorted(i for i in newest.values() if box.contains(*clicks[i].position))
    )


def _equal(first: NDArray[Any] | None, second: NDArray[Any] | None) -> bool:
    if first is None or second is None:
        return first is second
    return first is second or np.array_equal(first, second)
