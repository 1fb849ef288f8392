"""The sessions of one image, one for each plane; everything here runs in the worker."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.binding.lazy_labels import LazyLabels
from napari_clickseg.binding.marking import mark_of
from napari_clickseg.binding.plane_engine import PlaneEngine, plane_source
from napari_clickseg.binding.planes import Plane, PlaneImage
from napari_clickseg.binding.reports import Options, Report
from napari_clickseg.binding.shelf import ModelFacts, ModelShelf, Tell
from napari_clickseg.boxes import Box
from napari_clickseg.errors import SessionError
from napari_clickseg.image import ImageSource
from napari_clickseg.plane_view import PlaneView
from napari_clickseg.session import (
    PROPOSER,
    Change,
    ClickSession,
    Overlap,
    differences,
)
from napari_clickseg.session.in_blocks import differing_blocks
from napari_clickseg.session.objects import Objects
from napari_clickseg.session.propagating import Propagation
from napari_clickseg.session.recovering import Recovered
from napari_clickseg.session.together import Together
from napari_clickseg.session.totals import Totals, work_in

if TYPE_CHECKING:
    from napari_clickseg.encoding.preparing import Preparation
    from napari_clickseg.prediction.proposing import Proposals
    from napari_clickseg.prediction.settings import PredictionSettings
    from napari_clickseg.session.carrying import Look
    from napari_clickseg.session.propagation_rules import PropagationOptions

__all__ = ["LOOKING", "Engine"]

#: What is told while objects are looked for.
LOOKING = "Looking for objects"
#: Label arrays of more bytes are not searched for ids.
LARGE = 2**31
CancelCheck = Callable[[], bool]


class Engine(PlaneEngine[ClickSession]):
    """One image's sessions; parameters as of :class:`PlaneEngine`."""

    def __init__(self, shelf: ModelShelf, tell: Tell) -> None:
        super().__init__(shelf, tell)
        self._floor: int | None = None
        #: Steps over several planes.
        self.together: Together[Plane] = Together(self._sessions)
        self._totals: Totals[Plane] = Totals()

    # ------------------------------------------------------------------- opening

    def open(
        self,
        plane: Plane,
        image: PlaneImage,
        options: Options,
        labels: Callable[[], Any] | None,
        others: Any = None,
    ) -> Report:
        """Begin with a plane, unless it is open already.

        Parameters
        ----------
        labels : callable or None
            Returns the objects that are there already, an array of the plane.
        others : array, n-D, or None
            The objects of all planes, whose ids are not to be given again.
        """
        if plane not in self._sessions:
            session = ClickSession()  # its model is chosen when it is asked
            with self._beginning(plane):
                there = None if labels is None else labels()
                session.set_image(self.source(plane, image), labels=there)
            self._begun(plane, image, session)
            self._count_from(others)
        return self._report(plane, None, options)

    def preparation(
        self, plane: Plane, image: PlaneImage, options: Options
    ) -> Preparation:
        """List the windows of a plane that can be encoded ahead of time."""
        from napari_clickseg.encoding.preparing import Preparation

        return Preparation(self._model(options.model), self.source(plane, image))

    def warm_up(self, options: Options) -> ModelFacts | None:
        """Load the model and run it once, so that the first click is quick."""
        model = self._model(options.model)
        if not getattr(model, "has_encoder", True):
            return self._shelf.facts(options.model)
        session = ClickSession(model)
        session.set_image(np.zeros((256, 256), np.uint8))
        session.add_click((128, 128), settle=False)
        return self._shelf.facts(options.model)

    # --------------------------------------------------------------------- edits

    def call(
        self, plane: Plane, options: Options, name: str, *args: Any, **keywords: Any
    ) -> Report:
        """Call an edit of the session by its name."""
        session = self._session(plane)
        if name in {"undo", "redo"}:
            changes: dict[Plane, Change] = getattr(self.together, name)(plane)
            if changes:
                return self._reports(plane, changes, options)
        session.overlap = options.overlap  # type: ignore[assignment]
        if name == "start_from_model" or (session.pending and name == "commit"):
            self._prepare(plane, options)
        result = getattr(session, name)(*args, **keywords)
        change: Change | None = session.change
        if name in {"undo", "redo"} and result is None:
            change = None
        return self._report(plane, change, options)

    def commit(
        self,
        plane: Plane,
        options: Options,
        label: int | None,
        overlap: Overlap | None = None,
    ) -> Report:
        """Commit the object; ids are unique over all planes of the image."""
        session = self._session(plane)
        if label is None:
            label = session.opened_label or self._next_label()
        if options.check_label is not None:
            options.check_label(label)
        return self.call(plane, options, "commit", label, overlap=overlap)

    def looking(
        self, plane: Plane, options: Options, model: str = PROPOSER, **wishes: Any
    ) -> Generator[tuple[int, int], None, Proposals]:
        """Look for objects on a plane, step by step; see :func:`proposing`."""
        from napari_clickseg.prediction.proposing import proposing

        loaded = self._model(options.model._replace(name=model))
        self._tell(LOOKING, None)
        return proposing(loaded, self._session(plane).image, **wishes)

    def add_proposals(self, plane: Plane, options: Options, found: Proposals) -> Report:
        """Add objects that were found; ids are unique over all planes of the image."""
        session, first = self._session(plane), self._next_label()
        if options.check_label is not None:
            options.check_label(first + int(found.labels.max(initial=0)))
        change = session.add_proposals(found, first=first)
        return self._report(plane, change, options)

    def drop(self, plane: Plane, options: Options) -> Report | None:
        """Discard the object in work, if there is one."""
        session = self.session(plane)
        if session is None or not session.in_work:
            return None
        return self.call(plane, options, "discard")

    def set_mask(self, plane: Plane, options: Options, mask: Any) -> Report:
        """Take over what was painted into the live mask."""
        session, change = self._session(plane), None
        for box, block in differing_blocks(mask, session.mask):
            change = session.set_mask(block != 0, box=box)
        return self._report(plane, change, options)

    def set_labels(
        self,
        plane: Plane,
        options: Options,
        labels: Any,
        known: Objects | None = None,
    ) -> Report:
        """Take over what was painted into the objects.

        Parameters
        ----------
        known : Objects, optional
            What was written into it last. Objects that were committed since are not
            in it yet: nobody has painted over them.
        """
        session, change = self._session(plane), None
        behind = known is not None and known is not session.state.objects
        before: Any = session.labels
        if known is not None and behind:
            before = PlaneView(Box.of_shape(session.shape), known.pieces(), np.int32)
        for box, block in differing_blocks(labels, before):
            if behind:
                painted = block != np.asarray(before[box.slices])
                now = session.state.objects.labels(box).values
                block = np.where(painted, block, now)
            change = session.set_labels(block, box=box)
        return self._report(plane, change, options)

    def clear_labels(self, plane: Plane, options: Options) -> Report:
        """Forget the objects of a plane, as their layer is gone."""
        shape = self._session(plane).shape
        empty = PlaneView(Box.of_shape(shape), (), np.int32)
        return self.set_labels(plane, options, empty)

    # ----------------------------------------------------------- over several planes

    def begin_propagation(
        self,
        plane: Plane,
        options: Options,
        where: tuple[int, int],
        label: int | None,
        rules: PropagationOptions,
    ) -> tuple[Propagation, Report]:
        """Set out with an object: the one in work, or a committed one.

        Parameters
        ----------
        where : (int, int)
            Number of the plane along the axis to follow, and how many there are.
        label : int or None
            Of a committed object.
        """
        session = self._session(plane)
        session.overlap = options.overlap  # type: ignore[assignment]
        if session.in_work:
            if label is None:
                label = session.opened_label or self._next_label()
            if session.pending:
                self._prepare(plane, options)
        if label is None:
            raise SessionError(
                "Which object? Click one, or put the mouse on one that is committed, "
                "or show it with G and H."
            )
        if options.check_label is not None:
            options.check_label(label)
        propagation = Propagation.begin(session, *where, label, rules)
        self.together.done(propagation.group)
        return propagation, self._report(plane, session.change, options)

    def carry(
        self,
        plane: Plane,
        options: Options,
        propagation: Propagation,
        cancelled: CancelCheck,
    ) -> Report:
        """Carry an object to the next plane, which is this one."""
        session = self._session(plane)
        session.overlap = options.overlap  # type: ignore[assignment]
        self._prepare(plane, options)
        try:
            step = propagation.step(session, cancelled)
        finally:
            session.rest()  # hundreds of planes may follow
        self.together.done(propagation.group)
        return self._report(plane, step.change, options)

    def continue_object(
        self, plane: Plane, options: Options, label: int, look: Look | None
    ) -> Report:
        """Go on with an object where it was not carried to, if nothing is in work."""
        session = self._session(plane)
        if session.in_work or label in session.objects:
            return self._report(plane, None, options)
        return self.call(plane, options, "continue_object", label, look)

    # -------------------------------------------------------------------- reading

    def whole(self, plane: Plane, options: Options, *, labels: bool = True) -> Report:
        """Report all of the plane as changed: for layers that were made anew."""
        session = self._session(plane)
        state = session.state
        found = differences.whole(
            session.shape,
            session.mask_of(state.draft),
            state.objects if labels else None,
        )
        change = replace(
            session.change,
            kind="whole",
            bbox=found.box,
            mask=found.mask,
            labels=found.labels,
            parts=tuple(
                Change.part(part.box, part.mask, part.labels) for part in found.parts
            ),
            notices=(),
            label=None,
        )
        return self._report(plane, change, options)

    def load(
        self, plane: Plane, image: PlaneImage, options: Options, path: Path
    ) -> Report:
        """Take up a session from a file."""
        choice = options.model
        session = ClickSession.load(
            path,
            plane_source(image),
            model=choice.name,
            device=choice.device,
            precision=choice.precision,
        )
        if self.keeps:
            session.keep_journal(place=plane.place)
        return self._take_up(plane, session, options)

    def use_settings(self, plane: Plane, settings: PredictionSettings) -> None:
        """Look at the image in another way from the next answer on."""
        self._session(plane).settings = settings

    # ---------------------------------------------------------------------- parts

    def _recovered(
        self, recovered: Recovered, source: ImageSource, options: Options
    ) -> ClickSession:
        choice, record = options.model, recovered.record()
        session = ClickSession(
            choice.name,
            choice.device,
            precision=choice.precision,
            settings=record.settings,
            **record.options,
        )
        session.resume_record(record, source)
        return session

    def _take_up(self, plane: Plane, session: Any, options: Options) -> Report:
        if (old := self._sessions.get(plane)) is not None:
            old.stop_journal()
        self._sessions[plane] = session
        self._shown[plane] = None  # as on screen now, not as it was then
        self._models.pop(plane, None)
        return replace(
            self.whole(plane, options),
            taken_up=(session.settings, session.refinement),
        )

    def _in_words(self, recovered: Recovered) -> str:
        stats = work_in(recovered.state)
        clicks = stats.current_clicks
        work = "" if recovered.state.draft.blank else "an object in work"
        if clicks:
            work += f" ({clicks} click{'s' if clicks != 1 else ''})"
        if not recovered.state.objects:
            return work
        return f"{stats}, {work}" if work else str(stats)

    def count_anew(self, labels: Any) -> None:
        """Give no id again that another layer of objects has on any plane."""
        self._floor = max(self._floor or 0, _highest(labels))

    def _count_from(self, labels: Any) -> None:
        """Look once what ids there are on planes that are not open."""
        if self._floor is None and labels is not None:
            self._floor = _highest(labels)

    def _next_label(self) -> int:
        """Return the id after the highest one of all planes."""
        used = [self._floor or 0]
        for session in self._sessions.values():
            used += [session.state.objects.next_label - 1, session.opened_label or 0]
        return max(used) + 1

    def _prepare(self, plane: Plane, options: Options) -> None:
        """Give the session its model and its view."""
        session = self._sessions[plane]
        model = self._model(options.model)
        if self._models.get(plane) is not model:
            session.set_model(model)
            self._models[plane] = model
        settings = replace(options.settings, first_look=options.first_look)
        if options.first_look == "published" and getattr(model, "encodes_once", False):
            # As the whole image was prepared, not at its own size.
            settings = replace(settings, max_size=settings.max_size or model.tile_side)
        if options.prepared:  # enlarged tiles are not
            settings = replace(settings, magnify=settings.magnify or 1)
        if session.settings != settings:
            session.settings = settings
        if session.refinement != options.refinement:
            session.refinement = options.refinement

    def _reports(
        self, plane: Plane, changes: dict[Plane, Change], options: Options
    ) -> Report:
        """Report what changed on several planes; first of the one on screen."""
        reports = {p: self._report(p, c, options) for p, c in changes.items()}
        mine = reports.pop(plane, None) or self._report(plane, None, options)
        return replace(mine, others=tuple(reports.values()))

    def _report(self, plane: Plane, change: Change | None, options: Options) -> Report:
        session = self._sessions[plane]
        stats = self._totals.stats({p: s.stats for p, s in self._sessions.items()})
        return Report(
            plane=plane,
            change=change,
            marks=tuple(map(mark_of, session.clicks)),
            stats=stats,
            can_undo=session.can_undo or bool(self.together.to_undo(plane)),
            can_redo=session.can_redo or bool(self.together.to_redo(plane)),
            drafted=session.in_work,
            settled=session.settled,
            model=self._shelf.facts(options.model),
            objects=session.state.objects,
        )


def _highest(labels: Any) -> int:
    """Return the highest id of all planes; 0 where looking would take too long."""
    small = getattr(labels, "nbytes", LARGE) < LARGE
    known = small or isinstance(labels, LazyLabels)
    return int(labels.max(initial=0)) if known else 0
