"""Sessions of classes, alpha or depth of one image; everything runs in the worker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.dense_reports import DenseOptions, DenseReport
from napari_clickseg.binding.marking import mark_of
from napari_clickseg.binding.marks import MarkEdit
from napari_clickseg.binding.plane_engine import (
    CancelCheck,
    PlaneEngine,
    plane_source,
)
from napari_clickseg.binding.planes import Plane, PlaneImage
from napari_clickseg.binding.shelf import ModelFacts, ModelShelf, Tell
from napari_clickseg.boxes import Box
from napari_clickseg.image import ImageSource
from napari_clickseg.session import Change, ClickSession, SessionStats
from napari_clickseg.session.dense_session import DenseSession
from napari_clickseg.session.recovering import Recovered

__all__ = ["DenseEngine"]


class DenseEngine(PlaneEngine[DenseSession]):
    """One image's sessions.

    Parameters
    ----------
    shelf, tell
        As of :class:`PlaneEngine`.
    task : str
        ``"semantic"``, ``"matting"`` or ``"depth"``.
    """

    def __init__(self, shelf: ModelShelf, tell: Tell, task: str) -> None:
        super().__init__(shelf, tell)
        self.task = task
        self._told: dict[Plane, dict[int, Any]] = {}
        #: What was painted into the map and is not answered yet.
        self._drawn: dict[Plane, Box] = {}

    # ------------------------------------------------------------------- opening

    def open(
        self, plane: Plane, image: PlaneImage, options: DenseOptions
    ) -> DenseReport:
        """Begin with a plane, unless it is open already."""
        if plane not in self._sessions:
            session = self._new_session(options)
            with self._beginning(plane):
                session.set_image(self.source(plane, image))
            self._begun(plane, image, session)
        return self._report(plane, None, options)

    def close(self) -> None:
        """Forget everything."""
        super().close()
        self._told.clear()

    def warm_up(self, options: DenseOptions) -> ModelFacts | None:
        """Load the model and run it once, so that the first click is quick."""
        model = self._model(options.model)
        session = self._new_session(options)
        session.set_image(np.zeros((64, 64), np.uint8))
        if model.needs_trimap:
            session.set_trimap(np.full((64, 64), 128, np.uint8))
        else:
            session.start_from_model()
        return self._shelf.facts(options.model)

    # --------------------------------------------------------------------- edits

    def edit_marks(
        self, plane: Plane, edits: list[MarkEdit], options: DenseOptions
    ) -> DenseReport:
        """Do to the clicks what was done to the points; nothing is answered yet."""
        self._prepare(plane, options)
        report: DenseReport = super().edit_marks(plane, edits, options)
        return report

    def call(
        self,
        plane: Plane,
        options: DenseOptions,
        name: str,
        *args: Any,
        **keywords: Any,
    ) -> DenseReport:
        """Call an edit of the session by its name."""
        self._prepare(plane, options)
        session = self._session(plane)
        result = getattr(session, name)(*args, **keywords)
        change = result if isinstance(result, Change) else session.change
        return self._report(plane, change if result is not None else None, options)

    def paint(
        self, plane: Plane, options: DenseOptions, drawn: NDArray[Any]
    ) -> DenseReport:
        """Take over what was painted into the map of classes: a stroke.

        Parameters
        ----------
        drawn : array (H, W)
            What the layer holds now; where it differs from the map it was painted.
            Painting with 0 wishes nothing, and is taken back.
        """
        self._prepare(plane, options)
        session = self._session(plane)
        known = session.result
        changed = drawn != known
        if not changed.any():
            return self._report(plane, None, options)
        drawn_in = Box.around(changed)
        before = self._drawn.get(plane)
        self._drawn[plane] = drawn_in if before is None else before.union(drawn_in)
        known_classes = (drawn > 0) & (drawn <= len(session.task.classes))
        strokes = np.where(changed & known_classes, drawn, 0)[drawn_in.slices]
        if not strokes.any():
            return self._restored(plane, options, self._drawn.pop(plane))
        mode, session.mode = session.mode, "stroke"
        try:
            change = session.paint(strokes, box=drawn_in, predict=False)
        finally:
            session.mode = mode
        return self._report(plane, change, options)

    def answer(
        self,
        plane: Plane,
        options: DenseOptions,
        settle: bool,
        cancelled: CancelCheck,
        *,
        again: bool = False,
    ) -> DenseReport:
        """Ask the model about the wishes as they stand, if it was not asked yet."""
        report: DenseReport = super().answer(
            plane, options, settle, cancelled, again=again
        )
        drawn = self._drawn.pop(plane, None)
        if drawn is None:
            return report
        # The layer shows what was painted: now the answer, whether it follows or not.
        changed = None if report.change is None else report.change.bbox
        box = drawn if changed is None else drawn.union(changed)
        return self._restored(plane, options, box, report.change)

    # -------------------------------------------------------------------- reading

    def whole(self, plane: Plane, options: DenseOptions) -> DenseReport:
        """Report all of the plane as changed: for layers that were made anew."""
        self._told.pop(plane, None)
        box = Box.of_shape(self._session(plane).shape)
        return self._restored(plane, options, box)

    def load(
        self, plane: Plane, image: PlaneImage, options: DenseOptions, path: Path
    ) -> DenseReport:
        """Take up a session from a file."""
        session: Any = ClickSession.load(
            path, plane_source(image), model=self._model(options.model)
        )
        if self.keeps:
            session.keep_journal(place=plane.place)
        return self._take_up(plane, session, options)

    # ---------------------------------------------------------------------- parts

    def _new_session(self, options: DenseOptions) -> DenseSession:
        given: dict[str, Any] = {"mode": options.mode, "settings": options.settings}
        if self.task != "semantic":
            given["push"] = options.push
        model: Any = self._model(options.model)
        session: Any = ClickSession(model, task=self.task, **given)
        made: DenseSession = session
        return made

    def _recovered(
        self, recovered: Recovered, source: ImageSource, options: DenseOptions
    ) -> DenseSession:
        record, model = recovered.record(), self._model(options.model)
        session = DenseSession.of_record(record, model, "auto", "auto")
        session.resume_record(record, source)
        return session

    def _in_words(self, recovered: Recovered) -> str:
        state: Any = recovered.state
        clicks, kept = len(state.draft.clicks), len(state.results)
        told = [f"{clicks} click{'s' if clicks != 1 else ''}"] if clicks else []
        return " and ".join([*told, *([f"{kept} kept"] if kept else [])]) or "a map"

    def _take_up(
        self, plane: Plane, session: Any, options: DenseOptions
    ) -> DenseReport:
        if (old := self._sessions.get(plane)) is not None:
            old.stop_journal()
        self._sessions[plane] = session
        self._shown[plane] = None  # as on screen now, not as it was then
        self._models[plane] = None  # the dock's, whatever it was then
        self._prepare(plane, options)
        return self.whole(plane, options)

    def _prepare(self, plane: Plane, options: DenseOptions) -> None:
        """Give the session its model, its mode and its settings."""
        session: Any = self._session(plane)
        model = self._model(options.model)
        if self._models.get(plane) is not model:
            if plane in self._models:
                session.set_model(model)
            self._models[plane] = model
        if session.mode != options.mode:
            session.mode = options.mode
        if self.task != "semantic":
            session.push = options.push
        if session.settings != options.settings:
            session.settings = options.settings

    def _restored(
        self,
        plane: Plane,
        options: DenseOptions,
        box: Box,
        change: Change | None = None,
    ) -> DenseReport:
        """Report a box of the map as it is, to be written again."""
        session = self._session(plane)
        if change is None:
            change = replace(session.change, kind="whole", notices=(), label=None)
        again: Any = replace(
            change,
            bbox=None if box.empty else box,
            result=session.result[box.slices],  # type: ignore[call-arg]
        )
        return self._report(plane, again, options)

    def _report(
        self, plane: Plane, change: Change | None, options: DenseOptions
    ) -> DenseReport:
        session = self._session(plane)
        each = [s.stats for s in self._sessions.values()]
        now = {n: kept.values for n, kept in session.state.results.items()}
        before = self._told.get(plane, {})
        self._told[plane] = now
        kept = {
            number: values.plane(session.shape)
            for number, values in now.items()
            if before.get(number) is not values
        }
        gone = dict.fromkeys(set(before) - set(now))
        answer = session.state.draft.answer.values
        span = (float(answer.min()), float(answer.max())) if answer.size else (0.0, 1.0)
        task = session.task
        return DenseReport(
            plane=plane,
            change=change,
            marks=tuple(map(mark_of, session.clicks)),
            stats=SessionStats(
                tuple(o for s in each for o in s.objects),
                sum(s.current_clicks for s in each),
            ),
            can_undo=session.can_undo,
            can_redo=session.can_redo,
            drafted=session.in_work,
            settled=session.settled,
            model=self._shelf.facts(options.model),
            mode=session.mode,
            classes=getattr(task, "classes", None),
            needs_trimap=bool(getattr(session.model, "needs_trimap", False)),
            trimap=session.trimap,
            kept={**kept, **gone},
            numbers=tuple(now),
            span=span,
            unit=getattr(task, "unit", ""),
            largest=getattr(task, "largest", None),
        )
