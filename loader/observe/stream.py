"""A recording read one line after the other, and of each no more than sums need.

Recording.read is for what needs it whole; of a million lines that would be gigabytes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from loader.documents.kinds import ERRNOS
from loader.errors import UserError
from loader.observe.recording import OK, Header, read_header, read_line


class Who(msgspec.Struct, gc=False):
    """Of a line's task what tells people who it was."""

    name: str
    tid: int = 0
    unit: str | None = None


class Line(msgspec.Struct, gc=False):
    """A line of any kind but the first; see loader.observe.recording_format."""

    n: int = 0
    call: str | None = None
    task: Who | None = None
    outcome: str = ""
    begin: float | None = None
    end: float | None = None
    told: str | int | None = msgspec.field(default=None, name="result")
    argument: int | None = None
    read: int | None = None
    length: int | None = None
    clen: int | None = None
    module: str | None = None
    memory: msgspec.Raw = msgspec.Raw(b"")
    duplicate: bool = False
    asked_by: str | None = None
    alias: str | None = None
    device: str | None = None
    waited: float = 0.0
    reason: str | None = None
    request: str | None = None
    at: float = 0.0
    function: str | None = None
    slot_wait: float | None = None
    moment: str | None = None
    lost: str | None = None
    count: int = 1
    before: str | None = None
    cat: str | None = None

    @property
    def result(self) -> int | None:
        """0, an errno, or None: not seen."""
        told = self.told
        if not isinstance(told, str):
            return told
        number = _NUMBERS.get(told)
        return int(told) if number is None else number

    @property
    def memory_size(self) -> int:
        """Bytes of all memory of its own, init's included."""
        return sum(size for _, size in _MEMORY.decode(self.memory)) if self.memory else 0


_NUMBERS = {OK: 0} | {name: int(getattr(errno, name)) for name in ERRNOS}
_DECODE = msgspec.json.Decoder(Line).decode
_MEMORY: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[tuple[int | None, int]])


def stream(lines: Iterable[bytes], source: str) -> tuple[Header, Iterator[Line]]:
    """The header, and the lines after it. UserError: not of the format, also while iterating."""
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        if line.strip():
            return read_header(line, source, number), _lines(numbered, source)
    raise UserError(f"{source}: there is no header in it")


def _lines(numbered: Iterator[tuple[int, bytes]], source: str) -> Iterator[Line]:
    for number, line in numbered:
        try:
            decoded = _DECODE(line)
            _ = decoded.result  # ValueError: it is none
        except (msgspec.DecodeError, ValueError):
            if not line.endswith(b"\n"):  # whoever was stopped while writing has left half a line
                return
            if line.strip():
                read_line(line, source, number)  # which says what is wrong
                raise UserError(f"{source}, line {number}: not a line of a recording") from None
        else:
            yield decoded
