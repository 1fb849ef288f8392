"""The thread between the layers and the sessions."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest

from napari_clickseg import worker as worker_module
from napari_clickseg.errors import Cancelled, ClickError, InterruptedWorkError
from napari_clickseg.worker import Worker, is_synchronous, the_worker


class Loop:
    """An event loop that a test turns by hand."""

    def __init__(self):
        self.waiting = deque()
        self.arrived = threading.Event()

    def deliver(self, function):
        self.waiting.append(function)
        self.arrived.set()

    def turn(self, until, limit=10.0):
        end = time.monotonic() + limit
        while not until():
            assert time.monotonic() < end, "nothing came"
            if self.waiting:
                self.waiting.popleft()()
            else:
                time.sleep(0.002)


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def worker():
    worker = Worker(synchronous=False)
    yield worker
    worker.stop()


@pytest.fixture
def channel(worker, loop):
    return worker.channel(loop.deliver)


def test_jobs_run_in_one_thread_in_order(channel, loop):
    done = []
    for number in range(20):
        channel.edit(
            lambda _, n=number: (n, threading.current_thread().name),
            lambda job: done.append(job.value),
        )
    loop.turn(lambda: not channel.pending)
    assert [n for n, _ in done] == list(range(20))
    assert {name for _, name in done} == {"napari-clickseg"}


def test_results_are_applied_in_the_owners_thread(channel, loop):
    names = []
    channel.edit(lambda _: 1, lambda _: names.append(threading.current_thread()))
    loop.turn(lambda: not channel.pending)
    assert names == [threading.current_thread()]


def test_stale_answers_are_skipped_and_stopped(channel, loop):
    started, steps, done = threading.Event(), [], []

    def long(cancelled):
        started.set()
        for _ in range(500):
            if cancelled():
                raise Cancelled("stopped")
            steps.append(1)
            time.sleep(0.01)

    running = channel.answer(long, done.append)
    waiting = channel.answer(lambda _: steps.append("never"), done.append)
    assert started.wait(5)
    edit = channel.edit(lambda _: "edited", done.append)
    loop.turn(lambda: not channel.pending)
    assert running.dropped
    assert running.error is None
    assert waiting.dropped
    assert edit.value == "edited"
    assert "never" not in steps
    assert len(steps) < 400
    assert done == [running, waiting, edit], "in order, whatever came of them"


def test_edits_and_chores_are_never_dropped(channel, loop):
    done = []
    channel.edit(lambda _: time.sleep(0.05))
    for number in range(5):
        channel.chore(lambda _, n=number: done.append(n))
        channel.edit(lambda _: None)
    channel.make_stale()
    loop.turn(lambda: not channel.pending)
    assert done == list(range(5))


def test_a_cancel_that_nobody_asked_for_is_told(channel, loop):
    def work(_):
        raise Cancelled("the download was stopped")

    job = channel.answer(work)
    loop.turn(lambda: not channel.pending)
    assert isinstance(job.error, Cancelled)


def test_errors_come_with_the_job(channel, loop):
    def work(_):
        raise ClickError("outside")

    jobs = []
    channel.edit(work, jobs.append)
    channel.edit(lambda _: 5, jobs.append)
    loop.turn(lambda: not channel.pending)
    assert isinstance(jobs[0].error, ClickError)
    assert jobs[1].value == 5


def test_waiting_applies_what_arrived(channel):
    done = []
    channel.edit(lambda _: time.sleep(0.05), lambda _: done.append("first"))
    job = channel.edit(lambda _: None, lambda _: done.append("second"))
    assert channel.wait(job, 10)
    assert done == ["first", "second"]
    assert not channel.wait(channel.edit(lambda _: time.sleep(0.5)), 0.01)


def test_waiting_in_another_thread(channel, loop):
    results = []

    def script():
        job = channel.edit(lambda _: 1, lambda _: results.append("applied"))
        assert channel.wait(job, 10)
        results.append("went on")

    thread = threading.Thread(target=script)
    thread.start()
    loop.turn(lambda: not thread.is_alive())
    assert results == ["applied", "went on"]


def test_a_failing_listener_does_not_block_the_others(channel, loop):
    done = []

    def fail(_):
        raise ZeroDivisionError

    channel.edit(lambda _: None, fail)
    channel.edit(lambda _: None, done.append)
    with pytest.raises(ZeroDivisionError):
        loop.turn(lambda: not channel.pending)
    loop.turn(lambda: not channel.pending)
    assert len(done) == 1


def test_closing_forgets_all_but_edits_and_ends_the_thread(worker, loop):
    first, second = worker.channel(loop.deliver), worker.channel(loop.deliver)
    made, done = [], []
    first.edit(lambda _: time.sleep(0.05))
    first.edit(lambda _: made.append("edit"), done.append)
    first.answer(lambda _: made.append("answer"), done.append)
    job = first.chore(lambda _: made.append("chore"), done.append)
    first.close()
    assert job.applied.wait(5)
    assert made == ["edit"]  # on disk; nobody is told
    assert done == []
    second.edit(lambda _: done.append("second"))
    loop.turn(lambda: not second.pending)
    assert worker.alive
    second.close()
    end = time.monotonic() + 5
    while worker.alive:
        assert time.monotonic() < end
        time.sleep(0.01)
    third = worker.channel(loop.deliver)
    third.edit(lambda _: done.append("third"))
    loop.turn(lambda: not third.pending)
    assert done == ["second", "third"]


def test_two_channels_share_the_thread_but_not_the_generation(worker, loop):
    first, second = worker.channel(loop.deliver), worker.channel(loop.deliver)
    slow = first.edit(lambda _: time.sleep(0.05))
    answer = first.answer(lambda _: "kept")
    second.edit(lambda _: None)
    loop.turn(lambda: not first.pending and not second.pending)
    assert slow.finished.is_set()
    assert answer.value == "kept"


def test_synchronous_needs_no_event_loop(loop):
    channel, done = Worker(synchronous=True).channel(loop.deliver), []
    channel.edit(lambda _: 1, lambda job: done.append(job.value))
    assert done == [1]


def test_synchronous(monkeypatch):
    monkeypatch.setenv("NAPARI_CLICKSEG_SYNC", "1")
    assert is_synchronous()
    assert the_worker().synchronous
    done = []
    channel = the_worker().channel()
    channel.edit(lambda _: threading.current_thread(), lambda j: done.append(j.value))
    assert done == [threading.current_thread()]
    channel.close()
    monkeypatch.setenv("NAPARI_CLICKSEG_SYNC", "0")
    assert not is_synchronous()


class Unexpected(BaseException):
    """What no handler for ordinary errors catches."""


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, Unexpected])
def test_a_job_that_ends_the_thread_takes_no_other_along(channel, loop, kind):
    """Edits that wait behind it are done, each once; it itself is not run again."""
    begun, done = [], []
    gate = threading.Event()

    def end(_):
        begun.append("ended")
        gate.wait(10)
        raise kind("enough")

    dying = channel.edit(end, done.append)
    jobs = [channel.edit(lambda _, n=n: begun.append(n), done.append) for n in range(5)]
    gate.set()
    loop.turn(lambda: not channel.pending)
    assert begun == ["ended", 0, 1, 2, 3, 4]
    assert done == [dying, *jobs]
    assert isinstance(dying.error, InterruptedWorkError)
    assert kind.__name__ in str(dying.error)
    assert not any(job.error or job.dropped for job in jobs)


def test_an_exception_set_from_elsewhere_while_it_waits(channel, worker, loop):
    """As debuggers and some libraries do to threads: not in a job at all."""
    import ctypes

    first = channel.edit(lambda _: threading.get_ident())
    loop.turn(lambda: not channel.pending)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(first.value), ctypes.py_object(SystemExit)
    )
    for number in range(3):
        job = channel.edit(lambda _, n=number: n)
        loop.turn(lambda: not channel.pending)
        # Where the exception hit a job, it is told; the ones after it are done.
        assert job.value == number or isinstance(job.error, InterruptedWorkError)
    assert job.value == 2
    assert worker.alive


def test_a_thread_that_is_gone_is_replaced(channel, worker, loop, monkeypatch):
    """Even what is left of the thread fails: another one takes over the queue."""
    begun, names = [], set()
    real = Worker._give_up

    def fail_once(self, error):
        monkeypatch.setattr(Worker, "_give_up", real)
        raise MemoryError

    monkeypatch.setattr(Worker, "_give_up", fail_once)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    gate = threading.Event()

    def end(_):
        names.add(threading.get_ident())
        gate.wait(10)
        raise SystemExit

    def go_on(_, n):
        names.add(threading.get_ident())
        begun.append(n)

    dying = channel.edit(end)
    jobs = [channel.edit(lambda _, n=n: go_on(_, n)) for n in range(3)]
    gate.set()
    loop.turn(lambda: not channel.pending)
    assert begun == [0, 1, 2]
    assert len(names) == 2, "another thread"
    assert isinstance(dying.error, InterruptedWorkError)
    assert all(job.error is None for job in jobs)


def test_free_memory_goes_back_when_nothing_is_to_do(worker, loop, monkeypatch):
    trimmed = []
    monkeypatch.setattr(worker_module, "trim_heap", lambda: trimmed.append(1))
    monkeypatch.setattr(worker_module, "REST", 0.05)
    channel = worker.channel(loop.deliver)
    channel.edit(lambda _: None)
    loop.turn(lambda: bool(trimmed))
    time.sleep(0.2)
    assert len(trimmed) == 1, "once, until it has worked again"
    channel.edit(lambda _: None)
    loop.turn(lambda: len(trimmed) == 2)
