"""lib/ratelimit.c: lines that are logged so often at most."""

from __future__ import annotations

from collections.abc import Callable

from loader.engine.log import KernelLog

# include/linux/ratelimit_types.h
_INTERVAL = 5.0  # seconds
_BURST = 10  # lines


class RateLimit:
    """The lines of one place in the kernel. Used with the kernel's lock held."""

    def __init__(self, log: KernelLog, function: str, now: Callable[[], float]) -> None:
        """``function``: where the place is; ``now`` in seconds."""
        self._log = log
        self._function = function
        self._now = now
        self._begin: float | None = None
        self._printed = 0
        self._missed = 0

    def write(self, line: str) -> None:
        """Log the line, unless ten were in these five seconds.

        How many were kept back is told by the first line after these.
        """
        now = self._now()
        if self._begin is None:
            self._begin = now
        if now > self._begin + _INTERVAL:
            if self._missed:
                self._log.write(f"{self._function}: {self._missed} callbacks suppressed")
            self._begin, self._printed, self._missed = now, 0, 0
        if self._printed < _BURST:
            self._printed += 1
            self._log.write(line)
        else:
            self._missed += 1
