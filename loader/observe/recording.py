"""Recordings: what was seen of a kernel's module loads, as JSON lines.

The first line says what was recorded; each other one is a call, a request of the kernel's own, a
moment that was marked, something that was not seen, or a text of the kernel's own. The last says
that the recording is whole. `modfs schema recording` tells of all fields.

    {"recording": 1, "release": "6.12.117", "source": "trace"}
    {"n": 31, "call": "finit_module", "task": {"name": "insmod", "tid": 44}, "outcome": "live", ...}
    {"n": 57, "at": 2.416119, "moment": "a"}
    {"end": 4, "events": 9590}
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from pathlib import Path

from loader.calls import Task
from loader.documents.document import Document, Mistake, Table, json_lines
from loader.documents.kinds import ERRNOS
from loader.errors import UserError
from loader.observe.call import Item, ModuleRequest, ObservedCall, ObservedFile
from loader.observe.events import Lost, Moment
from loader.observe.recording_format import (
    TABLES,
    BeforeTable,
    CallTable,
    EndTable,
    FileTable,
    HeaderTable,
    LostTable,
    MomentTable,
    RequestTable,
    TaskTable,
    TextTable,
)

OK = "OK"


@dataclass(frozen=True, slots=True)
class Before:
    """A module that was there when the recording began. ``size`` in bytes, without init memory."""

    name: str
    size: int
    taints: str = ""


@dataclass(frozen=True, slots=True)
class KernelText:
    """A text of the kernel's own statistics: ``file`` as it was at the moment ``moment``."""

    file: str
    moment: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Header:
    """What was recorded.

    ``release``: None where it is not known; ``since``: then the one that it has at least.
    ``without``: the features that it has not all the same. ``began``: seconds since 1970.
    ``definitions``: of the probes.
    """

    release: str | None = None
    since: str | None = None
    source: str = "trace"
    machine: str | None = None
    clock: str | None = None
    began: float | None = None
    definitions: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(slots=True)
class Recording:
    """A recording, read. ``whole``: its last line was there."""

    header: Header
    items: list[Item] = field(default_factory=list)
    before: list[Before] = field(default_factory=list)
    texts: list[KernelText] = field(default_factory=list)
    whole: bool = False

    @classmethod
    def read(cls, path: Path) -> Recording:
        """OSError: cannot be read. UserError: not of the format."""
        return cls.parse(path.read_bytes(), str(path))

    @classmethod
    def parse(cls, content: bytes, path: str) -> Recording:
        """That in ``content``, which came from ``path``. UserError: not of the format."""
        # Whoever was stopped while writing has left half a line.
        content = content[: content.rfind(b"\n") + 1] or content
        lines = json_lines(content, path)
        for line in lines:
            made = cls(line.read(HeaderTable, _header))
            break
        else:
            raise UserError(f"{path}: there is no header in it")
        for line in lines:
            if made.whole:
                raise UserError(f"{path}: there is more after its end")
            made._take(line.read(_kind(line), _made), path)
        return made

    def _take(self, read: Item | Before | KernelText | int, path: str) -> None:
        if isinstance(read, Before):
            self.before.append(read)
        elif isinstance(read, KernelText):
            self.texts.append(read)
        elif isinstance(read, int):
            if read != len(self.items):
                raise UserError(
                    f"{path}: {len(self.items)} calls and the like are there, not {read}"
                )
            self.whole = True
        else:
            self.items.append(read)


def read_header(line: bytes, source: str, number: int) -> Header:
    """The header that a line is. UserError: it is none."""
    return _document(line, source, number).read(HeaderTable, _header)


def read_line(line: bytes, source: str, number: int) -> Item | Before | KernelText | int:
    """What another line is. UserError: it is none."""
    document = _document(line, source, number)
    return document.read(_kind(document), _made)


def _document(line: bytes, source: str, number: int) -> Document:
    for document in json_lines(line, source):
        return replace(document, line=number)
    raise UserError(f"{source}, line {number}: empty")


def is_recording(path: Path) -> bool:
    """Is what the file begins with the first line of a recording? OSError."""
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    return b'"recording"' in first


def _kind(line: Document) -> type[Table]:
    keys = line.value if isinstance(line.value, dict) else {}
    return next((table for key, table in TABLES.items() if key in keys), CallTable)


def _header(table: HeaderTable) -> Header:
    return Header(
        table.release,
        table.since,
        table.source,
        table.machine,
        table.clock,
        table.began,
        table.definitions,
        table.without,
    )


def _made(table: Table) -> Item | Before | KernelText | int:
    match table:
        case CallTable():
            return _call(table)
        case MomentTable():
            return Moment(table.n, table.at, table.moment)
        case RequestTable():
            return ModuleRequest(
                table.n, table.at, _task(table.task), table.request, table.wait, table.function,
                table.result, table.end, table.slot_wait,
            )  # fmt: skip
        case LostTable():
            return Lost(table.n, table.lost, table.count)
        case BeforeTable():
            return Before(table.before, table.size, table.taints)
        case TextTable():
            return KernelText(table.cat, table.moment, table.text)
        case EndTable():
            return table.end
    raise AssertionError(table)


def _call(table: CallTable) -> ObservedCall:
    values = {name: getattr(table, name) for name in ALIKE}
    file = table.file or FileTable()
    return ObservedCall(
        task=_task(table.task),
        file=ObservedFile(file.name, file.dev, file.ino, file.size),
        result=_number(table.result),
        **values,
    )


ALIKE = tuple(
    name for name in CallTable.__struct_fields__ if name not in ("task", "file", "result")
)


def _task(table: TaskTable) -> Task:
    return Task(
        table.name, table.tid, table.parent, table.command, table.exe, table.uid, table.unit
    )


def _number(result: str | None) -> int | None:
    """The errno that ``result`` names, 0 for OK. Mistake."""
    if result is None or result == OK:
        return None if result is None else 0
    if result.isascii() and result.isdigit() and len(result) <= 20:
        return int(result)
    if result not in ERRNOS:
        raise Mistake(f"OK or an errno is needed, not {result!r}", "result")
    return int(getattr(errno, result))
