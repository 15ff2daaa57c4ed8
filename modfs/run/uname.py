"""uname(2) of programs that run here: the kernel's release is the one that was asked for.

Nothing else of the answer is ours. Where the kernel gives another answer than to this process, to
programs in a UTS namespace of their own or with the personality UNAME26, it answers itself.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from loader.calls import Caller
from modfs.run.seccomp import Notification, Reply, write_memory

_FIELD = 65  # bytes, __NEW_UTS_LEN with the NUL (include/uapi/linux/utsname.h)
_STRUCTURE = struct.Struct(f"{_FIELD}s" * 6)
_PER_LINUX32, _PER_MASK, _UNAME26 = 0x8, 0xFF, 0x0020000  # include/uapi/linux/personality.h
_MACHINE_32 = {"x86_64": "i686", "aarch64": "armv8l"}  # COMPAT_UTS_MACHINE


class Uname:
    """What uname(2) says of a kernel ``release``."""

    def __init__(self, release: str) -> None:
        self.release = release
        self._namespace = os.stat("/proc/self/ns/uts").st_ino

    def __call__(
        self, notification: Notification, still_there: Callable[[], bool], caller: Caller
    ) -> Reply | None:
        """Write the answer into the caller's memory. None: the kernel is to answer.

        ``still_there``: is it the caller whose memory was opened (seccomp_unotify(2))?
        """
        process = Path("/proc", str(notification.tid))
        try:
            personality = int((process / "personality").read_text(), 16)
            if os.stat(process / "ns/uts").st_ino != self._namespace or personality & _UNAME26:
                return None
        except OSError:
            return None
        text = self._text(is_32_bit=personality & _PER_MASK == _PER_LINUX32)
        # Where it is not mapped, the kernel says EFAULT.
        written = write_memory(notification.tid, notification.arguments[0], text, still_there)
        return Reply() if written else None

    def _text(self, is_32_bit: bool) -> bytes:
        host = os.uname()
        domain = Path("/proc/sys/kernel/domainname").read_text().rstrip("\n")
        machine = _MACHINE_32.get(host.machine, host.machine) if is_32_bit else host.machine
        names = (host.sysname, host.nodename, self.release, host.version, machine, domain)
        return _STRUCTURE.pack(*(os.fsencode(name)[: _FIELD - 1] for name in names))
