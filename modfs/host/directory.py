"""The mounted directory of this machine's kernel: the files of any other, but no control."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterable
from functools import partial

from modfs.fuse.files import DIRECTORY, Attributes, Nature
from modfs.host.kernel import HostKernel
from modfs.mount.control_file import TextFile, encoded
from modfs.texts import FILES

# As in modfs.mount.directory
_SERVER, _END, _STATUS = b".control/server", b".control/end", b".control/status"
_ROOT = 1


def _ending(end: Callable[[], None]) -> str:
    end()
    return "ending\n"


class HostDirectory:
    """/sys/kernel/debug/modules of the kernel that runs (modfs.fuse.FileSystem).

    Beside the kernel's files: kmsg, losses, failed_inits, calls, loaded_before, events.
    """

    def __init__(self, kernel: HostKernel, end: Callable[[], None]) -> None:
        self.uid = self.gid = 0
        self._texts: dict[bytes, tuple[int, Callable[[], str]]] = {
            name.encode(): (file.mode, partial(kernel.statistics, file.text))
            for name, file in FILES.items()
        }
        for name in ("kmsg", "losses", "failed_inits", "calls", "loaded_before", "events"):
            mode = 0o444 if name in ("losses", "loaded_before") else 0o400
            self._texts[name.encode()] = mode, getattr(kernel, name)
        self._texts[_SERVER] = 0o444, lambda: f"{os.getpid()}\n"
        self._texts[_END] = 0o400, partial(_ending, end)
        self._texts[_STATUS] = 0o444, kernel.status
        self._attributes: dict[bytes, Attributes] = {
            b"/" + name: Attributes(stat.S_IFREG | mode, inode=number)
            for number, (name, (mode, _)) in enumerate(self._texts.items(), 2)
        }
        self._attributes[b"/"] = self._attributes[b"/.control"] = DIRECTORY
        self._handles: dict[int, TextFile] = {}
        self._numbers = itertools.count(1)
        self._closed = threading.Condition()

    def getattr(self, path: bytes) -> Attributes:
        """OSError: ENOENT."""
        found = self._attributes.get(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return found

    def nature(self, path: bytes) -> Nature:
        """Texts, which may have to wait for what was traced to be read."""
        is_folder = self._attributes.get(path) is DIRECTORY
        return Nature(waits=not is_folder, flushes=False, lasts=is_folder)

    def text(self, path: bytes) -> bytes | None:
        """What is in a file now."""
        found = self._texts.get(path[1:])
        return None if found is None or path.startswith(b"/.control/") else encoded(found[1]())

    def readlink(self, path: bytes) -> bytes:
        """OSError: EINVAL: there is no link."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def opendir(self, path: bytes) -> int:
        """A number for the directory. OSError: ENOTDIR."""
        if self.getattr(path) is not DIRECTORY:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return _ROOT if path == b"/" else 0

    def readdir(self, directory: int) -> Iterable[bytes]:
        """Names in a directory."""
        return [name for name in self._texts if b"/" not in name] if directory == _ROOT else []

    def releasedir(self, directory: int) -> None:
        """Nothing was kept for it."""

    def open(self, path: bytes, flags: int) -> int:
        """A handle. OSError: ENOENT; EACCES to write, as on files that nobody may write to."""
        found = self._texts.get(path[1:])
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        handle = next(self._numbers)
        self._handles[handle] = TextFile(found[1])
        return handle

    def read(self, handle: int, size: int, offset: int) -> bytes:
        """Part of an open file."""
        return self._handles[handle].read(size, offset)

    def poll(self, handle: int, notify: Callable[[], None] | None) -> bool:
        """Texts can always be read."""
        return True

    def write(self, handle: int, data: bytes) -> int:
        """OSError: EBADF: none is open for that."""
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def flush(self, handle: int) -> None:
        """Nothing is kept back."""

    def release(self, handle: int) -> None:
        """The last descriptor is closed."""
        with self._closed:
            del self._handles[handle]
            self._closed.notify_all()

    def let_go(self) -> None:
        """Nobody waits for long."""

    def wait_until_closed(self, seconds: float) -> None:
        """Wait until nothing is open, but not longer than that."""
        with self._closed:
            self._closed.wait_for(lambda: not self._handles, seconds)
