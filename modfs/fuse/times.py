"""The times of files: that of the mount, as on debugfs, until somebody sets them."""

from __future__ import annotations

import time
from collections.abc import Sequence

UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2  # in the place of nanoseconds
_KEPT = 1024  # paths


class Times:
    """Access, modification and change, in nanoseconds since 1970."""

    def __init__(self) -> None:
        self._since = time.time_ns() // 10**9 * 10**9
        self._set: dict[bytes, tuple[int, int, int]] = {}

    def of(self, path: bytes) -> tuple[int, int, int]:
        """atime, mtime, ctime."""
        return self._set.get(path) or (self._since, self._since, self._since)

    def set(self, path: bytes, moments: Sequence[tuple[int, int]]) -> None:
        """As utimensat(2): seconds and nanoseconds of the first two."""
        before, now = self.of(path), time.time_ns()
        found = [
            _nanoseconds(*moment, was, now) for moment, was in zip(moments, before[:2], strict=True)
        ]
        if len(self._set) < _KEPT or path in self._set:
            self._set[path] = found[0], found[1], now


def _nanoseconds(seconds: int, nanoseconds: int, was: int, now: int) -> int:
    if nanoseconds == UTIME_OMIT:
        return was
    return now if nanoseconds == UTIME_NOW else seconds * 10**9 + nanoseconds
