"""Who writes to the control file: its identity, rights and view of the files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loader.calls import File
from loader.errors import LoadError
from modfs.linux import descriptor_of_thread, libc, setgroups_of_thread


class Client:
    """The process that writes: its identity, and its view of the files."""

    def __init__(self, uid: int, gid: int, tid: int) -> None:
        self.uid, self.gid, self.tid = uid, gid, tid
        self._root: str | None = None
        try:
            status = Path(f"/proc/{tid}/status").read_bytes().decode("utf-8", "replace")
        except OSError:  # gone already
            status = f"Name:\t?\nTgid:\t{tid}\n"
        self._status = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    @property
    def command(self) -> str:
        """Its name, as ps shows it; "?" once it is gone."""
        return self._status["Name"]

    @property
    def pid(self) -> int:
        """Its process; FUSE tells the thread."""
        return int(self._status["Tgid"])

    def path(self, path: str) -> str:
        """``path`` as this process would find the file, seen from here."""
        if not path.startswith("/"):
            return f"/proc/{self.tid}/cwd/{path}"
        if path.startswith("/proc/self/"):
            return f"/proc/{self.pid}/{path.removeprefix('/proc/self/')}"
        if self._root is None:
            try:
                root = os.readlink(f"/proc/{self.tid}/root")
            except OSError:
                root = "/"
            self._root = "" if root == "/" else f"/proc/{self.tid}/root"
        return self._root + path

    def open(self, file: File, access: int = os.O_RDONLY) -> tuple[int, bool]:
        """What its path or descriptor is in this process (loader.calls.Caller). OSError."""
        if isinstance(file, int):
            return self._descriptor(file)
        return self.open_here(self.path(os.fspath(file)), access), True

    def _descriptor(self, fd: int) -> tuple[int, bool]:
        try:
            return descriptor_of_thread(self.tid, fd), True
        except OSError as error:
            if error.errno == errno.EBADF:
                return -1, False  # which the kernel has to answer
            raise

    def open_here(self, path: str, access: int = os.O_RDONLY) -> int:
        """A path as it is seen from here, with the client's rights. OSError: as open(2)."""
        flags = access | os.O_CLOEXEC | os.O_NONBLOCK
        if self.uid == os.geteuid():
            return os.open(path, flags)
        if os.geteuid() != 0:
            raise LoadError(errno.EACCES)  # whether they may read it cannot be known
        with self._rights():
            return os.open(path, flags)

    @contextmanager
    def _rights(self) -> Iterator[None]:
        """This thread has the client's user, groups and no capability over files meanwhile."""
        groups = os.getgroups()
        try:
            setgroups_of_thread(list(map(int, self._status.get("Groups", "").split())))
            libc.setfsgid(self.gid)
            libc.setfsuid(self.uid)
            yield
        finally:
            libc.setfsuid(0)
            libc.setfsgid(os.getegid())
            setgroups_of_thread(groups)
