"""Threads that leave the processors to those whom they watch, until somebody waits for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_NICE = 19


class Background:
    """What happens meanwhile waits in the kernel's buffer."""

    def __init__(self) -> None:
        self._usual = os.getpriority(os.PRIO_PROCESS, 0)
        self._lock = threading.Lock()
        self._threads: list[int] = []
        self._waiting = 0

    def join(self) -> None:
        """The calling thread is one of them."""
        with self._lock:
            self._threads.append(threading.get_native_id())
            self._set(self._usual if self._waiting else _NICE)

    @contextmanager
    def in_front(self) -> Iterator[None]:
        """Meanwhile they are as the process was: somebody waits, and should not for long."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            before, self._waiting = self._waiting, self._waiting + more
            if bool(before) != bool(self._waiting):
                self._set(self._usual if self._waiting else _NICE)

    def _set(self, nice: int) -> None:
        for thread in self._threads:
            with suppress(OSError):  # it has ended, or may not be lifted again
                os.setpriority(os.PRIO_PROCESS, thread, nice)
