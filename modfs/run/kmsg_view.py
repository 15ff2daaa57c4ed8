"""/dev/kmsg and /proc/kmsg: the emulated kernel's log, for dmesg(1) and the daemons that keep it.

Here /dev/kmsg is a file. lseek(2) on a file is the host kernel's own affair; what it asks is the
size, for SEEK_END and SEEK_DATA, and the next read then begins somewhere else (KmsgFile.sought).
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from loader.calls import Caller
from loader.engine import sequence
from loader.engine.syslog import Action, DevKmsg, Syslog
from loader.engine.threads import SHUT_DOWN, LiveKernel
from loader.errors import LoadError
from modfs import linux, who
from modfs.fuse.files import DIRECTORY, Attributes
from modfs.fuse.server import Server
from modfs.run import seccomp
from modfs.run.views import Opened

_KMSG = Attributes(stat.S_IFREG | 0o644)
_READABLE = select.POLLIN | select.POLLRDNORM
_LOST = _READABLE | select.POLLERR | select.POLLPRI


class Readers:
    """How those who have a file of the log open wait, and what they may.

    ``room``: taken by each that waits.
    """

    def __init__(
        self,
        live: LiveKernel,
        syslog: Syslog,
        server: Server,
        room: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.syslog = syslog
        self._live, self._server, self._room = live, server, room
        self._namespace = seccomp.user_namespace()

    def capable(self) -> bool:
        """Has who asks CAP_SYSLOG?"""
        return seccomp.capable(self._server.client()[2], linux.CAP_SYSLOG, self._namespace)

    def comm(self) -> str:
        """The name of who asks."""
        return who.comm(self._server.client()[2])

    def wait(self, ready: Callable[[], bool]) -> None:
        """Until ``ready``. LoadError: EINTR, EAGAIN: O_NONBLOCK, or no room; SHUT_DOWN."""
        if ready():
            return
        if self._server.nonblocking():
            raise LoadError(errno.EAGAIN)
        caller = Caller(self._server.interrupted)
        with self._room():
            self._live.wait(sequence.Wait(self.syslog.log, ready), caller)


class _LogFile:
    """What both have in common: who polls it is told of the next message."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._log = readers.syslog.log
        self._lock = readers.syslog.lock
        self._notify: Callable[[], None] | None = None

    def _ready(self) -> int:
        raise NotImplementedError

    def _read(self, size: int) -> bytes:
        raise NotImplementedError

    def read(self, size: int, offset: int) -> bytes:
        """LoadError: see DevKmsg.read. Empty once the kernel ends."""
        try:
            return self._read(size)
        except LoadError as error:
            if error.errno == SHUT_DOWN:
                return b""
            raise

    def poll(self, notify: Callable[[], None] | None) -> int:
        """What can be done now; ``notify`` is called at the next message."""
        with self._lock:
            self._notify = notify
            self._log.watchers[self] = self._told
            return self._ready()

    def _told(self) -> None:
        notify, self._notify = self._notify, None
        if notify is not None:
            notify()

    def flush(self) -> None: ...

    def release(self) -> None:
        """The last descriptor is closed."""
        with self._lock:
            self._log.watchers.pop(self, None)


class KmsgFile(_LogFile):
    """An open /dev/kmsg."""

    def __init__(self, readers: Readers, flags: int) -> None:
        """LoadError: EPERM."""
        super().__init__(readers)
        reads = flags & os.O_ACCMODE != os.O_WRONLY
        self._device = DevKmsg(readers.syslog, reads, readers.capable(), readers.comm())
        self._offset = 0  # where a read begins that follows the last
        self._size = 0  # what lseek was told
        self._sought: tuple[int, int] | None = None  # where SEEK_END and SEEK_DATA would be

    def sought(self) -> int:
        """The size, which lseek(2) asks for SEEK_END and SEEK_DATA: bytes.

        With SEEK_END the next read begins there, and so it must not where it would begin anyway;
        with SEEK_DATA it begins at 0. (SEEK_SET after it is taken for SEEK_DATA.)
        """
        self._size = 2 if self._offset == 1 else 1
        self._sought = self._log.next_seq, self._readers.syslog.clear_seq
        return self._size

    def _seek(self, offset: int) -> None:
        """devkmsg_llseek, at the read that comes after it."""
        sought, self._sought = self._sought, None
        if sought is not None and offset == self._size:
            self._device.seq = sought[0]
        elif sought is not None and not offset:
            self._device.seq = sought[1]
        elif not offset and self._offset:
            self._device.seq = self._log.first_seq

    def read(self, size: int, offset: int) -> bytes:
        """One message, wherever it is; LoadError: EPIPE, EINVAL, EAGAIN, EINTR."""
        self._seek(offset)
        self._offset = offset
        data = super().read(size, offset)
        self._offset += len(data)
        return data

    def _read(self, size: int) -> bytes:
        return self._device.read(size, self._readers.wait)

    def _ready(self) -> int:
        if not self._device.is_ready():
            return 0
        return _LOST if self._device.lost() else _READABLE

    def write(self, data: bytes) -> int:
        """One message. LoadError: EINVAL."""
        return self._device.write(data)

    def release(self) -> None:
        """The last descriptor is closed."""
        super().release()
        self._device.close()


class ProcKmsgFile(_LogFile):
    """An open /proc/kmsg (fs/proc/kmsg.c): who reads takes the messages away from others."""

    def __init__(self, readers: Readers) -> None:
        """LoadError: EPERM."""
        super().__init__(readers)
        readers.syslog.check(Action.OPEN, readers.capable())

    def _read(self, size: int) -> bytes:
        return self._readers.syslog.read(size, self._readers.wait)

    def _ready(self) -> int:
        return _READABLE if self._readers.syslog.can_read() else 0

    def write(self, data: bytes) -> int:
        """OSError: EIO, as proc_reg_write of what has no way to be written."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class DeviceView:
    """The folder with kmsg (modfs.run.views.View)."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    def getattr(self, path: bytes) -> Attributes:
        """OSError: ENOENT."""
        if path == b"/":
            return DIRECTORY
        if path != b"/kmsg":
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return _KMSG

    def text(self, path: bytes) -> None:
        """A device has no size."""

    def readlink(self, path: bytes) -> bytes:
        """OSError: EINVAL."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def names(self, path: bytes) -> Iterable[bytes]:
        return (b"kmsg",)

    def open_file(self, path: bytes, flags: int = os.O_RDONLY) -> Opened:
        """OSError: ENOENT; LoadError: EPERM."""
        self.getattr(path)
        return KmsgFile(self._readers, flags)
