"""The latest requests and how they ended, as the control file shows them."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

_RESULTS = 100  # latest requests that can be read
_SHOWN = 200  # characters of a request that are kept


@dataclass(frozen=True, slots=True)
class Result:
    """One request as it is shown: who asked what, and how it ended."""

    number: int
    pid: int
    command: str
    line: str
    outcome: str

    def __str__(self) -> str:
        return f"{self.number} {self.command}[{self.pid}] {self.line}: {self.outcome}\n"


def shortened(line: str) -> str:
    """A request as it is shown."""
    shown = line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
    return shown.encode("utf-8", "backslashreplace").decode()


class Results:
    """The latest results."""

    def __init__(self) -> None:
        self._latest: deque[Result] = deque(maxlen=_RESULTS)
        self.count = 0
        """Of all requests, also those that are forgotten."""
        self._lock = threading.Lock()

    def add(self, client_pid: int, command: str, line: str, outcome: str) -> None:
        """Keep one result; the oldest is forgotten."""
        with self._lock:
            self.count += 1
            shown = shortened(line)
            self._latest.append(Result(self.count, client_pid, command, shown, outcome))

    def text(self) -> str:
        """All that are kept, oldest first."""
        with self._lock:
            return "".join(map(str, self._latest))
