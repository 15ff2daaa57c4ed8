"""Threads that read requests: one that does, and as many as wait."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from modfs.fuse import workers as subject
from modfs.fuse.workers import Worker, Workers


class Requests:
    """A connection whose requests are functions of a worker; None is the end."""

    def __init__(self, signal_number: int = signal.SIGUSR1) -> None:
        self.queue: queue.Queue[tuple[int, Callable[[Worker], None]] | None] = queue.Queue()
        self.left = threading.Event()
        self.workers = Workers(self._read, signal_number, self.left.set)
        self.most = 0  # threads that were there at once

    def _read(self, worker: Worker) -> None:
        while not self.workers.over:
            request = self.queue.get()
            self.most = max(self.most, self.workers._threads)
            if request is None:
                self.queue.put(None)
                return self.workers.stop()
            unique, work = request
            self.workers.begin(worker, unique)
            work(worker)
            if not self.workers.end(worker, unique):
                return


@contextmanager
def serving() -> Iterator[Requests]:
    requests = Requests()
    requests.workers.start()
    yield requests
    requests.queue.put(None)
    requests.workers.wait()
    assert requests.left.wait(20)


def test_somebody_reads_while_others_wait() -> None:
    free, begun = threading.Event(), threading.Semaphore(0)

    def wait(worker: Worker) -> None:
        begun.release()
        assert free.wait(20)

    with serving() as requests:
        for unique in range(30):
            requests.queue.put((unique, wait))
        for _ in range(30):
            assert begun.acquire(timeout=20)
        done = threading.Event()
        requests.queue.put((99, lambda worker: done.set()))
        assert done.wait(20)
        free.set()


def test_who_tells_that_it_waits_is_not_noticed_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "PATIENCE", 3600.0)
    free, begun = threading.Event(), threading.Semaphore(0)

    def wait(worker: Worker) -> None:
        begun.release()
        requests.workers.waits()
        assert free.wait(20)

    with serving() as requests:
        for unique in range(30):
            requests.queue.put((unique, wait))
        for _ in range(30):
            assert begun.acquire(timeout=20)
        free.set()


def test_nobody_watches_where_nothing_begins() -> None:
    with serving() as requests:
        requests.queue.put((1, lambda worker: None))
        deadline = time.monotonic() + 20
        while requests.workers._watcher is None or requests.workers._watches:
            assert time.monotonic() < deadline
        begun = threading.Event()
        requests.queue.put((2, lambda worker: begun.set()))  # and it is woken again
        assert begun.wait(20)
        while requests.workers._watches:
            assert time.monotonic() < deadline


def test_few_are_kept_asleep() -> None:
    free, begun = threading.Event(), threading.Semaphore(0)

    def wait(worker: Worker) -> None:
        begun.release()
        assert free.wait(20)

    with serving() as requests:
        for unique in range(30):
            requests.queue.put((unique, wait))
        for _ in range(30):
            assert begun.acquire(timeout=20)
        free.set()
        deadline = time.monotonic() + 20
        while requests.workers._threads > subject._SPARE + 1:
            assert time.monotonic() < deadline
        assert len(requests.workers._spare) <= subject._SPARE


def test_what_never_waits_takes_few_threads() -> None:
    with serving() as requests:
        for unique in range(200):
            requests.queue.put((unique, lambda worker: None))
        done = threading.Event()
        requests.queue.put((999, lambda worker: done.set()))
        assert done.wait(20)
        assert requests.most <= 4


def test_the_end_waits_for_what_is_under_way() -> None:
    free, begun = threading.Event(), threading.Event()
    ended: list[bool] = []

    def wait(worker: Worker) -> None:
        begun.set()
        free.wait(20)
        ended.append(True)

    with serving() as requests:
        requests.queue.put((1, wait))
        assert begun.wait(20)
        threading.Timer(0.1, free.set).start()
    assert ended


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """Then the operation is done by who has read it, and nobody reads meanwhile."""
    done = threading.Event()

    def refuse(self: threading.Thread) -> None:
        raise error("can't start new thread")

    with serving() as requests:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            requests.queue.put((1, lambda worker: None))
            requests.queue.put((2, lambda worker: done.set()))
            assert done.wait(20)
        assert requests.workers._threads == 1


def test_a_thread_that_fails_is_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """Else nobody might read any more, and whoever asks would wait for ever."""

    def fail(worker: Worker) -> None:
        raise ValueError("never expected")

    requests = Requests()
    requests.workers = Workers(fail, signal.SIGUSR1, requests.left.set)
    requests.workers.start()
    requests.workers.wait()
    assert requests.left.wait(20)
    assert "never expected" in caplog.text


# -- signals --------------------------------------------------------------------------------------


def test_a_thread_that_fails_is_the_end_though_it_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without memory, logging fails as well."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(subject.log, "exception", fail)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    left = threading.Event()
    workers = Workers(fail, signal.SIGUSR2, left.set)
    workers.start()
    assert left.wait(10)
    assert workers.over


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Threads that a signal went to; nothing waits long before it is sent again."""
    found: list[int] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda ident, number: found.append(ident))
    monkeypatch.setattr(signal, "getsignal", lambda number: lambda *_: None)
    monkeypatch.setattr(subject, "_AGAIN", 0.01)
    return found


def test_a_signal_of_whose_operation_waits(sent: list[int]) -> None:
    told, free = queue.Queue[tuple[int, Worker]](), threading.Event()

    def wait(number: int, worker: Worker) -> None:
        told.put((number, worker))
        assert free.wait(20)

    with serving() as requests:
        for number in (1, 2):
            requests.queue.put((number, partial(wait, number)))
        waiting = dict(told.get(timeout=20) for _ in range(2))
        one, other = waiting[1], waiting[2]
        requests.workers.interrupt(1)
        assert (one.interrupted, other.interrupted) == (True, False)
        deadline = time.monotonic() + 20
        while len(sent) < 3:  # again, as long as it goes on
            assert time.monotonic() < deadline
        free.set()
    assert set(sent) == {one.ident}
    assert not requests.workers._reminds or _settles(requests)


def _settles(requests: Requests) -> bool:
    deadline = time.monotonic() + 20
    while requests.workers._reminds:
        assert time.monotonic() < deadline
    return True


def test_a_signal_that_comes_before_the_operation_begins(sent: list[int]) -> None:
    found = queue.Queue[bool]()
    with serving() as requests:
        requests.workers.interrupt(7)
        for unique, expected in ((7, True), (8, False)):
            requests.queue.put((unique, lambda worker: found.put(worker.interrupted)))
            assert found.get(timeout=20) is expected
        assert not requests.workers._early
    assert not sent


def test_signals_of_what_is_over_do_not_pile_up(sent: list[int]) -> None:
    with serving() as requests:
        for unique in range(10 * subject._EARLY):
            requests.workers.interrupt(unique)
        assert len(requests.workers._early) == subject._EARLY


def test_without_a_handler_nobody_is_killed() -> None:
    """The rule for SIGUSR1 is to end the process."""
    begun, free = threading.Event(), threading.Event()

    def wait(worker: Worker) -> None:
        begun.set()
        free.wait(20)

    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    with serving() as requests:
        requests.queue.put((1, wait))
        assert begun.wait(20)
        requests.workers.interrupt(1)
        free.set()
