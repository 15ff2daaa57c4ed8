"""Recordings, written: one line after the other."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator

import msgspec

from loader.documents.document import Table
from loader.observe.call import NO_FILE, Item, ModuleRequest, ObservedCall
from loader.observe.events import Lost, Moment
from loader.observe.recording import ALIKE, OK, Before, Header, KernelText
from loader.observe.recording_format import (
    BeforeTable,
    CallTable,
    EndTable,
    FileTable,
    GapName,
    HeaderTable,
    LostTable,
    MomentTable,
    RequestTable,
    TaskTable,
    TextTable,
)

_ENCODE = msgspec.json.Encoder(enc_hook=str)  # of what is a str of its own kind


def _line(table: Table) -> bytes:
    return _ENCODE.encode(table) + b"\n"


def header_line(header: Header) -> bytes:
    """The first line."""
    return _line(
        HeaderTable(
            recording=1,
            release=header.release,
            since=header.since,
            source=header.source,  # type: ignore[arg-type]
            machine=header.machine,
            clock=header.clock,
            began=header.began,
            definitions=header.definitions,
            without=header.without,
        )
    )


def item_line(item: Item | Before | KernelText) -> bytes:
    """The line of one item."""
    match item:
        case ObservedCall():
            return _line(_call_table(item))
        case Moment():
            return _line(MomentTable(n=item.n, moment=item.name, at=item.at))
        case ModuleRequest():
            return _line(_request_table(item))
        case Lost():
            return _line(LostTable(n=item.n, lost=GapName(item.gap), count=item.times))
        case Before():
            return _line(BeforeTable(before=item.name, size=item.size, taints=item.taints))
        case KernelText():
            return _line(TextTable(cat=item.file, moment=item.moment, text=item.text))  # type: ignore[arg-type]


def end_line(items: int, events: int) -> bytes:
    """The last line."""
    return _line(EndTable(end=items, events=events))


def lines(
    header: Header, others: Iterable[Before | KernelText], items: Iterable[Item], events: int
) -> Iterator[bytes]:
    """All lines of a recording."""
    yield header_line(header)
    for other in others:
        yield item_line(other)
    count = 0
    for item in items:
        yield item_line(item)
        count += 1
    yield end_line(count, events)


def _call_table(call: ObservedCall) -> CallTable:
    values = {name: getattr(call, name) for name in ALIKE}
    result = call.result
    if result is not None:
        values["result"] = OK if result == 0 else errno.errorcode.get(result, str(result))
    if call.file != NO_FILE:
        values["file"] = FileTable(**call.file._asdict())
    return CallTable(task=TaskTable(**call.task._asdict()), **values)


def _request_table(request: ModuleRequest) -> RequestTable:
    return RequestTable(
        n=request.n,
        at=request.at,
        request=request.module,
        task=TaskTable(**request.task._asdict()),
        wait=request.wait,
        function=request.function,
        result=request.result,
        end=request.end,
        slot_wait=request.slot_wait,
    )
