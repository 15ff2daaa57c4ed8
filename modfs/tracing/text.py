"""Whole texts of traces: what tracefs shows, alone or among other sections of a recorded boot.

A recorded boot has sections that begin with a line ``@NAME [words]`` and end with ``@END``:
``@TRACE`` the trace, ``@STATS moment`` the kernel's own stats, ``@LOST`` its buffers' counts.
Before them stand the probes' definitions, ``OK`` or ``FAIL`` before each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from loader.errors import UserError
from loader.observe.events import Event, Lost
from loader.packings import ZSTD
from modfs.tracing.definitions import probed
from modfs.tracing.lines import begins_event, decoded, is_half_an_event, is_open, lost_events, parse

_LIMIT = 4 << 30  # bytes of an unpacked text
_SECTION = re.compile(r"@([A-Z]+)(?: (.*))?")
_DEFINED = re.compile(r"(OK|FAIL)\s+(\S.*)")
_RELEASE = re.compile(r"(?:Linux \S+ )?(\d{1,3}\.\d{1,3}\.\d[\w.+~-]*)(?: .*)?")
_ENTRIES = re.compile(r"# entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18}) ")
_COUNTED = re.compile(r"(overrun|commit overrun|dropped events): (\d{1,18})")
_MOST_JOINED = 64  # lines that a string from freed memory may have


@dataclass(slots=True)
class TraceText:
    """A text: its events and what stands beside them.

    ``release``: where the text says it. ``definitions``: of the probes that the kernel took.
    ``stats``: the kernel's own texts, by moment; ``unloaded``, ``proc_modules``: others, as they
    were after the trace. ``kinds``: of all events that were there or might have been.
    ``other_lines``: that are no events.
    """

    events: list[Event | Lost] = field(default_factory=list)
    release: str | None = None
    definitions: list[str] = field(default_factory=list)
    stats: dict[str, str] = field(default_factory=dict)
    unloaded: str | None = None
    proc_modules: str = ""
    kinds: set[str] = field(default_factory=set)
    other_lines: int = 0


def read_trace(path: Path) -> TraceText:
    """The trace in a file, packed by zstd or not. OSError. UserError: there is none in it."""
    found = parse_text(decoded(read_text(path)))
    if not any(isinstance(event, Event) for event in found.events):
        raise UserError(f"{path}: there is no trace event in it")
    return found


def parse_text(text: str) -> TraceText:
    """What is in a text; where it is no trace, nothing."""
    return _Reader().read(text)


def read_text(path: Path) -> bytes:
    """A file's bytes, unpacked. OSError. UserError: damaged."""
    import zstandard

    data = path.read_bytes()
    if not data.startswith(ZSTD.magic):
        return data
    try:
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
            return stream.read(_LIMIT)
    except zstandard.ZstdError as error:
        raise UserError(f"{path}: not zstd after all: {error}") from None


class _Reader:
    """Goes through the lines."""

    def __init__(self) -> None:
        self._found = TraceText()
        self._functions: dict[str, str] = {}
        self._n = 0
        self._pending: list[str] = []  # the lines of one event
        self._promised: int | None = None  # events, by the header of `trace`

    def read(self, text: str) -> TraceText:
        section, words = "", ""
        body: list[str] = []
        lines = text.split("\n")
        whole = not text or lines[-1] == ""
        if whole:
            lines.pop()
        for line in lines:
            line = line.rstrip("\r")
            if section not in ("", "TRACE"):
                if line == "@END":
                    self._section(section, words, body)
                    section = ""
                else:
                    body.append(line)
            elif line == "@END":
                section = ""
            elif found := _SECTION.fullmatch(line):
                section, words, body = found[1], found[2] or "", []
            else:
                self._line(line)
        self._end(section, whole)
        return self._found

    # -- lines of the trace, and those before it --------------------------------------------------

    def _line(self, line: str) -> None:
        if begins_event(line):
            self._flush()
            self._pending = [line]
        elif self._pending and len(self._pending) < _MOST_JOINED and is_open(self._pending):
            self._pending.append(line)
        else:
            self._flush()
            self._other(line)

    def _flush(self) -> None:
        """The event whose lines are all there."""
        if not self._pending:
            return
        event = parse("\n".join(self._pending), self._functions)
        self._pending = []
        if event is None:
            self._found.events.append(Lost(self._n, "damaged", 1))
            return
        self._n += 1
        self._found.kinds.add(event.kind)
        self._found.events.append(Event(self._n, *event))

    def _other(self, line: str) -> None:
        if (lost := lost_events(line)) is not None:
            self._found.events.append(Lost(self._n + 1, "lost", lost))
        elif line.startswith("#"):
            self._comment(line)
        elif is_half_an_event(line):
            self._found.events.append(Lost(self._n + 1, "damaged", 1))
        elif defined := _DEFINED.fullmatch(line):
            self._definition(*defined.groups())
        elif line.strip():
            self._release_in(line)
            self._found.other_lines += self._n > 0

    def _comment(self, line: str) -> None:
        entries = _ENTRIES.match(line + " ")
        if entries is not None:
            in_buffer, written = int(entries[1]), int(entries[2])
            self._promised = (self._promised or 0) + in_buffer
            if written > in_buffer:
                self._found.events.append(Lost(0, "overwritten", written - in_buffer))

    def _definition(self, taken: str, text: str) -> None:
        found = probed(text)
        if found is None:
            return
        name, function = found
        if taken == "OK":
            self._found.definitions.append(text)
            self._functions[name] = function
            self._found.kinds.add(function)

    def _release_in(self, line: str) -> None:
        """uname's words, in a line before the trace or in the description of the machine."""
        release = _RELEASE.fullmatch(line.strip())
        if release is not None and self._found.release is None:
            self._found.release = release[1]

    # -- what stands beside it --------------------------------------------------------------------

    def _section(self, name: str, words: str, body: list[str]) -> None:
        text = "".join(f"{line}\n" for line in body)
        if name == "STATS":
            self._found.stats[words.strip()] = text
        elif name == "UNLOADED":
            self._found.unloaded = text
        elif name == "PROCMODULES":
            self._found.proc_modules = text
        elif name == "LOST":
            lost = sum(int(count) for _, count in _COUNTED.findall(text))
            if lost:
                self._found.events.append(Lost(0, "lost", lost))
        elif name == "MACHINE":
            for line in body:
                self._release_in(line)

    def _end(self, section: str, whole: bool) -> None:
        self._flush()
        if section or (self._n and not whole):
            self._found.events.append(Lost(self._n + 1, "cut", 1))
        if self._promised is not None and self._n < self._promised:
            self._found.events.append(Lost(0, "missing", self._promised - self._n))
