"""Clicks in a napari viewer: one session for the dock, the keys and the console.

Works on napari's ``ViewerModel``; Qt is needed only where there is a window.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.controller import Controller
from napari_clickseg.binding.engine import Report
from napari_clickseg.binding.marks import AddMark, Mark
from napari_clickseg.binding.navigation import Navigation
from napari_clickseg.binding.shelf import ModelChoice, ModelShelf
from napari_clickseg.errors import ClickError, SessionError
from napari_clickseg.session import Change, ClickSession, SessionStats
from napari_clickseg.worker import Job, Worker, the_worker

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_clickseg.binding.engine import Engine
    from napari_clickseg.binding.planes import Plane
    from napari_clickseg.clicks import Clicks
    from napari_clickseg.worker import Deliver

__all__ = ["ViewerClicks", "attach"]

T = TypeVar("T")

#: Loaded models, shared by all viewers.
_SHELF = ModelShelf()


def attach(viewer: Any, image: Any = None) -> ViewerClicks:
    """Return the click session of a viewer: the one that its dock shows.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
        Called again for the same viewer, the same object comes back.
    image : Image layer or its name, optional
        What to click on; default: the selected image, else the topmost.

    Returns
    -------
    ViewerClicks
        With the methods of :class:`napari_clickseg.ClickSession`; each returns
        when its result is in the layers.

    Examples
    --------
    >>> import napari_clickseg  # doctest: +SKIP
    >>> ui = napari_clickseg.attach(viewer)  # doctest: +SKIP
    >>> ui.add_click((120, 200))  # doctest: +SKIP
    >>> ui.commit()  # doctest: +SKIP
    1
    """
    viewer = unwrapped(viewer)
    clicks = _ATTACHED.get(viewer)
    if clicks is None:
        clicks = _new_clicks(viewer)
        _ATTACHED[viewer] = clicks
        weakref.finalize(viewer, clicks.close)
    if image is not None:
        layer = viewer.layers[image] if isinstance(image, str) else unwrapped(image)
        clicks.set_image_layer(layer)
    elif clicks.image is None:
        clicks.set_image_layer(clicks.choose_image())
    return clicks


def unwrapped(thing: Any) -> Any:
    """Return the object behind napari's proxy for plugins."""
    while type(thing).__name__.endswith("PublicOnlyProxy"):
        thing = thing.__wrapped__
    return thing


class ViewerClicks(Navigation, Controller):
    """The clicks of one viewer, with the names of :class:`ClickSession`.

    Positions are ``(row, col)`` in data coordinates of the plane on screen. The
    methods may be called from any thread; errors are raised, and also said in the
    dock. Made by :func:`attach`.
    """

    # ---------------------------------------------------------------- as ClickSession

    def add_click(
        self, position: Sequence[float], positive: bool = True, *, settle: bool = True
    ) -> Change:
        """Add a click on the plane on screen, and answer it."""
        row, col = _pair(position)
        edits = [AddMark(Mark(row, col, bool(positive)))]
        return self._run(
            lambda: self.edit(
                lambda engine, plane, o: engine.edit_marks(plane, list(edits), o),
                settle=settle,
            )
        )

    def move_click(
        self, index: int, position: Sequence[float], *, settle: bool = True
    ) -> Change:
        """Move a click (negative: from the end), and answer anew."""
        place = _pair(position)
        return self._call("move_click", index, place, predict=False, settle_=settle)

    def remove_click(self, index: int, *, settle: bool = True) -> Change:
        """Remove a click (negative: from the end), and answer anew."""
        return self._call("remove_click", index, predict=False, settle_=settle)

    def set_clicks(self, clicks: Any, *, settle: bool = True) -> Change:
        """Replace all clicks of the object in work."""
        return self._call("set_clicks", list(clicks), predict=False, settle_=settle)

    def set_mask(self, mask: Any) -> Change:
        """Start from a mask (H, W), or correct the answer by one."""
        return self._call("set_mask", mask)

    def set_labels(self, labels: Any) -> Change:
        """Take over a label image (H, W) as the objects of the plane."""
        return self._call("set_labels", labels)

    def undo(self) -> Change | None:
        """Take back the newest edit, mask or commit of this plane."""
        return self._call("undo") if self._can("can_undo") else None

    def redo(self) -> Change | None:
        """Bring back what undo took."""
        return self._call("redo") if self._can("can_redo") else None

    def commit(self, label: int | None = None) -> int:
        """Make the mask an object; returns its id."""
        before = self._boxes()
        report = self._report_of(lambda: self.commit_job(label))
        if report.change is not None and report.change.label is not None:
            return report.change.label
        return next(iter(set(report.boxes) - set(before)), max(report.boxes))

    def reopen(self, label: int) -> Change:
        """Take a committed object back into work, with its clicks."""
        return self._call("reopen", label)

    def delete(self, label: int) -> Change:
        """Remove a committed object."""
        return self._call("delete", label)

    def discard(self) -> Change:
        """Drop the object in work."""
        return self._call("discard")

    def save(self, path: str | Path) -> Path:
        """Write the session of the plane on screen to a file."""
        target = Path(path)
        saved = self._with_engine(lambda engine, plane: engine.save(plane, target))
        return Path(saved)

    @property
    def session(self) -> ClickSession:
        """The session of the plane on screen; change it only by the methods here."""
        found: ClickSession = self._with_engine(
            lambda engine, plane: engine.session(plane)
        )
        return found

    @property
    def clicks(self) -> Clicks:
        """The clicks of the object in work."""
        return self.session.clicks

    @property
    def probability(self) -> NDArray[np.float32]:
        """How sure the model is of each pixel of the plane."""
        return self.session.probability

    @property
    def result(self) -> NDArray[Any]:
        """The mask, as the task makes it of the probability."""
        return self.session.result

    @property
    def labels(self) -> NDArray[np.int32]:
        """The committed objects of the plane."""
        return self.session.labels

    @property
    def stats(self) -> SessionStats:
        """Clicks and seconds for each object, of all planes."""
        report = self.report
        return SessionStats((), 0) if report is None else report.stats

    # ------------------------------------------------------------------------- dock

    def set_model(
        self,
        name: str | None = None,
        device: str | None = None,
        precision: str | None = None,
    ) -> None:
        """Answer with another model, or elsewhere, from the next click on."""
        old = self.model
        self.model = ModelChoice(
            name or old.name, device or old.device, precision or old.precision
        )
        self.changed.emit()

    def stop(self) -> None:
        """Stop a download, and answers that nobody needs."""
        self._channel.make_stale()
        if self.context is not None:
            self.context.engine.stop_loading = True

    # ------------------------------------------------------------------------ parts

    def _boxes(self) -> dict[int, Any]:
        return {} if self.report is None else self.report.boxes

    def _can(self, what: str) -> bool:
        self._with_engine(lambda *_: None)
        return self.report is not None and bool(getattr(self.report, what))

    def _with_engine(self, work: Callable[[Engine, Plane], Any]) -> Any:
        """Return what ``work`` finds in the worker, after all that was asked for."""

        def start() -> Job:
            context, plane = self._open(None)
            return self._channel.chore(lambda _: work(context.engine, plane))

        return self._wait(self._in_owner(start))

    def _call(self, name: str, *args: Any, settle_: bool = True, **named: Any) -> Any:
        return self._run(
            lambda: self.edit(
                lambda engine, plane, o: engine.call(plane, o, name, *args, **named),
                settle=settle_,
            )
        )

    def _run(self, start: Callable[[], Job]) -> Change:
        change = self._report_of(start).change
        if change is None:  # nothing was left to answer: the edit said it all
            return self.session.change
        return change

    def _report_of(self, start: Callable[[], Job]) -> Report:
        """Start a job in the owner's thread and return its report."""
        report: Report = self._wait(self._in_owner(start))
        return report

    def _in_owner(self, function: Callable[[], T]) -> T:
        """Run a function in the thread that owns the layers, and wait for it."""
        if self._channel.owned:
            return function()
        results: list[T] = []
        failures: list[Exception] = []
        ready = threading.Event()

        def run() -> None:
            try:
                results.append(function())
            except Exception as error:  # noqa: BLE001  (raised in the calling thread)
                failures.append(error)
            ready.set()

        self._channel.tell(run)
        ready.wait()
        if failures:
            raise failures[0]
        return results[0]

    def _wait(self, job: Job) -> Any:
        self._channel.wait(job)
        for each in (job.before, job):
            if each is not None and each.error is not None:
                raise each.error
        if job.dropped:
            raise SessionError("This was overtaken by a newer click: try it again.")
        return job.value


def _pair(position: Sequence[float]) -> tuple[float, float]:
    try:
        row, col = (float(value) for value in position)
    except (TypeError, ValueError):
        raise ClickError(
            f"A position is (row, col) in the plane on screen, not {position!r}."
        ) from None
    return row, col


def _new_clicks(viewer: ViewerModel) -> ViewerClicks:
    """Connect a viewer with the worker, through Qt where it has a window."""
    deliver: Deliver | None = None
    if getattr(viewer, "window", None) is not None:
        from napari_clickseg.main_thread import MainThread

        deliver = MainThread().run
    if deliver is None:
        # Without an event loop nobody would apply results that come later.
        return ViewerClicks(viewer, Worker(synchronous=True).channel(), _SHELF)
    return ViewerClicks(viewer, the_worker().channel(deliver), _SHELF)


_ATTACHED: weakref.WeakKeyDictionary[ViewerModel, ViewerClicks] = (
    weakref.WeakKeyDictionary()
)
