"""A look at a caller's path that waits for nobody: only at what the kernel remembers of it.

RESOLVE_CACHED stops before any file system would have to be asked, the server's own above all,
which remembers nothing; so the server may look. Nothing is opened.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

from modfs import linux

_PLACE = os.O_PATH | os.O_CLOEXEC
_RESOLVE_BENEATH, _RESOLVE_IN_ROOT = 0x08, 0x10
_AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = 0x1000, 0x4000
_STATX = struct.Struct("<28xH98x2I")  # stx_mode, stx_rdev_major, stx_rdev_minor


class Number(NamedTuple):
    """A file's type and mode; of a device, its number."""

    mode: int
    major: int
    minor: int


NOTHING = Number(0, 0, 0)


def glance(tid: int, path: bytes, folder: int | None, follow: bool) -> Number | None:
    """What the thread's path leads to; None: that is not remembered."""
    absolute = path.startswith(b"/")
    start = "root" if absolute else "cwd" if folder is None else f"fd/{folder}"
    # What would leave the folder depends on the caller's root.
    inside = _RESOLVE_IN_ROOT if absolute else _RESOLVE_BENEATH
    flags = os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW
    try:
        place = os.open(f"/proc/{tid}/{start}", _PLACE)
    except OSError:
        return None
    try:
        found = linux.openat2(place, os.fsdecode(path), flags, inside | linux.RESOLVE_CACHED)
        try:
            return _unasked(found)
        finally:
            os.close(found)
    except OSError as error:  # it will fail, or make a file
        return NOTHING if error.errno in (errno.ENOENT, errno.ENOTDIR) else None
    finally:
        os.close(place)


def _unasked(fd: int) -> Number:
    """As far as it is remembered. OSError."""
    buffer = ctypes.create_string_buffer(256)
    linux.syscall("statx", fd, b"", _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, 0, buffer)
    return Number(*_STATX.unpack_from(buffer))
