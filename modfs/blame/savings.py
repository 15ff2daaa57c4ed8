"""What would help, and how much: found by replaying without it, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from loader.engine.outcomes import BECOMING, INIT_FAILED, LIVE, LOAD, REMOVED
from loader.observe.call import Item, ObservedCall
from loader.observe.recording import Recording
from loader.observe.replay import rules_of
from loader.release import Release, release
from modfs.anew import Anew, decide_anew

_IDEMPOTENT = "6.5"  # the first release in which loads of one inode are shared
Replay = Callable[[Release], int]
Keep = Callable[[ObservedCall], bool]


class Saving(NamedTuple):
    """``remedy``: what would help; ``calls``: that it would spare or answer otherwise; ``bytes``
    that less would be wasted, and ``left`` that still would be; ``uncounted``: bytes that the
    kernel's counters do not have (of inits that failed). ``names``: the modules or aliases that it
    is about, the most frequent first."""

    remedy: str
    calls: int
    bytes: int
    left: int
    uncounted: int = 0
    names: tuple[str, ...] = ()


class Savings(NamedTuple):
    """``base``: bytes that the replay wastes with nothing changed, to be compared with what was
    seen; ``rows``: the largest saving first."""

    base: int
    rows: tuple[Saving, ...]


IDEMPOTENT = "a kernel that shares loads of one file (6.5 and later)"
EARLY = "a kernel that looks for duplicates before it lays a module out (6.4)"
AGAIN = "not asking again for what is there"
ONCE_ALIAS = "asking once for each alias, not for each device that has it"
ONCE = "each program asking once for a module"
NO_FAILING = "not asking for modules whose init always fails"
NO_KERNEL = "doing without the kernel's own requests"


def of_recording(recording: Recording, replay: Replay | None = None) -> Savings:
    """What would help those requests. ``replay``: the bytes that they waste on another kernel,
    where that can be known better than by deciding them anew. UserError: there is none that could
    be decided."""
    own = own_release(recording)
    base = _wasted(decide_anew(recording, own))
    anew = replay or (lambda better: _wasted(decide_anew(recording, better)))
    rows = [*_by_kernel(recording, own, base, anew), *_by_less(recording, own, base)]
    rows = [row for row in rows if row.bytes > 0 or row.uncounted > 0]
    return Savings(base, tuple(sorted(rows, key=lambda row: (-row.bytes, -row.uncounted))))


def own_release(recording: Recording) -> Release:
    """The rules of the kernel that was recorded; without shared loads where two of one inode were
    under way at one time."""
    found = rules_of(recording.header)
    if found.idempotent and _loads_one_inode_twice(recording.items):
        return release(found.name, (*found.without, "idempotent"))
    return found


def _loads_one_inode_twice(items: Iterable[Item]) -> bool:
    ends: dict[tuple[int | None, int], float] = {}
    loads = [item for item in items if isinstance(item, ObservedCall) and _did_read(item)]
    for load in sorted(loads, key=lambda load: load.begin or 0.0):
        inode = (load.file.dev, load.file.ino or 0)
        read = load.phases.get("read", load.begin)
        if ends.get(inode, 0.0) > (read or 0.0):
            return True
        ends[inode] = load.end or 0.0
    return False


def _did_read(call: ObservedCall) -> bool:
    is_whole = call.begin is not None and call.end is not None and call.file.ino is not None
    return is_whole and call.call == "finit_module" and call.outcome in (LIVE, BECOMING, LOAD)


def better_kernels(own: Release) -> Iterator[tuple[str, Release]]:
    """What each feature that ``own`` lacks would be, alone."""
    if not own.idempotent:
        name = own.name if release(own.name).idempotent else _IDEMPOTENT
        yield IDEMPOTENT, release(name, tuple(one for one in own.without if one != "idempotent"))
    if not own.early_check:
        yield EARLY, release(own.name, tuple(one for one in own.without if one != "early-check"))


def _by_kernel(recording: Recording, own: Release, base: int, replay: Replay) -> Iterator[Saving]:
    duplicates = sum(1 for call in _calls(recording) if call.duplicate)
    for remedy, better in better_kernels(own):
        left = replay(better)
        yield Saving(remedy, duplicates, base - left, left)


def _by_less(recording: Recording, own: Release, base: int) -> Iterator[Saving]:
    """Without some of the calls."""
    for remedy, keep in _remedies(recording):
        gone = [call for call in _calls(recording) if not keep(call)]
        if not gone:
            continue
        left = _without(recording, own, keep)
        spared = sum(map(_uncounted, gone))
        names = _most_frequent(call.alias if remedy == ONCE_ALIAS else call.module for call in gone)
        yield Saving(remedy, len(gone), base - left, left, spared, names)


def _without(recording: Recording, own: Release, keep: Keep) -> int:
    items = [item for item in recording.items if not isinstance(item, ObservedCall) or keep(item)]
    if not any(isinstance(item, ObservedCall) for item in items):
        return 0
    return _wasted(decide_anew(replace(recording, items=items), own))


def _wasted(made: Anew) -> int:
    return made.snapshot.wasted_bytes


def _calls(recording: Recording) -> Iterator[ObservedCall]:
    return (item for item in recording.items if isinstance(item, ObservedCall))


def uncounted(recording: Recording) -> int:
    """Bytes of inits that failed, which the kernel counts nowhere."""
    return sum(map(_uncounted, _calls(recording)))


def _uncounted(call: ObservedCall) -> int:
    if call.outcome != INIT_FAILED:
        return 0
    return (call.length or 0) + (call.clen or 0) + call.memory_size


def _most_frequent(names: Iterable[str | None]) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for name in names:
        if name is not None:
            counts[name] = counts.get(name, 0) + 1
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


# -- which calls ----------------------------------------------------------------------------------


def _remedies(recording: Recording) -> Iterator[tuple[str, Keep]]:
    asked_again = _asked_again(recording)
    yield AGAIN, lambda call: id(call) not in asked_again
    failing = always_failing(recording)
    yield NO_FAILING, lambda call: call.module not in failing
    yield NO_KERNEL, lambda call: call.asked_by is None
    first = _firsts(recording, lambda call: call.alias and (call.alias, call.module))
    yield ONCE_ALIAS, lambda call: call.alias is None or id(call) in first
    if not any(call.alias for call in _calls(recording)):
        once = _firsts(recording, lambda call: (call.task.name, call.task.unit, call.module))
        yield ONCE, lambda call: not call.duplicate or id(call) in once


def always_failing(recording: Recording) -> set[str]:
    """Modules whose init has failed more than once, and never did anything else."""
    failed: dict[str, int] = {}
    for call in _calls(recording):
        if call.module is not None and call.outcome in (INIT_FAILED, LIVE):
            lived = call.outcome == LIVE
            failed[call.module] = -1 if lived else failed.get(call.module, 0) + 1
            if lived:
                failed[call.module] = -(10**9)
    return {name for name, count in failed.items() if count > 1}


def _asked_again(recording: Recording) -> set[int]:
    """Duplicates of what was live when they began, but for the kernel's own requests."""
    live = {before.name: float("-inf") for before in recording.before}
    found = set()
    for call in sorted(_calls(recording), key=lambda call: call.n):
        if call.outcome == LIVE:
            live[call.module or ""] = call.end or 0.0
        elif call.outcome == REMOVED:
            live.pop(call.module or "", None)
        elif call.duplicate and call.asked_by is None and call.begin is not None:
            since = live.get(call.module or "", float("inf"))
            found |= {id(call)} if call.begin >= since else set()
    return found


def _firsts(recording: Recording, key: Callable[[ObservedCall], object]) -> set[int]:
    """The first call of each kind."""
    seen: set[object] = set()
    found = set()
    for call in sorted(_calls(recording), key=lambda call: (call.begin or 0.0, call.n)):
        kind = key(call)
        if kind not in seen:
            seen.add(kind)
            found.add(id(call))
    return found
