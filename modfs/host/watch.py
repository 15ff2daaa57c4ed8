"""The kernel of this machine, watched: events to calls, to whoever wants them."""

from __future__ import annotations

import os
from collections.abc import Callable

from loader.observe.assemble import Assembler
from loader.observe.call import Item
from loader.observe.events import Lost
from loader.observe.recording import Before, Header
from loader.observe.replay import rules
from loader.observe.sizes import of_proc_modules
from modfs.tracing.live import LiveTrace
from modfs.tracing.probes import SPARE
from modfs.who import Who


def header(trace: LiveTrace) -> Header:
    """What is recorded: this kernel."""
    import time

    return Header(
        release=os.uname().release,
        source="live",
        machine=os.uname().machine,
        clock=trace.watched.clock,
        began=time.time(),
        definitions=tuple(trace.watched.definitions),
    )


def modules_before(trace: LiveTrace) -> list[Before]:
    """The modules that are there now, from /proc/modules; of a trace since the boot none was there
    before. OSError."""
    found: list[Before] = []
    if trace.watched.since_boot:
        return found
    with open("/proc/modules", encoding="utf-8", errors="backslashreplace") as file:
        for line in file:
            words = line.split()
            taints = words[-1].strip("()+-") if words[-1].startswith("(") else ""
            found.append(Before(words[0], int(words[1]), taints))
    return found


def loaded_sizes() -> dict[str, int]:
    """Bytes of the modules that are loaded now, without init's, by name; none if nobody tells."""
    try:
        with open("/proc/modules", encoding="utf-8", errors="backslashreplace") as file:
            return of_proc_modules(file.read())
    except OSError:
        return {}


def watch(trace: LiveTrace, emit: Callable[[Item], None]) -> int:
    """Hand all that is seen to ``emit``, until the trace is stopped; how many events there were.

    To be run in a thread of its own, which takes no more than what others leave.
    """
    who = Who(trace.watched.clock)
    assembler = Assembler(rules(os.uname().release), trace.watched.kinds, who)
    events = 0
    for event in trace.events():
        if isinstance(event, Lost):
            emit(event)
        else:
            events += 1
            for item in assembler.feed(event):
                emit(item)
    for item in assembler.finish():
        emit(item)
    return events


def missing(trace: LiveTrace) -> list[str]:
    """What this kernel's probes cannot tell, for people."""
    return [
        f"no {probe.name} event ({why}): {probe.tells} may not be known"
        for probe, why in trace.watched.refused
        if probe.name not in SPARE
    ]
