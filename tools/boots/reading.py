"""Recordings read: read_boot(path) gives the facts of one (tools.boots.facts).

How each load ended is loader.observe's judgement; what is added here is udevd: which event each
load was made for, when it was sent, handed out, handled.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from loader.errors import UserError
from loader.observe.assemble import assemble
from loader.observe.call import ObservedCall
from loader.observe.events import Event, Lost
from loader.observe.replay import rules
from modfs.tracing.lines import decoded
from modfs.tracing.text import parse_text, read_text
from tools.boots.facts import Boot, Contention, Load, Machine, Uevent, Worker
from tools.boots.locks import contended, names
from tools.boots.udevd import Udevd

FOLDER = Path(__file__).with_name("recordings")
_SUFFIX = ".txt.zst"
_NEEDED = ("HEAD", "MACHINE", "BEFORE", "AFTER", "TRACE", "PROCMODULES", "STAT", "STATSETTLED",
           "SEQNUM", "SETTLE")  # fmt: skip
_TICKS = 100  # a second, in /proc/stat
_IDLE = (3, 4)  # its columns: idle, iowait


def recordings(folder: Path = FOLDER) -> list[Path]:
    """All that are there."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def read_boot(path: Path) -> Boot:
    """One recording. OSError: cannot be read. UserError: it is none, or damaged."""
    text = decoded(read_text(path))
    parts = sections(text)
    if gone := [name for name in _NEEDED if not parts.get(name)]:
        raise UserError(f"{path}: no recorded boot: it has no section {gone[0]}")
    try:
        return _boot(text, parts)
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path}: a damaged recording: {error!r}") from None


def _boot(text: str, parts: Mapping[str, list[str]]) -> Boot:
    trace = parse_text(text)
    events = [event for event in trace.events if isinstance(event, Event)]
    head = json.loads("\n".join(parts["HEAD"]))
    machine = _machine(head, parts)
    seen = Udevd(int(parts["SEQNUM"][0]))
    for event in events:
        seen.see(event)
    items = list(assemble(trace.events, rules(machine.release), trace.kinds))
    moments = _moments(events)
    locks = contended(parts["TRACE"], names(parts["LOCKS"])) if "LOCKS" in parts else None
    busy, idle = _processors(parts)
    return Boot(
        name=head["name"],
        machine=machine,
        start=moments["start"],
        settled=moments["settled"],
        end=moments["end"],
        in_time=parts["SETTLE"] == ["0"],
        busy=busy,
        idle=idle,
        uevents=_uevents(seen, machine.modaliases),
        workers=_workers(seen, parts.get("UDEVD", ())),
        loads=_loads([one for one in items if isinstance(one, ObservedCall)], seen, locks or ()),
        contended=None if locks is None else tuple(locks),
        before=_sizes(parts.get("PROCBEFORE", ())),
        sizes=_sizes(parts["PROCMODULES"]),
        lost=dict(_lost(one for one in items if isinstance(one, Lost))),
    )


def sections(text: str) -> dict[str, list[str]]:
    """The lines of each, by its name."""
    found: dict[str, list[str]] = {}
    body: list[str] | None = None
    for line in text.split("\n"):
        if line == "@END":
            body = None
        elif body is not None:
            body.append(line)
        elif line.startswith("@"):
            body = found.setdefault(line[1:], [])
    return found


def _machine(head: Mapping[str, Any], parts: Mapping[str, list[str]]) -> Machine:
    return Machine(
        memory=int(parts["MACHINE"][2].split()[1]) << 10,
        blacklist=tuple(head["blacklist"].split()),
        host_loads=tuple(head["host_loads"]),
        modaliases=_modaliases([*parts["BEFORE"], *parts["AFTER"]]),
        **{name: head[name] for name in _OF_HEAD},
    )


_OF_HEAD = (
    "kernel", "release", "processors", "children_max", "command_line", "udev", "qemu",
    "host_processors", "seconds", "processor_seconds",
)  # fmt: skip


def _sizes(lines: Iterable[str]) -> dict[str, int]:
    return {words[0]: int(words[1]) for words in map(str.split, lines)}


def _modaliases(lines: Sequence[str]) -> dict[str, str]:
    pairs = (line.partition(" ") for line in lines)
    return {path.removeprefix("/sys"): modalias for path, _, modalias in pairs}


def _moments(events: Sequence[Event]) -> dict[str, float]:
    marks = (event for event in events if event.kind == "tracing_mark_write")
    return {
        text.removeprefix("moment "): mark.at
        for mark in marks
        if (text := mark.text("text") or "").startswith("moment ")
    }


def _processors(parts: Mapping[str, list[str]]) -> tuple[float, float]:
    """Seconds of all processors from the start until all was settled: busy, idle."""
    before, after = ([int(word) for word in parts[name][0].split()[1:]] for name in _STATS)
    gone = [late - early for early, late in zip(before, after, strict=True)]
    idle = sum(gone[column] for column in _IDLE)
    return (sum(gone) - idle) / _TICKS, idle / _TICKS


_STATS = ("STAT", "STATSETTLED")


def _uevents(seen: Udevd, modaliases: Mapping[str, str]) -> tuple[Uevent, ...]:
    seen.match()
    return tuple(
        Uevent(
            seqnum=one.seqnum,
            action=one.action,
            devpath=one.devpath,
            modalias=modaliases.get(one.devpath, ""),
            worker=one.worker,
            forked=one.forked,
            begin=one.begin,
            sent=one.sent,
            handed=one.handed,
            ruled=one.ruled,
            done=one.done,
            free=one.free,
            looks=tuple(one.looks),
        )
        for one in sorted(seen.handled, key=lambda one: one.seqnum)
    )


def _workers(seen: Udevd, rows: Sequence[str]) -> tuple[Worker, ...]:
    told = {int(words[0]): words[-3:] for words in map(str.split, rows)}
    made = []
    for tid, forked in seen.forks.items():
        if tid in seen.begun:  # else it became something else
            ran, waited, times = map(int, told[tid]) if tid in told else (None, None, None)
            made.append(
                Worker(
                    tid,
                    forked,
                    seen.begun[tid],
                    seen.ended.get(tid),
                    None if ran is None else ran / 1e9,
                    None if waited is None else waited / 1e9,
                    times,
                )
            )
    return tuple(made)


def _loads(
    calls: Sequence[ObservedCall], seen: Udevd, locks: Iterable[Contention]
) -> tuple[Load, ...]:
    of_task: dict[int, list[Contention]] = defaultdict(list)
    for one in locks:
        of_task[one.tid].append(one)
    made = []
    for call in calls:
        if call.call != "finit_module" or call.begin is None:
            continue
        end = call.end if call.end is not None else float("inf")
        searches = seen.searches.get(call.task.tid, ())
        within = tuple(at for at in searches if call.begin <= at <= end)
        event = seen.event_at(call.task.tid, call.begin)
        name = call.module or (event.looked_for(call.begin) if event else "")
        waits = tuple(one for one in of_task[call.task.tid] if call.begin <= one.begin <= end)
        made.append(Load(call, event.seqnum if event else None, name, within, waits))
    return tuple(made)


def _lost(items: Iterable[Lost]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for item in items:
        counted[item.gap] += item.times
    return counted
