"""Sessions that keep a journal, and are taken up from one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from napari_clickseg.session.carrying import CarryingSession
from napari_clickseg.session.edits import Edit, edits_of
from napari_clickseg.session.effort import IDLE, Activity, Effort, effort_of
from napari_clickseg.session.journal import (
    Journal,
    head_of,
    journal_name,
    sessions_folder,
)
from napari_clickseg.session.moments import State
from napari_clickseg.session.study import GOALS, Study
from napari_clickseg.session.wishing import WishingSession

if TYPE_CHECKING:
    from napari_clickseg.session.file import SessionRecord
    from napari_clickseg.session.objects import Objects
    from napari_clickseg.session.recovering import Recovered

__all__ = ["KeptSession"]


class KeptSession(WishingSession, CarryingSession):
    """A session whose edits are on disk before they are shown."""

    _folder: Path | None = None
    _place = ""
    _journal: Journal | None = None
    _study: Study | None = None

    @property
    def journal(self) -> Journal | None:
        """What writes the edits down; None where nothing does."""
        return self._journal

    @property
    def edits(self) -> tuple[Edit, ...]:
        """All edits that led to where the session stands; undone ones are left out."""
        return (*self._moments.past, *edits_of(self._moments.history.path))

    @property
    def origin(self) -> Objects:
        """The objects that there were before the first edit."""
        return self._moments.origin.objects

    @property
    def model_source(self) -> str:
        """Name or path by which the model is found again."""
        return self._answering.source

    def as_python(self, image: str = "image") -> str:
        """Return a script that does again what was done.

        Parameters
        ----------
        image : str
            Python for the array that the session works on, such as
            ``"viewer.layers['cells'].data"``.

        Raises
        ------
        SessionError
            If it is a session for classes, alpha or depth.
        """
        from napari_clickseg.session.scripting import as_python

        return as_python(self, image)

    def effort(self, *, idle_limit: float = IDLE) -> Effort:
        """Return clicks and active seconds of each object.

        Parameters
        ----------
        idle_limit : float
            Pauses longer than this (seconds) do not count.
        """
        return effort_of(self._moments.activity, self.objects, idle_limit)

    def start_study(
        self,
        reference: Any,
        path: str | Path,
        *,
        goals: Sequence[float] = GOALS,
        idle_limit: float = IDLE,
        plane: str = "",
    ) -> Study:
        """Write one line for each commit from now on, against a reference.

        Parameters
        ----------
        reference, path, goals, idle_limit, plane
            As for :class:`napari_clickseg.session.study.Study`.
        """
        study = Study(
            reference,
            path,
            self.shape,
            goals=goals,
            idle_limit=idle_limit,
            plane=plane,
        )
        self._study = study
        self._watch()
        return study

    @property
    def study(self) -> Study | None:
        """The study that is written; None where there is none."""
        return self._study

    @property
    def activity(self) -> tuple[Activity, ...]:
        """What the user did and when, undo and redo included."""
        return tuple(self._moments.activity)

    def stop_study(self) -> None:
        """Write no more lines."""
        self._study = self._moments.watch = None

    def keep_journal(
        self, folder: str | Path | None = None, *, place: str = ""
    ) -> Journal:
        """Write each edit to a journal before it is shown, from now on.

        A journal gives the session back after a crash: see :meth:`load`. It goes with
        the image: after :meth:`set_image` another one is begun, in the same folder.

        Parameters
        ----------
        folder : path, optional
            Where to; default: ``sessions`` in the user's data folder.
        place : str
            Which plane of its image the session works on, where there are several, in
            letters, digits, ``-`` and ``_``. Planes that look alike, such as empty
            ones, are told apart by it.

        Returns
        -------
        Journal
            Its ``path`` is known after the first edit; ``trouble`` says why the newest
            edits are not on disk, if so.

        Raises
        ------
        SessionError
            If there is no image yet.
        """
        self.image  # noqa: B018 - says that there is none
        self._folder = sessions_folder() if folder is None else Path(folder)
        self._place = place
        return self._begin_journal()

    def stop_journal(self) -> None:
        """Write no more; what was written stays, if it is of any use."""
        if self._journal is not None:
            self._journal.close()
        self._journal, self._folder = None, None
        self._moments.log = None

    def resume(self, state: State, notices: Iterable[str] = ()) -> None:
        """Continue from a state; the history begins here."""
        super().resume(state, notices)
        self._watch()
        if self._folder is not None:
            self._begin_journal()

    def to_record(self, with_image: bool | None = None) -> SessionRecord:
        """Return all that a session file holds (see ``ClickSession.save``)."""
        record = super().to_record(with_image)
        return replace(
            record,
            origin=self._moments.origin.objects,
            edits=self.edits,
            activity=tuple(self._moments.activity),
        )

    def resume_record(self, record: SessionRecord, image: Any = None) -> None:
        """Continue from a session file; see :meth:`SessionBase.resume_record`."""
        super().resume_record(record, image)
        self._moments.activity = list(record.activity)
        if record.edits is not None:
            self.with_past(State(objects=record.origin), record.edits)

    def resume_journal(
        self, recovered: Recovered, path: Path, *, place: str = ""
    ) -> bool:
        """Continue where a journal ends, with its history, and write on.

        Parameters
        ----------
        recovered : Recovered
            What :func:`~napari_clickseg.session.recovering.read_journal` found.
        path : Path
            In the folder of the session's own journals.
        place : str
            As for :meth:`keep_journal`.

        Returns
        -------
        bool
            Whether it goes on in the same file: not if another process has that.
        """
        self.take_up(recovered)
        self._folder, self._place = path.parent, place
        journal = self._begin_journal()
        try:
            return journal.go_on(path, recovered)
        except OSError:  # may be read, not written: a new one is tried with an edit
            return False

    def take_up(self, recovered: Recovered) -> None:
        """Continue from a journal, without one."""
        self._folder = None
        self.resume(recovered.state)
        moments = type(self._moments)(
            recovered.state, self.mask_of, history=recovered.history
        )
        moments.threshold = self._moments.threshold
        moments.origin, moments.past = recovered.origin, recovered.past
        moments.activity = list(recovered.activity)
        self._moments = moments
        self._watch()

    def with_past(self, origin: State, edits: Sequence[Edit]) -> Self:
        """Return the session, which now knows how it came about."""
        self._moments.origin, self._moments.past = origin, tuple(edits)
        return self

    def _watch(self) -> None:
        """Have the study, if there is one, heed what comes from now on."""
        self._moments.watch = self._study
        if self._study is not None:
            self._study.begin_at(self._moments.history.now.number)

    def _begin_journal(self) -> Journal:
        if self._journal is not None:
            self._journal.close()
        assert self._folder is not None
        name = journal_name(self.image.signature(), self._task_name, self._place)
        self._journal = Journal(self._folder, name, self._head)
        self._moments.log = self._journal
        return self._journal

    def _head(self) -> dict[str, Any]:
        notes = self.image.describe()
        model: dict[str, Any] = {**self._answering.describe()}
        return head_of(notes, self.options, self.settings, model)

    @property
    def _task_name(self) -> str:
        return self.task.name
