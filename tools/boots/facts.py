"""What a recorded boot amounts to, as values: the machine, its events, who handled them, all loads.

All times are seconds by the guest's clock, None where something was not seen; spans are durations
in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from loader.observe.call import BECOMING, INIT_FAILED, LOAD, SHARED, ObservedCall

FAILED = (BECOMING, LOAD)
"""Outcomes that the kernel's statistics would count as failed loads."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What booted, and on what.

    ``kernel``: as the plan names it, such as 6.1; ``memory``: bytes; ``children_max``: None where
    udevd chose itself; ``blacklist``: modules' names. ``host_processors``: of the machine that
    emulated it, and ``host_loads``: how much ran there, before and after; ``seconds``: of QEMU,
    ``processor_seconds`` that it used. ``modaliases``: of all devices that have one, by devpath.
    """

    kernel: str
    release: str
    processors: int
    memory: int
    children_max: int | None
    blacklist: tuple[str, ...]
    command_line: str
    udev: str
    qemu: str
    host_processors: int
    host_loads: tuple[float, float]
    seconds: float
    processor_seconds: float
    modaliases: Mapping[str, str]


class Look(NamedTuple):
    """kmod looked whether a module was there: ``state`` by initstate, None: no such file."""

    at: float
    module: str
    state: str | None


class Contention(NamedTuple):
    """The task ``tid`` waited for one of the kernel's locks, such as module_mutex."""

    tid: int
    lock: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Uevent:
    """One event of the kernel's, and what udevd did with it.

    ``sent``: by the kernel; ``handed``: by udevd, to a worker that was idle, or (``forked``) to one
    that began with it; ``begin``: of the rules in the worker ``worker`` (its number); ``ruled``:
    all rules read, what they want to run comes now, among it kmod's loads; ``done``: passed on to
    who listens; ``free``: udevd was told so, None if the worker was killed before. ``modalias``: ""
    where there is none.
    """

    seqnum: int
    action: str
    devpath: str
    modalias: str
    worker: int
    forked: bool
    begin: float
    sent: float | None
    handed: float | None
    ruled: float | None
    done: float | None
    free: float | None
    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker. ``forked``, ``begun`` (it has its name), ``ended``: when; ``ran``, ``waited``:
    seconds on a processor and for one, up to when all was settled; ``times``: that it ran."""

    tid: int
    forked: float
    begun: float | None
    ended: float | None
    ran: float | None
    waited: float | None
    times: int | None


@dataclass(frozen=True, slots=True)
class Load:
    """One finit_module. ``seqnum``: of the event that it was made for, None: for none.

    ``module``: its name; of one that shares another's load, what kmod had looked for before.
    ``searches``: when the list of modules was searched for its name. One who waits for another's
    load searches again at each wake-up. ``locks``: of the kernel that it waited for.
    """

    call: ObservedCall
    seqnum: int | None
    module: str
    searches: tuple[float, ...]
    locks: tuple[Contention, ...]

    @property
    def outcome(self) -> str:
        """One of loader.engine.outcomes."""
        return self.call.outcome

    @property
    def errno(self) -> int | None:
        """What it returned, 0 for none."""
        return self.call.result

    @property
    def failed(self) -> bool:
        """The kernel's statistics would count it as failed."""
        return self.call.outcome in FAILED

    @property
    def init_failed(self) -> bool:
        """Its init returned an error: the next who asks loads again."""
        return self.call.outcome == INIT_FAILED

    @property
    def read(self) -> float | None:
        """Span: the file."""
        return self._span(self.call.begin, self._at("read"))

    @property
    def check(self) -> float | None:
        """Span: from load_module's beginning until it is laid out."""
        return self._span(self._at("checked"), self._at("laid_out"))

    @property
    def copy(self) -> float | None:
        """Span: from laid out to the (last) search of the list: memory is got and filled."""
        begin = self._at("laid_out")
        after = [at for at in self.searches if begin is not None and at >= begin]
        return self._span(begin, after[0]) if after else None

    @property
    def wait(self) -> float:
        """Span: for another's load of the same module; 0 for none."""
        if self.outcome == SHARED:
            return self._span(self.call.begin, self.call.end) or 0.0
        return self.searches[-1] - self.searches[0] if self.failed and self.searches else 0.0

    @property
    def link(self) -> float | None:
        """Span: from the search of the list to init: symbols, relocations, sysfs."""
        begin = self.searches[-1] if self.searches else None
        return self._span(begin, self._at("init"))

    @property
    def init(self) -> float | None:
        """Span: do_init_module, until all who wait are woken."""
        return self._span(self._at("init"), self._at("initialized"))

    @property
    def undo(self) -> float | None:
        """Span: of one that failed, from the last search to its end."""
        return self._span(self.searches[-1] if self.searches else None, self.call.end)

    def _at(self, phase: str) -> float | None:
        return self.call.phases.get(phase)

    @staticmethod
    def _span(begin: float | None, end: float | None) -> float | None:
        return None if begin is None or end is None else end - begin


@dataclass(frozen=True, slots=True)
class Boot:
    """One recorded boot. ``start``: before udevd; ``settled``, ``end``: when udevadm settle
    returned, and two seconds later; ``in_time``: it had settled then. ``idle``, ``busy``: seconds
    of all processors between these, by the kernel's count. ``before``, ``sizes``: the modules that
    were there before udevd, and at the end: bytes of each, by name. ``lost``: what was not seen, by
    kind. ``contended``: all waits for locks, None where that was not recorded."""

    name: str
    machine: Machine
    start: float
    settled: float
    end: float
    in_time: bool
    busy: float
    idle: float
    uevents: tuple[Uevent, ...]
    workers: tuple[Worker, ...]
    loads: tuple[Load, ...]
    contended: tuple[Contention, ...] | None
    before: Mapping[str, int]
    sizes: Mapping[str, int]
    lost: Mapping[str, int]

    @property
    def failed(self) -> int:
        """Loads that the kernel's statistics would count as failed."""
        return sum(load.failed for load in self.loads)
