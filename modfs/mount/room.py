"""How many requests may be under way at once.

Each takes a thread of the server until it is done, and libfuse's server one more to be told of its
client's signal. Were there no thread left, nobody could be served or let go any more. So a request
that might take the last ones is refused with EAGAIN, as fork(2) would be.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from modfs.control.client import Client
from modfs.control.requests import Requests
from modfs.mount.status import Serving, UnderWay, told

_MOST = 16_384
_LEAST = 16
_FEW = 2  # so many at once need no precaution once there were as many: their threads are kept
_SPARE = 16  # threads for all else
_BYTES_EACH = 64 << 10  # of a thread that waits: 42 KiB were measured


class BoundedRequests(Requests):
    """Requests of which only so many run at once; more of them end with EAGAIN."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.most = most_requests()
        self._numbers = itertools.count()
        self._under_way: set[UnderWay] = set()  # adding and removing are single steps
        self._readers: set[object] = set()  # those of files that wait for more
        self._had = 0  # so many were under way at once, up to _FEW

    def run(self, line: str, client: Client, command: str) -> int:
        """See Requests.run."""
        under_way = self._under_way
        if not self._is_room():
            self.results.add(client.pid, command, line, "EAGAIN (too many at once)")
            return errno.EAGAIN
        this = UnderWay(client.pid, command, line, time.monotonic(), next(self._numbers))
        under_way.add(this)
        try:
            return super().run(line, client, command)
        finally:
            under_way.discard(this)

    @contextmanager
    def reader(self) -> Iterator[None]:
        """While a reader waits, as long as it likes. OSError: EAGAIN there is no room for it."""
        if not self._is_room():
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        this = object()
        self._readers.add(this)
        try:
            yield
        finally:
            self._readers.discard(this)

    def _is_room(self) -> bool:
        now = len(self._under_way) + len(self._readers)
        if now < self._had:
            return True
        if now >= self.most or not _can_start_a_thread():
            return False
        self._had = min(now + 1, _FEW)
        return True

    def status(self, since: float) -> str:
        """What the mount's status file holds. ``since``: time.time() at the mount."""
        config, tree = self.live.config, self.live.tree
        serving = Serving(
            config.release.title,
            config.compression,
            str(tree.root.resolve()) if tree else None,
            len(self.live.snapshot().modules),
            self.results.count,
        )
        return told(serving, since, self._under_way.copy())


# Without giving up Python's lock: neither call waits for anything.
_libc = ctypes.PyDLL(None)
_libc.pthread_create.argtypes = (ctypes.c_void_p,) * 4
_libc.pthread_detach.argtypes = (ctypes.c_void_p,)
_ENDS_AT_ONCE = ctypes.cast(_libc.getpid, ctypes.c_void_p)


def _can_start_a_thread() -> bool:
    """Only trying tells: a limit may count what others do as well."""
    thread = ctypes.c_void_p()
    if _libc.pthread_create(ctypes.byref(thread), None, _ENDS_AT_ONCE, None):
        return False
    _libc.pthread_detach(thread)
    return True


def most_requests() -> int:
    """By the threads, and the memory for them, that this process may have."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    room = (min(_thread_limits()) - _SPARE) // 2
    return max(_LEAST, min(_MOST, room, memory // 4 // _BYTES_EACH))


def _thread_limits() -> Iterator[int]:
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:
        yield soft
    yield _number(Path("/proc/sys/kernel/pid_max"))
    yield _number(Path("/proc/sys/kernel/threads-max"))
    yield _number(Path("/proc/sys/vm/max_map_count")) // 2  # a stack and its guard each
    for folder in _cgroups():
        yield _number(folder / "pids.max")


def _cgroups() -> Iterator[Path]:
    """The folders of the control groups that count this process (cgroups(7)), and those above."""
    with suppress(OSError):
        for line in os.fsdecode(Path("/proc/self/cgroup").read_bytes()).splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "pids"):
                top = Path("/sys/fs/cgroup", controllers)
                folder = top / path.lstrip("/")
                yield from (each for each in (folder, *folder.parents) if each.is_relative_to(top))


def _number(path: Path) -> int:
    """What a file of the kernel's says; without one, or with "max", as many as there can be."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 1 << 22  # PID_MAX_LIMIT
