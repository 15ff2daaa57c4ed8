"""The requests of a recording, decided anew: what another kernel would have made of them.

Modules are made to measure: as long as the files that were read, with the memory that was seen.
Who asked when is as it was; how long the steps took is what most of the recording's loads took.
What no release decides otherwise (damaged files, missing symbols, failed reads) stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from loader.calls import DeleteModule, FinitModule
from loader.config import PAGE_SIZE
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.stats import Counters, Snapshot
from loader.errors import UserError
from loader.observe.account import Account
from loader.observe.call import INIT_FAILED, LIVE, REMOVED, SHARED, ObservedCall
from loader.observe.events import EXECMEM_MODULE_TEXT
from loader.observe.recording import Recording
from loader.release import Release
from loader.simulate.replay import replay_virtual
from loader.simulate.scenario import Scenario, TimedCall
from loader.synthesize.sized import sized
from loader.synthesize.spec import ModuleSpec

# Steps of a scenario, and between which phases of an observed load each is.
_STEPS = {
    "read": ("begin", "read"),
    "check": ("checked", "laid_out"),
    "copy": ("laid_out", "allocated"),
    "relocate": ("allocated", "init"),
}
_DEFAULT_MEMORY = (8 * PAGE_SIZE, 2 * PAGE_SIZE)
_LEAST_FILE = 8192  # bytes that a module made to measure needs


@dataclass(frozen=True, slots=True)
class _Observed(Scenario):
    """A scenario whose init routines may fail."""

    routines: InitRoutines | None = None

    @property
    def init_routines(self) -> InitRoutines:
        return self.routines or InitRoutines()


class Anew(NamedTuple):
    """What came of it. ``decided``: calls that the engine decided; ``kept``: those that it could
    not, accounted as they were; ``unknown``: those of which too little was seen."""

    snapshot: Snapshot
    decided: int
    kept: int
    unknown: int


def decide_anew(recording: Recording, release: Release) -> Anew:
    """What a kernel of that ``release`` makes of the requests. UserError: there are none."""
    calls = sorted(
        (item for item in recording.items if isinstance(item, ObservedCall)),
        key=lambda call: (call.begin or 0.0, call.n),
    )
    modules = _modules(calls)
    asked: list[TimedCall] = []
    kept = Account(release)
    unknown = left = 0
    for call, name in _with_names(calls):
        timed = _timed(call, name) if name in modules or call.outcome == REMOVED else None
        if timed is not None:
            asked.append(timed)
        elif call.begin is None or call.outcome == SHARED or call.result is None:
            unknown += 1
        else:
            left += 1
            kept.count(call)
    if not asked:
        raise UserError("there is no request in the recording that a kernel could decide")
    first = min(timed.at for timed in asked)
    scenario = _Observed(
        Path(),
        kernel=release.name,
        without=release.without,
        steps=_steps(calls),
        modules=modules,
        calls=tuple(replace(timed, at=timed.at - first) for timed in asked),
        routines=_routines(calls),
    )
    snapshot, _ = replay_virtual(scenario)
    return Anew(_together(snapshot, kept.snapshot()), len(asked), left, unknown)


def _is_decidable(call: ObservedCall) -> bool:
    """What becomes of it depends on the release: a duplicate, or a load that got to its init."""
    return call.duplicate or call.outcome in (LIVE, INIT_FAILED)


def _with_names(calls: Iterable[ObservedCall]) -> Iterator[tuple[ObservedCall, str | None]]:
    """Each call with the module that it is about; of one that waited for another's load, that one's
    by the time and the result: it read nothing itself."""
    loads = [call for call in calls if _is_decidable(call) and call.end is not None]
    for call in calls:
        if call.outcome == SHARED:
            yield call, _shared(call, loads)
        elif _is_decidable(call) or call.outcome == REMOVED:
            yield call, call.module
        else:
            yield call, None


def _shared(call: ObservedCall, loads: list[ObservedCall]) -> str | None:
    """The last of the loads that began before and ended while this one waited, as it did."""
    if call.begin is None or call.end is None:
        return None
    found = [
        load
        for load in loads
        if load.begin is not None
        and load.end is not None
        and load.begin <= call.end
        and load.end >= call.begin
        and load.result == call.result
    ]
    return min(found, key=lambda load: abs((load.end or 0) - (call.end or 0)), default=call).module


def _timed(call: ObservedCall, name: str | None) -> TimedCall | None:
    if call.begin is None or name is None:
        return None
    asked = DeleteModule(name) if call.call == "delete_module" else FinitModule(name)
    return TimedCall(call.begin, f"{call.task.name}-{call.task.tid}", asked)


def _modules(calls: Iterable[ObservedCall]) -> dict[str, ModuleSpec]:
    """What is known of each module, by its name; the memory that was seen, or some."""
    lengths: dict[str, int] = {}
    memory: dict[str, tuple[int, int]] = {}
    for call in calls:
        if call.module is None or not _is_decidable(call) or call.length is None:
            continue
        lengths[call.module] = call.length
        if call.memory:
            text = sum(size for kind, size in call.memory if kind == EXECMEM_MODULE_TEXT)
            memory[call.module] = call.memory_size, text
    return {name: _spec(name, length, memory.get(name)) for name, length in lengths.items()}


def _spec(name: str, length: int, memory: tuple[int, int] | None) -> ModuleSpec:
    total, text = memory or _DEFAULT_MEMORY
    for file_bytes in (length, max(length, _LEAST_FILE), None):
        try:
            return sized(name, total_size=total, text_size=text, file_bytes=file_bytes)
        except UserError:
            continue
    return sized(name, total_size=_DEFAULT_MEMORY[0], text_size=_DEFAULT_MEMORY[1])


def _routines(calls: Iterable[ObservedCall]) -> InitRoutines:
    """How long each init took the last time, and whether it failed."""
    made = {}
    for call in calls:
        if call.module is not None and "init" in call.phases and "initialized" in call.phases:
            seconds = max(0.0, call.phases["initialized"] - call.phases["init"])
            failed = -(call.result or 0) if call.outcome == INIT_FAILED else 0
            made[call.module] = InitRoutine(seconds, failed)
    return InitRoutines(made)


def _steps(calls: Iterable[ObservedCall]) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in _STEPS}
    for call in calls:
        moments = {**call.phases, "begin": call.begin}
        for name, (start, end) in _STEPS.items():
            began, ended = moments.get(start), moments.get(end)
            if began is not None and ended is not None:
                taken[name].append(max(0.0, ended - began))
    return {name: median(seconds) for name, seconds in taken.items() if seconds}


def _together(engine: Snapshot, kept: Snapshot) -> Snapshot:
    """Both, added; duplicates are the engine's."""
    sums = {
        field.name: getattr(engine, field.name) + getattr(kept, field.name)
        for field in fields(Counters)
    }
    return Snapshot.of(Counters(**sums), engine.duplicates, engine.unloaded_tainted)
