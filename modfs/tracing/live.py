"""The events of this machine's own kernel, as they come.

They are read from trace_pipe, which blocks until there are some and gives them merged from all
processors in the order of their times; nothing of what is read there is from freed memory (see
probes), so that its lines are whole. A thread reads, and hands lines on in batches; how much it may
be ahead is bounded, and beyond that the kernel's buffer holds them, and counts what it loses.
"""

from __future__ import annotations

import os
import queue
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from loader.errors import UserError
from loader.observe.events import Event, Lost
from modfs.tracing.definitions import probed
from modfs.tracing.lines import decoded, lost_events, parse
from modfs.tracing.probes import NEEDED, PROBES, TRACEPOINTS, Probe
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

_CHUNK = 1 << 16  # bytes at a time
_MOST_AHEAD = 4096  # chunks that wait to be taken
_MOST_BUFFER = 16 << 10  # KiB a processor
_NICE = 19
_CLOCKS = ("boot", "mono", "global", "local")
_COUNTED = re.compile(r"^(overrun|commit overrun|dropped events): (\d+)$", re.MULTILINE)
_SYNC = "modfs sync "


def stand_back() -> None:
    """This thread leaves the processors to those whom it watches: what they do waits in the
    buffer."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


class LiveTrace:
    """An instance in tracefs with our probes. To be entered; then `events` gives what happens.

    UserError on entering: not root, no tracefs, no probes.
    """

    def __init__(self, bound: int | None = None) -> None:
        """``bound``: on calls under way in a probed function, None for the usual one."""
        self._bound = bound
        self._stack = ExitStack()
        self._functions: dict[str, str] = {}
        self._chunks: queue.Queue[bytes] = queue.Queue(_MOST_AHEAD)
        self._n = 0
        self._lost = 0
        self._synced: dict[str, threading.Event] = {}
        self._numbers = iter(range(1 << 62))
        self._pipe = -1
        self._stop = threading.Event()
        self.definitions: list[str] = []
        self.refused: list[tuple[Probe, str]] = []
        """Probes that the kernel took in no form, and why."""
        self.left: list[str] = []
        """What a killed one had left, and was removed."""
        self.since_boot = False
        """A hook in the initramfs had begun, and it is its events that come first."""
        self.clock = ""
        self.place = Path()

    # -- setting up -------------------------------------------------------------------------------

    def __enter__(self) -> LiveTrace:
        with ExitStack() as stack:
            self._set_up(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._stack.close()

    def _set_up(self, stack: ExitStack) -> None:
        root = stack.enter_context(tracefs())
        self.left = clear_left(root)
        self.since_boot = adopt(root)
        name = BOOT if self.since_boot else own_name()
        self.place = stack.enter_context(instance(root, name))
        if self.since_boot:
            self._find_definitions(root)
        else:
            for probe in PROBES:
                self._define(root, name, probe)
        missing = [probe.name for probe, _ in self.refused if probe.name in NEEDED]
        if missing:
            why = next(why for probe, why in self.refused if probe.name in NEEDED)
            raise UserError(
                f"the kernel takes no probe on load_module ({why}): module loads cannot be seen"
            )
        self._settings(resize=not self.since_boot)
        self._pipe = os.open(self.place / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, self._pipe)
        self._marker = os.open(self.place / "trace_marker", os.O_WRONLY)
        stack.callback(os.close, self._marker)
        for event in (name, *TRACEPOINTS):
            self._enable(event)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _define(self, root: Path, group: str, probe: Probe) -> None:
        why = "no form"
        for form in probe.forms:
            for bound in dict.fromkeys((500 if self._bound is None else self._bound, 0)):
                definition = form.definition(group, probe.name, bound)
                try:
                    write(root / "dynamic_events", definition)
                except OSError as error:
                    why = error.strerror or str(error)
                    continue
                found = probed(definition)
                if found is not None:
                    self._functions[found[0]] = found[1]
                self.definitions.append(definition)
                return
        self.refused.append((probe, why))

    def _find_definitions(self, root: Path) -> None:
        """Those that the hook made."""
        self.definitions = definitions(root, BOOT)
        self._functions = dict(filter(None, map(probed, self.definitions)))
        missing = (probe for probe in PROBES if probe.name not in self._functions)
        self.refused += [(probe, "refused at boot") for probe in missing]

    def _settings(self, resize: bool) -> None:
        """Clock and buffer. To set a clock or to resize empties the buffer."""
        with suppress(OSError):
            self.clock = re.sub(r".*\[(.+)\].*\n?", r"\1", (self.place / "trace_clock").read_text())
        for clock in _CLOCKS if resize else ():
            with suppress(OSError):
                write(self.place / "trace_clock", clock)
                self.clock = clock
                break
        with suppress(OSError):  # any event wakes the reader, not a buffer that is half full
            write(self.place / "buffer_percent", "0")
        if not resize:
            return
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 10
        size = min(_MOST_BUFFER, memory // 32 // (os.cpu_count() or 1))
        with suppress(OSError):
            write(self.place / "buffer_size_kb", str(max(size, 256)))

    def _enable(self, event: str) -> None:
        try:
            write(self.place / "events" / event / "enable", "1")
        except OSError as error:
            if "/" in event:
                self.refused.append((Probe(event, "who and when", ()), error.strerror or ""))
            else:
                raise refused(error, f"{event}: the probes cannot be switched on") from None

    @property
    def kinds(self) -> set[str]:
        """Of all events that may come."""
        refused = {probe.name for probe, _ in self.refused}
        kinds = set(self._functions.values())
        for event in TRACEPOINTS:
            if event not in refused:
                name = event.partition("/")[2]
                kinds.add(name.replace("sys_enter_", "sys_").replace("sys_exit_", "sys_"))
        return kinds

    # -- reading ----------------------------------------------------------------------------------

    def _read(self) -> None:
        """The thread that empties trace_pipe; its end is an empty chunk."""
        import select

        stand_back()
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while True:
            try:
                chunk = os.read(self._pipe, _CHUNK)
            except BlockingIOError:
                if self._stop.is_set():
                    break
                poll.poll()
                continue
            except OSError:
                break
            if chunk:
                self._chunks.put(chunk)
        self._chunks.put(b"")

    def stop(self) -> None:
        """No more events; what has come is still given. From any thread; may be called twice."""
        if self._stop.is_set() or self._pipe < 0:
            return
        self._stop.set()
        with suppress(OSError):
            write(self.place / "events/enable", "0")
        with suppress(OSError):
            os.write(self._marker, b"modfs stop")  # wakes the reader

    def mark(self, text: str) -> None:
        """Write a line between the events."""
        with suppress(OSError):
            os.write(self._marker, text.encode())

    def sync(self, seconds: float) -> bool:
        """Wait until all that has happened so far has been given; False: not so soon."""
        name = f"{_SYNC}{next(self._numbers)}"
        come = self._synced[name] = threading.Event()
        self.mark(name)
        done = come.wait(seconds)
        self._synced.pop(name, None)
        return done

    def events(self) -> Iterator[Event | Lost]:
        """What happens, until `stop`; then what was lost. One thread at a time."""
        rest = b""
        while chunk := self._chunks.get():
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                yield from self._line(decoded(line))
        yield from self._losses()

    def _line(self, text: str) -> Iterator[Event | Lost]:
        line = parse(text, self._functions)
        if line is not None:
            self._n += 1
            if line.kind in ("tracing_mark_write", "print"):
                come = self._synced.get(str(line.fields.get("text", "")))
                if come is not None:
                    come.set()
                    return
            yield Event(self._n, *line)
        elif (lost := lost_events(text)) is not None:
            self._lost += lost
            yield Lost(self._n + 1, "lost", lost)
        elif text.strip() and not text.startswith("#"):
            yield Lost(self._n + 1, "damaged", 1)

    def _losses(self) -> Iterator[Lost]:
        """What the kernel counts itself: events that the buffers lost, and probes that missed."""
        counted = 0
        for stats in self.place.glob("per_cpu/cpu*/stats"):
            with suppress(OSError):
                counted += sum(int(n) for _, n in _COUNTED.findall(stats.read_text()))
        if counted > self._lost:
            yield Lost(0, "lost", counted - self._lost)
        misses = self.misses()
        if misses:
            yield Lost(0, "misses", misses)

    def misses(self) -> int:
        """Calls of probed functions that a probe missed, as far as the kernel counts them."""
        with suppress(OSError):
            profile = (self.place.parent.parent / "kprobe_profile").read_text()
            rows = [line.split() for line in profile.splitlines()]
            return sum(int(row[2]) for row in rows if len(row) > 2 and row[0] in self._functions)
        return 0
