"""Lines of `trace` and `trace_pipe`, as events.

    insmod-44  [000] ...1.  2.352115: read: (init_module_from_file+0x93/0x100 <- kernel_read_file) ret=79617
    insmod-44  [000] .....  2.400118: sys_finit_module -> 0x0

What a probe is called does not matter: the function that it is on stands in the line. Fields are
taken by name, in whatever order they come. Strings stand in quotes that nothing escapes, or are
``(fault)``; what the kernel fetched from freed memory may hold anything, newlines too.
"""  # noqa: E501 - as the kernel writes them

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from loader.observe.events import RETURN, Value

_COMM = 16  # columns of a task's name, right-aligned (TASK_COMM_LEN)

# After the task's name: -TID, perhaps (TGID), [CPU], perhaps flags, time.
_HEAD = (
    r"-(\d{1,10}) +(?:\( *(?:\d+|-+)\) +)?\[\d{3,}\] +(?:[^\s:]{1,8} +)?(\d{1,20}(?:\.\d{1,9})?): "
)
_AFTER_COMM = re.compile(_HEAD)
_WHOLE_HEAD = re.compile(r" *(.{1,16}?)" + _HEAD)
_HALF_HEAD = re.compile(r".{1,16}-\d+ +(?:\( *(?:\d+|-+)\) +)?\[\d")
_LOST = re.compile(r"CPU:\d+ \[LOST(?: (\d+))? EVENTS\]")
_SYSTEM_CALL = re.compile(r"(sys_\w+)\((.*)\)\s*", re.DOTALL)
_SYSTEM_RETURN = re.compile(r"(sys_\w+) -> (-?(?:0x)?[0-9a-f]{1,16})\s*")
_EVENT = re.compile(r"(\w+): ?(.*)", re.DOTALL)
_PROBE = re.compile(r"\(([^()]*)\) ?(.*)", re.DOTALL)
_CALLER = re.compile(r"([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\w+\])? <- ")
# A string has at most PATH_MAX bytes; that bound keeps the search in what is damaged short.
_FIELD = re.compile(
    r'\b(\w{1,64})=(?:"(.{0,4096}?)"(?=\s+\w+=|\s*$)|(\(fault\))|([^\s"]\S*)|(?=\s|$))', re.DOTALL
)
_ARGUMENT = re.compile(
    r'\b(\w{1,64}): (?:0x)?([0-9a-f]{1,16})\b(?: "(.{0,4096}?)"(?=, \w+: |$))?', re.DOTALL
)
_NUMBER = re.compile(r"-?(?:0x[0-9a-fA-F]{1,16}|[0-9]{1,20})")
_OPEN_QUOTE = re.compile(r'\w+="')

# Fields of the kernel's own tracepoints that do not say their names.
_FIRST_IS_NAME = {"module_load", "module_free", "module_get", "module_put", "module_request"}


class Line(NamedTuple):
    """An event without its place among others."""

    at: float
    task: str
    tid: int
    kind: str
    fields: Mapping[str, Value]


def decoded(data: bytes) -> str:
    """What tracefs says, as text that any document can hold."""
    return data.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def parse(line: str, functions: Mapping[str, str]) -> Line | None:
    """The event in ``line``; None if there is none.

    ``functions``: what events are on, by their names, where the line itself shows but an address.
    """
    at_column = _AFTER_COMM.match(line, _COMM) if line[_COMM : _COMM + 1] == "-" else None
    if at_column is not None:
        task, head, numbers = line[:_COMM].strip(), at_column.end(), at_column.groups()
    else:
        whole = _WHOLE_HEAD.match(line)
        if whole is None:
            return None
        task, head, numbers = whole[1].strip(), whole.end(), whole.groups()[1:]
    told = _told(line[head:].rstrip("\n"), functions)
    if told is None:
        return None
    return Line(float(numbers[1]), task, int(numbers[0]), *told)


def begins_event(line: str) -> bool:
    """It has all that stands before an event's name."""
    if line[_COMM : _COMM + 1] == "-" and _AFTER_COMM.match(line, _COMM):
        return True
    return _WHOLE_HEAD.match(line) is not None


def is_half_an_event(line: str) -> bool:
    """It begins like an event."""
    return _HALF_HEAD.match(line) is not None


def is_open(lines: Sequence[str]) -> bool:
    """A string in them has begun and not ended: the next line may go on with it."""
    quotes = sum(line.count('"') for line in lines)
    return quotes % 2 == 1 and _OPEN_QUOTE.search(lines[0]) is not None


def lost_events(line: str) -> int | None:
    """How many events are lost by a line that says so, 1 if it does not say how many."""
    match = _LOST.match(line.strip())
    return None if match is None else int(match[1] or 1)


def _told(text: str, functions: Mapping[str, str]) -> tuple[str, Mapping[str, Value]] | None:
    """What the event is, and its fields."""
    if text.startswith("sys_"):
        if call := _SYSTEM_CALL.fullmatch(text):
            return call[1], _arguments(call[2])
        if ended := _SYSTEM_RETURN.fullmatch(text):
            return ended[1] + RETURN, {"ret": _signed(int(ended[2], 16))}
    event = _EVENT.fullmatch(text)
    if event is None:
        return None
    name, rest = event[1], event[2]
    if probe := _PROBE.match(rest):
        kind = function_of(probe[1])
        if kind is None or kind.startswith("0x"):
            kind = functions.get(name, name)
        found = fields(probe[2])
        if caller := _CALLER.match(probe[1]):
            found.setdefault("caller", caller[1])
        return kind, found
    reader = _TRACEPOINTS.get(name)
    return name, fields(rest) if reader is None else reader(rest)


def function_of(place: str) -> str | None:
    """The function that a probe is on: FUNCTION+0x0/0x… or CALLER <- FUNCTION; None if unsaid."""
    _, returned, function = place.rpartition("<- ")
    name = (function or place).strip().split("+")[0].split(" ")[0]
    if not re.fullmatch(r"[\w.$]+", name):
        return None
    return name + (RETURN if returned else "")


def fields(text: str) -> dict[str, Value]:
    """NAME=VALUE and so on. Numbers are ints; ``(fault)`` is None."""
    found: dict[str, Value] = {}
    for match in _FIELD.finditer(text):
        name, quoted, fault, bare = match.groups()
        if quoted is not None:
            found[name] = quoted
        else:
            found[name] = None if fault else _value(bare or "")
    return found


def _value(text: str) -> Value:
    if _NUMBER.fullmatch(text):
        return int(text, 16 if "x" in text else 10)
    return text


def _arguments(text: str) -> dict[str, Value]:
    """Of a system call: hexadecimal, with or without 0x; newer kernels show strings as well."""
    found: dict[str, Value] = {}
    for name, number, string in _ARGUMENT.findall(text):
        found[name] = _signed32(int(number, 16)) if name in ("fd", "flags") else int(number, 16)
        if name in ("uargs", "name_user"):
            found[name] = string
    return found


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 == 1 else number


def _signed32(number: int) -> int:
    number &= 0xFFFFFFFF
    return number - (1 << 32) if number >> 31 else number


def _named(text: str) -> dict[str, Value]:
    """NAME, then what the event has more: a module's taints, or fields."""
    name, _, rest = text.partition(" ")
    found = fields(rest)
    found["name"] = name
    if rest and not found.keys() - {"name"}:
        found["taints"] = rest.strip()
    return found


def _marked(text: str) -> dict[str, Value]:
    return {"text": text}


_TRACEPOINTS: dict[str, Callable[[str], dict[str, Value]]] = {
    **dict.fromkeys(_FIRST_IS_NAME, _named),
    "tracing_mark_write": _marked,
    "print": _marked,
}
