"""A machine as a recording of its boot shows it.

Recorded boots have sections: @MACHINE (processors, uname, memory, and lines of a device's path and
its modalias), @BEFORE and @AFTER the same lines, before and after the coldplug; marks in the trace,
"uevent begin SEQNUM [ACTION] DEVPATH", tell in which order udevd was told of which device. Only
what is added asks for modules (80-drivers.rules).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median

from loader.documents.document import MANY
from loader.errors import UserError
from loader.observe.call import INIT_FAILED, LIVE, ObservedCall
from loader.observe.recording import Recording
from loader.simulate.machine import PROCESSORS_MOST
from loader.words import canonical
from modfs.machine.devices import Device, devices_order, is_alias
from modfs.machine.seen import Init, Load, Pass, Seen
from modfs.machine.settings import core_sizes, memory_of, uname_of
from modfs.tracing.text import read_text

_SECTION = re.compile(r"(?ms)^@(HEAD|MACHINE|BEFORE|AFTER|PROCMODULES)\n(.*?)^@END$")
_BEGUN = re.compile(r"(?m)^@MACHINE$")
_BEGINS, _ENDS = re.compile(r"(?m)^@(?!END$)[A-Z]+(?: .*)?$"), re.compile(r"(?m)^@END$")
_DEVICE = re.compile(r"/sys(/devices/\S+?)(?:/modalias|/uevent)? (?:MODALIAS=)?(\S+)")
_MARK = re.compile(r"tracing_mark_write: uevent begin (\d{1,18}) (?:([a-z]+) )?(/.+)$")
_SETTLED = "tracing_mark_write: moment settled"
_NOT_DEVICES = ("/devices/system/cpu",)  # the folder of all processors has a file modalias as well


def look_at_boot(path: Path, source: str) -> Seen | None:
    """What a recorded boot tells of its machine; None: it has no section about that.

    OSError: cannot be read. UserError: damaged.
    """
    text = read_text(path).decode("utf-8", "surrogateescape").replace("\r", "")
    sections = dict(_SECTION.findall(text))
    machine = sections.get("MACHINE")
    if machine is None:
        if _BEGUN.search(text):
            raise UserError(f"{path}: it ends within the section @MACHINE")
        return None
    seen = Seen(source)
    if len(_BEGINS.findall(text)) > len(_ENDS.findall(text)):
        seen.notes.append("the recording ends within a section: what came after is missing")
    lines = machine.splitlines()
    if lines and re.fullmatch(r"[1-9]\d{0,5}", lines[0]):
        seen.processors = int(lines[0])
    seen.release, seen.architecture = uname_of(machine)
    seen.memory = memory_of(machine)
    seen.core = core_sizes(sections.get("PROCMODULES", ""))
    _take_head(seen, sections.get("HEAD", ""))
    _take_devices(seen, sections, text)
    return seen


def _take_devices(seen: Seen, sections: Mapping[str, str], text: str) -> None:
    before = _aliases(sections.get("BEFORE", sections["MACHINE"]))
    after = _aliases(sections.get("AFTER", ""))
    told = list(_told_of(text.splitlines()))
    if told:
        aliases = after | before
        devices = [Device(path, "", aliases.get(path) if added else None) for path, added in told]
    else:
        devices = devices_order(Device(path, "", alias) for path, alias in before.items())
        seen.notes.append("devices: those without a modalias are not in the recording")
        late = {path: alias for path, alias in after.items() if path not in before}
        devices += devices_order(Device(path, "", alias) for path, alias in late.items())
    seen.passes = (Pass("coldplug", tuple(devices)),) if devices else ()


def _take_head(seen: Seen, head: str) -> None:
    """What a recorded boot was made with."""
    try:
        found = json.loads(head)
        workers, blacklist = found.get("children_max"), found.get("blacklist")
        host = found.get("host_processors")
    except (ValueError, AttributeError, RecursionError):
        return
    if isinstance(workers, int) and 0 < workers <= MANY:
        seen.workers = workers
    if isinstance(host, int) and 0 < host <= PROCESSORS_MOST:
        seen.host_processors = host
    if isinstance(blacklist, str):
        seen.blacklist = tuple(canonical(name) for name in blacklist.split())


def _aliases(lines: str) -> dict[str, str]:
    found = (match.groups() for line in lines.splitlines() if (match := _DEVICE.fullmatch(line)))
    return {path: alias for path, alias in found if path not in _NOT_DEVICES and is_alias(alias)}


def _told_of(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """The paths that udevd was told of until it had settled, in that order; was each added?"""
    order = []
    for line in lines:
        if line.endswith(_SETTLED):
            break
        if mark := _MARK.search(line):
            order.append((int(mark[1]), mark[3], mark[2] in (None, "add")))
    return ((path, added) for _, path, added in sorted(order))


def inits(recording: Recording) -> dict[str, Init]:
    """How long the inits of modules took, in seconds (the median of several), and which failed and
    never did not."""
    took: dict[str, list[float]] = {}
    failed: dict[str, int] = {}
    for call in recording.items:
        if not isinstance(call, ObservedCall) or not call.module:
            continue
        if call.outcome in (LIVE, INIT_FAILED):
            begin, end = call.phases.get("init"), call.phases.get("initialized")
            seconds = took.setdefault(call.module, [])
            if begin is not None and end is not None and end >= begin:
                seconds.append(end - begin)
            if call.outcome == INIT_FAILED:
                failed.setdefault(call.module, call.result or 0)
    live = {c.module for c in recording.items if isinstance(c, ObservedCall) and c.outcome == LIVE}
    return {
        name: Init(median(seconds) if seconds else None, 0 if name in live else failed.get(name, 0))
        for name, seconds in took.items()
    }


def loads(recording: Recording) -> dict[str, Load]:
    """What modules took that got as far as their init. A module's code has type 0."""
    found: dict[str, Load] = {}
    for call in recording.items:
        if isinstance(call, ObservedCall) and call.module and call.outcome in (LIVE, INIT_FAILED):
            if not call.length or not call.memory_size:
                continue
            typed = all(kind is not None for kind, _ in call.memory)
            text = sum(size for kind, size in call.memory if kind == 0) if typed else None
            found[call.module] = Load(call.length, call.memory_size, text)
    return found
