"""One thread owns the models and the sessions; answers carry a generation number.

Everything that touches a session runs here, one job after the other, so that
nothing needs a lock and the window stays free. Each viewer has a
:class:`Channel`. An *edit* (a click added, an undo, a commit) is cheap, always
runs, and raises the channel's generation. An *answer* (the network) is tagged
with the generation it was asked for: it is skipped when a newer edit arrived
before it began, and told to stop when one arrives while it runs.

Results go back through the channel's ``deliver`` function, which must run what it
is given in the thread that owns the layers; they arrive in the order the jobs ran.

With ``NAPARI_CLICKSEG_SYNC=1`` every job runs at once in the calling thread.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from napari_clickseg.device import trim_heap
from napari_clickseg.errors import Cancelled, InterruptedWorkError

__all__ = ["Channel", "Job", "Worker", "is_synchronous", "the_learner", "the_worker"]

LOG = logging.getLogger(__name__)
SYNC_VARIABLE = "NAPARI_CLICKSEG_SYNC"

#: After so many seconds without work, free memory goes back to the system.
REST = 2.0

#: Runs a function in the thread that owns the layers, now or soon.
Deliver = Callable[[Callable[[], None]], None]
#: Says whether a job should stop.
CancelCheck = Callable[[], bool]


def is_synchronous() -> bool:
    """Whether the environment asks for jobs that run in the calling thread."""
    return os.environ.get(SYNC_VARIABLE, "").strip() not in {"", "0", "false"}


def run_here(function: Callable[[], None]) -> None:
    """Deliver by calling at once: for scripts without an event loop."""
    function()


@dataclass(eq=False)
class Job:
    """One piece of work and what came of it.

    Attributes
    ----------
    generation : int
        The channel's generation when the job was asked for.
    edits : bool
        Whether it is an edit.
    droppable : bool
        Whether the job is worth nothing once the generation has moved on.
    before : Job or None
        The edit that this answer was asked for.
    value, error
        What the work returned or raised; both None while it waits, and when it
        was dropped.
    dropped : bool
        Whether it was skipped or stopped because it had become stale.
    """

    channel: Channel
    work: Callable[[CancelCheck], Any]
    done: Callable[[Job], None] | None
    generation: int
    edits: bool = False
    droppable: bool = False
    before: Job | None = None
    value: Any = None
    error: Exception | None = None
    dropped: bool = False
    finished: threading.Event = field(default_factory=threading.Event)
    applied: threading.Event = field(default_factory=threading.Event)

    @property
    def stale(self) -> bool:
        """Whether nobody waits for this job any more; for an edit, its journal does."""
        channel = self.channel
        return (channel.closed and not self.edits) or (
            self.droppable and self.generation != channel.generation
        )

    def run(self) -> None:
        """Do the work, keep the outcome and hand it to the channel."""
        try:
            if self.stale:
                self.dropped = True
            else:
                self.value = self.work(lambda: self.stale)
        except Cancelled as error:
            self.dropped = self.stale
            self.error = None if self.stale else error
        except Exception as error:  # noqa: BLE001  (told to the user, not lost)
            self.error = error
        self.channel._hand_over(self)  # noqa: SLF001

    def interrupted(self, by: BaseException) -> None:
        """Say of a job whose thread was ended that it was: it is not run again.

        Whether it had done its work by then, nobody knows.
        """
        if not self.finished.is_set():
            self.value = None
            self.error = InterruptedWorkError(
                f"The model's thread was ended in its work ({type(by).__name__}) and "
                "goes on anew. What is on screen is kept; if an edit is missing, "
                "make it again."
            )
            self.channel._hand_over(self)  # noqa: SLF001


class Channel:
    """The line between one viewer and the worker.

    Made by :meth:`Worker.channel`; used from the thread that owns the layers.
    """

    def __init__(self, worker: Worker, deliver: Deliver) -> None:
        self._worker = worker
        self._deliver = deliver
        self._owner = threading.get_ident()
        self._outbox: deque[Callable[[], None]] = deque()
        self._pending = 0
        self._pending_edits = 0
        self._lock = threading.Lock()
        #: Called in the owner's thread when no job is left.
        self.idle: Callable[[], None] | None = None
        self.generation = 0
        self.closed = False

    @property
    def queues(self) -> bool:
        """Whether functions that are told run later, not at once."""
        return self._deliver is not run_here

    @property
    def owned(self) -> bool:
        """Whether this is the thread that owns the channel and the layers."""
        return threading.get_ident() == self._owner

    @property
    def pending(self) -> int:
        """Jobs whose results have not been applied yet."""
        return self._pending

    @property
    def pending_edits(self) -> int:
        """Edits among them."""
        return self._pending_edits

    def edit(
        self,
        work: Callable[[CancelCheck], Any],
        done: Callable[[Job], None] | None = None,
    ) -> Job:
        """Ask for work that must happen; answers asked for before become stale."""
        with self._lock:
            self.generation += 1
            self._pending_edits += 1
        return self._submit(work, done, edits=True)

    def answer(
        self,
        work: Callable[[CancelCheck], Any],
        done: Callable[[Job], None] | None = None,
        before: Job | None = None,
    ) -> Job:
        """Ask for work that is worth something only until the next edit."""
        return self._submit(work, done, droppable=True, before=before)

    def chore(
        self,
        work: Callable[[CancelCheck], Any],
        done: Callable[[Job], None] | None = None,
    ) -> Job:
        """Ask for work that must happen but changes nothing that is shown."""
        return self._submit(work, done)

    def tell(self, function: Callable[[], None]) -> None:
        """Run a function in the owner's thread, after what was handed over before.

        May be called from any thread.
        """
        if not self.closed:
            self._outbox.append(lambda: None if self.closed else function())
            self._deliver(self.flush)

    def make_stale(self) -> None:
        """Drop the answers that are waiting and stop the one that runs."""
        with self._lock:
            self.generation += 1

    def wait(self, job: Job, timeout: float | None = None) -> bool:
        """Block until the result of ``job`` has been applied.

        In the owner's thread the results are applied here, as its event loop
        stands still; in any other thread this waits for the owner to do so.
        """
        if not self.owned:
            return job.applied.wait(timeout)
        if not job.finished.wait(timeout):
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Apply the results that have arrived (in the owner's thread)."""
        while True:
            try:
                function = self._outbox.popleft()
            except IndexError:
                return
            try:
                function()
            except BaseException:
                if self._outbox:  # what waits behind it must not get stuck
                    self._deliver(self.flush)
                raise

    def close(self) -> None:
        """Forget all work but edits that wait; nothing is delivered any more."""
        self.closed = True
        self._worker.release(self)
        self.flush()

    def _submit(
        self,
        work: Callable[[CancelCheck], Any],
        done: Callable[[Job], None] | None,
        *,
        edits: bool = False,
        droppable: bool = False,
        before: Job | None = None,
    ) -> Job:
        with self._lock:
            self._pending += 1
        job = Job(self, work, done, self.generation, edits, droppable, before)
        self._worker.submit(job)
        return job

    def _hand_over(self, job: Job) -> None:
        if self.closed:
            job.finished.set()
            job.applied.set()
            return
        # Who waits for `finished` in the owner's thread finds it in the outbox.
        self._outbox.append(partial(self._apply, job))
        job.finished.set()
        self._deliver(self.flush)

    def _apply(self, job: Job) -> None:
        with self._lock:
            self._pending -= 1
            self._pending_edits -= job.edits
        try:
            if job.done is not None and not self.closed:
                job.done(job)
        finally:
            job.applied.set()
        if self.idle is not None and not (self._pending or self.closed):
            self.idle()


class Worker:
    """A thread that lives while there is a channel, and the queue in front of it."""

    def __init__(
        self, synchronous: bool | None = None, name: str = "napari-clickseg"
    ) -> None:
        self._forced = synchronous
        self._name = name
        self._queue: deque[Job] = deque()
        self._wake = threading.Condition()
        self._channels: set[Channel] = set()
        self._thread: threading.Thread | None = None
        self._job: Job | None = None
        self._rested = True

    @property
    def synchronous(self) -> bool:
        """Whether jobs run in the calling thread."""
        return is_synchronous() if self._forced is None else self._forced

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread is not None and self._thread.is_alive()

    def channel(self, deliver: Deliver = run_here) -> Channel:
        """Open a line for one viewer, owned by the calling thread."""
        channel = Channel(self, deliver)
        with self._wake:
            self._channels.add(channel)
        return channel

    def submit(self, job: Job) -> None:
        """Queue a job (or run it, when synchronous)."""
        if self.synchronous:
            job.run()
            if job.channel.owned:  # also where results wait for an event loop
                job.channel.flush()
            return
        with self._wake:
            self._queue.append(job)
            if not self.alive:
                self._start()
            self._wake.notify()

    def release(self, channel: Channel) -> None:
        """Forget a channel; the thread ends after the last one."""
        with self._wake:
            self._channels.discard(channel)
            self._wake.notify()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread once the running job has stopped."""
        for channel in list(self._channels):
            channel.close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        """Work until nobody needs it; whatever ends it before, another one goes on."""
        try:
            while True:
                try:
                    self._work()
                    return
                # A library that calls sys.exit(), an exception that was set in this
                # thread from another one: neither may take the clicks along.
                except BaseException as error:
                    LOG.exception("The thread %s was ended in its work", self._name)
                    self._give_up(error)
        finally:
            with self._wake:
                mine = self._thread is threading.current_thread()
                if mine and (self._queue or self._channels):
                    self._give_up(SystemExit())
                    self._start()

    def _give_up(self, error: BaseException) -> None:
        """Hand over the job that was in work, as one that was interrupted."""
        job, self._job = self._job, None
        if job is not None:
            job.interrupted(error)

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._queue:
                    if not self._channels:
                        # Cleared under the lock, so that the next submit
                        # starts a new thread.
                        self._thread = None
                        return
                    if not self._wake.wait(None if self._rested else REST):
                        break
                if self._queue:
                    self._job = self._queue.popleft()
            if self._job is None:
                self._rested = True
                trim_heap()
                continue
            self._rested = False
            try:
                self._job.run()
            except Exception:
                LOG.exception("A result could not be handed over")
            self._job = None  # its results must not live until the next job


_WORKER, _LEARNER = Worker(), Worker(name="napari-clickseg-learner")


def the_worker() -> Worker:
    """Return the worker that all viewers of this process share."""
    return _WORKER


def the_learner() -> Worker:
    """Return the worker that finetunes, one model after the other.

    A thread of its own: clicks are answered meanwhile.
    """
    return _LEARNER


# A thread inside native code while Python shuts down can crash the process.
atexit.register(_WORKER.stop)
atexit.register(_LEARNER.stop, 30.0)  # writes down how far it has come
