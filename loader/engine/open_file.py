"""The file that one call is about, as the kernel sees it: really opened, really read."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
from collections.abc import Hashable
from fcntl import F_GETFL, F_RDLCK, F_SETLEASE, F_UNLCK, fcntl
from os import O_ACCMODE, O_PATH, O_RDONLY, O_RDWR
from typing import Protocol

from loader.calls import Caller, FinitModule, InitModule
from loader.engine.budget import Share
from loader.errors import Failure, LoadError
from loader.image.elf_format import EHDR
from loader.image.module_image import ModuleImage


class CallersFile:
    """What the caller of one call names (sequence.Files and sequence.OpenedFile).

    ``cookie``, ``readable``: see there. ``written``: somebody has it open for writing, so that it
    cannot be read for a load. OSError from its methods: it cannot be opened.
    """

    __slots__ = ("_caller", "_closes", "_leases", "_read", "cookie", "fd", "readable", "share",
                 "status", "written")  # fmt: skip

    cookie: Hashable
    status: os.stat_result

    def __init__(self, caller: Caller, read: ReadWhole, leases: bool) -> None:
        """``read`` finds what is in a file's first bytes; ``leases``: whether can_lease() was
        true."""
        self._caller = caller
        self._read = read
        self._leases = leases
        self._closes = False
        self.share: Share | None = None
        """Of the engine's budget, for what is held of the file."""

    def close(self) -> None:
        """The call is over."""
        if self._closes:
            os.close(self.fd)

    def opened(self, call: FinitModule) -> CallersFile | None:
        self.fd, self._closes = self._caller.open(call.file, call.access)
        try:
            self.status = status = os.fstat(self.fd)
        except (OSError, OverflowError):
            return None
        self.cookie = (status.st_dev, status.st_ino)
        self._look_for_writers()
        return self

    def _look_for_writers(self) -> None:
        """Has anybody this file open for writing? A read lease is refused then (fcntl(2), EAGAIN).

        A descriptor that may write does not always count: that of a memfd does not. Where this
        process may not take a lease (another's file, without CAP_LEASE) or the file system has
        none, only the caller's own descriptor tells.
        """
        busy = False
        if self._leases:
            try:
                fcntl(self.fd, F_SETLEASE, F_RDLCK)
                fcntl(self.fd, F_SETLEASE, F_UNLCK)
            except OSError as error:
                busy = error.errno == errno.EAGAIN
            else:
                self.readable, self.written = True, False  # who only writes has no lease
                return
        access = fcntl(self.fd, F_GETFL) & (O_ACCMODE | O_PATH)
        self.readable = access in (O_RDONLY, O_RDWR)
        self.written = busy or access != O_RDONLY

    def memory(self, call: InitModule) -> tuple[ModuleImage | Failure | None, int]:
        """OSError: the file that holds the image cannot be opened; EINVAL: it is no regular file,
        which might have no end."""
        data = call.image
        if data is None or isinstance(data, bytes):
            size = len(data or b"")
        else:
            self.fd, self._closes = self._caller.open(data, O_RDONLY)
            self.status = os.fstat(self.fd)
            if not stat.S_ISREG(self.status.st_mode):
                raise LoadError(errno.EINVAL)
            size = self.status.st_size
        length = size if call.length is None else call.length
        if data is None or not EHDR.size <= length <= size:
            return None, length
        found = self._read(self._caller, self, length, 0, data if isinstance(data, bytes) else None)
        if isinstance(found, Failure) and found.errno != errno.ENOMEM:
            raise LoadError(found.errno)  # its program could not read it either, and calls nothing
        return found, length


class ReadWhole(Protocol):
    """How an engine reads the file of a call; it knows what may be held in memory."""

    def __call__(
        self,
        caller: Caller,
        file: CallersFile,
        size: int,
        flags: int,
        data: bytes | None = None,
        /,
    ) -> ModuleImage | Failure:
        """What is in the first ``size`` bytes, of ``data`` where they have been read already."""


def pread_all(fd: int, size: int) -> bytes:
    """``size`` bytes from the start of the file; fewer if it has become shorter. OSError."""
    data = os.pread(fd, size, 0)
    while 0 < len(data) < size:
        more = os.pread(fd, size - len(data), len(data))
        if not more:
            break
        data += more
    return data


def can_lease() -> bool:
    """Can leases be used? A writer who comes while one is held makes the kernel send SIGIO.

    Its default action ends the process, so it is ignored, unless the program handles it; only the
    main thread may say so.
    """
    if signal.getsignal(signal.SIGIO) is signal.SIG_DFL:
        if threading.current_thread() is not threading.main_thread():
            return False
        signal.signal(signal.SIGIO, signal.SIG_IGN)
    return True
