"""Events, counted by what people sort by: module, who asked, reason. Bounded, whatever comes."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from loader.engine.outcomes import KEPT, LIVE, REMOVED, SHARED, UNKNOWN
from loader.observe.wasted import wasted
from loader.release import Release

MODULE, WHO, REASON = "module", "who", "reason"
VIEWS = (MODULE, WHO, REASON)
OTHER = "(other)"
_MOST_ROWS = 4096  # of a view; half of them, those that cost least, are then summed up
_MOST_FAILURES = 200
_GOOD = frozenset({LIVE, SHARED, REMOVED, UNKNOWN})


class _Task(msgspec.Struct):
    name: str
    tid: int
    command: str | None = None
    unit: str | None = None


class _File(msgspec.Struct):
    name: str | None = None


class Seen(msgspec.Struct):
    """A line of the recording format, as far as it is told here; other fields are passed over."""

    n: int = 0
    call: str = ""
    task: _Task = msgspec.field(default_factory=lambda: _Task("?", 0))
    outcome: str = UNKNOWN
    result_name: str | int | None = msgspec.field(default=None, name="result")
    begin: float | None = None
    end: float | None = None
    file: _File | None = None
    argument: int | None = None
    read: int | None = None
    length: int | None = None
    clen: int | None = None
    module: str | None = None
    duplicate: bool = False
    asked_by: str | None = None
    waited: float = 0.0
    waited_for: int | None = None
    reason: str | None = None
    lost: str | None = None
    count: int = 1

    @property
    def result(self) -> int | None:
        """0 or an errno; None if it was not seen."""
        name = self.result_name
        if name is None or name == "OK":
            return None if name is None else 0
        text = str(name)
        return int(text) if text.isdigit() else int(getattr(errno, text, 0))

    @property
    def failed(self) -> bool:
        """It ended with an errno, or as the statistics count a failure."""
        return self.outcome not in _GOOD or self.result_name not in (None, "OK")

    @property
    def what(self) -> str:
        """The module, or else its file."""
        return self.module or (self.file.name if self.file else None) or "?"

    @property
    def who(self) -> str:
        """For all tasks that did the same."""
        if self.asked_by:
            return f"kernel, for {self.asked_by}"
        return self.task.unit or self.task.name

    @property
    def why(self) -> str:
        """Why it failed."""
        if self.reason:
            return self.reason
        step = "removal" if self.outcome == KEPT else self.outcome
        return f"{step}: {'a duplicate' if self.duplicate else self.result_name or '?'}"


_DECODE = msgspec.json.Decoder(Seen)


class Failure(NamedTuple):
    """One call that failed. ``at``: seconds by the events' clock; ``bytes`` that it wasted."""

    at: float
    who: str
    what: str
    why: str
    bytes: int


class Row:
    """Sums of one module, caller or reason. ``seconds`` in the kernel, ``waited`` of these."""

    __slots__ = ("bytes", "calls", "failed", "name", "seconds", "waited")

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = self.failed = self.bytes = 0
        self.seconds = self.waited = 0.0

    def add(self, other: Row) -> None:
        """The sums of another as well."""
        self.calls += other.calls
        self.failed += other.failed
        self.bytes += other.bytes
        self.seconds += other.seconds
        self.waited += other.waited


class Tally:
    """All that was seen, and since when."""

    def __init__(self, release: Release) -> None:
        self.rows: dict[str, dict[str, Row]] = {view: {} for view in VIEWS}
        self.failures: deque[Failure] = deque(maxlen=_MOST_FAILURES)
        self.events = 0
        self.lost = 0
        self.damaged = 0
        self._release = release
        self._known: frozenset[int] = frozenset()

    def take(self, lines: Iterable[bytes]) -> None:
        """Lines of events; those that are none are counted."""
        for line in lines:
            try:
                seen = _DECODE.decode(line)
            except msgspec.MsgspecError:
                self.damaged += 1
                continue
            if seen.lost is not None:
                self.lost += seen.count
            elif seen.call and seen.n not in self._known:
                self._count(seen)

    def remember(self, numbers: frozenset[int]) -> None:
        """Events of these numbers have been counted, and may come once more."""
        self._known = numbers

    def _count(self, seen: Seen) -> None:
        self.events += 1
        failed = seen.failed
        cost = wasted(seen, self._release).total if failed else 0
        seconds = seen.end - seen.begin if seen.end is not None and seen.begin is not None else 0.0
        names = [(MODULE, seen.what), (WHO, seen.who)]
        if failed:
            names.append((REASON, seen.why))
            who = f"{seen.task.name}[{seen.task.tid}]"
            self.failures.append(Failure(seen.end or 0.0, who, seen.what, seen.why, cost))
        for view, name in names:
            row = self._row(view, name)
            row.calls += 1
            row.failed += failed
            row.bytes += cost
            row.seconds += seconds
            row.waited += seen.waited

    def _row(self, view: str, name: str) -> Row:
        rows = self.rows[view]
        row = rows.get(name)
        if row is None:
            if len(rows) >= _MOST_ROWS:
                self._sum_up(view)
                rows = self.rows[view]
            row = rows[name] = Row(name)
        return row

    def _sum_up(self, view: str) -> None:
        rows = sorted(self.rows[view].values(), key=lambda row: (row.bytes, row.failed, row.calls))
        kept = {row.name: row for row in rows[len(rows) // 2 :]}
        other = kept.setdefault(OTHER, Row(OTHER))
        for row in rows[: len(rows) // 2]:
            if row is not other:
                other.add(row)
        self.rows[view] = kept


def number_of(line: bytes) -> int:
    """The number of an event; -1 if the line is none."""
    try:
        return _DECODE.decode(line).n
    except msgspec.MsgspecError:
        return -1
