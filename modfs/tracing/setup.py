"""An instance of our own with its probes, its clock, its buffer, and the events switched on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from loader.errors import UserError
from modfs.tracing.definitions import probed
from modfs.tracing.formats import EventFormat, FormatError, PageFormat, event_format, page_format
from modfs.tracing.probes import BOUND, NEEDED, PROBES, TRACEPOINTS, Probe
from modfs.tracing.tracefs import (
    BOOT,
    adopt,
    clear_left,
    definitions,
    instance,
    own_name,
    refused,
    tracefs,
    write,
)

_MOST_BUFFER = 16 << 10  # KiB a processor, unless told otherwise
_LEAST_BUFFER = 256
_CLOCKS = ("boot", "mono", "global", "local")
_MARKER = "ftrace/print"  # what is written to trace_marker


@dataclass(slots=True)
class Watched:
    """What was set up. ``place``: of the instance; ``functions``: what probes are on, by events."""

    place: Path
    since_boot: bool
    """A hook in the initramfs had begun, and it is its events that come first."""
    left: list[str]
    """What a killed one had left, and was removed."""
    clock: str = ""
    functions: dict[str, str] = field(default_factory=dict)
    definitions: list[str] = field(default_factory=list)
    refused: list[tuple[Probe, str]] = field(default_factory=list)
    """Probes that the kernel took in no form, and why."""

    @property
    def kinds(self) -> set[str]:
        """Of all events that may come."""
        refused = {probe.name for probe, _ in self.refused}
        kinds = set(self.functions.values())
        for event in TRACEPOINTS:
            if event not in refused:
                name = event.partition("/")[2]
                kinds.add(name.replace("sys_enter_", "sys_").replace("sys_exit_", "sys_"))
        return kinds

    def formats(self) -> tuple[PageFormat, list[EventFormat]]:
        """Of pages, and of all events that may come. UserError: they cannot be understood."""
        root = self.place.parent.parent
        events = [f"{self.place.name}/{name}" for name in self.functions]
        found = []
        try:
            page = page_format((root / "events/header_page").read_text())
            for event in (*events, *TRACEPOINTS, _MARKER):
                with suppress(FileNotFoundError):
                    found.append(event_format((root / "events" / event / "format").read_text()))
        except OSError as error:
            raise refused(error, "the formats of events") from None
        except FormatError as error:
            raise UserError(
                f"tracefs describes its records in a way unknown here: {error}"
            ) from None
        return page, found


@contextmanager
def set_up(bound: int | None, buffer: int | None) -> Iterator[Watched]:
    """Set it up; at the end nothing of it is left.

    ``bound``: on calls under way in a probed function; ``buffer``: KiB a processor; None for the
    usual ones. UserError: not root, no tracefs, no probes.
    """
    with tracefs() as root:
        left = clear_left(root)
        since_boot = adopt(root)
        name = BOOT if since_boot else own_name()
        with instance(root, name) as place:
            watched = Watched(place, since_boot, left)
            if since_boot:
                _find_definitions(watched, root)
            else:
                for probe in PROBES:
                    _define(watched, root, probe, BOUND if bound is None else bound)
            _check(watched)
            with suppress(OSError):  # tasks' names are told by events (names)
                write(place / "options/record-cmd", "0")
            _set_clock(watched)
            _resize(watched, buffer)
            yield watched


def switch_on(watched: Watched) -> None:
    """The events. UserError: the probes' cannot be."""
    for event in (watched.place.name, *TRACEPOINTS):
        try:
            write(watched.place / "events" / event / "enable", "1")
        except OSError as error:
            if "/" not in event:
                raise refused(error, f"{event}: the probes cannot be switched on") from None
            watched.refused.append((Probe(event, "who and when", ()), error.strerror or ""))


def _define(watched: Watched, root: Path, probe: Probe, bound: int) -> None:
    why = "no form"
    for form in probe.forms:
        for most in dict.fromkeys((bound, 0)):
            definition = form.definition(watched.place.name, probe.name, most)
            try:
                write(root / "dynamic_events", definition)
            except OSError as error:
                why = error.strerror or str(error)
                continue
            found = probed(definition)
            if found is not None:
                watched.functions[found[0]] = found[1]
            watched.definitions.append(definition)
            return
    watched.refused.append((probe, why))


def _find_definitions(watched: Watched, root: Path) -> None:
    """Those that the hook made."""
    watched.definitions = definitions(root, BOOT)
    watched.functions = dict(filter(None, map(probed, watched.definitions)))
    missing = (probe for probe in PROBES if probe.name not in watched.functions)
    watched.refused += [(probe, "refused at boot") for probe in missing]


def _check(watched: Watched) -> None:
    needed = [why for probe, why in watched.refused if probe.name in NEEDED]
    if needed:
        raise UserError(
            f"the kernel takes no probe on load_module ({needed[0]}): module loads cannot be seen"
        )


def _set_clock(watched: Watched) -> None:
    """To set a clock empties the buffer: one that has been filled since the boot keeps its own."""
    with suppress(OSError):
        text = (watched.place / "trace_clock").read_text()
        watched.clock = re.sub(r".*\[(.+)\].*\n?", r"\1", text)
    for clock in () if watched.since_boot else _CLOCKS:
        with suppress(OSError):
            write(watched.place / "trace_clock", clock)
            watched.clock = clock
            return


def _resize(watched: Watched, buffer: int | None) -> None:
    with suppress(OSError):  # any event wakes the reader, not a buffer that is half full
        write(watched.place / "buffer_percent", "0")
    if watched.since_boot:  # to resize empties it
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 10
    usual = min(_MOST_BUFFER, memory // 32 // (os.cpu_count() or 1))
    size = max(usual, _LEAST_BUFFER) if buffer is None else buffer
    try:
        write(watched.place / "buffer_size_kb", str(size))
    except OSError as error:
        if buffer is not None:
            raise refused(error, f"a buffer of {buffer} KiB for each processor") from None
