"""Objects of a stack or a time series, for scripts: one session for each plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import Cancelled, ImageError, SessionError
from napari_clickseg.image import ImageSource
from napari_clickseg.session.answering import Answering
from napari_clickseg.session.base import SESSION_SETTINGS, STARTER
from napari_clickseg.session.changes import SessionStats
from napari_clickseg.session.click_session import ClickSession
from napari_clickseg.session.propagating import End, Propagation
from napari_clickseg.session.propagation_rules import PropagationOptions
from napari_clickseg.session.together import Together

if TYPE_CHECKING:
    from napari_clickseg.models.model import Model
    from napari_clickseg.prediction.settings import PredictionSettings

__all__ = ["Carried", "StackSession"]


@dataclass(frozen=True)
class Carried:
    """What became of a propagation.

    Parameters
    ----------
    label : int
        The object.
    planes : tuple of int
        Where it was carried to, in the order of the planes.
    dropped : tuple of int
        Where an earlier propagation had carried it, and it was deleted.
    ends : tuple of End
        Where and why it went no further.
    """

    label: int
    planes: tuple[int, ...]
    dropped: tuple[int, ...]
    ends: tuple[End, ...]

    @classmethod
    def of(cls, propagation: Propagation) -> Carried:
        """Tell of a propagation."""
        return cls(
            propagation.label,
            tuple(sorted(propagation.carried)),
            tuple(sorted(propagation.dropped)),
            tuple(propagation.ends),
        )

    def __str__(self) -> str:
        """Return it in a sentence."""
        many = "1 plane" if len(self.planes) == 1 else f"{len(self.planes)} planes"
        doubts = [f"{e.index}: {e.reason}" for e in self.ends if e.doubtful]
        text = f"Carried to {many}"
        return f"{text}; stopped at {', '.join(doubts)}." if doubts else f"{text}."


class StackSession:
    """Segment the objects of a stack or a time series: by clicks, plane by plane.

    Parameters
    ----------
    stack : array-like, shape (N, H, W) or (N, H, W, C)
        Also lazy; only planes that are worked on are read.
    model, device, precision, settings, refinement
        As for :class:`napari_clickseg.ClickSession`; all planes share one model.
    axis : int
        Along which planes follow each other.
    channel_axis : int, optional
        Of colours or channels, as an axis of the stack.
    contrast
        As for :meth:`ClickSession.set_image`, the same for all planes; default: what a
        look at the first, the middle and the last plane finds.
    spacing : float
        Distance of two planes in pixels of a plane; loosens the rules by which a
        propagation ends (see :class:`PropagationOptions`).
    **options
        Further ones of :class:`ClickSession`.

    Raises
    ------
    ImageError
        If it is no stack.

    Notes
    -----
    An object has the same id on all its planes. Ids are given over the whole stack.
    """

    def __init__(
        self,
        stack: Any,
        model: str | Path | Model | Answering = STARTER,
        device: str = "auto",
        *,
        precision: str = "auto",
        settings: PredictionSettings | None = None,
        refinement: Any = None,
        axis: int = 0,
        channel_axis: int | None = None,
        contrast: Any = None,
        spacing: float = 1.0,
        **options: Any,
    ) -> None:
        if not hasattr(stack, "shape"):
            stack = np.asarray(stack)
        ndim = len(stack.shape)
        wanted = 3 if channel_axis is None else 4
        if ndim != wanted:
            raise ImageError(
                f"A stack has {wanted} axes here, not {ndim}: give (planes, rows, "
                "columns), and channel_axis where there are colours or channels."
            )
        if not isinstance(model, Answering):
            model = Answering(
                model,
                device,
                precision,
                settings=settings or SESSION_SETTINGS,
                refinement=refinement,
            )
        self._stack, self._answering, self._options = stack, model, options
        self._axis = axis % ndim
        self._channel_axis = None
        if channel_axis is not None:
            given = channel_axis % ndim
            self._channel_axis = given - (given > self._axis)
        self.spacing = spacing
        self._sessions: dict[int, ClickSession] = {}
        self._together: Together[int] = Together(self._sessions)
        self.contrast = self._seen_contrast() if contrast is None else contrast

    def __len__(self) -> int:
        """Return the number of planes."""
        return int(self._stack.shape[self._axis])

    def plane(self, index: int) -> ClickSession:
        """Return the session of a plane: click, undo and look there as with any other.

        Commit its object with :meth:`commit` of the stack, so that ids are free on all
        planes.
        """
        index = self._checked(index)
        if index not in self._sessions:
            session = ClickSession(self._answering, **self._options)
            session.set_image(self._source(index))
            self._sessions[index] = session
        return self._sessions[index]

    @property
    def sessions(self) -> Mapping[int, ClickSession]:
        """The sessions of the planes that were worked on."""
        return self._sessions

    def commit(self, index: int, label: int | None = None) -> int:
        """Commit the object in work on a plane; returns its id.

        Parameters
        ----------
        index : int
        label : int, optional
            Default: the one it has already, else the next that no plane has.
        """
        session = self.plane(index)
        if label is None:
            label = session.opened_label or self.next_label
        return session.commit(label)

    @property
    def next_label(self) -> int:
        """The id after the highest one of all planes."""
        used = [0]
        for session in self._sessions.values():
            used += [*session.objects, session.opened_label or 0]
        return max(used) + 1

    def propagate(
        self,
        index: int,
        label: int | None = None,
        *,
        options: PropagationOptions | None = None,
        progress: Callable[[int, int], object] | None = None,
        cancelled: Callable[[], bool] | None = None,
        **wishes: Any,
    ) -> Carried:
        """Carry an object to the planes before and behind.

        All of it is one step: :meth:`undo` takes it back on all planes.

        Parameters
        ----------
        index : int
            The plane to start from.
        label : int, optional
            A committed object there; default: the one in work, which is committed.
        options : PropagationOptions, optional
            How far, and when to stop.
        progress : callable, optional
            Called with the planes that are done, and how many there are at most.
        cancelled : callable, optional
            Asked between passes of the model; True stops. What was carried stays.
        **wishes
            Fields of :class:`PropagationOptions`, such as ``direction="forward"``.

        Returns
        -------
        Carried

        Raises
        ------
        SessionError, SettingsError
            If there is no such object, or an option makes no sense.
        """
        session = self.plane(index)
        wishes.setdefault("spacing", self.spacing)
        chosen = options or PropagationOptions(**wishes)
        if label is None:
            if not session.in_work:
                raise SessionError(
                    "Which object? Click one on this plane, or give the label of one "
                    "that is committed there."
                )
            label = session.opened_label or self.next_label
        count, start = len(self), self._checked(index)
        propagation = Propagation.begin(session, start, count, label, chosen)
        try:
            for step in propagation.run(self.plane, cancelled):
                # Thousands of planes may follow; the predictor is the same for all.
                self.plane(step.index).image.release()
                if progress is not None:
                    progress(len(propagation.carried), propagation.total)
        except Cancelled:
            propagation.stop()
        finally:
            self._together.done(propagation.group)
        return Carried.of(propagation)

    def undo(self, index: int) -> tuple[int, ...]:
        """Take back the newest step on a plane; returns the planes that changed.

        A propagation is one step, also on the planes it went to.
        """
        changes = self._together.undo(self._checked(index))
        if changes:
            return tuple(sorted(changes))
        return (index,) if self.plane(index).undo() is not None else ()

    def redo(self, index: int) -> tuple[int, ...]:
        """Bring back what undo took; returns the planes that changed."""
        changes = self._together.redo(self._checked(index))
        if changes:
            return tuple(sorted(changes))
        return (index,) if self.plane(index).redo() is not None else ()

    @property
    def labels(self) -> NDArray[np.int32]:
        """The committed objects: int32 (N, H, W), planes first."""
        shape = self._source(0).shape
        labels = np.zeros((len(self), *shape), np.int32)
        for index, session in self._sessions.items():
            labels[index] = session.labels
        return labels

    @property
    def stats(self) -> SessionStats:
        """Clicks and seconds; an object counts once, on however many planes it is."""
        return SessionStats.together(s.stats for s in self._sessions.values())

    # ----------------------------------------------------------------------- parts

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise ImageError(f"There is no plane {index}: there are {len(self)}.")
        return index % len(self)

    def _source(self, index: int) -> ImageSource:
        key = [slice(None)] * len(self._stack.shape)
        plane = self._stack[(*key[: self._axis], index)]
        contrast = getattr(self, "contrast", None)
        return ImageSource(plane, contrast=contrast, channel_axis=self._channel_axis)

    def _seen_contrast(self) -> Any:
        """Return limits that suit all planes: the same values look the same."""
        if self._channel_axis is not None:
            return None
        places = sorted({0, len(self) // 2, len(self) - 1})
        limits = np.array([self._source(index).limits for index in places])
        limits = limits.reshape(len(places), -1)
        return float(limits[:, 0].min()), float(limits[:, -1].max())
