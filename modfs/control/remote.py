"""The engine of a mount that somebody serves: calls are written to its control file.

A transport, which judges nothing: errnos and counters come from the engine behind the mount.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from loader.calls import (
    ANYONE,
    Call,
    Caller,
    DeleteModule,
    FinitModule,
    InitModule,
    RequestModule,
)
from loader.errors import LoadError
from modfs.control.grammar import GetFsType, format_call, format_request


class RemoteKernel:
    """A mount's engine (loader.calls.SystemCalls), and its texts."""

    def __init__(self, mountpoint: Path) -> None:
        """OSError: nothing answers there."""
        self._folder = os.open(mountpoint, os.O_PATH | os.O_CLOEXEC)
        try:
            self.compression = self.read(".control/compression").strip()
        except OSError:
            os.close(self._folder)
            raise

    def close(self) -> None:
        """Hold the mount no longer."""
        os.close(self._folder)

    # -- what can be read -------------------------------------------------------------------------

    def read(self, name: str) -> str:
        """The text of one of its files. OSError."""
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        with os.fdopen(fd, errors="surrogateescape") as file:
            return file.read()

    def set(self, name: str, data: bytes) -> None:
        """Write one of its settings, such as "autoload/modprobe". LoadError: its errno."""
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            os.write(fd, data)
        except OSError as error:
            raise LoadError(error.errno or errno.EIO) from None
        finally:
            os.close(fd)

    def proc_modules(self) -> str:
        """/proc/modules."""
        return self.read(".control/proc_modules")

    def _sys_module(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads(self.read(".control/sys_module"))
        return found

    def module_names(self) -> list[str]:
        """Names in /sys/module."""
        return list(self._sys_module())

    def module_files(self, name: str) -> dict[str, str]:
        """/sys/module/NAME: texts by file; empty if it is not there."""
        return self._sys_module().get(name, {})

    def tree(self) -> Path | None:
        """The module tree of the mount's engine."""
        root = self.read(".control/tree").strip()
        return Path(root) if root else None

    def stats(self) -> str:
        """The report."""
        return self.read("stats")

    # -- calls ------------------------------------------------------------------------------------

    def call(self, call: Call, caller: Caller = ANYONE) -> None:
        """LoadError: the errno that the mount's engine gives."""
        caller.may_init_module()  # the mount sees this process, not the caller
        if isinstance(call, DeleteModule):
            self._write(call)
        elif isinstance(call, FinitModule):
            fd, ours = caller.open(call.file, call.access)
            self._with_descriptor(call._replace(file=fd, access=0), fd, ours)
        elif isinstance(call.image, bytes):
            fd = _in_memory(call.image)
            length = len(call.image) if call.length is None else call.length
            self._with_descriptor(call._replace(image=fd, length=length), fd, True)
        elif call.image is None:
            self._write(call)
        else:
            fd, ours = caller.open(call.image, os.O_RDONLY)
            self._with_descriptor(call._replace(image=fd), fd, ours)

    def request_module(
        self,
        string: str,
        caller: Caller = ANYONE,
        wait: bool = True,
        function: str = "request_module",
    ) -> int:
        """What it came to (loader.engine.kmod), but for a wait status: the mount tells of that
        only that it was not 0, and so does -EREMOTEIO."""
        try:
            self._write_line(format_request(RequestModule(string, wait)))
        except LoadError as error:
            return -(error.errno or errno.EIO)
        return 0

    def get_fs_type(self, name: str, caller: Caller = ANYONE) -> bool:
        """Is there such a file system, now or after a request?"""
        try:
            self._write_line(format_request(GetFsType(name)))
        except LoadError:
            return False
        return True

    def provides(self, string: str) -> bool:
        """What strings mean there is not known here: no."""
        return False

    def wake(self) -> None:
        """Callers wait in the mount's own server; a killed one is answered when it is done."""

    def _with_descriptor(self, call: FinitModule | InitModule, fd: int, ours: bool) -> None:
        try:
            self._write(call)
        finally:
            if ours:
                os.close(fd)

    def _write(self, call: Call) -> None:
        self._write_line(format_call(call))

    def _write_line(self, text: str) -> None:
        line = f"{text}\n".encode("utf-8", "surrogateescape")
        control = os.open("control", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            os.write(control, line)
        except OSError as error:
            raise LoadError(error.errno or errno.EIO) from None
        finally:
            os.close(control)


def _in_memory(data: bytes) -> int:
    """A descriptor of a file with these bytes, which the mount's server can read."""
    fd = os.memfd_create("module", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as memory:
        memory.write(data)
    return fd
