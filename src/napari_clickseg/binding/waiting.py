"""What scripts do whatever the task is, from whatever thread: they wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from numpy.typing import NDArray

from napari_clickseg.binding.context import E
from napari_clickseg.binding.image_jobs import ImageJobs
from napari_clickseg.binding.planes import Plane
from napari_clickseg.clicks import Clicks
from napari_clickseg.errors import ImageError, SessionError
from napari_clickseg.session import Change, SessionStats

if TYPE_CHECKING:
    from napari_clickseg.worker import Job

__all__ = ["Waiting"]

T = TypeVar("T")


class Waiting(ImageJobs[E], Generic[E]):
    """Jobs that a script may wait for; parameters as of :class:`ImageJobs`."""

    # -------------------------------------------------------------------- reading

    @property
    def session(self) -> Any:
        """The session of the plane on screen; change it only by the methods here."""

        def find(engine: Any, plane: Plane) -> Any:
            return engine.session(plane)

        return self._ask_engine(find)

    @property
    def clicks(self) -> Clicks:
        """The clicks in work."""
        clicks: Clicks = self.session.clicks
        return clicks

    @property
    def result(self) -> NDArray[Any]:
        """What the task makes of the answer ``(H, W)``; for segmentation the mask."""
        result: NDArray[Any] = self.session.result
        return result

    @property
    def stats(self) -> SessionStats:
        """Clicks and seconds for each result that was kept, of all planes."""
        latest = None if self.context is None else self.context.latest
        return SessionStats((), 0) if latest is None else latest.stats

    @property
    def model_name(self) -> str:
        """Name or file of the model."""
        return self.model_choice.name

    # ------------------------------------------------------------------ image, files

    def set_image(self, image: Any, **keywords: Any) -> None:
        """Click on another image: a layer, its name, or an array to be added.

        ``keywords`` go to ``viewer.add_image`` with an array.
        """

        def choose() -> None:
            layer = image
            if isinstance(image, str):
                layer = self.viewer.layers[image]
            elif not hasattr(image, "data_to_world"):
                layer = self.viewer.add_image(image, **keywords)
            if layer not in self.images():
                raise ImageError(
                    f"'{layer}' is no image of this viewer: add it to the viewer first."
                )
            self.set_image_layer(layer)

        self._in_owner(choose)

    def stop(self) -> None:
        """Stop a download, and answers that nobody needs."""
        self._channel.make_stale()
        if self.context is not None:
            engine: Any = self.context.engine
            engine.stop_loading = True

    def save(self, path: str | Path) -> Path:
        """Write the session of the plane on screen to a file."""
        target = Path(path)

        def write(engine: Any, plane: Plane) -> Path:
            return Path(engine.save(plane, target))

        written: Path = self._ask_engine(write)
        return written

    def load(self, path: str | Path) -> Change:
        """Take up a session from a file that :meth:`save` wrote of this plane."""
        source = Path(path)

        def start() -> Job:
            image = self.plane_source()

            def read(engine: Any, plane: Plane, options: Any) -> Any:
                return engine.load(plane, image, options, source)

            return self.edit(read)

        return self._change(start)

    # ----------------------------------------------------------------------- parts

    def _change(self, start: Callable[[], Job]) -> Change:
        """Start a job and return what changed."""
        report: Any = self._wait(self._in_owner(start))
        # Where nothing was left to answer, the edit said it all.
        return self.session.change if report.change is None else report.change

    def _ask_engine(self, work: Callable[[E, Plane], Any]) -> Any:
        """Return what ``work`` finds in the worker, after all that was asked for."""

        def start() -> Job:
            context, plane = self._open(None)
            return self._channel.chore(lambda _: work(context.engine, plane))

        return self._wait(self._in_owner(start))

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
