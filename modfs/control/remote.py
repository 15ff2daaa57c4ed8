"""The engine of a mount that somebody serves already, for ``modfs run --mount``."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
from pathlib import Path

from loader.calls import Caller
from loader.errors import LoadError


class Joined:
    """Sends calls as requests through a mount's control file (modfs.intercept.Engine)."""

    def __init__(self, mountpoint: Path) -> None:
        """OSError: nothing answers there."""
        self._folder = mountpoint
        self._folder_fd = os.open(mountpoint, os.O_PATH | os.O_CLOEXEC)
        self.compression = self._read("compression").strip()

    def _read(self, name: str) -> str:
        fd = os.open(f".control/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder_fd)
        with os.fdopen(fd) as file:
            return file.read()

    def proc_modules(self) -> str:
        """/proc/modules."""
        return self._read("proc_modules")

    def _sys_module(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads(self._read("sys_module"))
        return found

    def module_names(self) -> list[str]:
        """Names in /sys/module."""
        return list(self._sys_module())

    def module_files(self, name: str) -> dict[str, str]:
        """/sys/module/NAME: texts by file; empty if it is not there."""
        return self._sys_module().get(name, {})

    def tree(self) -> Path | None:
        """The module tree of the mount's engine."""
        root = self._read("tree").strip()
        return Path(root) if root else None

    def stats(self) -> str:
        """The report."""
        fd = os.open("stats", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder_fd)
        with os.fdopen(fd) as file:
            return file.read()

    def finit_module(self, file: int, params: str | None, flags: int, *, caller: Caller) -> None:
        """LoadError: the errno of the request."""
        self._allow(caller)
        if file < 0:
            raise LoadError(errno.EBADF)
        access = fcntl.fcntl(file, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_PATH)
        if access not in (os.O_RDONLY, os.O_RDWR):
            raise LoadError(errno.EBADF)
        if access == os.O_RDWR:
            raise LoadError(errno.ETXTBSY)
        self._insert("finit_module", file, f"flags={flags & 0xFFFFFFFF}", params)

    def init_module(
        self, image: bytes | None, params: str | None, *, length: int, caller: Caller
    ) -> None:
        """LoadError: the errno of the request."""
        self._allow(caller)
        if image is None:
            raise LoadError(errno.EFAULT)
        fd = os.memfd_create("module", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(fd), "wb") as memory:
                memory.write(image)
            self._insert("init_module", fd, f"len={length}", params)
        finally:
            os.close(fd)

    def delete_module(self, name: str, flags: int, *, caller: Caller) -> None:
        """LoadError: the errno of the request."""
        self._allow(caller)
        if not name:
            raise LoadError(errno.ENOENT)
        self._request("delete_module", name, f"flags={flags}")

    def wake(self) -> None:
        """Callers wait in the mount's own server; a killed one is answered when it is done."""

    def _allow(self, caller: Caller) -> None:
        if not caller.capable:
            raise LoadError(errno.EPERM)

    def _insert(self, call: str, fd: int, setting: str, params: str | None) -> None:
        if params is None:
            raise LoadError(errno.EFAULT)
        words = [params] if params else []
        self._request(call, f"/proc/self/fd/{fd}", setting, *words)

    def _request(self, *words: str) -> None:
        line = shlex.join(words)
        if "\n" in line:
            raise LoadError(errno.EINVAL)
        flags = os.O_WRONLY | os.O_CLOEXEC
        control = os.open("control", flags, dir_fd=self._folder_fd)
        try:
            os.write(control, f"{line}\n".encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise LoadError(error.errno or errno.EIO) from None
        finally:
            os.close(control)
