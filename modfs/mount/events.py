"""The events of an engine: the latest, and all for those who follow them.

The engine tells in the middle of its calls, so what it tells is only put aside there, at the cost
of a few appends; words are made of it by whoever reads. Nothing grows without bound: of the latest
the oldest goes, and who follows too slowly loses some, which is counted and told.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

from loader.calls import Caller
from loader.engine.sequence import Wait
from loader.engine.threads import SHUT_DOWN, LiveKernel
from loader.errors import LoadError
from loader.observe.events import Lost
from modfs.mount.log_file import open_log, told

log = logging.getLogger("modfs.events")

_BEHIND = 65_536  # events that who follows may be behind
_FOLLOWERS = 64  # at once: each that waits takes a thread
_AT_ONCE = 256  # events of which words are made in one go
_FILE_BYTES = 64 << 20  # of a file, before the next one is begun


class Events:
    """What one engine tells from now on; the latest ``kept`` of it can be read."""

    def __init__(self, live: LiveKernel, kept: int) -> None:
        self.live = live
        self._latest: deque[Any] = deque(maxlen=kept)
        self._numbers = itertools.count()
        self._followers: tuple[Follower, ...] = ()
        self._lock = threading.Lock()
        live.kernel.listener = self._put

    @cached_property
    def header(self) -> bytes:
        """The first line of a recording of this engine."""
        from loader.observe.recording import Header
        from loader.observe.recording_write import header_line

        release = self.live.config.release
        return header_line(Header(release.name, source="engine", without=release.without))

    def _put(self, item: Any) -> None:
        self._latest.append((next(self._numbers), item))
        for follower in self._followers:
            follower.put(item)

    def text(self) -> str:
        """A recording of the latest."""
        return b"".join(self._lines()).decode("utf-8", "surrogateescape")

    def _lines(self) -> Iterator[bytes]:
        from loader.observe.recording_write import end_line

        latest = self._latest.copy()
        gone = max(0, latest[-1][0] + 1 - len(latest)) if latest else 0
        yield self.header
        if gone > 0:
            yield _worded((Lost(0, "overwritten", gone),))
        yield _worded(item for _, item in latest)
        yield end_line(len(latest) + (gone > 0), len(latest))

    # -- followers --------------------------------------------------------------------------------

    def follow(self, wait: Callable[[Follower], bool]) -> Follower:
        """Somebody who gets all from now on. OSError: EAGAIN there are too many."""
        follower = Follower(self, wait)
        with self._lock:
            if len(self._followers) >= _FOLLOWERS:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self._followers = (*self._followers, follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """It wants no more."""
        with self._lock:
            self._followers = tuple(each for each in self._followers if each is not follower)


def _worded(items: Iterable[Any]) -> bytes:
    """A line for each. What makes them is imported for whoever reads: that takes as long as a third
    of a mount."""
    from loader.observe.of_engine import observed
    from loader.observe.recording_write import item_line

    return b"".join(item_line(observed(item)) for item in items)


class Follower:
    """One who gets all events. ``wait(follower)`` returns when `is_ready`, or False at the end."""

    def __init__(self, events: Events, wait: Callable[[Follower], bool]) -> None:
        self._events = events
        self._wait = wait
        self._queue: deque[Any] = deque()
        self._lost = 0
        self._began = False
        self._waits = False
        self._notify: Callable[[], None] | None = None
        self._kernel = events.live.kernel

    def put(self, item: Any) -> None:
        """One event more. In the middle of a call: it must be quick."""
        if len(self._queue) >= _BEHIND:
            self._lost += 1
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self._queue.append(Lost(0, "overwritten", lost))
        self._queue.append(item)
        if self._waits:
            self._wake()
        if self._notify is not None:
            self.notified_by(None, ready=True)

    def _wake(self) -> None:
        with self._kernel.lock:
            self._kernel.wakeup(self)

    def is_ready(self) -> bool:
        """Is there anything to be taken?"""
        return bool(self._queue) or not self._began

    def notified_by(self, notify: Callable[[], None] | None, ready: bool = False) -> None:
        """``notify`` is called once, when there is something again; it replaces the one before,
        which is called now if it is ``ready``."""
        before, self._notify = self._notify, notify
        if before is not None and ready:
            before()

    def take(self, block: bool = True) -> bytes:
        """Some whole lines; empty: it is over. OSError: EAGAIN nothing is there and not ``block``;
        EINTR."""
        if not self._began:
            self._began = True
            return self._events.header
        while not self._queue:
            if not block:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self._waits = True
            try:
                if not self._wait(self) and not self._queue:
                    return b""
            finally:
                self._waits = False
        taken = (self._queue.popleft() for _ in range(min(_AT_ONCE, len(self._queue))))
        return _worded(taken)

    def close(self) -> None:
        """It wants no more."""
        self._events.leave(self)
        self._notify = None


def waiting(live: LiveKernel, caller: Caller) -> Callable[[Follower], bool]:
    """How a follower waits for whom ``caller`` is: OSError EINTR; False once the engine ends."""

    def wait(follower: Follower) -> bool:
        try:
            live.wait(Wait(follower, follower.is_ready), caller)
        except LoadError as error:
            if error.errno == SHUT_DOWN:
                return False
            raise
        return True

    return wait


class PipeFile:
    """An open events_pipe: each one gets all from its opening on."""

    def __init__(self, events: Events, caller: Caller, flags: int) -> None:
        """OSError: EAGAIN."""
        self._block = not flags & os.O_NONBLOCK
        self._follower = events.follow(waiting(events.live, caller))
        self._left = b""
        self._lock = threading.Lock()

    def read(self, size: int, offset: int) -> bytes:
        """The next bytes, whatever the offset. OSError: EAGAIN, EINTR."""
        if not self._left:
            self._left = self._follower.take(self._block)
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    @property
    def would_wait(self) -> bool:
        """Is there nothing to be read, and is that waited for?"""
        return self._block and not self._left and not self._follower.is_ready()

    def poll(self, notify: Callable[[], None] | None) -> bool:
        """Could something be read now? Else ``notify`` is called once that is so."""
        self._follower.notified_by(notify)
        if self._left or self._follower.is_ready():
            self._follower.notified_by(None)
            return True
        return False

    def write(self, data: bytes) -> int:
        """OSError: EINVAL."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def flush(self) -> None: ...

    def release(self) -> None:
        """The last descriptor is closed."""
        self._follower.close()


class EventsFile:
    """Appends all events to a file, in a thread; the file before is kept as FILE.1."""

    def __init__(self, events: Events, path: str) -> None:
        """OSError: it cannot be opened, or others could have put it there (open_log)."""
        self._events, self._path = events, path
        self._fd = open_log(path)
        nobody = Caller()
        self._follower = events.follow(waiting(events.live, nobody))
        self._written = os.fstat(self._fd).st_size
        if self._written:
            self._rotate()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while text := self._follower.take():
                self._write(text)
        except OSError as error:
            log.error("%s; no more events go there", told(self._path, error))
        finally:
            self._follower.close()

    def _write(self, text: bytes) -> None:
        if self._written >= _FILE_BYTES:
            self._rotate()
            text = self._events.header + text
        self._written += len(text)
        while text:
            text = text[os.write(self._fd, text) :]

    def _rotate(self) -> None:
        os.close(self._fd)
        os.replace(self._path, f"{self._path}.1")
        self._fd = open_log(self._path)
        self._written = 0

    def close(self) -> None:
        """Write what has been told, once the engine has ended."""
        self._thread.join(10)
