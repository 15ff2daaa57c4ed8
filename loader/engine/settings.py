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
from loader.engine.syslog import Syslog
from loader.errors import LoadError

_KMOD_PATH_LEN = 256  # bytes, with the NUL
MODPROBE = "/proc/sys/kernel/modprobe"
MODULES_DISABLED = "/proc/sys/kernel/modules_disabled"
ENABLE_DUPS_TRACE = "/sys/module/module/parameters/enable_dups_trace"
PRINTK = "/proc/sys/kernel/printk"
PRINTK_DEVKMSG = "/proc/sys/kernel/printk_devkmsg"
DMESG_RESTRICT = "/proc/sys/kernel/dmesg_restrict"
_LEVELS = (
    "console_loglevel",
    "default_message_loglevel",
    "minimum_console_loglevel",
    "default_console_loglevel",
)
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


def log_settings(syslog: Syslog) -> dict[str, Setting]:
    """Those of the kernel's log (kernel/printk/sysctl.c)."""
    return {
        PRINTK: Setting(
            lambda: "\t".join(str(getattr(syslog, name)) for name in _LEVELS) + "\n",
            lambda data, offset: _levels(syslog, data, offset),
        ),
        PRINTK_DEVKMSG: Setting(
            lambda: f"{syslog.devkmsg}\n", lambda data, offset: _devkmsg(syslog, data, offset)
        ),
        DMESG_RESTRICT: Setting(
            lambda: f"{int(syslog.dmesg_restrict)}\n",
            lambda data, offset: _dmesg_restrict(syslog, data, offset),
        ),
    }


def _levels(syslog: Syslog, data: bytes, offset: int) -> None:
    """proc_dointvec: as many as there are. LoadError: EINVAL, the first is none."""
    for place, name in enumerate(() if offset else _LEVELS):
        number = _NUMBER.fullmatch(data)
        if number is None:
            if place == 0 and data.strip():
                raise LoadError(errno.EINVAL)
            return
        setattr(syslog, name, _int(number[1]))
        data = data[number.end(1) :]


def _devkmsg(syslog: Syslog, data: bytes, offset: int) -> None:
    """devkmsg_sysctl_set_loglvl. LoadError: EINVAL."""
    word = data.removesuffix(b"\n").decode("latin-1")
    if word not in ("on", "off", "ratelimit"):
        raise LoadError(errno.EINVAL)
    syslog.devkmsg = word


def _dmesg_restrict(syslog: Syslog, data: bytes, offset: int) -> None:
    """proc_dointvec_minmax from 0 to 1. LoadError: EINVAL."""
    number = _NUMBER.fullmatch(data)
    if offset or not data:
        return
    if number is None or _int(number[1]) not in (0, 1):
        raise LoadError(errno.EINVAL)
    syslog.dmesg_restrict = bool(_int(number[1]))


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
