"""Sessions of the planes of one image: what all tasks share; used in the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from napari_clickseg.binding.marking import apply_edits
from napari_clickseg.binding.marks import MarkEdit
from napari_clickseg.binding.planes import Plane, PlaneImage
from napari_clickseg.binding.shelf import ModelChoice, ModelShelf, Tell
from napari_clickseg.errors import ClickSegError, SessionError
from napari_clickseg.image import ImageSource
from napari_clickseg.session import Change, ClickSession
from napari_clickseg.session.frames import in_use
from napari_clickseg.session.journal import (
    journal_name,
    journals_of,
    sessions_folder,
)
from napari_clickseg.session.recovering import Recovered, read_journal

__all__ = ["CancelCheck", "PlaneEngine", "plane_source"]

CancelCheck = Callable[[], bool]
S = TypeVar("S", bound=ClickSession)


class PlaneEngine(Generic[S]):
    """One image's sessions.

    Parameters
    ----------
    shelf : ModelShelf
        Where models come from.
    tell : callable
        Told about loading and downloading.
    """

    def __init__(self, shelf: ModelShelf, tell: Tell) -> None:
        self._shelf = shelf
        self._tell = tell
        self._sessions: dict[Plane, S] = {}
        self._models: dict[Plane, Any] = {}
        self._shown: dict[Plane, Any] = {}
        #: Planes as they were shown last, and how.
        self._sources: dict[Plane, tuple[Any, ImageSource]] = {}
        #: Planes that no session can work on, and why.
        self._refused: dict[Plane, ClickSegError] = {}
        #: Work of last time that nobody has taken up yet.
        self._saved: dict[Plane, tuple[Path, Recovered, ImageSource]] = {}
        #: Whether edits are written to a journal.
        self.keeps = True
        #: Set from the dock while a download runs.
        self.stop_loading = False

    def show(self, plane: Plane, image: PlaneImage, options: Any) -> Any:
        """Look at the plane with the contrast that it has now on screen."""
        session = self._session(plane)
        if self._shown[plane] != image.look:
            session.set_contrast(
                image.contrast, gamma=image.gamma, colormaps=image.colormaps
            )
            self._shown[plane] = image.look
            self._sources[plane] = image.look, session.image
        return self._report(plane, None, options)

    def source(self, plane: Plane, image: PlaneImage) -> ImageSource:
        """Return a plane as it is shown: the same object while that stays so.

        What is prepared is thus known to the clicks without a look at its pixels.
        """
        known = self._sources.get(plane)
        if known is None or known[0] != image.look:
            known = self._sources[plane] = image.look, plane_source(image)
        return known[1]

    def close(self) -> None:
        """Forget everything; journals are let go."""
        _stop_journals(self._sessions)
        self._sessions.clear()
        self._models.clear()

    def edit_marks(self, plane: Plane, edits: list[MarkEdit], options: Any) -> Any:
        """Do to the clicks what was done to the points; nothing is answered yet."""
        change = apply_edits(self._session(plane), edits)
        return self._report(plane, change, options)

    def answer(
        self,
        plane: Plane,
        options: Any,
        settle: bool,
        cancelled: CancelCheck,
        *,
        again: bool = False,
    ) -> Any:
        """Ask the model about the clicks as they stand, if it was not asked yet.

        ``again``: also where it was, because it would answer otherwise now.
        """
        session = self._session(plane)
        again = again and session.in_work
        if not (session.pending or again) and (session.settled or not settle):
            return self._report(plane, None, options)
        self._prepare(plane, options)
        if session.pending or again:
            change = session.update(
                settle=settle,
                again=again,
                visible=options.visible,
                cancelled=cancelled,
            )
        else:
            change = session.settle(cancelled) or session.change
        return self._report(plane, change, options)

    def scale_radius(self, plane: Plane, options: Any, factor: float) -> Any:
        """Make the newest click reach farther, or less far."""
        session = self._session(plane)
        if not session.clicks:
            raise SessionError("There is no click yet whose reach could change.")
        old = session.clicks[-1].radius or session.usual_radius
        change = session.set_radius(-1, max(1.0, old * factor), predict=False)
        return self._report(plane, change, options)

    def session(self, plane: Plane) -> S | None:
        """Return the session of a plane, if it is open."""
        return self._sessions.get(plane)

    def save(self, plane: Plane, path: Path) -> Path:
        """Write the session of a plane to a file of the user's choice."""
        return self._session(plane).save(path)

    def keep_journals(self, on: bool) -> None:
        """Write edits to journals, or do so no more."""
        self.keeps = on
        for plane, session in self._sessions.items():
            if on and session.journal is None:
                session.keep_journal(place=plane.place)
            elif not on:
                session.stop_journal()

    def check_journal(self, plane: Plane) -> str:
        """Have the newest edits on disk; returns why they are not, or ""."""
        session = self._sessions.get(plane)
        journal = None if session is None else session.journal
        if journal is None:
            return ""
        journal.sync()
        return journal.trouble

    def look_for_saved(
        self, plane: Plane, image: PlaneImage, there: Callable[[], bool]
    ) -> str:
        """Return what the newest journal of this image holds, in words; "" for nothing.

        Nothing is offered where ``there`` says that there is work already. A journal
        that another process (or viewer) writes is left alone.
        """
        folder = sessions_folder()
        if not any(folder.glob("*.journal")):
            return ""
        source = plane_source(image)
        signature = source.signature()
        # Those of a script, which may have had the plane alone, are called otherwise.
        journals = journals_of(
            folder, journal_name(signature, self.task, plane.place)
        ) or journals_of(folder, journal_name(signature, self.task))
        if not journals or there():
            return ""
        found: list[tuple[Path, Recovered]] = []
        for path in journals:
            if in_use(path):
                continue
            try:
                recovered = read_journal(path)
            except ClickSegError:  # damaged, or of another version: nothing to offer
                continue
            if not recovered.blank:
                found.append((path, recovered))
            if found and found[-1][1].complete:
                break
        if not found:
            return ""
        path, recovered = found[-1] if found[-1][1].complete else found[0]
        self._saved[plane] = path, recovered, source
        return self._in_words(recovered)

    def saved_history(self, plane: Plane) -> Any:
        """Return the history of what :meth:`look_for_saved` found."""
        return self._saved[plane][1].history

    def leave_saved(self, plane: Plane) -> None:
        """Forget what :meth:`look_for_saved` found; it is looked for again."""
        self._saved.pop(plane, None)

    def resume(self, plane: Plane, options: Any) -> Any:
        """Take up what :meth:`look_for_saved` found, and go on with its journal."""
        path, recovered, source = self._saved.pop(plane)
        session = self._recovered(recovered, source, options)
        if self.keeps:
            session.resume_journal(recovered, path, place=plane.place)
        else:
            session.take_up(recovered)
        return self._take_up(plane, session, options)

    def load_model(self, options: Any) -> Any:
        """Return the model."""
        return self._model(options.model)

    # ---------------------------------------------------------------------- parts

    @contextmanager
    def _beginning(self, plane: Plane) -> Iterator[None]:
        """Remember why a plane cannot be worked on, where that turns out."""
        try:
            yield
        except ClickSegError as error:
            self._refused[plane] = error
            raise

    def _begun(self, plane: Plane, image: PlaneImage, session: S) -> None:
        if self.keeps:
            session.keep_journal(place=plane.place)
        self._sessions[plane] = session
        self._shown[plane] = image.look

    def _session(self, plane: Plane) -> S:
        if plane in self._refused:
            raise self._refused[plane]
        try:
            return self._sessions[plane]
        except KeyError:
            raise SessionError(
                "There is nothing here yet: click inside an object first."
            ) from None

    def _model(self, choice: ModelChoice) -> Any:
        self.stop_loading = False
        return self._shelf.get(choice, self._tell, lambda: self.stop_loading)

    # ------------------------------------------------- what the subclass makes of it

    #: What clicks mean.
    task = "segmentation"

    def _recovered(
        self, recovered: Recovered, source: ImageSource, options: Any
    ) -> Any:
        """Return a session as a journal says, before its history is taken up."""
        raise NotImplementedError

    def _take_up(self, plane: Plane, session: Any, options: Any) -> Any:
        """Put a session in the place of the plane's own."""
        raise NotImplementedError

    def _in_words(self, recovered: Recovered) -> str:
        """Say what a journal holds."""
        raise NotImplementedError

    def _prepare(self, plane: Plane, options: Any) -> None:
        """Give the session its model and its settings."""
        raise NotImplementedError

    def _report(self, plane: Plane, change: Change | None, options: Any) -> Any:
        """Return what the window is told."""
        raise NotImplementedError


def _stop_journals(sessions: dict[Plane, Any]) -> None:
    for session in sessions.values():
        session.stop_journal()


def plane_source(image: PlaneImage) -> ImageSource:
    """Return a plane as sessions read it."""
    axis = len(image.array.shape) - 1 if image.colour else None
    return ImageSource(
        image.array,
        contrast=image.contrast,
        gamma=image.gamma,
        colormaps=image.colormaps,
        channel_axis=axis,
        coarser=image.coarser,
    )
