"""What keeps a fuzzer from taking the machine: generous limits of memory and of time."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_BYTES = 1 << 30  # more than any input here needs by far
_SECONDS = 20.0  # not a measure of speed: what takes this long never ends


class EndlessError(BaseException):
    """An input took so long that it would never end."""


def _address_space() -> int:
    """Bytes that this process has mapped."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def limit_memory() -> None:
    """From now on this process gets a MemoryError where it takes much more than it has now."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + _BYTES, hard))


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """The same for a while."""
    old = resource.getrlimit(resource.RLIMIT_AS)
    limit_memory()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


def guarded(check: Callable[[Any], str], given: Any) -> str:
    """The answer of ``check``. EndlessError: there was none; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return check(given)

    def stop(number: int, frame: object) -> None:
        raise EndlessError(f"no answer after {_SECONDS} seconds")

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        return check(given)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
