"""Reads by io_uring, of which a kernel may ask twice.

Seen on Linux 6.18: fuse_direct_IO leaves ki_pos where it was. So io_uring, which reads the rest of
a short read by itself, asks for the beginning once more and appends that; and who reads from where
the file is never comes to its end. The first is answered with nothing, as a read at the end is. The
second cannot be told from a program that reads the same place again through io_uring, and is EINVAL
for both: an error is better than a text that repeats itself for ever.

Where the text is longer than a buffer that is read to where the file is, or a buffer longer than
one request (128 KiB), nothing in what the kernel asks tells it from a pread(2). But who asks does:
FUSE files are read by io_uring's own threads. If one of these asks for a beginning that it has had,
that is EINVAL; io_uring itself then gives what it has got before.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NamedTuple


class _Read(NamedTuple):
    tid: int
    size: int
    offset: int
    returned: int


def _is_worker(tid: int) -> bool:
    """iou-wrk-PID or iou-sqp-PID (io_uring/io-wq.c, sqpoll.c)."""
    try:
        with open(f"/proc/{tid}/comm", "rb") as comm:
            return comm.read(4) == b"iou-"
    except OSError:
        return False


class Repeats:
    """The last read of each open file."""

    def __init__(self, by_io_uring: Callable[[int], bool] = _is_worker) -> None:
        """``by_io_uring``: is this thread one of io_uring's?"""
        self._is_worker = by_io_uring
        self._last: dict[int, _Read] = {}
        self._begun: dict[int, int] = {}  # offset from which was read on to the last, by handle
        self._by_io_uring: dict[int, int] = {}  # offsets of short reads, by handle

    def answered(self, handle: int, tid: int, size: int, offset: int, returned: int) -> None:
        """A thread has asked for ``size`` bytes and got some."""
        last = self._last.get(handle)
        if last is None or offset != last.offset + last.returned:
            self._begun[handle] = offset
        self._last[handle] = _Read(tid, size, offset, returned)

    def is_one(self, handle: int, tid: int, size: int, offset: int) -> bool:
        """Does this ask again for what was not there? OSError: EINVAL, or it might for ever.

        No program asks in that way by itself: for as many bytes as it has just not got, from where
        it has just got the others.
        """
        last = self._last.get(handle)
        if last is None:
            return False
        if last.offset != offset:
            self._check_begun(handle, tid, offset, last)
            return False
        if tid == last.tid and 0 < size == last.size - last.returned < last.size:
            self._by_io_uring[handle] = offset
            return True
        if self._by_io_uring.get(handle) == offset:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._check_begun(handle, tid, offset, last)
        return False

    def _check_begun(self, handle: int, tid: int, offset: int, last: _Read) -> None:
        """OSError: EINVAL, io_uring begins again where it has begun before."""
        if offset == self._begun.get(handle) and last.returned and self._is_worker(tid):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def closed(self, handle: int) -> None:
        """No more reads."""
        self._last.pop(handle, None)
        self._begun.pop(handle, None)
        self._by_io_uring.pop(handle, None)
