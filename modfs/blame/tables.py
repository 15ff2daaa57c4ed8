"""What was wasted, summed up: by module, by who asked, by alias, by reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from loader.engine.outcomes import BECOMING, DECOMPRESS, INIT_FAILED, KREAD, LIVE, LOAD, REMOVED
from loader.observe.stream import Line, Who
from loader.observe.wasted import Wasted, wasted
from loader.release import Release

FAILED = frozenset((KREAD, DECOMPRESS, BECOMING, LOAD, INIT_FAILED))
THERE = "asked again for what was there"
ON_ITS_WAY = "came while another load was under way"
_MOST = 100_000  # cells and devices: what is more, is one of OTHERS
_NOBODY = Who("?")
OTHERS = "(others)"
_REASON_MAX = 60  # characters


class Key(NamedTuple):
    """What a failed load is summed up by."""

    module: str
    task: str
    unit: str | None
    asked_by: str | None
    alias: str | None
    reason: str


@dataclass(slots=True)
class Cell:
    """Failed loads: how often, what they wasted, bytes that the kernel does not count (of inits
    that failed), seconds that they took and, of these, waited."""

    failed: int = 0
    wasted: int = 0
    uncounted: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, other: Cell) -> None:
        self.failed += other.failed
        self.wasted += other.wasted
        self.uncounted += other.uncounted
        self.seconds += other.seconds
        self.waited += other.waited


@dataclass(slots=True)
class Row:
    """A row of a table. ``reasons``: what the kernel's list says of a module; ``devices``: that
    share an alias, 0 where that is not known."""

    name: str
    cell: Cell = field(default_factory=Cell)
    reasons: set[str] = field(default_factory=set)
    devices: int = 0


class Blame:
    """Takes the lines of a recording one by one."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self.calls = 0
        self.loaded = 0
        self._bytes = dict.fromkeys(FAILED, 0)
        self.lost: dict[str, int] = {}
        self._cells: dict[tuple[str, str, str | None, str | None, str | None, str], Cell] = {}
        self._kinds: dict[str, set[str]] = {}
        self._devices: dict[str, set[str]] = {}
        self._live_since: dict[str, float] = {}
        self._askers: dict[str, dict[str, None]] = {}  # the kernel's request -> in whose context

    @property
    def wasted(self) -> Wasted:
        """Bytes by kind: what the kernel's counters have."""
        kinds = self._bytes
        return Wasted(kinds[KREAD], kinds[DECOMPRESS], kinds[BECOMING], kinds[LOAD])

    @property
    def failed(self) -> int:
        """Loads that failed."""
        return sum(cell.failed for cell in self._cells.values())

    def take(self, line: Line) -> None:
        """One line more."""
        if line.call is None:
            self._take_other(line)
            return
        self.calls += 1
        if line.alias is not None and line.device is not None:
            devices = self._devices.setdefault(line.alias, set())
            if len(devices) < _MOST:
                devices.add(line.device)
        outcome = line.outcome
        if outcome in FAILED:
            self._take_failed(line)
        elif outcome == LIVE:
            self.loaded += 1
            self._live_since[line.module or ""] = line.end or 0.0
        elif outcome == REMOVED:
            self._live_since.pop(line.module or "", None)

    def _take_failed(self, line: Line) -> None:
        lost = wasted(line, self._release).total
        self._bytes[line.outcome] += lost
        task, module = line.task or _NOBODY, line.module or "?"
        # A tuple of its own kind takes three times as long, and there may be a million.
        key = (module, task.name, task.unit, line.asked_by, line.alias, self.reason(line))
        cell = self._cells.get(key)
        if cell is None:
            cell = self._new_cell(Key(*key))
        cell.failed += 1
        cell.wasted += lost
        if line.begin is not None and line.end is not None:
            cell.seconds += line.end - line.begin
        cell.waited += line.waited
        if line.outcome == INIT_FAILED:
            cell.uncounted += (line.length or 0) + (line.clen or 0) + line.memory_size
        else:
            self._kinds.setdefault(module, set()).add(line.outcome)

    def _new_cell(self, key: Key) -> Cell:
        if len(self._cells) >= _MOST:
            key = Key(OTHERS, OTHERS, None, None, None, OTHERS)
        return self._cells.setdefault(key, Cell())

    def _take_other(self, line: Line) -> None:
        if line.request is not None and line.task is not None:
            if len(self._askers) < _MOST:
                self._askers.setdefault(line.request, {})[line.task.name] = None
        elif line.lost is not None:
            self.lost[line.lost] = self.lost.get(line.lost, 0) + line.count
        elif line.before is not None:
            self._live_since[line.before] = float("-inf")

    def reason(self, line: Line) -> str:
        """Why a load failed, for the table of reasons."""
        if line.duplicate:
            return THERE if self.was_there(line) else ON_ITS_WAY
        told = line.told if isinstance(line.told, str) else str(line.told)
        if line.outcome == INIT_FAILED:
            return f"its init failed with {told}"
        why = f": {line.reason}" if line.reason else ""
        return f"{line.outcome} failed with {told}{why}"[:_REASON_MAX]

    def was_there(self, line: Line) -> bool:
        """Was the module that a duplicate is about live already when the call began?"""
        since = self._live_since.get(line.module or "")
        if since is None or line.begin is None:
            return not line.waited and line.told == "EEXIST"
        return line.begin >= since and not line.waited

    # -- tables -----------------------------------------------------------------------------------

    def by(self, name: str) -> list[Row]:
        """The table of that name (TABLES), most wasteful first."""
        told = _KEYS[name]
        rows: dict[str, Row] = {}
        for key, cell in self._cells.items():
            label = told(self, Key(*key))
            if label is None:
                continue
            row = rows.get(label)
            if row is None:
                row = rows[label] = Row(label)
            row.cell.add(cell)
        for label, row in rows.items():
            row.reasons = self._kinds.get(label, set()) if name == "module" else set()
            row.devices = len(self._devices.get(label, ())) if name == "alias" else 0
        return sorted(rows.values(), key=_most_wasteful)

    def who(self, key: Key) -> str:
        """Who asked, in words."""
        if key.asked_by is not None:
            askers = list(self._askers.get(key.asked_by, ()))
            origin = f", from {', '.join(askers[:3])}" if askers else ""
            return f"the kernel, for {key.asked_by}{origin}"
        return f"{key.task} ({key.unit})" if key.unit else key.task


def _most_wasteful(row: Row) -> tuple[float, float, int, str]:
    cell = row.cell
    return -(cell.wasted + cell.uncounted), -cell.seconds, -cell.failed, row.name


_KEYS: dict[str, Callable[[Blame, Key], str | None]] = {
    "module": lambda blame, key: key.module,
    "who": Blame.who,
    "alias": lambda blame, key: key.alias or key.asked_by,
    "reason": lambda blame, key: key.reason,
}
TABLES = tuple(_KEYS)


def blame(lines: Iterable[Line], release: Release) -> Blame:
    """All that ``lines`` amount to."""
    made = Blame(release)
    take = made.take
    for line in lines:
        take(line)
    return made
