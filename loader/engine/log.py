"""The kernel's log: what it would have printed about modules, and what programs wrote to it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

# Debian's CONFIG_LOG_BUF_SHIFT is 17; a descriptor for each 32 bytes (PRB_AVGBITS).
BUFFER_BYTES = 1 << 17
LINES = BUFFER_BYTES >> 5
# Bytes of a line. Of PRINTKRB_RECORD_MAX, 1024, its level takes two and a NUL one (printk_sprint).
LINE_MAX = 1021
_BLOCK = 8  # bytes: a number before each text, and what it is aligned to (prb_data_block)


class Record(NamedTuple):
    """One message: struct printk_info and its text, which may have lines.

    ``nanoseconds`` of CLOCK_MONOTONIC; ``level``: None, that of the kernel's own message
    (loader.engine.log_levels).
    """

    seq: int
    nanoseconds: int
    facility: int
    level: int | None
    text: str

    @property
    def room(self) -> int:
        """Bytes that it takes in the buffer: with its newline, its level and a NUL
        (vprintk_store, to_blk_size)."""
        size = _BLOCK + len(encoded(self.text)) + 4
        return -(-size // _BLOCK) * _BLOCK


def encoded(text: str) -> bytes:
    """A message's bytes."""
    return text.encode("utf-8", "surrogateescape")


class KernelLog:
    """The newest messages; older ones are forgotten. Used with the kernel's lock held."""

    def __init__(
        self, lines: int = LINES, now: Callable[[], int] = time.monotonic_ns, size: int = 0
    ) -> None:
        """``now`` in nanoseconds; ``size`` of the buffer in bytes, 0: the kernel's."""
        self._most, self._size = lines, size or BUFFER_BYTES
        self._now = now
        self._records: deque[Record] = deque()
        self._bytes = 0
        self.next_seq = 0
        """The number of the message that comes next (prb_next_seq)."""
        self.listener: Callable[[str], None] | None = None
        self.watchers: dict[object, Callable[[], None]] = {}
        """Called after each message; they must not wait."""

    def write(self, line: str, level: int | None = None, facility: int = 0) -> None:
        """Add one message (without newline) and tell the listener, who must not block."""
        if len(line) > LINE_MAX or not line.isascii():
            most = LINE_MAX if facility == 0 else LINE_MAX + 2  # others come without their level
            line = encoded(line)[:most].decode("utf-8", "surrogateescape")
        record = Record(self.next_seq, self._now(), facility, level, line)
        self.next_seq += 1
        self._records.append(record)
        self._bytes += record.room
        while len(self._records) > self._most or self._bytes > self._size:
            self._bytes -= self._records.popleft().room
        if self.listener is not None:
            self.listener(line)
        for tell in tuple(self.watchers.values()):
            tell()

    @property
    def first_seq(self) -> int:
        """The number of the oldest message (prb_first_valid_seq)."""
        return self._records[0].seq if self._records else self.next_seq

    def at(self, seq: int) -> Record | None:
        """The first message that is there from ``seq`` on (prb_read_valid)."""
        place = max(0, seq - self.first_seq)
        return self._records[place] if place < len(self._records) else None

    def since(self, seq: int) -> tuple[Record, ...]:
        """All that are there from ``seq`` on."""
        return tuple(islice(self._records, max(0, seq - self.first_seq), None))

    def lines(self) -> tuple[str, ...]:
        """All messages kept, oldest first."""
        return tuple(record.text for record in self._records)

    def text(self) -> str:
        """The messages as dmesg -t would print them."""
        return "".join(f"{record.text}\n" for record in self._records)
