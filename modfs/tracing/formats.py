"""What tracefs says of its binary records: events/…/format and events/header_page.

    name: loaded
    ID: 1712
    format:
            field:unsigned short common_type;   offset:0;   size:2; signed:0;
            field:__data_loc char[] name;       offset:16;  size:4; signed:1;

Nothing is taken to be where it is in some kernel: names, offsets and sizes are as they are said.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = re.compile(r"^name: (\S+)$", re.MULTILINE)
_ID = re.compile(r"^ID: (\d{1,5})$", re.MULTILINE)
_FIELD = re.compile(
    r"^\s*field:([^;]+?)(\w+)(?:\[(\w*)\])?;\s*"
    r"offset:(\d{1,6});\s*size:(\d{1,6});(?:\s*signed:([01]);)?\s*$",
    re.MULTILINE,
)


class FormatError(ValueError):
    """A format that cannot be understood; says what is wrong with it."""


class Field(NamedTuple):
    """A field: ``type`` as C writes it, ``offset`` and ``size`` in bytes; ``is_array``: NAME[…]."""

    name: str
    type: str
    offset: int
    size: int
    signed: bool
    is_array: bool

    @property
    def is_dynamic(self) -> bool:
        """Not the value, but where it is and how long: behind the other fields."""
        return self.type.startswith(("__data_loc ", "__rel_loc "))

    @property
    def is_relative(self) -> bool:
        """Where it is, counted from the field's end."""
        return self.type.startswith("__rel_loc ")


class EventFormat(NamedTuple):
    """The format of one event. ``number``: what its records begin with. ``text``: how the kernel
    prints it (print fmt)."""

    name: str
    number: int
    fields: tuple[Field, ...]
    text: str

    def field(self, name: str) -> Field | None:
        """The field of that name."""
        return next((field for field in self.fields if field.name == name), None)


class PageFormat(NamedTuple):
    """How a page of a buffer begins: offsets in bytes; ``commit_size``: of its length's field;
    ``size``: of a page."""

    timestamp: int
    commit: int
    commit_size: int
    data: int
    size: int


def event_format(text: str) -> EventFormat:
    """What an event's ``format`` says. FormatError."""
    head, _, printed = text.partition("\nprint fmt:")
    name, number = _NAME.search(head), _ID.search(head)
    if name is None or number is None:
        raise FormatError("a format without name and ID")
    fields = _fields(head)
    if not {"common_type", "common_pid"} <= {field.name for field in fields}:
        raise FormatError(f"{name[1]}: a format without common_type and common_pid")
    return EventFormat(name[1], int(number[1]), fields, printed.strip())


def page_format(text: str) -> PageFormat:
    """What events/header_page says. FormatError."""
    found = {field.name: field for field in _fields(text)}
    missing = {"timestamp", "commit", "data"} - found.keys()
    if missing:
        raise FormatError(f"header_page: without {', '.join(sorted(missing))}")
    timestamp, commit, data = found["timestamp"], found["commit"], found["data"]
    if timestamp.size != 8 or commit.size not in (4, 8) or data.size < 8:
        raise FormatError("header_page: fields of unknown sizes")
    return PageFormat(
        timestamp.offset, commit.offset, commit.size, data.offset, data.offset + data.size
    )


def _fields(text: str) -> tuple[Field, ...]:
    found = []
    for match in _FIELD.finditer(text):
        kind, name, array, offset, size, signed = match.groups()
        found.append(
            Field(name, kind.strip(), int(offset), int(size), signed == "1", array is not None)
        )
    return tuple(found)
