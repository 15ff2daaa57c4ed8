"""The latest requests and how they ended, as the control file shows them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

_RESULTS = 100  # latest requests that can be read
_SHOWN = 200  # characters of a request that are kept


class Result:
    """One request as it is shown: who asked what, and how it ended. ``why`` tells more of that; it
    is asked when somebody reads, for that may take a thousand times as long as the request."""

    __slots__ = ("_more", "_text", "_why")

    def __init__(self, text: str, why: Callable[[], str] | None) -> None:
        self._text, self._why = text, why
        self._more: str | None = None

    def __str__(self) -> str:
        if self._more is None:
            more = self._why() if self._why is not None else ""
            self._more = f" ({more})" if more else ""
        return f"{self._text}{self._more}\n"


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

    def add(
        self,
        client_pid: int,
        command: str,
        line: str,
        outcome: str,
        why: Callable[[], str] | None = None,
    ) -> None:
        """Keep one result; the oldest is forgotten."""
        shown = shortened(line)
        with self._lock:
            self.count += 1
            text = f"{self.count} {command}[{client_pid}] {shown}: {outcome}"
            self._latest.append(Result(text, why))

    def text(self) -> str:
        """All that are kept, oldest first."""
        with self._lock:
            latest = tuple(self._latest)
        return "".join(map(str, latest))
