"""A file that many read at once, in virtual time."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

import simpy

from loader.image.module_image import ModuleImage


class SharedFile:
    """A module's file of ``size`` bytes on its disk, and its readers.

    Each reader gets at most ``alone`` bytes a second, all together ``together``. All want the whole
    file and share alike, so they end in the order in which they began: one timer will do.
    """

    __slots__ = (
        "alone",
        "cold_until",
        "cookie",
        "env",
        "image",
        "passed",
        "readable",
        "readers",
        "since",
        "size",
        "together",
    )

    def __init__(
        self, env: simpy.Environment, image: ModuleImage, size: int, alone: float, together: float
    ) -> None:
        self.env = env
        self.image = image
        self.size = size
        self.cookie: Hashable = image.name
        self.readable = True
        self.alone = alone
        self.together = together
        self.cold_until: float | None = None  # when storage has brought it; None: never asked
        self.readers: deque[tuple[float, simpy.Event]] = deque()  # (passed at its end, the end)
        self.passed = 0.0  # bytes that a reader from the start on would have got
        self.since = 0.0  # when ``passed`` was worked out

    def read(self) -> simpy.Event:
        """Begin to read; the event comes at the end."""
        self._pass()
        end = self.env.event()
        self.readers.append((self.passed + self.size, end))
        if len(self.readers) == 1:
            self._set_timer()
        return end

    def _rate(self) -> float:
        return min(self.alone, self.together / len(self.readers))

    def _pass(self) -> None:
        now = self.env.now
        if self.readers:
            self.passed += (now - self.since) * self._rate()
        self.since = now

    def _set_timer(self) -> None:
        """To the end of the first reader. More readers make that later: then it is set again."""
        left = max(0.0, self.readers[0][0] - self.passed) / self._rate()
        self.env.timeout(left).callbacks.append(self._end_first)

    def _end_first(self, _: simpy.Event) -> None:
        self._pass()
        readers = self.readers
        while readers and readers[0][0] <= self.passed + 0.5:  # half a byte, for rounding
            self.passed = max(self.passed, readers[0][0])
            readers.popleft()[1].succeed()
        if readers:
            self._set_timer()
