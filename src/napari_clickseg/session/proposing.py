"""Objects without a click: proposed by a network for classes, then corrected."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError
from napari_clickseg.image import ImageSource
from napari_clickseg.session.changes import Change
from napari_clickseg.session.clicking import ClickingSession
from napari_clickseg.session.edits import Edit
from napari_clickseg.session.objects import (
    Objects,
    Overlap,
    SegmentedObject,
    check_overlap,
)
from napari_clickseg.session.patches import Patch

if TYPE_CHECKING:
    from napari_clickseg.models.dense_model import DenseModel
    from napari_clickseg.prediction.proposing import Proposals
    from napari_clickseg.session.draft import Draft

#: The bundled model that proposes objects.
PROPOSER = "semantic-cells-starter"
#: A proposal is there already if so much of it has an object.
TAKEN = 0.25


class ProposingSession(ClickingSession):
    """A session in which a model may find objects by itself."""

    _proposer: tuple[tuple[str, str, str], DenseModel] | None = None

    def propose_objects(
        self,
        model: str | Path | DenseModel = PROPOSER,
        *,
        diameter: float | None = None,
        within: Box | None = None,
        overlap: Overlap = "keep",
        device: str = "auto",
        precision: str = "auto",
        progress: Callable[[int, int], object] | None = None,
        cancelled: Callable[[], bool] | None = None,
        **options: Any,
    ) -> Change:
        """Add objects that a model finds without a click.

        All of them are one edit: one undo takes them back. Each may be opened with
        :meth:`reopen` and corrected by clicks, or deleted. What is there already stays:
        proposals that are mostly on other objects, or on the one in work, are left out.

        Parameters
        ----------
        model : str, Path or DenseModel
            One for the classes background, interior and border.
        diameter : float, optional
            Usual diameter of the objects, in pixels of the image; by default it is
            found out.
        within : Box, optional
            Only objects that lie in this part of the image, for the most part.
        overlap : {"keep", "overwrite", "probability"}
            Whose pixels are those that a proposal shares with older objects. By
            default no pixel of theirs changes, whatever :attr:`overlap` says.
        device, precision : str
            As for :func:`napari_clickseg.load_model`.
        progress : callable, optional
            Called with the number of tiles done and of all.
        cancelled : callable, optional
            Asked between two tiles; True stops.
        **options
            As for :func:`napari_clickseg.prediction.proposing.propose`.

        Returns
        -------
        Change
            Its ``proposed`` are the labels of the new objects.

        Raises
        ------
        ModelError
            If the model does not know these classes.
        Cancelled
            If ``cancelled`` said so; the session is as before.
        """
        from napari_clickseg.prediction.proposing import propose

        policy = check_overlap(overlap)
        found = propose(
            self._proposing(model, device, precision),
            self.image,
            diameter=diameter,
            within=within,
            progress=progress,
            cancelled=cancelled,
            **options,
        )
        return self.add_proposals(found, overlap=policy)

    def add_proposals(
        self, found: Proposals, *, overlap: Overlap = "keep", first: int | None = None
    ) -> Change:
        """Add objects that were found already, as one edit.

        Parameters
        ----------
        found : Proposals
            See :func:`napari_clickseg.prediction.proposing.propose`.
        overlap : {"keep", "overwrite", "probability"}
            As for :meth:`propose_objects`.
        first : int, optional
            Label of the first one; default: the next free one.
        """
        policy, state = check_overlap(overlap), self.state
        reserved = state.draft.label or 0  # comes back with the next commit
        objects, labels = with_proposals(
            state.objects,
            found,
            policy,
            first=max(state.objects.next_label, reserved + 1, first or 1),
            in_work=_pixels_of(state.draft, self.mask_of(state.draft)),
        )
        self._notices.extend(found.notices)
        told = _Told(found.seconds, found.notices)
        if not labels:
            return self._moments.tell("propose", asking=told)
        news = tuple(objects[label] for label in labels)
        return self._moments.record(
            "propose",
            replace(state, objects=objects),
            asking=told,
            proposed=labels,
            edit=Edit("propose", objects=news),
        )

    def _proposing(
        self, model: str | Path | DenseModel, device: str, precision: str
    ) -> DenseModel:
        """Return a model, loaded once."""
        if not isinstance(model, str | Path):
            return model
        key = str(model), device, precision
        if self._proposer is None or self._proposer[0] != key:
            self._proposer = key, proposer(model, device, precision)
        return self._proposer[1]


@dataclass(frozen=True)
class _Told:
    seconds: float
    notices: tuple[str, ...]


def propose_objects(
    image: Any,
    model: str | Path | DenseModel = PROPOSER,
    *,
    diameter: float | None = None,
    channels: int | Sequence[int] | None = None,
    contrast: Any = None,
    channel_axis: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Callable[[int, int], object] | None = None,
    cancelled: Callable[[], bool] | None = None,
    **options: Any,
) -> NDArray[np.int32]:
    """Find objects in an image without a click.

    Parameters
    ----------
    image : array-like or ImageSource
        ``(H, W)`` or ``(H, W, C)``, of any size, also lazy.
    model : str, Path or DenseModel
        One for the classes background, interior and border.
    diameter : float, optional
        Usual diameter of the objects, in pixels; by default it is found out.
    channels, contrast, channel_axis
        As for :meth:`napari_clickseg.ClickSession.set_image`.
    device, precision : str
        As for :func:`napari_clickseg.load_model`.
    progress : callable, optional
        Called with the number of tiles done and of all.
    cancelled : callable, optional
        Asked between two tiles; True stops.
    **options
        As for :func:`napari_clickseg.prediction.proposing.propose`.

    Returns
    -------
    ndarray of int32, shape (H, W)
        0 for background, 1 and up for the objects.

    Raises
    ------
    ImageError, ModelError
        If the image or the model cannot be used.
    Cancelled
        If ``cancelled`` said so.
    """
    from napari_clickseg.prediction.proposing import propose

    if not isinstance(image, ImageSource):
        image = ImageSource(image, channels, contrast, channel_axis=channel_axis)
    if isinstance(model, str | Path):
        model = proposer(model, device, precision)
    found = propose(
        model,
        image,
        diameter=diameter,
        progress=progress,
        cancelled=cancelled,
        **options,
    )
    return Patch(found.box, found.labels).within(Box.of_shape(image.shape))


def proposer(model: str | Path, device: str, precision: str) -> DenseModel:
    """Load a model that may propose objects."""
    from napari_clickseg.models.model import load_model

    loaded: Any = load_model(model, device=device, precision=precision)
    return loaded


def with_proposals(
    objects: Objects,
    found: Proposals,
    policy: Overlap,
    *,
    first: int,
    in_work: Sequence[Patch] = (),
) -> tuple[Objects, tuple[int, ...]]:
    """Return objects with those proposals that are not there yet, and their labels.

    Parameters
    ----------
    objects : Objects
        What there is.
    found : Proposals
    policy : {"keep", "overwrite", "probability"}
        Whose pixels are those that both claim.
    first : int
        Label of the first new object.
    in_work : sequence of Patch
        Pixels that are taken, too, whatever the policy.
    """
    box, labels = found.box, found.labels.copy()
    theirs = objects.labels(box).values > 0
    mine = np.zeros(box.shape, np.bool_)
    for patch in in_work:
        mine |= patch.within(box) > 0
    count = int(labels.max(initial=0))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    taken = np.bincount(labels[theirs | mine], minlength=count + 1)
    there = taken > TAKEN * sizes
    labels[mine if policy != "keep" else theirs | mine] = 0
    now = time.time()
    news: list[SegmentedObject] = []
    shared: list[SegmentedObject] = []
    numbers: list[int] = []
    for number, where in enumerate(ndimage.find_objects(labels), start=1):
        if where is None or there[number]:
            continue
        label = first + len(numbers)
        numbers.append(label)
        each = SegmentedObject(
            label,
            _pixels(found, labels, number, where),
            time=now,
            overlap=policy,
            proposed_by=found.model,
        )
        (shared if policy != "keep" and taken[number] else news).append(each)
    objects = objects.added(news)
    for each in shared:
        try:
            objects = objects.committed(each)
        except MaskError:  # nothing of it is surer than what there is
            numbers.remove(each.label)
    return objects, tuple(numbers)


def _pixels(
    found: Proposals, labels: NDArray[np.int32], number: int, where: Any
) -> Patch:
    """Return the pixels of a proposal, each with how sure it is."""
    rows, cols = where
    inside = labels[where] == number
    chance = np.float32(1) - found.background[where].astype(np.float32) / 255
    values = np.where(inside, np.round(chance * 254) + 1, 0).astype(np.uint8)
    top, left = found.box.top + rows.start, found.box.left + cols.start
    return Patch(Box(top, left, top + values.shape[0], left + values.shape[1]), values)


def _pixels_of(draft: Draft, mask: Patch) -> list[Patch]:
    """Return the pixels of the object in work, now and before it was opened."""
    return [mask] if draft.opened is None else [mask, draft.opened.mask]
