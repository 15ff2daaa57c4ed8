"""The threads that serve a connection, and who waits in them.

One of them reads requests, and carries out what it has read: with Python's one lock, two that are
quick would only take it from one another. Another one reads as soon as an operation waits. That is
told before it waits for the engine or a deputy; whatever else keeps it, a file system that hangs or
a module to be unpacked, somebody notices within PATIENCE.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger("modfs.fuse")

PATIENCE = 0.005  # seconds for which requests may be kept waiting by an operation that goes on
_LEAST = 2  # threads kept asleep from the first request on: so many may wait without new ones
_SPARE = 10  # and no more than that
_EARLY = 256  # signals of operations that are not known yet, or no more
_NONE_TO_BE_HAD = (RuntimeError, MemoryError)  # what Thread.start raises: both at a limit
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
        self._reading = 0  # threads that read, or are about to: one, or none
        self._begun = 0  # operations that might wait
        self._watches = False
        self._watcher: threading.Event | None = None  # wakes the thread that watches
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
        self._start(self._work)

    def stop(self) -> None:
        """It is over: whoever comes back from an operation or a read ends."""
        self.over = True
        with self._lock:
            spare, self._spare = self._spare, []
        for worker in spare:
            worker.wake.release()
        if self._watcher is not None:
            self._watcher.set()
        self._ended.set()

    def wait(self) -> None:
        """Until it is over, and nobody waits in an operation any more."""
        self._ended.wait()
        with self._lock:
            while self._under_way:
                self._idle.wait()

    def _start(self, work: Callable[[Worker], None]) -> None:
        with self._lock:
            self._threads += 1
        try:
            threading.Thread(target=self._run, args=(work,), daemon=True).start()
        except _NONE_TO_BE_HAD:
            with self._lock:
                self._threads -= 1
            raise RuntimeError("no thread can be had") from None

    def _run(self, work: Callable[[Worker], None]) -> None:
        try:
            work(Worker())
        except BaseException:
            self.stop()  # first: without memory nothing can be told
            log.exception("a thread that serves has ended: so does the server")
        finally:
            with self._lock:
                self._threads -= 1
                last = not self._threads
            if last:
                self._left()

    def _work(self, worker: Worker) -> None:
        self._read(worker)

    def _work_later(self, worker: Worker) -> None:
        if self._sleep(worker):
            self._read(worker)

    # -- operations that may wait --------------------------------------------------------------

    def begin(self, worker: Worker, unique: int) -> None:
        """An operation begins that may wait: nobody reads until it does, or has ended."""
        with self._lock:
            worker.interrupted = self._early.pop(unique, self) is None
            self._under_way[unique] = worker
            self._reading -= 1
            self._begun += 1
            watches, self._watches = self._watches, True
        if not watches:
            self._watch()

    def waits(self) -> None:
        """The operation of this thread is about to wait: somebody else reads meanwhile, if a thread
        can be had."""
        if self._reading:
            return
        with self._lock:
            if self._reading or self.over:
                return
            self._reading = 1
            other = self._spare.pop() if self._spare else None
        if other is not None:
            other.wake.release()
            return
        try:
            self._start(self._work)
        except RuntimeError:  # who must not wait then knows: modfs.mount.room
            with self._lock:
                self._reading -= 1

    def end(self, worker: Worker, unique: int) -> bool:
        """It is over; False: so is this thread."""
        with self._lock:
            self._under_way.pop(unique, None)  # it may have failed to begin
            if self.over and not self._under_way:
                self._idle.notify_all()
            if not self._reading:
                self._reading = 1
                return True
        return self._sleep(worker)

    def _sleep(self, worker: Worker) -> bool:
        with self._lock:
            if self.over or len(self._spare) >= _SPARE:
                return False
            self._spare.append(worker)
        worker.wake.acquire()
        return not self.over

    # -- operations that go on ---------------------------------------------------------------------

    def _watch(self) -> None:
        """Have them watched."""
        if self._watcher is not None:
            self._watcher.set()
            return
        watcher = threading.Event()
        try:
            for _ in range(_LEAST):
                self._start(self._work_later)
            threading.Thread(target=self._keep_watch, args=(watcher,), daemon=True).start()
        except _NONE_TO_BE_HAD:  # then each is taken to wait
            self._watches = False
            self.waits()
        else:
            self._watcher = watcher

    def _keep_watch(self, watcher: threading.Event) -> None:
        """As long as operations begin, look whether they end; then sleep until one begins again."""
        begun = -1
        try:
            while not self.over:
                with self._lock:
                    is_stuck, begun = begun == self._begun, self._begun
                    self._watches = not (is_stuck and self._reading)
                    asleep = not self._watches
                    is_stuck = is_stuck and not self._reading
                if is_stuck:
                    self.waits()
                watcher.wait(None if asleep else PATIENCE)
                watcher.clear()
        finally:  # whatever ends this: the next operation that begins has another one watch
            self._watcher, self._watches = None, False

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
        except _NONE_TO_BE_HAD:
            self._reminds = False

    def _remind(self) -> None:
        with self._lock:
            waiting = [each for each in self._under_way.values() if each.interrupted]
            self._reminds = bool(waiting)
        for worker in waiting:
            self._send(worker)
        if waiting:
            self._remind_later()
