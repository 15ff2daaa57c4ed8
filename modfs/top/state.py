"""What is to be shown: the latest statistics, what they gained, and the events' sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from loader.engine.stats import Snapshot
from loader.release import DEFAULT, Release, parse_release
from modfs.texts_read import read_stats
from modfs.top.tally import MODULE, Row, Tally, number_of
from modfs.top.watch import Told, is_live

FAILED, RATE, WASTED, TIME, CALLS, NAME = "failed", "rate", "wasted", "time", "calls", "name"
SORTS = (WASTED, FAILED, RATE, CALLS, TIME, NAME)

_STEPS = {
    "kread": "failed_kreads",
    "decompress": "failed_decompress",
    "becoming": "failed_becoming",
    "load": "failed_load_modules",
}


class Sample(NamedTuple):
    """Statistics at a moment: seconds of a clock that only goes forward."""

    at: float
    snapshot: Snapshot


class Rates(NamedTuple):
    """What was gained a second, since the sample before."""

    failed: dict[str, float]
    loaded: float
    wasted: float
    events: float


class Line(NamedTuple):
    """A row of the table, with what it gained a second."""

    name: str
    calls: int
    failed: int
    rate: float
    wasted: int
    seconds: float
    waited: float


@dataclass(slots=True)
class State:
    """All that is known now. ``tally`` None: the mount has no events."""

    place: Path
    tally: Tally | None = None
    view: str = MODULE
    sort: str = WASTED
    samples: list[Sample] = field(default_factory=list)
    status: dict[str, Any] | None = None
    silent: float = 0.0
    gained: dict[str, float] = field(default_factory=dict)
    _before: dict[str, int] = field(default_factory=dict)
    _events: tuple[int, int] = (0, 0)
    _past: set[int] | None = field(default_factory=set)

    @property
    def snapshot(self) -> Snapshot | None:
        """The latest statistics."""
        return self.samples[-1].snapshot if self.samples else None

    def take(self, told: Told, at: float) -> None:
        """One more sample. UserError: its stats are none."""
        snapshot = read_stats(told.stats, str(self.place / "stats")).snapshot
        self.samples = [*self.samples[-1:], Sample(at, snapshot)]
        self.status = told.status
        self.silent = 0.0
        self._gain()

    def take_events(self, lines: list[bytes]) -> None:
        """Lines that a follower gave."""
        if self.tally is None:
            return
        if self._past is None:
            self.tally.take(lines)
            return
        for place, line in enumerate(lines):
            if is_live(line):  # from here on what was counted may come again
                self.tally.remember(frozenset(self._past))
                self._past = None
                self.tally.take(lines[place + 1 :])
                return
            self._past.add(number_of(line))
            self.tally.take([line])

    def show(self, view: str) -> None:
        """Another view; what its rows gain a second is told from the next sample on."""
        self.view = view
        self.gained, self._before = {}, self._failures()

    def _gain(self) -> None:
        """What each row gained a second, since the sample before."""
        failed, seconds = self._failures(), self._seconds()
        if seconds:
            self.gained = {
                name: (times - self._before.get(name, 0)) / seconds
                for name, times in failed.items()
            }
        self._before = failed
        self._events = (self._events[1], self.tally.events if self.tally else 0)

    def _failures(self) -> dict[str, int]:
        if self.tally is not None:
            return {name: row.failed for name, row in self.tally.rows[self.view].items()}
        snapshot = self.snapshot
        rows = snapshot.duplicates if snapshot and self.view == MODULE else ()
        return {row.name: row.count for row in rows}

    def _seconds(self) -> float:
        return self.samples[1].at - self.samples[0].at if len(self.samples) == 2 else 0.0

    def rates(self) -> Rates:
        """Of the whole."""
        seconds = self._seconds()
        if not seconds:
            return Rates(dict.fromkeys(_STEPS, 0.0), 0.0, 0.0, 0.0)
        old, new = (sample.snapshot for sample in self.samples)
        return Rates(
            {
                step: (getattr(new, name) - getattr(old, name)) / seconds
                for step, name in _STEPS.items()
            },
            (new.modcount - old.modcount) / seconds,
            (new.wasted_bytes - old.wasted_bytes) / seconds,
            (self._events[1] - self._events[0]) / seconds,
        )

    def lines(self) -> list[Line]:
        """The rows of the table, sorted."""
        if self.tally is not None:
            rows = [self._line(row) for row in self.tally.rows[self.view].values()]
        else:
            rows = [
                Line(name, 0, count, self.gained.get(name, 0.0), 0, 0.0, 0.0)
                for name, count in self._failures().items()
            ]
        return sorted(rows, key=_KEYS[self.sort])

    def _line(self, row: Row) -> Line:
        rate = self.gained.get(row.name, 0.0)
        return Line(row.name, row.calls, row.failed, rate, row.bytes, row.seconds, row.waited)


def _key(*fields: str) -> Any:
    return lambda line: (*(-getattr(line, name) for name in fields), line.name)


_KEYS: dict[str, Any] = {
    WASTED: _key("wasted", "failed", "calls"),
    FAILED: _key("failed", "wasted"),
    RATE: _key("rate", "failed"),
    CALLS: _key("calls", "failed"),
    TIME: _key("seconds", "failed"),
    NAME: _key(),
}


def release_of(status: dict[str, Any] | None) -> Release:
    """By whose rules the mount counts; the default's where it does not say. UserError."""
    return parse_release(str((status or {}).get("kernel") or DEFAULT))


def next_of(known: tuple[str, ...], now: str) -> str:
    """The one after ``now``."""
    return known[(known.index(now) + 1) % len(known)]
