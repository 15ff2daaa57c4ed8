"""Who writes to the control file: its identity, rights and view of the files."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loader.errors import LoadError

_SYS_SETGROUPS = {"x86_64": 116, "aarch64": 159}.get(platform.machine())
_libc = ctypes.CDLL(None, use_errno=True)


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

    def open(self, path: str) -> int:
        """Open a file for reading with this process's rights. OSError: as open(2)."""
        return self.open_here(self.path(path))

    def open_here(self, path: str) -> int:
        """The same for a path as it is seen from here. OSError: as open(2)."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
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
            _setgroups([int(group) for group in self._status.get("Groups", "").split()])
            _libc.setfsgid(self.gid)
            _libc.setfsuid(self.uid)
            yield
        finally:
            _libc.setfsuid(0)
            _libc.setfsgid(os.getegid())
            _setgroups(groups)


def _setgroups(groups: list[int]) -> None:
    """setgroups(2) for this thread alone: the C library's would change every thread's."""
    if _SYS_SETGROUPS is None:
        raise LoadError(errno.ENOSYS)
    array = (ctypes.c_uint32 * len(groups))(*groups)
    if _libc.syscall(_SYS_SETGROUPS, len(groups), array):
        raise LoadError(ctypes.get_errno())
