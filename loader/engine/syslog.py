"""The kernel's log as programs read and write it: syslog(2), /proc/kmsg and /dev/kmsg.

After kernel/printk/printk.c, the same in 6.12 and 7.3 (do_syslog, devkmsg_*).
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from loader.engine.log import BUFFER_BYTES, KernelLog, Record
from loader.engine.log_levels import WARNING
from loader.engine.printk import extended, plain, plain_size
from loader.engine.state import Kernel
from loader.errors import LoadError

RECORD_MAX = 1024  # PRINTKRB_RECORD_MAX, bytes of one write
_USER = 1  # LOG_USER
_BURST, _INTERVAL = 10, 5.0  # lines in so many seconds (ratelimit_default_init)
_PRIORITY = re.compile(rb"<(\d*)>")
_UNSET = -1  # LOGLEVEL_DEFAULT

Wait = Callable[[Callable[[], bool]], None]
"""Returns once what it is given is true, which is asked after each message with the lock held;
LoadError: EINTR."""


class Action(IntEnum):
    """SYSLOG_ACTION_* (include/linux/syslog.h)."""

    CLOSE = 0
    OPEN = 1
    READ = 2
    READ_ALL = 3
    READ_CLEAR = 4
    CLEAR = 5
    CONSOLE_OFF = 6
    CONSOLE_ON = 7
    CONSOLE_LEVEL = 8
    SIZE_UNREAD = 9
    SIZE_BUFFER = 10


class Answer(NamedTuple):
    """What a call returns, and what it writes to the caller's memory first (else EFAULT)."""

    value: int
    data: bytes = b""


class Syslog:
    """One kernel's. Everything here may be called by any thread, without the kernel's lock."""

    def __init__(self, kernel: Kernel, now: Callable[[], float] = time.monotonic) -> None:
        """``now`` in seconds."""
        self.log: KernelLog = kernel.log
        self.lock = kernel.lock
        self.now = now
        self.console_loglevel = 7
        self.default_message_loglevel = 4
        self.minimum_console_loglevel = 1
        self.default_console_loglevel = 7
        self.dmesg_restrict = True  # CONFIG_SECURITY_DMESG_RESTRICT, as Debian has it
        self.devkmsg = "ratelimit"  # printk.devkmsg: on, off or ratelimit
        self.clear_seq = 0
        self._saved_console_loglevel = _UNSET
        self._seq = 0  # the next message of SYSLOG_ACTION_READ …
        self._partial = 0  # … and how many bytes of it were read

    def check(self, action: int, capable: bool) -> None:
        """check_syslog_permissions. ``capable``: of CAP_SYSLOG. LoadError: EPERM."""
        open_to_all = action in (Action.READ_ALL, Action.SIZE_BUFFER) and not self.dmesg_restrict
        if not open_to_all and not capable:
            raise LoadError(errno.EPERM)

    def call(self, action: int, address: int, size: int, capable: bool, wait: Wait) -> Answer:
        """syslog(2). ``address`` of the caller's buffer. LoadError: EPERM, EINVAL, EINTR."""
        self.check(action, capable)
        if action in (Action.READ, Action.READ_ALL, Action.READ_CLEAR):
            if not address or size < 0:
                raise LoadError(errno.EINVAL)
            if not size:
                return Answer(0)
        if action == Action.READ:
            data = self.read(size, wait)
            return Answer(len(data), data)
        with self.lock:
            if action in (Action.READ_ALL, Action.READ_CLEAR):
                return self._read_all(size, clear=action == Action.READ_CLEAR)
            return Answer(self._others(action, size))

    def _others(self, action: int, size: int) -> int:
        """What needs no buffer. LoadError: EINVAL."""
        match action:
            case Action.CLEAR:
                self.clear_seq = self.log.next_seq
            case Action.CONSOLE_OFF:
                if self._saved_console_loglevel == _UNSET:
                    self._saved_console_loglevel = self.console_loglevel
                self.console_loglevel = self.minimum_console_loglevel
            case Action.CONSOLE_ON:
                if self._saved_console_loglevel != _UNSET:
                    self.console_loglevel = self._saved_console_loglevel
                    self._saved_console_loglevel = _UNSET
            case Action.CONSOLE_LEVEL if 1 <= size <= 8:
                self.console_loglevel = max(size, self.minimum_console_loglevel)
                self._saved_console_loglevel = _UNSET
            case Action.SIZE_UNREAD:
                return self._unread()
            case Action.SIZE_BUFFER:
                return BUFFER_BYTES
            case Action.CLOSE | Action.OPEN:
                pass
            case _:
                raise LoadError(errno.EINVAL)
        return 0

    def _read_all(self, size: int, clear: bool) -> Answer:
        """The newest messages since the last clear that fit (syslog_print_all)."""
        records = self.log.since(self.clear_seq)
        total, first = sum(map(plain_size, records)), 0
        while total > size:
            total -= plain_size(records[first])
            first += 1
        if clear:
            self.clear_seq = self.log.next_seq
        data = b"".join(map(plain, records[first:]))
        return Answer(len(data), data)

    # -- SYSLOG_ACTION_READ, of which there is one position for all -------------------------------

    def read(self, size: int, wait: Wait) -> bytes:
        """The next messages that fit, or a part of one (syslog_print). LoadError: EINTR."""
        while True:
            wait(lambda: self.log.next_seq > self._seq)
            with self.lock:
                if data := self._next(size):
                    return data

    def _next(self, size: int) -> bytes:
        """Empty: another reader was faster."""
        data = b""
        while size:
            self._skip_lost()
            record = self.log.at(self._seq)
            if record is None:
                break
            text = plain(record)[self._partial :]
            if len(text) <= size:
                self._seq, self._partial = record.seq + 1, 0
            elif data:
                break
            else:
                text = text[:size]
                self._partial += size
            data += text
            size -= len(text)
        return data

    def _skip_lost(self) -> None:
        if self._seq < self.log.first_seq:
            self._seq, self._partial = self.log.first_seq, 0

    def _unread(self) -> int:
        """Bytes."""
        self._skip_lost()
        return max(0, sum(map(plain_size, self.log.since(self._seq))) - self._partial)

    def can_read(self) -> bool:
        """Is there something for SYSLOG_ACTION_READ?"""
        return self.log.next_seq > self._seq


class DevKmsg:
    """An open /dev/kmsg."""

    def __init__(self, syslog: Syslog, reads: bool, capable: bool, comm: str) -> None:
        """``comm`` of who opens. LoadError: EPERM."""
        if syslog.devkmsg == "off":
            raise LoadError(errno.EPERM)
        if reads:
            syslog.check(Action.READ_ALL, capable)
        self._syslog, self._log = syslog, syslog.log
        self._comm = comm
        self._begin: float | None = None  # of the five seconds in which ten lines may be written
        self._left = self._missed = 0
        with syslog.lock:
            self.seq = self._log.first_seq
            """The next message."""

    def is_ready(self) -> bool:
        """Is there something to be read?"""
        return self._log.next_seq > self.seq

    def lost(self) -> bool:
        """Is what comes next gone?"""
        return self.seq < self._log.first_seq

    def read(self, size: int, wait: Wait) -> bytes:
        """One message. LoadError: EPIPE, some are gone, the next read has what is there; EINVAL,
        it does not fit and is skipped; EINTR, EAGAIN of ``wait``."""
        while (record := self._take()) is None:  # another thread may have read it meanwhile
            wait(self.is_ready)
        text = extended(record)
        if len(text) > size:
            raise LoadError(errno.EINVAL)
        return text

    def _take(self) -> Record | None:
        """The next message, if there is one. LoadError: EPIPE."""
        with self._syslog.lock:
            record = self._log.at(self.seq)
            if record is None:
                return None
            if record.seq != self.seq:
                self.seq = record.seq
                raise LoadError(errno.EPIPE)
            self.seq += 1
            return record

    def write(self, data: bytes) -> int:
        """One message of a program's, "<PRIORITY>TEXT" or TEXT. LoadError: EINVAL, too long."""
        if len(data) > RECORD_MAX:
            raise LoadError(errno.EINVAL)
        if self._syslog.devkmsg == "off":
            return len(data)
        if self._syslog.devkmsg == "ratelimit" and not self._may_write():
            return len(data)
        text = data.partition(b"\0")[0]
        level, facility = self._syslog.default_message_loglevel, _USER
        if found := _PRIORITY.match(text):
            number = int(found[1] or b"0") & 0xFFFFFFFF
            level, facility = number & 7, number >> 3 & 0xFF or _USER
            text = text[found.end() :]
        line = text[: RECORD_MAX - 1].removesuffix(b"\n").decode("utf-8", "surrogateescape")
        with self._syslog.lock:
            self._log.write(line, level & 7, facility)
        return len(data)

    def _may_write(self) -> bool:
        """___ratelimit."""
        now = self._syslog.now()
        if self._begin is None or now > self._begin + _INTERVAL:
            self._begin, self._left = now, _BURST
        self._left -= 1
        self._missed += self._left < 0
        return self._left >= 0

    def close(self) -> None:
        """Tell how many lines were dropped (ratelimit_state_exit)."""
        if self._missed:
            text = f"{self._comm}: {self._missed} output lines suppressed due to ratelimiting"
            with self._syslog.lock:
                self._log.write(text, WARNING)
