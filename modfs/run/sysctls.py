"""What /proc/sys/kernel says of loading modules, and takes (kernel/module/main.c, module_sysctls).

modprobe           what the kernel would run for request_module; a text
modules_disabled   may only become 1, and then no module is loaded or removed any more
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from modfs.mount.control_file import TextFile

_KMOD_PATH_LEN = 256  # bytes, with a NUL


class Sysctls:
    """The settings of one sandbox."""

    def __init__(self) -> None:
        self.modprobe = b"/sbin/modprobe"
        self.modules_disabled = False
        self.files: dict[str, Callable[[], Sysctl]] = {
            "sys/kernel/modprobe": lambda: Sysctl(
                lambda: self.modprobe.decode("utf-8", "surrogateescape"), self._set_modprobe
            ),
            "sys/kernel/modules_disabled": lambda: Sysctl(
                lambda: str(int(self.modules_disabled)), self._set_modules_disabled
            ),
        }
        """By path in /proc: how one is opened."""

    def _set_modprobe(self, data: bytes) -> None:
        """As proc_dostring: up to the line's end or a NUL."""
        line = data.partition(b"\n")[0].partition(b"\0")[0]
        self.modprobe = line[: _KMOD_PATH_LEN - 1]

    def _set_modules_disabled(self, data: bytes) -> None:
        """As proc_dointvec_minmax with 1 for the least and the most. OSError: EINVAL."""
        try:
            number = int(data.strip(b" \t\n\0").partition(b" ")[0], 0)
        except ValueError:
            number = 0
        if number != 1:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.modules_disabled = True


class Sysctl(TextFile):
    """An open file of one."""

    __slots__ = ("_set",)

    def __init__(self, get: Callable[[], str], set_: Callable[[bytes], None]) -> None:
        super().__init__(lambda: f"{get()}\n")
        self._set = set_

    def write(self, data: bytes) -> int:
        """OSError: EINVAL."""
        self._set(data)
        return len(data)
