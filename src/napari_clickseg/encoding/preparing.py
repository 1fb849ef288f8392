"""Preparing an image: every window that a model may ask for is encoded beforehand.

A click on a prepared image costs the decoder alone. Windows are those of the pyramid
that prediction keeps to; what is in the store already is not encoded again, so that
preparing may be stopped and taken up at any time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.encoding.prepared_store import PreparedStore
from napari_clickseg.encoding.windows import Window, check_count, side_of, windows_of
from napari_clickseg.encoding.with_store import WithStore
from napari_clickseg.errors import Cancelled, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_clickseg.boxes import Box
    from napari_clickseg.image import ImageSource

#: What is known of a window: nothing yet, that it is not encoded, that it is.
UNKNOWN, MISSING, THERE = -1, 0, 1
#: The time left is estimated from so many windows.
RECENT = 12


@dataclass(frozen=True, slots=True)
class Prepared:
    """How far an image is prepared.

    Attributes
    ----------
    done, total : int
        Windows that are encoded, and all that were asked for.
    encoded : int
        How many of them were encoded now.
    seconds : float
        Spent.
    """

    done: int
    total: int
    encoded: int
    seconds: float


class Preparation:
    """The windows of one image as it is shown, and which of them are encoded.

    Parameters
    ----------
    model : WithStore
        The model, with the store that keeps what it encodes.
    image : ImageSource
        The same object that clicks will ask for, if possible: then no pixel of it is
        hashed again.
    flip : bool
        Mirror images, too, for settings with ``flip=True``.

    Raises
    ------
    ModelError
        If the model does not encode images apart from the clicks, or the image has
        too many windows.

    Notes
    -----
    :meth:`share` reads nothing but an array in memory, and may be called from another
    thread than the rest.
    """

    def __init__(
        self, model: WithStore, image: ImageSource, *, flip: bool = False
    ) -> None:
        if not getattr(model, "encodes_once", False):
            raise ModelError(
                f"{model.name} looks at every window anew: preparing images would "
                "bring little. Choose a model that encodes once, such as an "
                "InterFormer."
            )
        check_count(image.shape, side_of(model))
        self.model, self.image = model, image
        self.windows: tuple[Window, ...] = tuple(
            windows_of(image.shape, side_of(model), tiles=True, flip=flip)
        )
        corners = np.array([window.box for window in self.windows], dtype=np.int64)
        self._top, self._left, self._bottom, self._right = corners.T
        self._state = np.full(len(self.windows), UNKNOWN, dtype=np.int8)
        self._recent: deque[float] = deque(maxlen=RECENT)
        #: Windows that were encoded by this object.
        self.encoded = 0

    @property
    def total(self) -> int:
        """Number of windows."""
        return len(self.windows)

    @property
    def done(self) -> int:
        """Number of windows that are known to be encoded."""
        return int((self._state == THERE).sum())

    def share(self, within: Box | None = None) -> float:
        """Return how much of what is needed in a field is encoded, from 0 to 1.

        Parameters
        ----------
        within : Box, optional
            A part of the image; only windows that share a pixel with it count.
        """
        state = self._state[self._meeting(within)]
        return float((state == THERE).mean()) if state.size else 0.0

    def checked(self, within: Box | None = None) -> bool:
        """Whether it is known of all windows in a field if they are encoded."""
        return bool((self._state[self._meeting(within)] != UNKNOWN).all())

    def left(self, within: Box | None = None) -> int:
        """Return how many windows of a field are still to be encoded."""
        return int((self._state[self._meeting(within)] != THERE).sum())

    def seconds_left(self, within: Box | None = None) -> float | None:
        """Return about how long the rest takes; None where nothing is known."""
        if not self._recent:
            return None
        return self.left(within) * sum(self._recent) / len(self._recent)

    @property
    def bytes(self) -> int:
        """About what all windows take; 0 before one was encoded."""
        return self.total * self.model.entry_bytes

    @property
    def fits(self) -> bool:
        """Whether the store may hold all windows at once, as far as that is known."""
        store = self.model.store
        limit = getattr(store, "limit", getattr(store, "max_bytes", None))
        return limit is None or self.bytes <= limit

    def look(self, within: Box | None = None, seconds: float = 0.05) -> bool:
        """Look which windows are encoded already, for a while; encode nothing.

        Returns
        -------
        bool
            Whether all is known now of this field.
        """
        end = time.perf_counter() + seconds
        todo = np.flatnonzero(self._meeting(within) & (self._state == UNKNOWN))
        for index in todo:
            window = self.windows[index]
            there = self.model.prepared(
                self.image, window.box, window.size, window.flipped
            )
            self._state[index] = THERE if there else MISSING
            if time.perf_counter() > end:
                break
        return self.checked(within)

    def step(self, first: Box | None = None, within: Box | None = None) -> bool:
        """Encode one window that is not encoded yet, coarse ones before fine ones.

        Parameters
        ----------
        first : Box, optional
            Its windows go before the others: what is on screen.
        within : Box, optional
            Windows outside of it are left out.

        Returns
        -------
        bool
            Whether there is more to do.

        Raises
        ------
        EncoderMissingError
            If the model has no encoder.
        StoreError, OSError
            If it cannot be kept.
        """
        todo = self._meeting(within) & (self._state != THERE)
        soon = todo & self._meeting(first)
        found = np.flatnonzero(soon if soon.any() else todo)
        if found.size == 0:
            return False
        window, start = self.windows[found[0]], time.perf_counter()
        if self.model.ensure(self.image, window.box, window.size, window.flipped):
            self.encoded += 1
            self._recent.append(time.perf_counter() - start)
        self._state[found[0]] = THERE
        return found.size > 1 or int(todo.sum()) > 1

    def _meeting(self, within: Box | None) -> NDArray[np.bool_]:
        if within is None:
            return np.ones(len(self.windows), dtype=bool)
        found: NDArray[np.bool_] = (
            (self._top < within.bottom)
            & (self._bottom > within.top)
            & (self._left < within.right)
            & (self._right > within.left)
        )
        return found


def with_features(model: Any, store: Any = None, *, write: bool = True) -> WithStore:
    """Return a model that looks into a store before it encodes.

    Parameters
    ----------
    model : Model or WithStore
        One with a store keeps it where none is given.
    store : FeatureStore or PreparedStore, optional
        By default features are kept in memory.
    write : bool
        Whether what a click had to encode is kept, too.
    """
    if isinstance(model, WithStore):
        if store is None or store is model.store:
            return model
        model = model.model
    return WithStore(model, PreparedStore() if store is None else store, write=write)


def prepare(
    model: Any,
    store: Any,
    image: ImageSource,
    *,
    within: Box | None = None,
    flip: bool = False,
    progress: Callable[[int, int], object] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prepared:
    """Encode every window of an image that a model may ask for.

    Parameters
    ----------
    model : Model or WithStore
        That encodes once.
    store : FeatureStore or PreparedStore, optional
        Where features are kept; None: where the model keeps them.
    image : ImageSource
        With the channels and the contrast that clicks will be made with.
    within : Box, optional
        Only windows that share a pixel with it.
    flip : bool
        Mirror images, too.
    progress : callable, optional
        Called with the windows that are done, and all.
    cancelled : callable, optional
        Asked before each window; True stops. What is done stays.

    Raises
    ------
    Cancelled
        If ``cancelled`` said so.
    ModelError, EncoderMissingError
        If the model cannot prepare images.
    StoreError, OSError
        If the features cannot be kept.
    """
    start = time.perf_counter()
    work = Preparation(with_features(model, store), image, flip=flip)
    total = work.left(within)
    more = total > 0
    while more:
        if cancelled is not None and cancelled():
            raise Cancelled("Stopped. What is prepared stays so.")
        more = work.step(within=within)
        if progress is not None:
            progress(total - work.left(within), total)
    seconds = time.perf_counter() - start
    return Prepared(total - work.left(within), total, work.encoded, seconds)


def share_prepared(
    model: Any, store: Any, image: ImageSource, within: Box | None = None
) -> float:
    """Return how much of an image is prepared, from 0 to 1, by looking it up.

    This reads the image. To ask again and again keep a :class:`Preparation`, whose
    ``share`` costs next to nothing.
    """
    work = Preparation(with_features(model, store), image)
    work.look(within, seconds=float("inf"))
    return work.share(within)
