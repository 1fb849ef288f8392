"""What changes in a session of classes, alpha or depth, as boxes of pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from napari_clickseg.session.changes import Change
from napari_clickseg.session.draft import Draft
from napari_clickseg.session.history import History
from napari_clickseg.session.moments import Moments, State, Told
from napari_clickseg.session.patches import Patch, difference
from napari_clickseg.session.refining import Disobeyed


@dataclass(frozen=True, eq=False)
class DenseChange(Change):
    """What one call changed, since the change before it.

    Parameters
    ----------
    result : ndarray, shape of ``bbox``, or None
        Labels, alpha or depths in that box; None where nothing changed. ``mask`` and
        ``labels``, which are of objects, are None. ``kind`` may also be ``"trimap"``
        or ``"paint"``; ``label`` is the number of what was kept.
    """

    result: NDArray[Any] | None = field(default=None, repr=False)


class DenseMoments(Moments):
    """History of such a session that tells each change as a box of pixels."""

    def __init__(
        self,
        state: State,
        mask_of: Callable[[Draft], Patch],
        history: History[State] | None = None,
    ) -> None:
        super().__init__(state, mask_of, history)
        self.change = DenseChange("start", clicks=state.draft.clicks)

    def tell(
        self,
        kind: str,
        *,
        label: int | None = None,
        asking: Told | None = None,
        proposed: tuple[int, ...] = (),
    ) -> DenseChange:
        """Return what changed since it was last told; maps have no proposals."""
        del proposed
        draft = self.state.draft
        box = difference(self._told_mask, draft.answer)
        self._told_mask = draft.answer
        change = DenseChange(
            kind,
            bbox=None if box.empty else box,
            clicks=draft.clicks,
            settled=draft.settled,
            pending=draft.pending,
            seconds=asking.seconds if asking else 0.0,
            notices=asking.notices if asking else (),
            label=label,
            **Disobeyed.of(draft.newest)._asdict(),
            result=None if box.empty else draft.answer.within(box),
        )
        self.change = change
        return change
