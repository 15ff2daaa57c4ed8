"""Calls that were seen, accounted: the engine's own counters, moved by what the kernel did."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from loader.engine import outcomes
from loader.engine.stats import (
    BECOMING,
    LOAD,
    Counters,
    Snapshot,
    duplicate_rows,
    try_add_failed_module,
)
from loader.engine.taints import UnloadedTaints
from loader.observe.call import ObservedCall
from loader.observe.events import EXECMEM_MODULE_TEXT
from loader.observe.gaps import Gaps
from loader.observe.wasted import wasted
from loader.release import Release


class _Gone(NamedTuple):
    """A module that went, for the list of tainted ones."""

    name: str
    taints: frozenset[str]


@dataclass(slots=True)
class FailedInit:
    """Loads of one module whose init failed in one way: the kernel counts them nowhere.

    ``seconds``: in their init routines, and ``longest`` of one; ``bytes``: of the files read and
    of the memory that each had; ``tasks``: who, with how often, the first few.
    """

    module: str
    error: str
    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    bytes: int = 0
    tasks: dict[str, int] | None = None


_MOST_TASKS = 20  # names that are kept for each failed init


class Account:
    """What the kernel's statistics would be, as far as was seen, since nothing was loaded."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self.counters = Counters()
        self.gaps = Gaps()
        self.failed_inits: dict[tuple[str, str], FailedInit] = {}
        self._duplicates: dict[str, int] = {}
        self._noticed: dict[str, int] = {}  # when each name first was a duplicate
        self._last_noticed = -1
        self._in_order = True
        self._unloaded = UnloadedTaints()
        self._taints: dict[str, frozenset[str]] = {}

    def count(self, call: ObservedCall) -> None:
        """One call more. They come in the order of their ``n``."""
        self.gaps.add(call.gaps)
        length, clen = call.length or 0, call.clen or 0
        match call.outcome:
            case outcomes.LIVE:
                self._went_live(call)
            case outcomes.INIT_FAILED:
                self._init_failed(call)
            case outcomes.KREAD:
                self.counters.kread_failed(wasted(call, self._release).kread)
            case outcomes.DECOMPRESS:
                self.counters.decompress_failed(clen)
            case outcomes.BECOMING:
                self.counters.becoming_failed(length, clen)
                self._duplicate(call, BECOMING)
            case outcomes.LOAD:
                self.counters.load_failed(length, clen)
                self._duplicate(call, LOAD)
            case outcomes.REMOVED:
                known = self._taints.pop(call.module or "", frozenset())
                self._gone(call.module, frozenset(call.taints) or known)

    def already_loaded(self, module: str, taints: Iterable[str]) -> None:
        """A module that was there before; counted nowhere, but it may go."""
        self._taints[module] = frozenset(taints)

    def lost(self, gap: str, count: int) -> None:
        """Something of the source was not seen."""
        self.gaps.add([gap], count)

    def snapshot(self, rows: int | None = None) -> Snapshot:
        """What can be read now; at most ``rows`` duplicates, None for all."""
        if not self._in_order:
            names = sorted(self._duplicates, key=lambda name: self._noticed[name])
            self._duplicates = {name: self._duplicates[name] for name in names}
            self._in_order = True
        return Snapshot.of(
            self.counters, duplicate_rows(self._duplicates, rows), self._unloaded.rows()
        )

    # -- what each adds ---------------------------------------------------------------------------

    def _went_live(self, call: ObservedCall) -> None:
        text = sum(size for kind, size in call.memory if kind == EXECMEM_MODULE_TEXT)
        self.counters.went_live(call.memory_size, text)
        if call.module is not None:
            self._taints[call.module] = frozenset(call.taints)

    def _duplicate(self, call: ObservedCall, reason: int) -> None:
        if not call.duplicate or call.module is None:
            return
        noticed = call.n if call.duplicate_n is None else call.duplicate_n
        if call.module not in self._duplicates:
            self._noticed[call.module] = noticed
            self._in_order &= noticed >= self._last_noticed
            self._last_noticed = max(self._last_noticed, noticed)
        elif noticed < self._noticed[call.module]:
            self._noticed[call.module] = noticed
            self._in_order = False
        try_add_failed_module(self._duplicates, call.module, reason)

    def _init_failed(self, call: ObservedCall) -> None:
        name = call.module or "?"
        error = errno.errorcode.get(call.result or 0, str(call.result))
        row = self.failed_inits.setdefault((name, error), FailedInit(name, error, tasks={}))
        row.count += 1
        if "init" in call.phases and "initialized" in call.phases:
            seconds = call.phases["initialized"] - call.phases["init"]
            row.seconds += seconds
            row.longest = max(row.longest, seconds)
        row.bytes += (call.length or 0) + (call.clen or 0) + call.memory_size
        tasks = row.tasks if row.tasks is not None else {}
        if call.task.name in tasks or len(tasks) < _MOST_TASKS:
            tasks[call.task.name] = tasks.get(call.task.name, 0) + 1
        self._gone(call.module, frozenset(call.taints))

    def _gone(self, name: str | None, taints: frozenset[str]) -> None:
        if name is not None:
            self._unloaded.add(_Gone(name, taints))
