"""What of auto-loading can be read and set: the kernel's files for it, each by its path.

/proc/sys/kernel/modprobe, /proc/sys/kernel/modules_disabled (kernel/sysctl.c, kernel/module/main.c)
and, where duplicate requests are found, /sys/module/module/parameters/enable_dups_trace.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import NamedTuple

from loader.engine.kmod import Kmod
from loader.engine.params import kstrtobool
from loader.errors import LoadError

_KMOD_PATH_LEN = 256  # bytes, with the NUL
MODPROBE = "/proc/sys/kernel/modprobe"
MODULES_DISABLED = "/proc/sys/kernel/modules_disabled"
ENABLE_DUPS_TRACE = "/sys/module/module/parameters/enable_dups_trace"
MODE = 0o644
_NUMBER = re.compile(rb"\s*(-?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}))(?:[\s\0].*)?", re.DOTALL)


class Setting(NamedTuple):
    """A file. ``write(data, offset)`` takes what one write(2) gives; LoadError: its errno."""

    read: Callable[[], str]
    write: Callable[[bytes, int], None]


def settings(kmod: Kmod) -> dict[str, Setting]:
    """The files of one kernel, by the paths that they have there."""
    kernel, dups = kmod.kernel, kmod.dups
    found = {
        MODPROBE: Setting(lambda: f"{kmod.modprobe_path}\n", lambda *data: _modprobe(kmod, *data)),
        MODULES_DISABLED: Setting(
            lambda: f"{int(kernel.modules_disabled)}\n",
            lambda *data: _modules_disabled(kmod, *data),
        ),
    }
    if dups is not None:
        found[ENABLE_DUPS_TRACE] = Setting(
            lambda: f"{'Y' if dups.enable_dups_trace else 'N'}\n",
            lambda data, offset: dups.set_enable_dups_trace(_bool(data)),
        )
    return found


def _modprobe(kmod: Kmod, data: bytes, offset: int) -> None:
    """proc_dostring: up to the first newline or NUL, at most 255 bytes; the rest is dropped.

    A later write of one open file goes on where the first ended, not beyond the text's end.
    """
    before = kmod.modprobe_path.encode("utf-8", "surrogateescape")
    if data and offset <= len(before):
        text = before[:offset] + re.split(rb"[\n\0]", data, maxsplit=1)[0]
        kmod.modprobe_path = text[: _KMOD_PATH_LEN - 1].decode("utf-8", "surrogateescape")


def _modules_disabled(kmod: Kmod, data: bytes, offset: int) -> None:
    """proc_dointvec_minmax from 1 to 1. LoadError: EINVAL."""
    if not data or offset:
        return
    number = _NUMBER.fullmatch(data)
    if number is None or _int(number[1]) != 1:
        raise LoadError(errno.EINVAL)
    kmod.kernel.modules_disabled = True


def _int(text: bytes) -> int:
    """By its prefix decimal, octal or hexadecimal; -1 for what is none."""
    octal = re.fullmatch(rb"0[0-9]+", text)
    try:
        return int(text, 8 if octal else 0)
    except ValueError:
        return -1


def _bool(data: bytes) -> bool:
    """LoadError: EINVAL."""
    truth = kstrtobool(data.decode("latin-1"))
    if truth is None:
        raise LoadError(errno.EINVAL)
    return truth
