"""The data of a record, by its event's format, to what happened: as lines would have told it.

For each event a table is made once: which bytes are which fields. Fields of texts are offsets and
lengths (``__data_loc``), a length of 0 where the kernel could not fetch it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from loader.observe.events import RETURN, Value
from modfs.tracing.formats import EventFormat, Field
from modfs.tracing.pages import Record

Fields = dict[str, Value]

_CODES = {
    (size, signed): code.lower() if signed else code
    for size, code in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))
    for signed in (False, True)
}
_FLAG = re.compile(r"\(1UL << (\d{1,2})\), \"(\w)\"")
# Functions of which it matters who called them.
_CALLED = {"__request_module" + RETURN}

Symbol = Callable[[int], str]
"""The name of the function that an address is in."""


class Raw(NamedTuple):
    """What happened. ``at``: nanoseconds by the trace's clock; ``tid``: the task's number."""

    at: int
    tid: int
    kind: str
    fields: Fields


class Records:
    """All events that a trace may have, each with its table."""

    def __init__(
        self, formats: Iterable[EventFormat], functions: Mapping[str, str], symbol: Symbol
    ) -> None:
        """``functions``: what probes are on, by their events' names."""
        self._tables: dict[int, _Table] = {}
        self._number = struct.Struct("=H")
        for form in formats:
            kind, finish = _finishing(form, functions.get(form.name, form.name), symbol)
            self._tables[form.number] = _table(form, kind, finish)
            place = form.field("common_type")
            if place is not None:  # the same in all events
                self._number = struct.Struct(f"={place.offset}x{_CODES[place.size, False]}")

    def read(self, data: bytes, record: Record) -> Raw | None:
        """The event that a record of the page ``data`` is; None: no format describes it."""
        at, start, end = record
        try:
            table = self._tables[self._number.unpack_from(data, start)[0]]
            values = table.layout.unpack_from(data, start)
        except (KeyError, struct.error):
            return None
        if start + table.layout.size > end:
            return None
        fields: Fields = dict(zip(table.names, values, strict=True))
        tid = fields.pop("common_pid")
        for name, text in table.texts:
            fields[name] = text(data, start, end, fields.get(name))
        return Raw(at, int(tid or 0), table.kind, table.finish(fields))


_Finish = Callable[[Fields], Fields]
_ReadText = Callable[[bytes, int, int, Any], str | None]


class _Table(NamedTuple):
    kind: str
    layout: struct.Struct
    names: tuple[str, ...]
    texts: tuple[tuple[str, _ReadText], ...]
    finish: _Finish


def _table(form: EventFormat, kind: str, finish: _Finish) -> _Table:
    layout, names, texts, place = "=", [], [], 0
    for field in sorted(form.fields, key=lambda field: field.offset):
        read = _text_reader(field)
        if read is not None:
            texts.append((field.name, read))
        code = _code(field)
        is_common = field.name.startswith("common_") and field.name != "common_pid"
        if code is None or is_common or field.offset < place:
            continue
        layout += f"{field.offset - place}x{code}"
        place = field.offset + field.size
        names.append(field.name)
    return _Table(kind, struct.Struct(layout), tuple(names), tuple(texts), finish)


def _code(field: Field) -> str | None:
    """For struct; None: nothing that can be read as one value."""
    if field.is_dynamic:
        return "I" if field.size == 4 else None
    if field.is_array:
        return f"{field.size}s" if field.size else None
    return _CODES.get((field.size, field.signed))


# -- texts ----------------------------------------------------------------------------------------


def text_of(raw: bytes) -> str:
    """A text up to its NUL."""
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _text_reader(field: Field) -> _ReadText | None:
    """What makes a text of a field; None: it is none."""
    if field.is_dynamic:
        base = field.offset + field.size if field.is_relative else 0
        return partial(_elsewhere, base)
    if field.is_array and field.size == 0:
        return lambda data, start, end, _: text_of(data[start + field.offset : end])
    if field.is_array:
        return lambda data, start, end, raw: text_of(raw)
    return None


def _elsewhere(base: int, data: bytes, start: int, end: int, where: Any) -> str | None:
    """Behind the fields, at an offset and of a length that the field has; None: not fetched."""
    if not isinstance(where, int):  # two fields of one name
        return None
    place, length = start + base + (where & 0xFFFF), where >> 16
    if not length or place + length > end:
        return None
    return text_of(data[place : place + length])


# -- what is made of the fields -------------------------------------------------------------------


def _finishing(form: EventFormat, kind: str, symbol: Symbol) -> tuple[str, _Finish]:
    """What an event is called here, and what makes its fields those that its line would have."""
    if form.field("__probe_ip") or form.field("__probe_func"):
        return kind, partial(_probe, symbol if kind in _CALLED else None)
    for begin, end, finish in (("sys_enter_", "", _entered), ("sys_exit_", RETURN, _returned)):
        if kind.startswith(begin):
            return f"sys_{kind.removeprefix(begin)}{end}", finish
    if kind == "module_load":
        return kind, partial(_with_taints, dict(_letters(form.text)))
    if kind == "print":
        return "tracing_mark_write", _marked
    if form.field("ip"):
        return kind, partial(_called, symbol)
    return kind, _FINISH.get(kind, _as_it_is)


def _as_it_is(fields: Fields) -> Fields:
    return fields


def _probe(symbol: Symbol | None, fields: Fields) -> Fields:
    fields.pop("__probe_ip", None)
    fields.pop("__probe_func", None)
    caller = fields.pop("__probe_ret_ip", None)
    if symbol is not None and isinstance(caller, int):
        fields["caller"] = symbol(caller)
    return fields


def _entered(fields: Fields) -> Fields:
    """Of a system call; newer kernels have what its pointers point to in fields of their own."""
    found: Fields = {}
    for name, value in fields.items():
        if name in ("fd", "flags") and isinstance(value, int):
            found[name] = (value & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)
        elif name in ("uargs", "name_user"):
            found[name] = fields.get(f"__{name}_val") or ""
        elif not name.startswith("__"):
            found[name] = value
    return found


def _returned(fields: Fields) -> Fields:
    return {"ret": fields.get("ret")}


def _letters(text: str) -> Iterator[tuple[int, str]]:
    """Which bit is which letter, by how the kernel prints it."""
    for bit, letter in _FLAG.findall(text):
        yield 1 << int(bit), letter


def _with_taints(letters: Mapping[int, str], fields: Fields) -> Fields:
    taints = fields.pop("taints", 0)
    if isinstance(taints, int) and taints:
        fields["taints"] = "".join(letter for bit, letter in letters.items() if taints & bit)
    return fields


def _marked(fields: Fields) -> Fields:
    return {"text": str(fields.get("buf") or "").rstrip("\n")}


def _called(symbol: Symbol, fields: Fields) -> Fields:
    """Who did it is an address."""
    place = fields.pop("ip")
    if isinstance(place, int):
        fields["call_site"] = symbol(place)
    return fields


def _forked(fields: Fields) -> Fields:
    """Its fields have other names where they are printed."""
    fields["comm"], fields["pid"] = fields.pop("parent_comm", None), fields.pop("parent_pid", None)
    return fields


_FINISH: dict[str, _Finish] = {"sched_process_fork": _forked}
