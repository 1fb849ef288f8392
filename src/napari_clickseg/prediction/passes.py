"""One pass of a model over windows of an image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from napari_clickseg.prediction.gating import Experts
from napari_clickseg.prediction.kept import Kept
from napari_clickseg.prediction.resize import (
    reduce_smoothly,
    reduced_window,
    resize,
    to_tensor,
)
from napari_clickseg.prediction.views import Size, mirror, project

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from napari_clickseg.boxes import Box
    from napari_clickseg.clicks import Click
    from napari_clickseg.image import ImageSource
    from napari_clickseg.prediction.settings import PredictorState

#: Left, top, right and bottom in pixels of a window as the model sees it.
Region = tuple[int, int, int, int]

ModelT = TypeVar("ModelT", bound="ClickModel")


class ClickModel(Protocol):
    """What prediction asks of a model (see :mod:`napari_clickseg.models.model`)."""

    device: torch.device
    with_prev_mask: bool

    def encode(self, image: Tensor) -> Any:
        """Turn RGB ``(N, 3, H, W)`` in [0, 1] into what no click changes."""
        ...  # pragma: no cover

    def decode(self, features: Any, points: Tensor, previous: Tensor | None) -> Tensor:
        """Return float32 logits ``(N, 1, H, W)`` for points ``(N, 2P, 3)``."""
        ...  # pragma: no cover

    def to(self: ModelT, device: Any = None, precision: Any = None) -> ModelT:
        """Return the model on another device."""
        ...  # pragma: no cover


def click_points(
    positions: Sequence[np.ndarray],
    positive: Sequence[bool],
    *,
    first_index: int = 0,
    limit: int | None = None,
) -> Tensor:
    """Return clicks in the form that RITM and f-BRS networks take.

    Parameters
    ----------
    positions : sequence of ndarray, shape (n, 2)
        For each window of the batch, the same clicks in its coordinates.
    positive : sequence of bool, length n
        Signs of the clicks.
    first_index : int
        Number of the first click.
    limit : int, optional
        Only so many first clicks are taken.

    Returns
    -------
    Tensor, shape (N, 2P, 3), float64
        Rows of row, column, number; the positive half first. P is the larger
        count of one sign, at least 1; unused rows are -1 (facts 1.1).
    """
    signs = np.asarray(positive, dtype=bool)[:limit]
    slots = max(1, int(signs.sum()), int((~signs).sum()))
    order = np.arange(len(signs)) + first_index
    points = np.full((len(positions), 2 * slots, 3), -1.0, dtype=np.float64)
    for row, at in zip(points, positions, strict=True):
        known = np.column_stack([np.asarray(at)[:limit], order])
        row[: signs.sum()] = known[signs]
        row[slots : slots + (~signs).sum()] = known[~signs]
    return torch.from_numpy(points)


class Passes:
    """Runs a model over windows and keeps what it has seen of an image.

    Parameters
    ----------
    model : ClickModel
        The model; it may be replaced by a copy on another device.

    Attributes
    ----------
    model : ClickModel
        What answers: the model, or of a finetuned one what suits the image.
    """

    def __init__(self, model: ClickModel) -> None:
        self.use(model)
        #: What the model was last asked for, whether or not it could do it.
        self.last_size: Size = (0, 0)
        self.last_batch = 0
        self._image: ImageSource | None = None
        self._features = Kept()

    @property
    def once(self) -> bool:
        """Whether the model encodes an image once, which takes much longer."""
        return bool(getattr(self.model, "encodes_once", False))

    @property
    def remembers(self) -> bool:
        """Whether the model remembers more than its last answer."""
        return bool(getattr(self.model, "remembers", False))

    @property
    def given(self) -> ClickModel:
        """The model that was asked for."""
        given: ClickModel = self._experts.model
        return given

    def use(self, model: ClickModel) -> None:
        """Use another model, for example a copy on another device."""
        self.model = model
        self._experts = Experts(model)

    def suit(self, image: ImageSource, clicks: Sequence[Click]) -> bool:
        """Let the expert answer that an image and the first click ask for.

        Returns
        -------
        bool
            False where it is not the model that was asked for.
        """
        chosen = self._experts.suited(image, clicks)
        if chosen is not self.model:
            self.model = chosen
            self._features.clear()
        return chosen is self.given

    def forget(self) -> None:
        """Drop everything that was kept."""
        self._experts.forget()
        self._image = None
        self._features.clear()

    def logits(
        self,
        image: ImageSource,
        box: Box,
        size: Size,
        clicks: Sequence[Click],
        before: PredictorState,
        *,
        flipped: bool = False,
        limit: int | None = None,
        region: Region | None = None,
    ) -> Tensor:
        """Return the model's answer on one window.

        Parameters
        ----------
        image : ImageSource
            Only ``box`` of it is read, and not at all while it stands still.
        box : Box
            The window.
        size : (int, int)
            Its height and width for the network.
        clicks : sequence of Click
            Clicks in image coordinates.
        before : PredictorState
            Its probability is the previous mask.
        flipped : bool
            Show the model the mirror image; the answer is turned back.
        limit : int, optional
            Only so many first clicks are given to the model.
        region : (left, top, right, bottom), optional
            The only part of the window that the model refines.

        Returns
        -------
        Tensor, shape (1, 1, *size), float32, on the CPU
        """
        self.last_size, self.last_batch = size, 1
        points = self.points(clicks, before, box, size, (flipped,), limit=limit)
        previous = self.previous(self.window(before, box), size, (flipped,))
        with torch.inference_mode():
            features = self.encode(image, box, size, (flipped,))
            answer = self.decode(features, points, previous, size, region).cpu()
        return answer.flip(3) if flipped else answer

    def points(
        self,
        clicks: Sequence[Click],
        before: PredictorState,
        box: Box,
        size: Size,
        copies: Sequence[bool],
        *,
        limit: int | None = None,
    ) -> Tensor:
        """Return clicks for copies of a window, mirrored or not.

        Parameters are those of :meth:`logits`; ``copies`` says of each whether it
        is the mirror image. The result has the shape (copies, 2P, 3).
        """
        positions = project(_positions(clicks), box, size)
        return click_points(
            [mirror(positions, size[1]) if copy else positions for copy in copies],
            [click.positive for click in clicks],
            first_index=before.index_offset,
            limit=limit,
        )

    def window(self, before: PredictorState, box: Box) -> np.ndarray:
        """Return what the model is told of earlier answers in a window.

        The last answer; or what a model that remembers more has made of all, to which
        a mask that comes from outside is added as one more answer.

        Returns
        -------
        ndarray, shape of ``box``, float32
        """
        if not self.remembers:
            return before.window(box)
        known = before.remembered(box)
        if before.external:
            return self._after(known, before.window(box))
        return known

    def memory(
        self, before: PredictorState, box: Box, probability: np.ndarray
    ) -> np.ndarray | None:
        """Return what the model remembers after an answer, None if it does not.

        Parameters
        ----------
        before : PredictorState
            What the answer was asked with.
        box : Box
            The window.
        probability : ndarray, shape of ``box``
            The answer.
        """
        if not self.remembers:
            return None
        return self._after(self.window(before, box), probability)

    def _after(self, known: np.ndarray, probability: np.ndarray) -> np.ndarray:
        model: Any = self.model
        remembered: np.ndarray = model.remember(known, probability)
        return remembered

    def previous(
        self, window: np.ndarray, size: Size, copies: Sequence[bool]
    ) -> Tensor | None:
        """Return the previous mask for copies of a window, (copies, 1, *size).

        None where the model does not look at it.
        """
        if not self.model.with_prev_mask:
            return None
        patch = torch.from_numpy(window.copy())[None, None]
        if self.remembers:  # labels, which have no values in between
            patch = F.interpolate(patch, size, mode="nearest-exact")
        patch = resize(patch, size)
        return torch.cat([patch.flip(3) if copy else patch for copy in copies])

    def planes(
        self,
        image: ImageSource,
        box: Box,
        size: Size,
        copies: Sequence[bool],
        prepare: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return copies of a window as the model takes them, (copies, 3, *size).

        ``prepare`` changes the window before it is resized. What a model sees but
        once may be far larger than ``size``; then pixels are averaged.
        """
        planes = to_tensor(image.window_for(box, size))
        if prepare is not None:
            planes = prepare(planes)
        planes = (reduce_smoothly if self.once else resize)(planes, size)
        return self._send(
            torch.cat([planes.flip(3) if copy else planes for copy in copies])
        )

    def encode(
        self, image: ImageSource, box: Box, size: Size, copies: Sequence[bool]
    ) -> Any:
        """Return the features of a window, from the last time if there are any.

        ``copies`` says for each copy whether it is the mirror image; of most models
        only single copies are kept.
        """
        if len(copies) > 1 and not self.once:
            return self.encode_anew(image, box, size, copies)
        if image is not self._image:
            self._features.clear()
            self._image = image
        key = (box, size, tuple(copies))
        features = self._features.get(key)
        if features is None:
            features = self.encode_anew(image, box, size, copies)
            pixels = len(copies) * size[0] * size[1]
            self._features.put(key, features, pixels, once=self.once)
        return features

    def encode_anew(
        self,
        image: ImageSource,
        box: Box,
        size: Size,
        copies: Sequence[bool],
        *,
        stored: bool = True,
    ) -> Any:
        """Encode copies of a window, or have a model with a store look them up.

        With ``stored=False`` the encoder runs in any case.
        """
        planes = partial(self.planes, image, box, size, copies)
        model: Any = self.model

        def encode() -> Any:
            if hasattr(model, "prepare"):
                return model.encode(planes(model.prepare), prepared=True)
            return model.encode(planes())

        look_up = getattr(model, "encode_view", None)
        if look_up is None or not stored:
            return encode()
        return look_up(image, box, size, copies, encode)

    def batch(
        self,
        image: ImageSource,
        boxes: Sequence[Box],
        size: Size,
        clicks: Sequence[Click],
    ) -> Tensor:
        """Return the model's answers on several windows of one size at once.

        There is no previous mask. The windows are read as one, so they should
        lie within each other.

        Returns
        -------
        Tensor, shape (N, 1, *size), float32, on the CPU
        """
        self.last_size, self.last_batch = size, len(boxes)
        hull = boxes[0]
        for box in boxes[1:]:
            hull = hull.union(box)
        image.read_ahead(hull)
        views = [reduced_window(image, box, size) for box in boxes]
        points = click_points(
            [project(_positions(clicks), box, size) for box in boxes],
            [click.positive for click in clicks],
        )
        previous = None
        if self.model.with_prev_mask:
            previous = torch.zeros(len(boxes), 1, *size)
        with torch.inference_mode():
            features = self.model.encode(self._send(torch.cat(views)))
            return self.decode(features, points, previous, size).cpu()

    def decode(
        self,
        features: Any,
        points: Tensor,
        previous: Tensor | None,
        size: Size,
        region: Region | None = None,
    ) -> Tensor:
        """Return the model's answer in float32, at the size of the window."""
        model: Any = self.model
        given = {} if region is None else {"region": region}
        logits = model.decode(
            features,
            self._send(points),
            None if previous is None else self._send(previous),
            **given,
        )
        return resize(logits.float(), size)

    def _send(self, tensor: Tensor) -> Tensor:
        device = self.model.device
        if device.type == "mps" and tensor.dtype == torch.float64:
            tensor = tensor.float()
        return tensor.to(device)


def _positions(clicks: Sequence[Click]) -> np.ndarray:
    return np.array([(click.row, click.col) for click in clicks], dtype=np.float64)
