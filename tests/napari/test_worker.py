"""The thread between the layers and the sessions."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest

from napari_clickseg.errors import Cancelled, ClickError
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


def test_closing_forgets_work_and_ends_the_thread(worker, loop):
    first, second = worker.channel(loop.deliver), worker.channel(loop.deliver)
    done = []
    first.edit(lambda _: time.sleep(0.05))
    job = first.edit(lambda _: done.append("ran"), done.append)
    first.close()
    assert job.applied.wait(5)
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
