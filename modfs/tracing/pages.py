"""Pages of a ring buffer, as trace_pipe_raw gives them: records with their times.

A page has a time and a length (``commit``), whose upper bits tell that events before it were lost.
Each record begins with a word of 32 bits: what it is, or its length, and the time since the one
before it, in nanoseconds. Where those 27 bits do not do, a record of its own has the time.

    kinds  0       data, whose length in bytes is in the next word, itself included
           1 … 28  data of so many words
           29      padding: nothing; without a time, and the page is over
           30      a longer time since the one before
           31      a time as such, but for its upper bits
"""

from __future__ import annotations

import struct
import sys
from typing import NamedTuple

from modfs.tracing.formats import PageFormat

_LENGTH = 0xFFFFF  # of commit
_MISSED, _STORED = 1 << 31, 1 << 30
_PADDING, _EXTEND, _STAMP = 29, 30, 31
_UPPER = 0xF8 << 56  # what a time as such does not have
_WORD = struct.Struct("=I").unpack_from
_WORDS = struct.Struct("=II").unpack_from
_NUMBERS = {4: struct.Struct("=I").unpack_from, 8: struct.Struct("=Q").unpack_from}


class Record(NamedTuple):
    """Data in a page: ``at`` in nanoseconds by the trace's clock; from ``start`` up to ``end``."""

    at: int
    start: int
    end: int


class Page(NamedTuple):
    """What is in a page. ``lost``: events before it, 1 if it does not say how many. ``damaged``: it
    is cut, or its records do not come out at its end; what was behind is not known."""

    records: list[Record]
    lost: int
    damaged: bool


def read_page(data: bytes, form: PageFormat) -> Page:
    """The records of the page that ``data`` is."""
    if len(data) < form.data:
        return Page([], 0, damaged=True)
    number = _NUMBERS[form.commit_size]
    commit = number(data, form.commit)[0]
    end = form.data + (commit & _LENGTH)
    lost = 0
    if commit & _MISSED:
        is_said = commit & _STORED and end + form.commit_size <= len(data)
        lost = max(number(data, end)[0], 1) if is_said else 1
    at = _NUMBERS[8](data, form.timestamp)[0]
    records, whole = _records(data, at, form.data, min(end, len(data)))
    return Page(records, lost, damaged=not whole or end > len(data))


def _records(data: bytes, at: int, place: int, end: int) -> tuple[list[Record], bool]:
    """The records from ``place`` up to ``end``; do they end there?"""
    found: list[Record] = []
    while place + 4 <= end:
        kind, delta = _head(_WORD(data, place)[0])
        if kind == _PADDING and delta == 0:
            return found, True
        if kind == 0 or kind >= _PADDING:
            if place + 8 > end:
                return found, False
            more = _WORD(data, place + 4)[0]
        start = place + 4
        if 0 < kind < _PADDING:
            place = start + 4 * kind
        elif kind == 0:
            start, place = start + 4, start + max(more + 3 & ~3, 4)
        elif kind == _PADDING:
            place = start + max(more, 4)
        else:
            place = start + 4
            delta += more << 27
        at = at & _UPPER | delta if kind == _STAMP else at + delta
        if place > end:
            return found, False
        if kind < _PADDING:
            found.append(Record(at, start, place))
    return found, place == end


def _head(word: int) -> tuple[int, int]:
    """A record's kind and time; they are bit fields, which the machine's byte order turns."""
    if sys.byteorder == "little":
        return word & 31, word >> 5
    return word >> 27, word & 0x7FFFFFF
