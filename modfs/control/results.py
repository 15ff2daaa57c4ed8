"""The latest requests and how they ended, as the control file shows them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from loader.words import printable

_RESULTS = 100  # latest requests that can be read
_SHOWN = 200  # characters of a request that are kept


class Result(NamedTuple):
    """One request, the ``number``-th: who asked what, and how it ended. ``why`` tells more of that;
    it is asked once, when somebody reads, for that may take a thousand times as long as the
    request."""

    number: int
    pid: int
    command: str
    line: str
    outcome: str
    why: Callable[[], str] | None = None

    def text(self, more: str) -> str:
        """The line that shows it."""
        number, pid, command, line, outcome, _ = self
        more = f" ({more})" if more else ""
        return f"{number} {printable(command)}[{pid}] {shortened(line)}: {outcome}{more}\n"


def shortened(line: str) -> str:
    """A request as it is shown."""
    return printable(line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…")


class Results:
    """The latest results."""

    def __init__(self) -> None:
        self._latest: deque[Result] = deque(maxlen=_RESULTS)
        self.count = 0
        """Of all requests, also those that are forgotten."""
        self._lock = threading.Lock()
        self._more: dict[int, str] = {}  # what has been asked for, by number

    def add(
        self,
        client_pid: int,
        command: str,
        line: str,
        outcome: str,
        why: Callable[[], str] | None = None,
    ) -> None:
        """Keep one result; the oldest is forgotten."""
        if len(line) > _SHOWN:
            line = line[: _SHOWN + 1]
        with self._lock:
            self.count += 1
            self._latest.append(Result(self.count, client_pid, command, line, outcome, why))

    def text(self) -> str:
        """All that are kept, oldest first."""
        with self._lock:
            latest = tuple(self._latest)
        known = self._more
        self._more = more = {
            one.number: known.get(one.number) or one.why() for one in latest if one.why is not None
        }
        return "".join(one.text(more.get(one.number, "")) for one in latest)
