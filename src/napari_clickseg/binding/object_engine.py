"""Edits of committed objects, used in the worker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_clickseg.binding.engine import Engine
from napari_clickseg.binding.marks import AddMark, MarkEdit
from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.reports import Options, Report
from napari_clickseg.binding.shelf import ModelShelf, Tell
from napari_clickseg.binding.thumbnails import Thumbnail, thumbnails
from napari_clickseg.errors import ClickSegError
from napari_clickseg.session import Change, Overlap
from napari_clickseg.session.masks import as_labels
from napari_clickseg.session.objects import Objects
from napari_clickseg.session.unlabelled import Region

if TYPE_CHECKING:
    from napari_clickseg.boxes import Box
    from napari_clickseg.session import SegmentedObject

__all__ = ["ObjectEngine"]


class ObjectEngine(Engine):
    """One image's sessions; parameters as of :class:`Engine`."""

    def __init__(self, shelf: ModelShelf, tell: Tell) -> None:
        super().__init__(shelf, tell)
        self._measured: dict[Plane, Objects] = {}

    def edit_marks(
        self, plane: Plane, edits: list[MarkEdit], options: Options
    ) -> Report:
        """Do to the clicks what was done to the points; nothing is answered yet.

        With ``options.takes_up`` a first click inside an object takes it up.
        """
        session, first = self._session(plane), edits[0] if edits else None
        if options.takes_up and not session.in_work and isinstance(first, AddMark):
            label = session.label_at(first.mark.position)
            if label:
                return self.call(plane, options, "reopen", label)
        report: Report = super().edit_marks(plane, edits, options)
        return report

    def _report(self, plane: Plane, change: Change | None, options: Options) -> Report:
        """Return what the window is told; sizes of objects are known by then."""
        report = super()._report(plane, change, options)
        before = self._measured.get(plane, Objects())
        for label in report.objects.differing(before):
            if label in report.objects:
                _ = report.objects[label].area
        self._measured[plane] = report.objects
        return report

    def check_labels(
        self, readers: dict[Plane, Callable[[], NDArray[Any]]], others: Any
    ) -> dict[Plane, NDArray[Any]]:
        """Return the labels of planes, if they can be objects.

        Parameters
        ----------
        readers : dict of Plane to callable
        others : array-like of int
            The labels of all planes, whose ids are not to be given again.
        """
        found = {}
        for plane, read in readers.items():
            labels = read()
            as_labels(labels, self._session(plane).shape)
            found[plane] = labels
        self.count_anew(others)
        return found

    def begin_with(
        self, plane: Plane, options: Options, labels: NDArray[Any]
    ) -> Report:
        """Begin a plane anew with objects that are there: they are no step of undo.

        So no undo can write what another layer held over them.
        """
        session = self._session(plane)
        session.set_image(session.image, labels=labels)
        self._floor = max(self._floor or 0, int(labels.max(initial=0)))
        return self._report(plane, None, options)

    def commit(
        self,
        plane: Plane,
        options: Options,
        label: int | None,
        overlap: Overlap | None = None,
    ) -> Report:
        """Commit the object; what was taken up takes no pixel from others."""
        if options.takes_up and overlap is None:
            overlap = "keep"
        return super().commit(plane, options, label, overlap)

    def split(self, plane: Plane, options: Options, label: int, line: Any) -> Report:
        """Cut an object; ids are unique over all planes of the image."""
        session, first = self._session(plane), self._next_label()
        first = max(first, (session.opened_label or 0) + 1)
        check = options.check_label
        if check is None:
            return self.call(plane, options, "split", label, line, first=first)
        check(first)
        report = self.call(plane, options, "split", label, line, first=first)
        try:  # there may be many pieces
            check(session.state.objects.next_label - 1)
        except ClickSegError:
            session.undo()
            raise
        return report

    def relabel(self, plane: Plane, options: Options, label: int, new: int) -> Report:
        """Give an object another id."""
        if options.check_label is not None:
            options.check_label(new)
        return self.call(plane, options, "relabel", label, new)

    def unlabelled(
        self,
        plane: Plane,
        options: Options,
        near: tuple[float, float] | None,
        cancelled: Callable[[], bool],
        skip: Collection[Box] = (),
    ) -> Region | None:
        """Look for what has no object yet, on screen first."""
        return self._session(plane).next_unlabelled(
            options.visible, near, cancelled=cancelled, skip=skip
        )

    def thumbnails(
        self, plane: Plane, wanted: Iterable[SegmentedObject], side: int
    ) -> list[Thumbnail]:
        """Draw small pictures of objects, as many as take no noticeable time."""
        session = self._sessions.get(plane)
        return [] if session is None else thumbnails(session.image, wanted, side)
