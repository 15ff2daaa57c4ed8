"""The threads that serve a connection, and who waits in them.

As long as operations are over at once one thread serves them all: with Python's one lock, more
would only take it from one another. Before one may wait, another thread is made to read, so that
somebody always does. So a second one goes on reading until there has been nothing to wait for in a
while; others are kept, asleep, for the next who waits.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

_READERS = 2  # that stay after something to wait for
_SPARE = 10  # kept asleep, as libfuse keeps them
_EARLY = 256  # signals of operations that are not known yet, or no more
_AGAIN = 1.0  # seconds: a signal may come just before a wait begins


class Worker:
    """A thread. ``who``: (uid, gid, pid) of whom it serves; ``interrupted``: was that one sent a
    signal? ``flags``: of the open file that was read last."""

    __slots__ = ("flags", "ident", "interrupted", "wake", "who")

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        self.who = (0, 0, 0)
        self.interrupted = False
        self.flags = 0
        self.wake = threading.Lock()
        self.wake.acquire()


class Workers:
    """All of one connection. ``read`` is what each does, until it is told that it is over."""

    def __init__(
        self, read: Callable[[Worker], None], signal_number: int, left: Callable[[], None]
    ) -> None:
        """``left`` is called when the last has gone. ``signal_number`` goes to a thread whose
        client was sent a signal, if there is a handler for it."""
        self._read, self._signal, self._left = read, signal_number, left
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._ended = threading.Event()
        self._reading = 0  # threads that read, or are about to
        self._threads = 0
        self._spare: list[Worker] = []  # the latest last
        self._under_way: dict[int, Worker] = {}  # those that may wait, by their requests' numbers
        self._early: dict[int, None] = {}
        self._reminds = False
        self.over = False

    # -- beginning and ending ------------------------------------------------------------------

    def start(self) -> None:
        """The first. RuntimeError: no thread can be had."""
        self._reading = 1
        self._start()

    def stop(self) -> None:
        """It is over: whoever comes back from an operation or a read ends."""
        self.over = True
        with self._lock:
            spare, self._spare = self._spare, []
        for worker in spare:
            worker.wake.release()
        self._ended.set()

    def wait(self) -> None:
        """Until it is over, and nobody waits in an operation any more."""
        self._ended.wait()
        with self._lock:
            while self._under_way:
                self._idle.wait()

    def _start(self) -> None:
        with self._lock:
            self._threads += 1
        try:
            threading.Thread(target=self._run, daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._threads -= 1
            raise

    def _run(self) -> None:
        try:
            self._read(Worker())
        finally:
            with self._lock:
                self._threads -= 1
                last = not self._threads
            if last:
                self._left()

    # -- operations that may wait --------------------------------------------------------------

    def begin(self, worker: Worker, unique: int) -> None:
        """An operation may wait from now on: somebody else reads meanwhile, if that can be had."""
        with self._lock:
            worker.interrupted = self._early.pop(unique, self) is None
            self._under_way[unique] = worker
            self._reading -= 1
            if self._reading:
                return
            self._reading = 1
            other = self._spare.pop() if self._spare else None
        if other is not None:
            other.wake.release()
            return
        try:
            self._start()
        except RuntimeError:  # no thread can be had: who must not wait then knows
            with self._lock:
                self._reading -= 1

    def end(self, worker: Worker, unique: int) -> bool:
        """It is over; False: so is this thread."""
        with self._lock:
            del self._under_way[unique]
            if self.over and not self._under_way:
                self._idle.notify_all()
            if self._reading < _READERS:
                self._reading += 1
                return True
        return self._sleep(worker)

    def rest(self, worker: Worker) -> bool:
        """There was nothing to wait for in a while: one reader is enough. As ``end``."""
        with self._lock:
            if self._reading == 1:
                return True
            self._reading -= 1
        return self._sleep(worker)

    def _sleep(self, worker: Worker) -> bool:
        with self._lock:
            if self.over or len(self._spare) >= _SPARE:
                return False
            self._spare.append(worker)
        worker.wake.acquire()
        return not self.over

    # -- signals -------------------------------------------------------------------------------

    def interrupt(self, unique: int) -> None:
        """The client of a request was sent a signal."""
        with self._lock:
            worker = self._under_way.get(unique)
            if worker is None:  # it is over, or has been read, but has not begun
                self._early[unique] = None
                if len(self._early) > _EARLY:
                    del self._early[next(iter(self._early))]
                return
            worker.interrupted = True
            reminds, self._reminds = self._reminds, True
        self._send(worker)
        if not reminds:
            self._remind_later()

    def _send(self, worker: Worker) -> None:
        handler: Any = signal.getsignal(self._signal)
        if callable(handler):
            signal.pthread_kill(worker.ident, self._signal)

    def _remind_later(self) -> None:
        timer = threading.Timer(_AGAIN, self._remind)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            self._reminds = False

    def _remind(self) -> None:
        with self._lock:
            waiting = [each for each in self._under_way.values() if each.interrupted]
            self._reminds = bool(waiting)
        for worker in waiting:
            self._send(worker)
        if waiting:
            self._remind_later()
